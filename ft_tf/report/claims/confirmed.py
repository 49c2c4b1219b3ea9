"""A gap that speaks only where a gap between models that have learned as much says the same.

A training that learns less, because it is cut short or made harder, has a small gap for that
reason alone.
"""

import dataclasses

from ft_tf.report.claims.model import Evidence, points
from ft_tf.report.comparison import Comparison


def confirmed(evidence: Evidence, beside: Comparison | None, *, at: str) -> Evidence:
    """The evidence with the p-value of "both differ, and the same way": the larger of the two.

    Args:
        evidence: the comparison of trainings at their end.
        beside: that of models that have learned as much; None where there are none, in which case
            the evidence speaks neither way.
        at: where they have, such as "equal training accuracy", for the remark.
    """
    end, remark = evidence.comparison, ""
    if beside is None:
        missing = f"no run at {at} to hold beside it"
        judged = _open(end, "; ".join(filter(None, [end.why_undecided, missing])))
    elif not (end.is_decidable and beside.is_decidable):
        judged = _open(end, end.why_undecided or f"at {at}: {beside.why_undecided}")
    elif end.difference * beside.difference <= 0:
        judged = dataclasses.replace(end, p_value=1.0)
        remark = f"the other sign at {at}: p is 1"
    else:
        judged = dataclasses.replace(end, p_value=max(end.p_value, beside.p_value))
        if judged.p_value > end.p_value:
            remark = f"p is that of the difference at {at}, the larger one: {_printed(beside)}"
    return dataclasses.replace(
        evidence,
        comparison=judged,
        unconfirmed=end,
        beside=beside,
        remark="; ".join(filter(None, [evidence.remark, remark])),
    )


def _printed(comparison: Comparison) -> str:
    reach = (comparison.high - comparison.low) / 2
    return f"{points(comparison.difference, digits=3)} ±{points(reach, digits=3)} points"


def _open(comparison: Comparison, why: str) -> Comparison:
    return dataclasses.replace(comparison, p_value=None, why_undecided=why)
