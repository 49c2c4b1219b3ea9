"""A whole report: its sections with drawn figures, and the pages report.md and report.html."""

import base64
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jinja2
import pandas as pd

from ft_tf.errors import RunError
from ft_tf.records import Run
from ft_tf.report import display_names, exhibits, plot_styles, rendering
from ft_tf.report.exhibits import Exhibit
from ft_tf.report.groups import failure_of
from ft_tf.report.table import Table, percent
from ft_tf.report.tidy import Study

_WIDE_PIXELS = 1000
_FOLDED_ROWS = 4  # longer tables below the answer are folded on the HTML page


@dataclasses.dataclass(frozen=True)
class Image:
    """A drawn figure: file name without ending, caption, and its content by format."""

    name: str
    caption: str
    files: dict[str, bytes]

    @property
    def base64(self) -> str:
        """The PNG as text."""
        return base64.b64encode(self.files["png"]).decode("ascii")

    @property
    def size(self) -> str:
        """Figures with panels side by side take the whole width of a page."""
        width = int.from_bytes(self.files["png"][16:20], "big")  # in the PNG's header
        return "wide" if width > _WIDE_PIXELS else "narrow"


@dataclasses.dataclass(frozen=True)
class Section:
    """An exhibit of a study: its table (None without columns), data and drawn figures."""

    exhibit: Exhibit
    table: Table | None
    frame: pd.DataFrame
    images: tuple[Image, ...]

    @property
    def name(self) -> str:
        """Names its files and its anchor."""
        return self.exhibit.name

    @property
    def is_shown(self) -> bool:
        """Whether it is on the pages; other data is only written as CSV."""
        return self.table is not None or bool(self.images)


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report."""

    study: Study
    sections: tuple[Section, ...]  # all exhibits, in the order of the pages
    skipped: tuple[str, ...]  # why a figure was not drawn

    def __getitem__(self, name: str) -> Section:
        return next(section for section in self.sections if section.name == name)

    @property
    def shown(self) -> list[Section]:
        """Sections below those that open the pages."""
        return [s for s in self.sections if s.is_shown and s.name != "findings"]

    @property
    def data_notes(self) -> list[tuple[str, str]]:
        """(data set and source, remark) pairs."""
        data = [record.data for record in self.study.records]
        found = {(f"{d.name}, {d.source}", note) for d in data for note in d.notes or ["no remark"]}
        return sorted(found)

    @property
    def statements(self) -> list[tuple[list[str], str]]:
        """(names of runs, the privacy statement that they share) pairs."""
        found: dict[str, list[str]] = {}
        for record in self.study.records:
            if isinstance(record, Run) and record.privacy and record.privacy.statement:
                found.setdefault(record.privacy.statement, []).append(record.name)
        return [(names, statement) for statement, names in found.items()]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(run, why it failed) pairs."""
        records = (*self.study.records, *self.study.aside)
        return [(r.name, failure_of(r)) for r in records if r.status == "failed"]


def compose(study: Study, *, formats: Sequence[str] = ("png",)) -> Report:
    """Formats every table and draws every figure; the same records give the same report.

    `formats` are those of the figures, see `plot_styles.FORMATS`; PNG is always among them.
    """
    formats = ("png", *(name for name in formats if name != "png"))
    sections, skipped = [], []
    for exhibit in exhibits.of_study(study):
        images = []
        for plot in exhibit.plots(study):
            try:
                files = plot_styles.render(plot.draw, formats)
                images.append(Image(plot.name, plot.caption, files))
            except RunError as error:
                skipped.append(str(error))
        table, frame = exhibit.table(study), exhibit.rows(study)
        sections.append(Section(exhibit, table, frame, tuple(images)))
    return Report(study, tuple(sections), tuple(skipped))


def markdown(report: Report) -> dict[str, str]:
    """The Markdown pages by file name, report.md first; the others are below tables/."""
    environment = _environment(is_html=False)
    whole, provenance, one = (
        environment.get_template(f"{kind}.md.j2") for kind in ("report", "provenance", "table")
    )
    return {
        "report.md": whole.render(report=report),
        "tables/provenance.md": provenance.render(report=report),
        **{f"tables/{part.name}.md": one.render(section=part) for part in report.shown},
    }


def html(report: Report, places: Mapping[str, str]) -> str:
    """report.html: one file with every figure and table; no network, no script, texts escaped.

    `places` has the path of each record's file, by its name, as the page links to it.
    """
    template = _environment(is_html=True).get_template("report.html.j2")
    return template.render(report=report, places=places)


def _environment(*, is_html: bool) -> jinja2.Environment:
    environment = rendering.environment(is_html=is_html)
    environment.filters |= {"percent": percent, "stems": _stems}
    environment.globals |= {"FOLDED": _FOLDED_ROWS, "FORMS": display_names.FORMS}
    return environment


def _stems(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """(name without its seed, names) pairs."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("-seed_")[0] or name, []).append(name)
    return list(found.items())
