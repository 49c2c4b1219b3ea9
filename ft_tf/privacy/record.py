"""Privacy on a record: JSON values, with a reason for every missing value."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ft_tf.checks import check_type
from ft_tf.privacy.accounting import NOT_PRIVATE, PrivacyCost
from ft_tf.privacy.bounds import GapBounds, gap_bounds
from ft_tf.privacy.statements import best_epsilon, statement
from ft_tf.privacy.tradeoff import ATTACK_FIGURES, attack_figures, claimed_curve

_OF_COST = (
    "epsilon_paper", "order_paper", "epsilon_rdp", "order_rdp", "epsilon_pld", "epsilon_shuffled",
)  # fmt: skip
_OF_BOUNDS = (
    "epsilon_replace_one", "theorem_1_as_printed", "theorem_1_replace_one", "gap_bound",
    "gap_bound_shuffled",
)  # fmt: skip


def to_record(
    cost: PrivacyCost,
    *,
    bounds: GapBounds | None = None,
    sampling: str = "poisson",
    noise_seed: int | None = None,
    seed_is_published: bool = False,
    engine: str = "fast",
    clipping: Sequence[str] = ("flat",),
    **circumstances: Any,
) -> dict[str, Any]:
    """Returns everything known about a run's privacy, in values that strict JSON can hold.

    Args:
        cost: the accounted run.
        bounds: its gap bounds; computed here (half a second) by default.
        sampling: as for `statement`; with "unaccounted" every figure is null.
        noise_seed: as for `statement`. The result has whether there was one, not the seed.
        seed_is_published: as for `statement`: whether the seed is elsewhere in the record.
        engine: as for `statement`.
        clipping: as for `statement`.
        **circumstances: further arguments of `statement`.

    Returns:
        A dict of str, float, int, bool, list, dict and None: no NaN and no infinity. Values that
        could not be computed are None, with the reason in `reasons` under the same key.
        `epsilon_claimed` and `gap_bound_claimed` hold for the sampling of the run: a shuffled run
        claims `epsilon_shuffled`, never a value that assumes Poisson batches.
    """
    words = statement(
        cost,
        sampling=sampling,
        noise_seed=noise_seed,
        seed_is_published=seed_is_published,
        engine=engine,
        clipping=clipping,
        **circumstances,
    )
    if bounds is not None:
        check_type(GapBounds, bounds=bounds)
    bounds = gap_bounds(cost) if bounds is None else bounds
    shuffled = sampling == "shuffle"
    poisson_epsilon = best_epsilon(cost)[0] if cost.private else None
    figures = {
        "epsilon_claimed": cost.epsilon_shuffled if shuffled else poisson_epsilon,
        "gap_bound_claimed": bounds.gap_bound_shuffled if shuffled else bounds.gap_bound,
        **{name: getattr(cost, name) for name in _OF_COST},
        **{name: getattr(bounds, name) for name in _OF_BOUNDS},
    }
    reasons = {**cost.reasons, **bounds.reasons}
    curve = claimed_curve(cost, sampling)
    figures |= attack_figures(curve) if curve else dict.fromkeys(ATTACK_FIGURES)
    reasons |= dict.fromkeys(ATTACK_FIGURES, cost.reasons.get("epsilon_pld", NOT_PRIVATE))
    reasons["epsilon_claimed"] = NOT_PRIVATE
    reasons["gap_bound_claimed"] = reasons.get("gap_bound", NOT_PRIVATE)
    informative = bounds.informative
    if sampling == "unaccounted":
        figures = dict.fromkeys(figures)
        reasons = dict.fromkeys(figures, "unaccounted: how the batches were drawn is not known")
        informative = dict.fromkeys(informative, False)
    elif not cost.phases:
        reasons["order_paper"] = reasons["order_rdp"] = "no steps were executed"
    return {
        **figures,
        "delta": cost.delta,
        "steps": cost.steps,
        "passes": cost.passes,
        "sampling": sampling,
        "sampling_probability": cost.sampling_probability,
        "noise_multiplier": cost.noise_multiplier,
        "noise_seed_fixed": noise_seed is not None,
        "noise_seed_published": noise_seed is not None and seed_is_published,
        "engine": engine,
        "clipping": list(clipping),
        "phases": [dataclasses.asdict(phase) for phase in cost.phases],
        "private": cost.private and sampling != "unaccounted",
        "bound_says_something": informative,
        "gap_bound_method": bounds.gap_bound_method,
        "warnings": list(cost.warnings),
        "reasons": {n: why for n, why in reasons.items() if figures.get(n, why) is None},
        "statement": words,
    }
