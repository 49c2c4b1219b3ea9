"""What a report holds, before it becomes Markdown, a page or terminal text."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import (
    equal_training,
    fault_measures,
    figures,
    labels,
    layers,
    measures,
    membership,
    paper,
    partners,
    privacy,
    tables,
    tradeoff,
    verdict,
    views,
)
from ft_tf.report.blocks import Block
from ft_tf.report.claims import Judged, judge_all
from ft_tf.report.claims import frames as claim_frames
from ft_tf.report.claims import page as claim_page
from ft_tf.report.figures import Drawn
from ft_tf.report.groups import OTHER, groups_by_row
from ft_tf.report.views import View


@dataclasses.dataclass(frozen=True)
class Section:
    """One table with the figures that belong to it.

    Attributes:
        name: file name of its table, without ending; for exhibits their id.
        view: the table for people.
        frame: the same with full precision.
        figures: its figures.
    """

    name: str
    view: View
    frame: pd.DataFrame
    figures: tuple[Drawn, ...] = ()


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        summary: the verdict in one line.
        judged: the paper's claims.
        verdict: the verdict page.
        sections: tables, in the order of reading.
        data_frames: further tables that are only written as CSV.
        images: all figures.
        data_notes: (data set and source, remark) pairs.
        statements: (runs, the privacy statement of each of them) pairs.
        failures: (run, why it failed) pairs.
        skipped: why a figure was not drawn.
        records: all records, by name.
    """

    summary: str
    judged: tuple[Judged, ...]
    verdict: tuple[Block, ...]
    sections: tuple[Section, ...]
    data_frames: dict[str, pd.DataFrame]
    images: tuple[Drawn, ...]
    data_notes: tuple[tuple[str, str], ...]
    statements: tuple[tuple[tuple[str, ...], str], ...]
    failures: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]
    records: tuple[Record, ...]


def section(records: Sequence[Record], name: str) -> Section:
    """One table: an exhibit of the paper, or another name that `names_of` gives.

    Raises:
        ArgumentError: no such exhibit.
    """
    if name in _MEASURED:
        frame_of, view_of = _MEASURED[name]
        frame = frame_of(records)
        return Section(name, view_of(frame), frame)
    if name.startswith(_LAYERS):
        frame = layers.layer_frame(records)
        architecture = name.removeprefix(_LAYERS)
        mine = frame[frame["architecture"] == architecture]
        return Section(name, views.layers(mine, architecture=architecture), mine)
    frame = tables.accuracy_frame(records, name)
    if name == OTHER:
        return Section(name, views.accuracy(frame, title="Runs beside the paper's rows"), frame)
    exhibit = paper.EXHIBITS[name]
    return Section(name, views.accuracy(frame, title=f"{exhibit.title}: {exhibit.caption}"), frame)


_LAYERS = "layers_"
_MEASURED: dict[str, tuple[Callable[[Sequence[Record]], pd.DataFrame], Callable[..., View]]] = {
    "claims": (lambda records: claim_frames.claims_frame(judge_all(records)), views.claims),
    "disagreements": (claim_frames.disagreement_frame, views.disagreements),
    "figure_2": (measures.parameter_frame, views.parameters),
    "figure_3": (fault_measures.drop_frame, views.drops),
    "tradeoff": (tradeoff.group_frame, views.tradeoff),
    "robustness": (measures.robustness_frame, views.robustness),
    "equal_training": (equal_training.equal_training_frame, views.equal_training),
    "arms": (partners.arms_frame, views.arms),
    "equal_accuracy": (partners.equal_accuracy_frame, views.equal_accuracy),
    "membership": (membership.membership_frame, views.membership),
    "privacy_bounds": (privacy.bounds_frame, views.privacy_bounds),
    "orderings": (verdict.ordering_frame, views.orderings),
}


def names_of(records: Iterable[Record]) -> list[str]:
    """Names of all sections: the claims, the exhibits, then what the paper's tables lack."""
    records = list(records)
    others = [OTHER] if any(row.startswith(f"{OTHER}/") for row in groups_by_row(records)) else []
    architectures = dict.fromkeys(layers.layer_frame(records)["architecture"])
    first = ["claims", "disagreements"]
    measured = [name for name in _MEASURED if name not in (*paper.EXHIBITS, *first)]
    return [
        *first,
        *paper.EXHIBITS,
        *(f"{_LAYERS}{architecture}" for architecture in architectures),
        *measured,
        *others,
    ]


def compose(records: Iterable[Record]) -> Document:
    """Builds everything from records; the same records give the same document."""
    records = sorted(records, key=lambda record: record["name"])
    images, skipped = figures.draw_all(records)
    names = names_of(records)
    summary, judged = verdict.summary_line(records), judge_all(records)
    return Document(
        summary=summary,
        judged=tuple(judged),
        verdict=tuple(claim_page.blocks(judged, records, summary)),
        sections=tuple(_with_figures(section(records, name), images) for name in names),
        data_frames={
            "fault_curves": fault_measures.curve_frame(records),
            "claims_evidence": claim_frames.evidence_frame(judged),
            "tradeoff_runs": tradeoff.run_frame(records),
            "epsilon_ft": fault_measures.epsilon_ft_frame(records),
        },
        images=tuple(images),
        data_notes=_data_notes(records),
        statements=_statements(records),
        failures=_failures(records),
        skipped=tuple(skipped),
        records=tuple(records),
    )


def _with_figures(plain: Section, images: Iterable[Drawn]) -> Section:
    mine = tuple(image for image in images if image.section == plain.name)
    return dataclasses.replace(plain, figures=mine)


def _data_notes(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    found = set()
    for record in records:
        data = record["data"]
        source = f"{data.get('name')}, {data.get('source')}"
        for note in data.get("notes") or ["no remark"]:
            found.add((source, note))
    return tuple(sorted(found))


def _statements(records: Iterable[Record]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Equal statements, as those of several seeds are, once."""
    found: dict[str, list[str]] = {}
    for name, text in privacy.statements(records):
        found.setdefault(text, []).append(name)
    return tuple((tuple(names), text) for text, names in found.items())


def _failures(records: Iterable[Record]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (record["name"], tables.failure_of(record))
        for record in records
        if record["status"] == "failed"
    )


def alternative_text(figure: Drawn) -> str:
    """What a figure shows, for those who cannot see it."""
    exhibit = paper.EXHIBITS.get(figure.subject)
    if exhibit is not None:
        return f"{figure.caption}; {exhibit.title}: {exhibit.caption}"
    if figure.subject in labels.ARCHITECTURES:
        return f"{figure.caption}; {labels.in_words(figure.subject)}"
    return figure.caption


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
