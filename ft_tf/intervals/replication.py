"""Intervals when replicates are nested: trials within seeds, images within trials."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from ft_tf.checks import (
    check_non_negative,
    check_positive,
    check_positive_integer,
    check_probability,
    check_type,
    numbers_in,
    shown,
)
from ft_tf.errors import ArgumentError
from ft_tf.intervals.basic import Interval, mean

_MOST_ROOT_TRIALS = 1e9


def over_seeds(accuracies: Sequence[Sequence[float]], *, level: float = 0.95) -> Interval:
    """Interval of the mean over training seeds: trials are averaged within a seed first.

    Trials of one trained model say nothing about another seed, so the seed averages are the
    replicates: mean +- t s / sqrt(seeds), with s their standard deviation.

    Args:
        accuracies: for each training seed, the accuracies of its trials.
        level: nominal coverage.

    >>> interval = over_seeds([[0.7, 0.9], [0.8], [0.9, 0.9]])
    >>> round(interval.low, 4), round(interval.high, 4), interval.unit
    (0.6899, 0.9768, 'training seed')
    """
    check_probability(level=level)
    if not isinstance(accuracies, list | tuple | np.ndarray) or not len(accuracies):
        raise ArgumentError(f"accuracies={shown(accuracies)} must be a list of lists of numbers")
    averages = [float(numbers_in(accuracies=trials).mean()) for trials in accuracies]
    return mean(averages, level=level, unit="training seed")


@dataclasses.dataclass(frozen=True)
class VarianceComponents:
    """Where the variance of a trial's accuracy comes from.

    Attributes:
        between: variance of the accuracy on all images, between fault masks.
        within: variance of one image's outcome (right or wrong) within a trial.
        images: images there are.
    """

    between: float
    within: float
    images: int

    def of_trial(self, images_per_trial: int) -> float:
        """Variance of a trial's accuracy on that many images, drawn without replacement."""
        return self.between + self.within * (1 / images_per_trial - 1 / self.images)


def variance_components(
    accuracies: Sequence[float], *, images_per_trial: int, images: int
) -> VarianceComponents:
    """Splits the spread of pilot trials, each on its own random subset of the images.

    With m of n images in a trial, a_t its accuracy: within = mean of a_t (1 - a_t) m / (m - 1),
    between = max(0, var(a_t) - within (1/m - 1/n)).

    Args:
        accuracies: accuracies of at least two trials.
        images_per_trial: images in each of them, at least 2.
        images: images there are.
    """
    values = numbers_in(accuracies=accuracies)
    check_positive_integer(images_per_trial=images_per_trial, images=images)
    if len(values) < 2 or not 2 <= images_per_trial <= images:
        raise ArgumentError(
            f"images_per_trial={images_per_trial} must lie in [2, images={images}], "
            f"len(accuracies)={len(values)} must be at least 2"
        )
    within = float(np.mean(values * (1 - values)) * images_per_trial / (images_per_trial - 1))
    sampling = within * (1 / images_per_trial - 1 / images)
    return VarianceComponents(max(0.0, float(values.var(ddof=1)) - sampling), within, images)


@dataclasses.dataclass(frozen=True)
class Allocation:
    """How many trials on how many images each.

    Attributes:
        trials: number of trials, beside those of the pilot.
        images_per_trial: images in each, a fresh random subset.
        cost: what they cost, without the pilot, in the unit of the costs given.
    """

    trials: int
    images_per_trial: int
    cost: float


def allocate(
    components: VarianceComponents,
    *,
    half_width: float,
    cost_per_trial: float,
    cost_per_image: float,
    pilot_trials: int,
    level: float = 0.95,
) -> Allocation:
    """The cheapest trials that give an interval of +- half_width.

    A trial of m images costs c0 + c1 m and has variance B + W (1/m - 1/n). The total cost for a
    given precision is proportional to their product, least at m = sqrt(c0 W / (c1 (B - W / n))),
    or at all n images where B <= W / n. Trials: ceil(t^2 variance / half_width^2), with t of the
    pilot's degrees of freedom, so that Stein's two-stage interval has this half-width. The pilot's
    trials had another number of images and do not count among them: this is the form
    `stein(..., pilot_variance=components.of_trial(images_per_trial))`.

    Args:
        components: from a pilot.
        half_width: wanted half-width, a fraction.
        cost_per_trial: c0, say seconds for masks and weights.
        cost_per_image: c1, in the same unit.
        pilot_trials: trials that the components were estimated from.
        level: nominal coverage.
    """
    check_type(VarianceComponents, components=components)
    check_positive(half_width=half_width, cost_per_image=cost_per_image)
    check_non_negative(cost_per_trial=cost_per_trial)
    excess = components.between - components.within / components.images
    best: float = components.images
    if excess > 0:
        best = math.sqrt(cost_per_trial * components.within / (cost_per_image * excess))
    images = min(components.images, max(2, round(best)))
    trials = _trials_for(components.of_trial(images), half_width, pilot_trials, level)
    return Allocation(trials, images, trials * (cost_per_trial + cost_per_image * images))


def stein_trials(
    variance: float, *, half_width: float, pilot_trials: int, level: float = 0.95
) -> int:
    """All trials that Stein's procedure asks for: max(pilot, ceil(t^2 s^2 / half_width^2)).

    The pilot's are among them: they have as many images as the others.
    """
    return max(pilot_trials, _trials_for(variance, half_width, pilot_trials, level))


def _trials_for(variance: float, half_width: float, pilot_trials: int, level: float) -> int:
    check_positive(half_width=half_width)
    check_non_negative(variance=variance)
    check_probability(level=level)
    check_positive_integer(pilot_trials=pilot_trials)
    if pilot_trials < 2:
        raise ArgumentError(f"pilot_trials={pilot_trials} must be at least 2")
    t = stats.t.ppf((1 + level) / 2, pilot_trials - 1)
    trials = t * math.sqrt(variance) / half_width
    if not trials < _MOST_ROOT_TRIALS:
        raise ArgumentError(f"half_width={half_width!r} needs more than 10^18 trials")
    return max(1, math.ceil(trials**2))


def stein(
    accuracies: Sequence[float],
    *,
    pilot_trials: int,
    pilot_variance: float | None = None,
    level: float = 0.95,
) -> Interval:
    """Stein's two-stage interval: the pilot fixes the number of trials and the scale.

    mean of all +- t s / sqrt(n), with s^2 and the degrees of freedom of the pilot alone. Because
    the later trials do not enter s, choosing their number by s leaves the coverage exact for
    normal replicates, where recomputing s after looking would not.

    Args:
        accuracies: all trials, the pilot first.
        pilot_trials: how many of them were the pilot.
        pilot_variance: s^2, where the pilot's trials had another number of images; by default the
            variance of the first `pilot_trials`. With another s^2 the later trials alone are used.
        level: nominal coverage.

    Raises:
        ArgumentError: there are fewer trials than in the pilot, or no later one that is needed.
    """
    values = numbers_in(accuracies=accuracies)
    check_positive_integer(pilot_trials=pilot_trials)
    check_probability(level=level)
    if pilot_variance is not None:
        check_non_negative(pilot_variance=pilot_variance)
    most = len(values) if pilot_variance is None else len(values) - 1
    if not 2 <= pilot_trials <= most:
        raise ArgumentError(
            f"pilot_trials={pilot_trials} must lie in [2, {most}], with {len(values)} trials"
        )
    variance = pilot_variance
    if variance is None:
        variance = float(values[:pilot_trials].var(ddof=1))
    used = values if pilot_variance is None else values[pilot_trials:]
    quantile = float(stats.t.ppf((1 + level) / 2, pilot_trials - 1))
    spread = quantile * math.sqrt(variance / len(used))
    centre = float(used.mean())
    return Interval(centre - spread, centre + spread, level, "Stein two-stage", "trial")
