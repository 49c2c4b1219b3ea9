"""Figures from records, each as one small PNG; the same records give the same bytes.

A figure has a kind and a subject: an exhibit of the paper, an architecture, or all runs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import paper
from ft_tf.report.figures.curves import curves
from ft_tf.report.figures.faults import faults, layers
from ft_tf.report.figures.gaps import gaps
from ft_tf.report.figures.looks import architectures
from ft_tf.report.figures.parameters import parameters, rescaling
from ft_tf.report.figures.partners import arms
from ft_tf.report.figures.style import render
from ft_tf.report.figures.tradeoff import tradeoff
from ft_tf.report.groups import OTHER, groups_by_row, parts_of

__all__ = ["KINDS", "Drawn", "Kind", "draw", "draw_all"]

EXHIBIT, ARCHITECTURE, ALL = "exhibit", "architecture", "all"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes:
        function: draws it, from records and a subject.
        per: what its subjects are: "exhibit", "architecture" or "all".
        caption: what it shows.
        section: the section that shows it, with {subject} for the subject.
    """

    function: Callable[[Sequence[Record], str], Figure]
    per: str
    caption: str
    section: str


KINDS = {
    "gaps": Kind(gaps, EXHIBIT, "Gaps, the paper's and ours", "{subject}"),
    "curves": Kind(curves, EXHIBIT, "Training curves (as the paper's Figure 1)", "{subject}"),
    "parameters": Kind(
        parameters, EXHIBIT, "Trained parameters (as the paper's Figure 2)", "{subject}"
    ),
    "rescaling": Kind(
        rescaling, ARCHITECTURE, "What a rescaling that changes no prediction does", "figure_2"
    ),
    "faults": Kind(
        faults, ARCHITECTURE, "Accuracy under faults (as the paper's Figure 3)", "figure_3"
    ),
    "layers": Kind(layers, ARCHITECTURE, "Faults in one layer at a time", "layers_{subject}"),
    "arms": Kind(arms, ARCHITECTURE, "DP runs and what stands beside them", "arms"),
    "tradeoff": Kind(
        tradeoff, ALL, "Fault tolerance, robustness, privacy and accuracy", "tradeoff"
    ),
}


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure as a file.

    Attributes:
        name: of the file.
        png: its bytes.
        caption: what it shows.
        subject: of which exhibit or architecture.
        section: the section that shows it.
    """

    name: str
    png: bytes
    caption: str
    subject: str
    section: str


def draw(kind: str, records: Iterable[Record], subject: str) -> bytes:
    """One figure as PNG.

    Args:
        kind: one of `KINDS`.
        records: any records; those for other subjects are ignored.
        subject: id of an exhibit, such as "table_5", or "other" for runs that belong to none; of
            some kinds an architecture, such as "fmnist_dnn"; "all" for the trade-off.

    Raises:
        RunError: the records hold nothing to draw; the line says what is missing.
    """
    found = list(records)
    return render(lambda: KINDS[kind].function(found, subject))


def draw_all(records: Iterable[Record]) -> tuple[list[Drawn], list[str]]:
    """Every figure that the records allow, and for every other one a line saying why not.

    A table without any record gives one line in all.
    """
    records = list(records)
    drawn: list[Drawn] = []
    skipped: list[str] = []
    for name, subject in _wanted(records):
        kind = KINDS[name]
        lacks_gaps = not any(figure.name == f"gaps_{subject}.png" for figure in drawn)
        if kind.per == EXHIBIT and name != "gaps" and lacks_gaps:
            continue
        try:
            png = draw(name, records, subject)
        except RunError as error:
            skipped.append(str(error))
            continue
        section = kind.section.format(subject=subject)
        file_name = f"{name}.png" if kind.per == ALL else f"{name}_{subject}.png"
        drawn.append(Drawn(file_name, png, kind.caption, subject, section))
    return drawn, skipped


def _wanted(records: Sequence[Record]) -> list[tuple[str, str]]:
    """(kind, subject) of every figure there could be, in the order of reading."""
    exhibits = [exhibit for exhibit in paper.EXHIBITS if exhibit.startswith("table")]
    exhibits += [OTHER] * any(parts_of(row)[0] == OTHER for row in groups_by_row(records))
    wanted = []
    for exhibit in exhibits:
        is_circles = exhibit != OTHER and paper.EXHIBITS[exhibit].dataset == "circles"
        kinds = ("gaps",) if is_circles else [k for k in KINDS if KINDS[k].per == EXHIBIT]
        wanted += [(kind, exhibit) for kind in kinds]
    for architecture in architectures(records):
        wanted += [(kind, architecture) for kind in KINDS if KINDS[kind].per == ARCHITECTURE]
    return wanted + [("tradeoff", "all")] * bool(architectures(records))
