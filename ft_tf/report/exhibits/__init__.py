"""Exhibits: the tables and figures of a report, one file each.

A module of this package holds a subclass of `Exhibit` and registers an instance; that is all it
takes to add one. From outside the package:

>>> class Lengths(Exhibit):
...     name, title, note = "lengths", "Length of each training", "Steps of the optimizer."
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.report import display_names, plot_styles, rendering
from ft_tf.report.table import Column, Table, count, make_table, number, percent, points, text
from ft_tf.report.tidy import Study

__all__ = [
    "EXHIBITS", "Column", "Exhibit", "Plot", "Study", "count", "number", "of_study",
    "per_architecture", "percent", "points", "register", "text",
]  # fmt: skip
T = TypeVar("T", bound="Exhibit")


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure of an exhibit."""

    name: str  # of the file, without ending
    caption: str  # what it shows, also for those who cannot see it
    draw: Callable[[], Figure]  # makes it; raises RunError where there is nothing to draw


class Exhibit:
    """A table, and the figures that belong to it. Subclasses override what they need."""

    name: str  # names its files and its anchor on the page
    title: str  # heading
    columns: Sequence[Column] = ()  # empty for figures alone, and for data only written as CSV
    details: Sequence[Column] = (  # given below each row
        Column("data", "data", format=text),
        Column("rows", "rows", format=text),
    )
    note: str = ""  # below the table; our exhibits have theirs in templates/notes/KIND.j2
    kind: str = ""  # names that template; "" for the name of the exhibit
    order: int = 100  # place on the page

    def parts(self, study: Study) -> Sequence["Exhibit"]:
        """Exhibits that this one is in a study: usually itself, none where it has no subject."""
        return [self]

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        """The lines of `frame` as cells by name; none for figures alone."""
        return ()

    def frame(self, study: Study) -> pd.DataFrame:
        """The data at full precision, a line per row of the table."""
        return pd.DataFrame(self.lines(study))

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

    def notes(self, frame: pd.DataFrame) -> list[str]:
        """Sentences below the table of a frame."""
        if not len(frame):
            return []
        return [self.note] if self.note else rendering.notes(self.kind or self.name, frame=frame)

    def rows(self, study: Study) -> pd.DataFrame:
        """The frame; without a line it still has the columns that the table names."""
        frame = self.frame(study)
        if len(frame.columns):
            return frame
        return pd.DataFrame(columns=[c.key for c in self.columns if isinstance(c.key, str)])

    def table(self, study: Study) -> Table | None:
        """The formatted table; None for an exhibit without one."""
        if not self.columns:
            return None
        frame = self.rows(study)
        return make_table(frame, self.columns, self.title, self.details, self.notes(frame))


def per_architecture(
    study: Study, name: str, caption: str, draw: Callable[[Study, str], Figure]
) -> list[Plot]:
    """Returns the figure that `draw` makes of each architecture of a study.

    `name` and `caption` are the starts of the files' names and of the captions.
    """
    return [
        Plot(
            f"{name}_{display_names.slug(architecture)}",
            f"{caption}; {display_names.describe_architecture(architecture)}",
            functools.partial(draw, study, architecture),
        )
        for architecture in study.architectures
    ]


EXHIBITS: dict[str, Exhibit] = {}
"""All registered exhibits by name."""


def register(exhibit: T) -> T:
    """Adds an exhibit to every report of this process; of two with one name the later counts."""
    EXHIBITS[exhibit.name] = exhibit
    return exhibit


def of_study(study: Study) -> Iterator[Exhibit]:
    """Yields the exhibits of a study in the order of the page."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    for exhibit in sorted(EXHIBITS.values(), key=lambda exhibit: (exhibit.order, exhibit.name)):
        yield from exhibit.parts(study)
