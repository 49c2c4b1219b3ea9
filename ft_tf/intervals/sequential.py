"""An interval that may be looked at after every replicate, and a stop rule that looks."""

import math

import numpy as np

from ft_tf.checks import check_positive, check_positive_integer, check_probability, check_range
from ft_tf.intervals.basic import Interval

_PRIOR_VARIANCE = 0.05**2  # one pseudo-observation: only the speed depends on it, not the coverage
_SMALLEST = 1e-12
LARGEST_STAKE = 0.9
"""Share of the capital that the worst outcome may cost."""


class BettingInterval:
    """Confidence sequence for the mean of bounded replicates, by default independent in [0, 1].

    The hedged capital process of Waudby-Smith and Ramdas (2024), "Estimating means of bounded
    random variables by betting": for every candidate mean m two gamblers bet on and against it,

        K+(m) = prod_i (1 + l_i (x_i - m)),   K-(m) = prod_i (1 - l_i (x_i - m)),

    with stakes l_i that depend on the past only (truncated at c / (m - a_i) and c / (b_i - m), with
    a_i <= x_i <= b_i). Under the true mean (K+ + K-) / 2 is a non-negative martingale from 1, so by
    Ville's inequality it ever reaches 1 / alpha with probability at most alpha: the candidates
    below it, at all times so far, cover the true mean at all times together. No distribution is
    assumed and looking is free. Replicates may depend on the past, as long as each has the mean in
    [0, 1] as its expectation given the past.

    Stakes are half_width / variance of the past, best for stopping at that half-width, which takes
    about 2 log(2 / alpha) variance / half_width^2 replicates, but never few: a stake must leave the
    capital positive for any replicate in [0, 1], so even equal replicates around 1/2 take some
    2 / half_width of them (400 at half a point). `stein` is much faster where it applies.

    Args:
        level: coverage over all times.
        half_width: the half-width that the stakes are made for.
        resolution: number of candidate means; the ends are rounded outwards to them.
        unit: what is replicated.
    """

    def __init__(
        self,
        *,
        level: float = 0.95,
        half_width: float = 0.005,
        resolution: int = 10_001,
        unit: str = "trial",
    ) -> None:
        check_probability(level=level)
        check_positive(half_width=half_width)
        check_positive_integer(resolution=resolution)
        self._level, self._target, self._unit = level, half_width, unit
        self._grid = np.linspace(0.0, 1.0, resolution)
        # Of the candidates that are left: a dead one stays dead, and needs no capital.
        self._alive = np.arange(resolution)
        self._means = self._grid
        self._log_for = np.zeros(resolution)
        self._log_against = np.zeros(resolution)
        self._count = 0
        self._sum = 0.0
        self._squares = _PRIOR_VARIANCE

    def add(
        self, value: float, *, low: float = 0.0, high: float = 1.0, variance: float | None = None
    ) -> None:
        """Takes one replicate.

        Args:
            value: the replicate.
            low: the least that it could have been, known before.
            high: the most.
            variance: what was expected before, for the stake; by default that of the past.
        """
        check_range(low, high, value=value)
        expected = self._squares / (self._count + 1) if variance is None else variance
        stake = self._target / max(expected, _SMALLEST)
        with np.errstate(divide="ignore"):
            # A candidate below `low` cannot lose by betting on more, at any stake.
            stake_for = np.minimum(stake, LARGEST_STAKE / np.maximum(self._means - low, 0))
            stake_against = np.minimum(stake, LARGEST_STAKE / np.maximum(high - self._means, 0))
        self._log_for += np.log1p(stake_for * (value - self._means))
        self._log_against += np.log1p(-stake_against * (value - self._means))
        log_capital = np.logaddexp(self._log_for, self._log_against) - math.log(2)
        alive = log_capital < -math.log(1 - self._level)
        # With none left the truth lies beside the last ones, between two candidates, or this is
        # the rare failure. What held before holds still; a point would claim more than is known.
        if alive.any() and not alive.all():
            self._alive, self._means = self._alive[alive], self._means[alive]
            self._log_for, self._log_against = self._log_for[alive], self._log_against[alive]
        before = self._sum / self._count if self._count else value
        self._count += 1
        self._sum += value
        self._squares += (value - before) * (value - self._sum / self._count)

    @property
    def interval(self) -> Interval:
        """What holds so far."""
        first, last = max(0, self._alive[0] - 1), min(len(self._grid) - 1, self._alive[-1] + 1)
        low, high = float(self._grid[first]), float(self._grid[last])
        return Interval(low, high, self._level, "betting confidence sequence", self._unit)

    @property
    def settled(self) -> bool:
        """Whether the interval is as short as asked."""
        return self.interval.half_width <= self._target
