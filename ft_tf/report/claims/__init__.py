"""The paper's claims, each with its evidence from the records present and a computed verdict."""

from collections.abc import Iterable

from ft_tf.records import Record
from ft_tf.report.claims import noise, private, robust
from ft_tf.report.claims.model import RULE, Claim, Evidence, Judged, judge

__all__ = ["CLAIMS", "RULE", "Claim", "Evidence", "Judged", "judge", "judge_all"]

CLAIMS: tuple[Claim, ...] = (
    noise.CLAIM,
    robust.TOLERANCE,
    private.TOLERANCE,
    private.BOUND,
    private.GAP,
    robust.OVERFIT,
    robust.MORE_EPSILON,
    robust.FAULTS,
)


def judge_all(records: Iterable[Record]) -> list[Judged]:
    """Every claim, judged by `RULE` on these records."""
    records = list(records)
    return [judge(claim, records) for claim in CLAIMS]
