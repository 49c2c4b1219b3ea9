"""What a report holds, before it becomes Markdown, a page or terminal text."""

import dataclasses
from collections.abc import Iterable, Sequence

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import figures, labels, measures, paper, privacy, tables, verdict, views
from ft_tf.report.groups import OTHER, groups_by_row
from ft_tf.report.views import View


@dataclasses.dataclass(frozen=True)
class Section:
    """One table with the figures that belong to it.

    Attributes:
        name: file name of its table, without ending; for exhibits their id.
        view: the table for people.
        frame: the same with full precision.
        figures: (file name, caption) of its figures.
    """

    name: str
    view: View
    frame: pd.DataFrame
    figures: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        summary: the verdict in one line.
        sections: tables, in the order of reading.
        data_frames: further tables that are only written as CSV.
        images: PNGs by file name.
        data_notes: (data set and source, remark) pairs.
        statements: (run, privacy statement) pairs.
        failures: (run, why it failed) pairs.
        skipped: why a figure was not drawn.
        records: all records, by name.
    """

    summary: str
    sections: tuple[Section, ...]
    data_frames: dict[str, pd.DataFrame]
    images: dict[str, bytes]
    data_notes: tuple[tuple[str, str], ...]
    statements: tuple[tuple[str, str], ...]
    failures: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]
    records: tuple[Record, ...]


def section(records: Sequence[Record], name: str) -> Section:
    """One table: an exhibit of the paper, or another name that `names_of` gives.

    Raises:
        ArgumentError: no such exhibit.
    """
    if name == "figure_2":
        frame = measures.parameter_frame(records)
        return Section(name, views.parameters(frame), frame)
    if name == "figure_3":
        frame = measures.drop_frame(records)
        return Section(name, views.drops(frame), frame)
    if name == "robustness":
        frame = measures.robustness_frame(records)
        return Section(name, views.robustness(frame), frame)
    if name == "privacy_bounds":
        frame = privacy.bounds_frame(records)
        return Section(name, views.privacy_bounds(frame), frame)
    if name == "orderings":
        frame = verdict.ordering_frame(records)
        return Section(name, views.orderings(frame), frame)
    frame = tables.accuracy_frame(records, name)
    if name == OTHER:
        return Section(name, views.accuracy(frame, title="Runs beside the paper's rows"), frame)
    exhibit = paper.EXHIBITS[name]
    return Section(name, views.accuracy(frame, title=f"{exhibit.title}: {exhibit.caption}"), frame)


def names_of(records: Iterable[Record]) -> list[str]:
    """Names of all sections: the exhibits, then what the paper's tables lack."""
    others = [OTHER] if any(row.startswith(f"{OTHER}/") for row in groups_by_row(records)) else []
    return [*paper.EXHIBITS, "robustness", "privacy_bounds", "orderings", *others]


def compose(records: Iterable[Record]) -> Document:
    """Builds everything from records; the same records give the same document."""
    records = sorted(records, key=lambda record: record["name"])
    images, skipped = figures.draw_all(records)
    names = names_of(records)
    return Document(
        summary=verdict.summary_line(records),
        sections=tuple(_with_figures(section(records, name), images) for name in names),
        data_frames={
            "fault_curves": measures.curve_frame(records),
            "epsilon_ft": measures.epsilon_ft_frame(records),
        },
        images=images,
        data_notes=_data_notes(records),
        statements=tuple(privacy.statements(records)),
        failures=_failures(records),
        skipped=tuple(skipped),
        records=tuple(records),
    )


def _with_figures(plain: Section, images: Iterable[str]) -> Section:
    mine = tuple(
        (f"{kind}_{plain.name}.png", caption)
        for kind, caption in figures.CAPTIONS.items()
        if f"{kind}_{plain.name}.png" in images
    )
    return dataclasses.replace(plain, figures=mine)


def _data_notes(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    found = set()
    for record in records:
        data = record["data"]
        notes = data.get("notes") or []
        source = f"{data.get('name')}, {data.get('source')}"
        for note in [notes] if isinstance(notes, str) else notes or ["no remark"]:
            found.add((source, note))
    return tuple(sorted(found))


def _failures(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (record["name"], tables.failure_of(record))
        for record in records
        if record["status"] == "failed"
    )


def alternative_text(name: str, caption: str) -> str:
    """What a figure shows, for those who cannot see it.

    >>> alternative_text("gaps_table_5.png", "Gaps, the paper's and ours")
    "Gaps, the paper's and ours; Table 5: Robust and regularized training, Fashion-MNIST"
    """
    for exhibit in paper.EXHIBITS.values():
        if name.endswith(f"_{exhibit.id}.png"):
            return f"{caption}; {exhibit.title}: {exhibit.caption}"
    return caption


def title_of(record: Record) -> str:
    """A record's line in a list: its name, and its accuracies or why there are none."""
    if record["status"] == "failed":
        return f"{record['name']} (failed)"
    if record["kind"] == "circles":
        form = labels.FORMS.get(record["form"], record["form"])
        return f"{record['name']} ({record['replicates']} replicates; {form})"
    accuracy = record["accuracy"]
    train, test = views.percent(accuracy["train"]), views.percent(accuracy["test"])
    return f"{record['name']} (train {train}, test {test})"
