"""Findings: four sentences made from effects, with no number typed by hand."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from scipy import stats

from ft_tf.report import display_names
from ft_tf.report.effects import Claim
from ft_tf.report.effects_agreement import NOT_ATTEMPTED, NOT_REPLICATED, REPLICATED

NONE = "No claim has an interval yet: each needs matched seeds."
_FAULTS = {
    "supported": "Differential privacy raises fault tolerance",
    "contradicted": "Differential privacy lowers fault tolerance",
    "no difference": "Differential privacy does not change fault tolerance",
}
_PREMISE = {
    "supported": "A smaller gap goes with more fault tolerance",
    "contradicted": "A smaller gap does not go with more fault tolerance",
    "no difference": "The gap does not predict fault tolerance",
}


def sentences(
    claims: Iterable[Claim], walk: pd.DataFrame, agreement: pd.DataFrame
) -> Sequence[str]:
    """What DP does to faults, what the noise walk explains, the premise, and the agreement.

    A sentence whose records are missing is left out.

    Args:
        claims: what `effects.claims` gives.
        walk: what `effects.noise_walk` gives.
        agreement: what `effects.agreement` gives.
    """
    by_id = {claim.id: claim for claim in claims if not math.isnan(claim.low)}
    found = (_of_faults(by_id), _of_walk(walk), _of_premise(by_id), _of_agreement(agreement))
    return [sentence for sentence in found if sentence] or [NONE]


def _of_faults(claims: Mapping[str, Claim]) -> str:
    claim = claims.get("dp_tolerance")
    if claim is None:
        return ""
    size = abs(claim.estimate)
    low, high = sorted(math.copysign(1, claim.estimate) * end for end in (claim.low, claim.high))
    start = _FAULTS.get(claim.word, f"Differential privacy and fault tolerance: {claim.word}")
    return (
        f"{start}: at equal test accuracy, 10% stuck-at-0 weights cost DP-SGD {size:.1f} points "
        f"[{low:.1f}, {high:.1f}] {'more' if claim.estimate > 0 else 'less'} than natural training "
        f"({claim.networks} networks, {claim.trainings} trainings)."
    )


def _of_walk(walk: pd.DataFrame) -> str:
    # The run that the deviation of clipping alone was taken from has an error of 0 by construction.
    errors = walk["relative_error"].astype(float).abs()
    errors = errors[(walk["walk"] > 0) & (errors > 1e-9)]
    if not len(errors):
        return ""
    taus = [
        stats.kendalltau(mine["walk"], mine["lost"]).statistic
        for _, mine in walk.dropna(subset="lost").groupby("network")
        if min(mine["walk"].nunique(), mine["lost"].nunique()) > 2
    ]
    lost = ""
    if taus:
        lost = (
            "; points lost at 10% faults rise with the walk"
            f" (Kendall's tau {sum(taus) / len(taus):+.2f} within networks)"
        )
    return (
        "DP-SGD's noise adds up as a random walk: the standard deviation of the parameters is "
        "sqrt(sd_clip^2 + (lr sigma C / L)^2 T), with a median error of "
        f"{errors.median():.2%} and at most {errors.max():.1%} in {len(errors)} runs{lost}."
    )


def _of_premise(claims: Mapping[str, Claim]) -> str:
    claim = claims.get("premise")
    if claim is None:
        return ""
    start = _PREMISE.get(claim.word, f"The gap as a predictor of fault tolerance: {claim.word}")
    return (
        f"{start}: Kendall's tau {claim.estimate:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}] over "
        f"{claim.trainings} models of {claim.networks} networks; {claim.note}."
    )


def _of_agreement(agreement: pd.DataFrame) -> str:
    counts = agreement["word"].value_counts()
    if counts.get(NOT_ATTEMPTED, 0) == len(agreement):
        return ""
    by_data = [
        f"{display_names.DATASETS[name]} {(rows['word'] == REPLICATED).sum()} of {len(rows)}"
        for name, rows in agreement.groupby("dataset", sort=False)
    ]
    return (
        f"Of the paper's {len(agreement)} rows {counts.get(REPLICATED, 0)} are replicated in "
        f"training accuracy, test accuracy and gap, {counts.get(NOT_REPLICATED, 0)} are not, and "
        f"{counts.get(NOT_ATTEMPTED, 0)} were not attempted ({', '.join(by_data)})."
    )
