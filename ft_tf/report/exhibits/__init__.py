"""Exhibits: the tables and figures of a report, one file each.

A module of this package holds a subclass of `Exhibit` and registers an instance; that is all it
takes to add one. From outside the package:

>>> class Lengths(Exhibit):
...     name, title = "lengths", "Length of each training"
...     columns = (Column("run", "run", format=text), Column("steps", "steps", format=count))
...     def frame(self, study):
...         return study.runs
...     def figure(self, study, axes):
...         axes.hist(study.runs["steps"])
>>> _ = register(Lengths())
>>> _ = EXHIBITS.pop("lengths")
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import ArgumentError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.table import Column, Table, count, make_table, text
from ft_tf.report.tidy import Study

__all__ = [
    "EXHIBITS",
    "Column",
    "Exhibit",
    "Plot",
    "find",
    "of_study",
    "per_architecture",
    "register",
]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure of an exhibit.

    Attributes:
        name: of the file, without ending.
        caption: what it shows, also for those who cannot see it.
        draw: makes it; raises RunError where there is nothing to draw.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]


class Exhibit:
    """A table, and the figures that belong to it. Subclasses override what they need.

    Attributes:
        name: names its files and its anchor on the page.
        title: heading.
        columns: of the table; empty for figures alone, and for data that is only written as CSV.
        details: what is given below each row.
        note: sentences below the table; see `notes` for those that depend on the records.
        order: place on the page.
        is_long: folded on the HTML page where it has many rows; report.md leaves out its details.
    """

    name: str
    title: str
    columns: Sequence[Column] = ()
    details: Sequence[Column] = (
        Column("data", "data", format=text),
        Column("rows", "rows", format=text),
    )
    note: str = ""
    order: int = 100
    is_long: bool = True

    def parts(self, study: Study) -> Sequence["Exhibit"]:
        """Exhibits that this one is in a study: usually itself, none where it has no subject."""
        return [self]

    def frame(self, study: Study) -> pd.DataFrame:
        """The data at full precision, a line per row of the table; empty for figures alone."""
        return pd.DataFrame()

    def notes(self, study: Study) -> Sequence[str]:
        """Sentences below the table."""
        return [self.note] if self.note else []

    def figure(self, study: Study, axes: Axes) -> None:
        """Draws a figure of one panel; an exhibit with other figures overrides `plots`."""
        raise NotImplementedError

    def plots(self, study: Study) -> Sequence[Plot]:
        """The exhibit's figures."""
        if type(self).figure is Exhibit.figure:
            return []

        def draw() -> Figure:
            figure, ((axes,),) = plot_styles.panels(1, 1, title=self.title)
            self.figure(study, axes)
            return figure

        return [Plot(self.name, self.title, draw)]

    def rows(self, study: Study) -> pd.DataFrame:
        """The frame; without a line it still has the columns that the table names."""
        frame = self.frame(study)
        if len(frame.columns):
            return frame
        keys = [column.key for column in self.columns]
        return pd.DataFrame(columns=[key for key in keys if isinstance(key, str)])

    def table(self, study: Study) -> Table | None:
        """The formatted table; None for an exhibit without one."""
        if not self.columns:
            return None
        frame = self.rows(study)
        notes = self.notes(study) if len(frame) else ()
        return make_table(frame, self.columns, title=self.title, details=self.details, notes=notes)


def per_architecture(
    study: Study, name: str, caption: str, draw: Callable[[Study, str], Figure]
) -> list[Plot]:
    """Returns a figure for each architecture of a study.

    Args:
        study: any study.
        name: start of the files' names.
        caption: start of the captions.
        draw: makes the figure of an architecture.
    """
    return [
        Plot(
            f"{name}_{architecture}",
            f"{caption}; {display_names.describe_architecture(architecture)}",
            functools.partial(draw, study, architecture),
        )
        for architecture in study.architectures
    ]


EXHIBITS: dict[str, Exhibit] = {}
"""All registered exhibits by name."""
T = TypeVar("T", bound=Exhibit)


def register(exhibit: T) -> T:
    """Adds an exhibit to every report of this process; a second one of a name replaces the first."""
    EXHIBITS[exhibit.name] = exhibit
    return exhibit


def of_study(study: Study) -> Iterator[Exhibit]:
    """Yields the exhibits of a study in the order of the page."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    for exhibit in sorted(EXHIBITS.values(), key=lambda exhibit: (exhibit.order, exhibit.name)):
        yield from exhibit.parts(study)


def find(study: Study, name: str) -> Exhibit:
    """Returns the exhibit with this name.

    Raises:
        ArgumentError: the study has no such exhibit.
    """
    found = {exhibit.name: exhibit for exhibit in of_study(study)}
    if name not in found:
        raise ArgumentError(f"exhibit={name!r} must be one of {', '.join(found)}")
    return found[name]
