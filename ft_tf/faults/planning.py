"""What a campaign will take, before it runs."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ft_tf._compat import keras
from ft_tf.checks import check_probability
from ft_tf.faults.campaign import sweep
from ft_tf.faults.rows import STEIN_IMAGES, Budget, check_half_width, trials_for
from ft_tf.faults.single_faults import prepared

_TRIALS = 10
"""Trials that are timed; at each rate of a sweep, where they also show the spread."""

_HALVINGS = 20


@dataclasses.dataclass(frozen=True)
class CampaignPlan:
    """What a campaign is expected to take.

    Attributes:
        trials: trials that the margin takes, or the budget allows, at all rates together.
        seconds: that they take, compiling included.
        seconds_per_trial: of one.
        margin: half-width that is reached: the one asked for, or what the budget allows.
        sites: single faults that there are; None for a sweep.
    """

    trials: int
    seconds: float
    seconds_per_trial: float
    margin: float
    sites: int | None = None

    @property
    def minutes(self) -> float:
        """The time in minutes."""
        return self.seconds / 60

    def __str__(self) -> str:
        return (
            f"about {self.trials:,} trials, {self.minutes:.1f} minutes at "
            f"{self.seconds_per_trial:.3g} s each, for +-{100 * self.margin:.2g} points"
        )


def plan_campaign(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    seed: int,
    target: str = "weights",
    rates: Sequence[float] | None = None,
    margin: float = 0.01,
    confidence: float = 0.95,
    budget: float | str | None = None,
    **options: Any,
) -> CampaignPlan:
    """Times ten trials and says how many a campaign will take, and how long.

    With rates it plans a `sweep` at these (method="stein"), without them a `failure_rate` of single
    faults. The number of trials is a forecast from those ten, or from the gradient's prediction: a
    campaign that is given the margin ends when it is reached, whatever was planned.

    Arguments, `options` among them, are those of the campaign. If the budget is too short for the
    margin the plan says what margin it allows.
    """
    clock = Budget(budget)
    check_probability(confidence=confidence)
    check_half_width(margin=margin)
    options["target"] = target
    if rates is not None:
        ends: list[float] = []
        options["progress"] = lambda row: ends.append(time.perf_counter())
        if options.get("images_per_trial") is None:  # as many as the campaign takes
            options["images_per_trial"] = min(STEIN_IMAGES, np.size(y))
        frame = sweep(model, x, y, rates=rates, trials=_TRIALS, seed=seed, **options)
        accuracies = frame.groupby("rate")["accuracy"].apply(list)

        def trials_at(half_width: float) -> int:
            needed = {"half_width": half_width, "level": confidence}
            return sum(trials_for(rate, values, **needed) for rate, values in accuracies.items())

        return _planned(trials_at, clock, np.diff(ends), margin, None)
    options |= {"margin": margin, "confidence": confidence, "seed": seed}
    with prepared(model, x, y, **options) as (sites, sampler):
        times = []
        for _ in range(min(_TRIALS, sampler.members)):
            start = time.perf_counter()
            sampler.take(sites.run(*sampler.draw())["outcome"])
            times.append(time.perf_counter() - start)
        return _planned(sampler.trials_expected, clock, times, margin, sampler.members)


def _planned(
    trials_at: Callable[[float], int],
    clock: Budget,
    times: Sequence[float],
    margin: float,
    sites: int | None,
) -> CampaignPlan:
    each, set_up, trials = float(np.median(times)), clock.used, trials_at(margin)
    allowed = max(1.0, (clock.seconds - set_up) / each)
    if trials > allowed:
        low, margin = margin, 0.5
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * margin)
            if trials_at(middle) > allowed:
                low = middle
            else:
                margin = middle
        trials = math.floor(allowed)
    return CampaignPlan(trials, set_up + trials * each, each, margin, sites)
