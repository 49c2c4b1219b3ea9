"""The verdict page: claim by claim, what the paper prints, what speaks for and against it."""

from collections.abc import Iterable, Sequence

from ft_tf.records import Record
from ft_tf.report import views
from ft_tf.report.blocks import Block, Heading, Items, Table, Text
from ft_tf.report.claims import frames
from ft_tf.report.claims.model import RULE, Judged

TITLE = "The verdict so far"


def blocks(judged: Sequence[Judged], records: Sequence[Record], summary: str) -> list[Block]:
    """The whole page.

    Args:
        judged: every claim, judged.
        records: those that it was judged on.
        summary: the verdict's line over all tables.
    """
    page: list[Block] = [
        Heading(TITLE, 1),
        Text(
            f"Computed from {len(records)} records by python -m experiments.report. A result that "
            "contradicts the paper is a result."
        ),
        Text(summary),
        Table(views.claims(frames.claims_frame(judged))),
        Text(RULE, label="The rule"),
    ]
    for entry in judged:
        page += claim_blocks(entry)
    disagreements = frames.disagreement_frame(records)
    page.append(Heading(f"The {frames.LARGEST} largest disagreements with the paper", 2))
    if len(disagreements):
        page.append(Table(views.disagreements(disagreements)))
    else:
        page.append(Text("No row of the paper's tables is on record."))
    return page


def claim_blocks(entry: Judged, *, level: int = 2) -> list[Block]:
    """One claim."""
    claim = entry.claim
    page: list[Block] = [
        Heading(f"{claim.title}: {entry.verdict}", level),
        Text(claim.printed(), label="The paper"),
        Text(claim.test, label="What counts"),
        Text(f"{entry.verdict}; {entry.reason}.", label="Verdict"),
    ]
    if entry.evidence:
        page.append(Table(views.evidence(frames.evidence_frame([entry]))))
    counter = claim.counter()
    if counter:
        page += [Text("", label="The paper's own numbers against it"), Items(tuple(counter))]
    if claim.caveats:
        page += [Text("", label="To bear in mind"), Items(claim.caveats)]
    return page


def outline(judged: Iterable[Judged]) -> list[Block]:
    """The claims without overview and rule, for a page that has those already."""
    return [block for entry in judged for block in claim_blocks(entry, level=3)]
