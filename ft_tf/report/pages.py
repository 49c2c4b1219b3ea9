"""A whole report: its sections with drawn figures, and the pages report.md and report.html."""

import base64
import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import pandas as pd

from ft_tf import records as record_files
from ft_tf.errors import RunError
from ft_tf.records import Circles, Record, Run
from ft_tf.report import display_names, exhibits, plot_styles, rendering
from ft_tf.report.exhibits import Exhibit
from ft_tf.report.groups import failure_of
from ft_tf.report.table import EMPTY, Table, escape_markdown, group_spans, percent
from ft_tf.report.table import markdown as markdown_table
from ft_tf.report.tidy import Study

_WIDE_PIXELS = 1000
_FOLDED_ROWS = 16  # longer tables of exhibits that are long are folded


@dataclasses.dataclass(frozen=True)
class Answer:
    """What opens both pages and the terminal output; "" leaves it out."""

    markdown: str = ""
    html: str = ""
    text: str = ""


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

    @property
    def is_folded(self) -> bool:
        """Whether the HTML page shows the table on request only."""
        return self.exhibit.is_long and len(self.table.rows) > _FOLDED_ROWS


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report."""

    study: Study
    sections: tuple[Section, ...]  # all exhibits, in the order of the pages
    skipped: tuple[str, ...]  # why a figure was not drawn
    answer: Answer  # opens the pages

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
        records = self.study.records
        return [(r.name, failure_of(r)) for r in records if r.status == "failed"]


def compose(
    study: Study, *, formats: Sequence[str] = ("png",), answer: Answer | None = None
) -> Report:
    """Formats every table and draws every figure; the same records give the same report.

    Args:
        study: the records.
        formats: of the figures, see `plot_styles.FORMATS`; PNG is always among them.
        answer: opens the pages.
    """
    formats = ("png", *(name for name in formats if name != "png"))
    sections, skipped = [], []
    for exhibit in exhibits.of_study(study):
        images = []
        for plot in exhibit.plots(study):
            try:
                files = plot_styles.render(plot.draw, formats)
            except RunError as error:
                skipped.append(str(error))
                continue
            images.append(Image(plot.name, plot.caption, files))
        table = exhibit.table(study)
        sections.append(Section(exhibit, table, exhibit.rows(study), tuple(images)))
    return Report(study, tuple(sections), tuple(skipped), answer or Answer())


def markdown(report: Report) -> str:
    """report.md, with paths relative to the directory that holds tables/ and figures/."""
    return _environment(is_html=False).get_template("report.md.j2").render(report=report)


def html(report: Report) -> str:
    """report.html: one file with everything in it, figures and records too; no network, no script.

    Every text of a record is escaped.
    """
    anchors = {record.name: f"record-{n}" for n, record in enumerate(report.study.records, start=1)}
    template = _environment(is_html=True).get_template("report.html.j2")
    return template.render(report=report, anchors=anchors)


def _environment(*, is_html: bool) -> jinja2.Environment:
    environment = rendering.environment(is_html=is_html)
    environment.filters |= {
        "escaped": escape_markdown,
        "markdown": markdown_table,
        "json": lambda record: pretty(record_files.to_dict(record)),
        "record_title": record_title,
        "seed": _seed,
        "stems": _stems,
        "spans": group_spans,
    }
    environment.globals["EMPTY"] = EMPTY
    return environment


def record_title(record: Record) -> str:
    """A record's line in a list: its name, and its accuracies or why there are none."""
    if record.status == "failed":
        return f"{record.name} (failed)"
    if isinstance(record, Circles):
        form = display_names.FORMS.get(record.form, record.form)
        return f"{record.name} ({record.replicates} replicates; {form})"
    train, test = percent(record.accuracy.train), percent(record.accuracy.test)
    return f"{record.name} (train {train}, test {test})"


def _seed(name: str) -> str:
    """Text of a link to a record: its seed where the name ends with one."""
    seed = name.rpartition("seed_")[2]
    return f"seed {seed}" if seed.isdigit() else "record"


def _stems(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """(name without its seed, names) pairs."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition("-seed_")[0] or name, []).append(name)
    return list(found.items())


def pretty(value: Any, indent: str = "") -> str:
    """JSON with a line per key, but each list of plain values on one line: histories are long."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = (
            f"{deeper}{json.dumps(key)}: {pretty(item, deeper)}" for key, item in value.items()
        )
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        items = (f"{deeper}{pretty(item, deeper)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{indent}]"
    return json.dumps(value)
