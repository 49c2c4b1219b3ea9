"""Findings: sentences made from effects, with no number typed by hand."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from scipy import stats

from ft_tf.report import display_names, rendering
from ft_tf.report.effects import Claim
from ft_tf.report.effects_agreement import NOT_ATTEMPTED, NOT_REPLICATED, REPLICATED


def sentences(
    claims: Iterable[Claim],
    walk: pd.DataFrame,
    agreement: pd.DataFrame,
    remedies: Sequence[tuple[pd.Series, pd.Series]] = (),
    shares: Mapping[str, float] | None = None,
    proxy: Mapping[str, float] | None = None,
) -> list[str]:
    """What DP costs, what the noise walk explains, remedies, the premise, and the agreement.

    A sentence whose records are missing is left out.

    Args:
        claims: what `effects.claims` gives.
        walk: what `effects.noise_walk` gives.
        agreement: what `effects.agreement` gives.
        remedies: what `exhibits.private_remedies.promising` gives.
        shares: what `exhibits.walk_against_epsilon.explained` gives.
        proxy: the line of the gap of `exhibits.proxy.compared`, at the end of training.
    """
    # The run that the deviation of clipping alone was taken from has an error of 0 by construction.
    errors = walk["relative_error"].astype(float).abs()
    taus = [
        stats.kendalltau(mine["walk"], mine["lost"]).statistic
        for _, mine in walk.dropna(subset="lost").groupby("network")
        if min(mine["walk"].nunique(), mine["lost"].nunique()) > 2
    ]
    words = (REPLICATED, NOT_REPLICATED, NOT_ATTEMPTED)
    return rendering.notes(
        "findings",
        claims={claim.id: claim for claim in claims if not math.isnan(claim.low)},
        errors=errors[(walk["walk"] > 0) & (errors > 1e-9)],
        remedies=[
            (display_names.architecture(line["architecture"]), line, plain)
            for line, plain in remedies
        ],
        shares=shares,
        proxy=proxy,
        tau=sum(taus) / len(taus) if taus else None,
        counts=[int((agreement["word"] == word).sum()) for word in words],
        by_data=[
            (display_names.DATASETS[name], int((rows["word"] == REPLICATED).sum()), len(rows))
            for name, rows in agreement.groupby("dataset", sort=False)
        ],
    )
