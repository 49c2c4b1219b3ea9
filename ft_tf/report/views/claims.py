"""The paper's claims, the evidence that bears on them, and the largest disagreements."""

import pandas as pd

from ft_tf.report import labels
from ft_tf.report.views.base import (
    NOTHING,
    Cells,
    Column,
    Line,
    View,
    count,
    figure,
    make_view,
    percent,
    percent_interval,
    plus_minus,
    words,
)

_CLAIMS: Cells = (
    (Column("claim", is_number=False), lambda line: line["title"]),
    (Column("verdict", is_number=False), lambda line: line["verdict"]),
    (Column("for", "comparisons"), lambda line: count(line["for"])),
    (Column("against", "comparisons"), lambda line: count(line["against"])),
    (Column("undecided", "comparisons"), lambda line: count(line["undecided"])),
    (Column("not counted", "comparisons", 1), lambda line: count(line["not_counted"])),
    (
        Column("by the gaps at the end alone", "", 2, is_number=False),
        lambda line: words(line["unconfirmed"]) or NOTHING,
    ),
)


def claims(frame: pd.DataFrame) -> View:
    """View of `claims.frames.claims_frame`."""
    return make_view(
        frame,
        _CLAIMS,
        title="The paper's claims",
        detail=lambda line: line["reason"],
        detail_name="how it follows",
        notes=(
            "Verdicts follow by the rule of verdict.md, where the comparisons and the reasons "
            "stand. It was committed before the first record, but for this, which came after "
            "records had been read: that both sides take three values, not all equal; the scale "
            "smoke; how closely a stopped training meets its accuracy; that a claim of which no "
            "comparison counts is untested; and that a gap must say the same between models that "
            "have learned as much. The last changes verdicts most; what they would be without it "
            "is the last column.",
            *(
                f"{line['title']}: {line['caveat']}"
                for line in frame.to_dict("records")
                if words(line["caveat"])
            ),
        ),
    )


_EVIDENCE: Cells = (
    (Column("comparison", is_number=False), lambda line: line["comparison"]),
    (Column("measure", is_number=False), lambda line: line["measure"]),
    (Column("first", "", 2), lambda line: percent(line["first"])),
    (Column("second", "", 2), lambda line: percent(line["second"])),
    (
        Column("difference"),
        lambda line: plus_minus(line["difference"], line["low"], line["high"], signed=True),
    ),
    (Column("p (Holm)", "", 1), lambda line: figure(line["p_holm"], 3)),
    (Column("n", "", 1), lambda line: _counts(line)),
    (Column("speaks", is_number=False), lambda line: line["bearing"]),
)


def _counts(line: Line) -> str:
    return f"{count(line['first_count'])} / {count(line['second_count'])}"


def evidence(frame: pd.DataFrame) -> View:
    """View of the lines of `claims.frames.evidence_frame` for one claim."""
    return make_view(
        frame,
        _EVIDENCE,
        title="Evidence",
        detail=lambda line: "; ".join(filter(None, [words(line["remark"]), words(line["runs"])])),
        detail_name="remarks, and what was run",
        notes=(
            "Percent and points; ± is the reach of the 95% interval of this comparison alone, "
            "while p is corrected for all of its claim.",
        ),
    )


_DISAGREEMENTS: Cells = (
    (Column("row", is_number=False), lambda line: _row_and_variant(line)),
    (Column("paper", "gap"), lambda line: percent(line["paper_gap"])),
    (Column("ours", "gap"), lambda line: percent(line["gap"])),
    (Column("gap", "difference"), lambda line: percent(line["gap_difference"], signed=True)),
    (Column("train", "difference", 1), lambda line: percent(line["train_difference"], signed=True)),
    (Column("test", "difference", 1), lambda line: percent(line["test_difference"], signed=True)),
    (
        Column("95% prediction", "", 2),
        lambda line: percent_interval(line["gap_prediction_low"], line["gap_prediction_high"]),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
)


def _table(line: Line) -> str:
    return words(line["row"]).split("/")[0].replace("table_", "Table ")


def _row_and_variant(line: Line) -> str:
    return ", ".join(filter(None, (f"{_table(line)}: {line['paper_row']}", words(line["variant"]))))


def disagreements(frame: pd.DataFrame) -> View:
    """View of `claims.frames.disagreement_frame`."""
    return make_view(
        frame,
        _DISAGREEMENTS,
        title="The largest disagreements with the paper",
        detail=_detail,
        detail_name="what was tried, and what is known of the cause",
        notes=(
            "Percent and points, ours minus the paper's. Of a row with several variants the one "
            "that comes nearest stands here, fitted ones apart.",
        ),
    )


def _detail(line: Line) -> str:
    parts = [f"tried: {line['tried']}", f"what is known of the cause: {line['cause']}"]
    parts.append(labels.deviations(words(line["deviations"])))
    if line["fitted"] is True:
        parts.append("fitted")
    return "; ".join(filter(None, parts)) or NOTHING
