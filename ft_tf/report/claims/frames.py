"""Claims, their evidence, and the largest disagreements, as frames."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import paper
from ft_tf.report.claims.causes import known_cause
from ft_tf.report.claims.model import (
    AGAINST,
    BORNE_OUT,
    CONTRADICTED,
    FOR,
    NOT_COUNTED,
    OPEN,
    Judged,
)
from ft_tf.report.groups import parts_of
from ft_tf.report.tables import accuracy_frame

LARGEST = 5
CLAIM_COLUMNS = (
    "claim", "title", "verdict", "for", "against", "undecided", "not_counted", "unconfirmed",
    "reason", "caveat",
)  # fmt: skip
EVIDENCE_COLUMNS = (
    "claim",
    "comparison",
    "measure",
    "first",
    "second",
    "difference",
    "low",
    "high",
    "p_value",
    "p_holm",
    "first_count",
    "second_count",
    "bearing",
    "remark",
    "runs",
    "records",
)
DISAGREEMENT_COLUMNS = (
    "row",
    "paper_row",
    "variant",
    "run",
    "paper_gap",
    "gap",
    "gap_difference",
    "train_difference",
    "test_difference",
    "gap_prediction_low",
    "gap_prediction_high",
    "replicates",
    "deviations",
    "fitted",
    "tried",
    "cause",
    "records",
)


_DECIDED = (BORNE_OUT, CONTRADICTED)


def claims_frame(judged: Iterable[Judged]) -> pd.DataFrame:
    """A line per claim; one that is decided comes with what to bear in mind first."""
    lines = [
        {
            "claim": entry.claim.id,
            "title": entry.claim.title,
            "verdict": entry.verdict,
            "for": entry.count(FOR),
            "against": entry.count(AGAINST),
            "undecided": entry.count(OPEN),
            "not_counted": entry.count(NOT_COUNTED),
            "unconfirmed": entry.unconfirmed,
            "reason": entry.reason,
            "caveat": entry.claim.caveats[0] if entry.verdict in _DECIDED else "",
        }
        for entry in judged
    ]
    return pd.DataFrame(lines, columns=list(CLAIM_COLUMNS))


def evidence_frame(judged: Iterable[Judged]) -> pd.DataFrame:
    """A line per comparison of every claim."""
    lines = []
    for entry in judged:
        for evidence in entry.evidence:
            found = evidence.comparison
            lines.append(
                {
                    "claim": entry.claim.id,
                    "comparison": evidence.what,
                    **{name: getattr(found, name) for name in _OF_A_COMPARISON},
                    "first_count": found.counts[0],
                    "second_count": found.counts[1],
                    **{name: getattr(evidence, name) for name in _OF_EVIDENCE},
                }
            )
    return pd.DataFrame(lines, columns=list(EVIDENCE_COLUMNS))


_OF_A_COMPARISON = ("first", "second", "difference", "low", "high", "p_value")
_OF_EVIDENCE = ("measure", "p_holm", "bearing", "remark", "runs", "records")


def disagreement_frame(records: Sequence[Record]) -> pd.DataFrame:
    """The rows of the paper's tables whose gap our runs miss by most, in points.

    Of a row with several variants the one that comes nearest counts: the paper is wrong or
    underspecified only where none of ours agrees. `tried` lists all of them, fitted ones too, which
    agree with nothing. Runs of the scale "smoke" have learned nothing and disagree with nobody.
    """
    tables = [exhibit for exhibit in paper.EXHIBITS if exhibit.startswith("table")]
    lines: dict[tuple[str, str, float], dict[str, Any]] = {}
    for exhibit in tables:
        frame = accuracy_frame(records, exhibit)
        frame = frame[~frame["smoke"].eq(True)]
        ran = frame[frame["gap_difference"].notna() & ~frame["fitted"].eq(True)]
        for row, variants in ran.groupby("row", sort=False):
            nearest = variants.loc[variants["gap_difference"].abs().astype(float).idxmin()]
            # Tables 4 and 6 share a row, printed twice: one run of ours, one disagreement.
            same = nearest["records"], nearest["run"], float(nearest["paper_gap"])
            lines.setdefault(
                same,
                {
                    **{name: nearest[name] for name in DISAGREEMENT_COLUMNS if name in nearest},
                    "tried": _tried(str(row), nearest["paper_gap"], frame),
                    "cause": known_cause(str(row)),
                },
            )
    largest = sorted(lines.values(), key=lambda line: -abs(line["gap_difference"]))[:LARGEST]
    return pd.DataFrame(largest, columns=list(DISAGREEMENT_COLUMNS))


def _tried(row: str, paper_gap: float, frame: pd.DataFrame) -> str:
    """Every variant of the row, and the arms beside it that bear on its gap."""
    bears = frame["row"].map(lambda other: _bears_on(row, other)).astype(bool)
    ran = frame[(frame["status"] == "ran") & bears]
    return "; ".join(
        f"{line['run']}: {100 * (line['gap'] - paper_gap):+.2f} points (n={line['replicates']})"
        for line in ran.to_dict("records")
    )


def _bears_on(row: str, other: str) -> bool:
    exhibit, architecture, algorithm, value = parts_of(row)
    if row == other:
        return True
    if parts_of(other)[:2] != (exhibit, architecture):
        return False
    arms = {
        "trades": ("trades_normalized_example",),
        "dpsgd": ("dpsgd_clip_only", f"dpsgd_noise_only/{value}"),
    }
    return other.split("/", maxsplit=2)[2] in arms.get(algorithm, ())
