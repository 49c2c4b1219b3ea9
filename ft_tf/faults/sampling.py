"""The mean over a finite population from a few of its members, drawn where it pays most.

Members are in cells. Trial t draws cell c with probability q_c, and uniformly one of its R_c
members that have not been drawn. With outcome x in [0, 1], S the sum of the outcomes before and g_c
a prediction for the members left in a cell,

    Z_t = (S + sum_k R_k g_k + R_c / q_c (x - g_c)) / N

has the population's mean as its expectation given the past, whatever g and q > 0 are, as long as
they depend on the past only: predictions and allocation change how many trials it takes, not what
is estimated. Z_t lies in a range that is known before the trial, so that it can be bet on
(`intervals.BettingInterval`): the interval covers the mean at all times together, with any stop,
and also where all trials so far agree. Drawing without replacement makes the range and the variance
shrink to 0 as the population is used up (the finite-population correction).
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ft_tf import intervals
from ft_tf.intervals.sequential import LARGEST_STAKE

_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_FLOORS = np.array([(zeros, ones) for zeros in _LEVELS for ones in _LEVELS])
"""Standard deviations that cells are given at least, where outcomes seem all 0 and all 1."""
_EVERY = 20  # trials between two choices of these
PILOT = 20
"""Trials that the interval leaves out if all of them agree: see `StratifiedMean`."""
_HALVINGS = 16
_OF_CLASS, _OF_CELL = 1.0, 2.0  # trials that a prior, and the mean of a cell's class, count for
_OF_SPREAD = 2.0  # weight of the variance 1/4 that is expected before the first trial
_RESOLUTION, _MOST_CANDIDATES = 50, 10**5  # candidate means, within a half-width and in all
_STRATUM = {"half_width": 0.1, "resolution": 1001}


class Estimate(NamedTuple):
    """A mean, NaN without a trial, and its interval, which is valid at any stop."""

    value: float
    interval: intervals.Interval


class StratifiedMean:
    """Draws members and estimates the population's mean, and that of each stratum.

    A stratum is a run of cells. Cells of one class, wherever they are, are expected to be alike:
    the mean of a cell with few trials is taken from its class. As in Neyman's allocation cells are
    drawn in proportion to members left times standard deviation, as expected from the trials so
    far, so that the first ones are a pilot. It is never taken for less than a floor, since a cell
    that is hardly drawn weighs much when it is: those floors are chosen with which the margin is
    expected to take the fewest trials.

    Where the first `PILOT` trials all agree the interval starts after them: among such campaigns it
    would otherwise cover the mean less often than it says.

    Args:
        sizes: members of each cell, int [cells], at least 1 each.
        strata: stratum of each cell, int [cells], 0, 1, ... in order.
        classes: class of each cell, int [cells]; by default all are one class.
        expected: what each class is expected to have as its mean; that of all by default.
        margin: half-width that is wanted.
        confidence: coverage of all intervals.
        seed: fixes the draws.
    """

    def __init__(
        self,
        sizes: np.ndarray,
        strata: np.ndarray,
        *,
        classes: np.ndarray | None = None,
        expected: np.ndarray | None = None,
        margin: float,
        confidence: float = 0.95,
        seed: int,
    ) -> None:
        self.members = int(np.sum(sizes))
        self.trials = 0
        self._left = np.asarray(sizes, np.float64)
        self._strata = strata
        self._starts = np.append(np.flatnonzero(np.diff(strata, prepend=-1)), len(strata))
        self._classes = np.zeros(len(sizes), int) if classes is None else classes
        self._expected = expected
        self._sums, self._squares, self._counts = np.zeros((3, len(sizes)))
        self._of_classes = np.zeros(
            (3, self._classes.max() + 1 if expected is None else len(expected))
        )
        self._generator = np.random.Generator(np.random.Philox(seed))
        self._moved: dict[int, dict[int, int]] = {}
        self._margin, self._confidence = margin, confidence
        self._betting = self._interval()
        self._pilot: set[float] = set()
        self._mean, self._weight, self._scatter = 0.0, _OF_SPREAD, _OF_SPREAD * 0.25
        self._of_strata: list[list[tuple[float, float, float]]] = [[] for _ in self._starts[1:]]
        self._spreads = np.ones(len(sizes))
        self._drawn: tuple[int, int | None, np.ndarray] | None = None
        self._predict()

    def _interval(self) -> intervals.BettingInterval:
        resolution = min(math.ceil(_RESOLUTION / self._margin), _MOST_CANDIDATES) + 1
        return intervals.BettingInterval(
            level=self._confidence, half_width=self._margin, resolution=resolution
        )

    @property
    def exhausted(self) -> bool:
        """Whether every member has been drawn: the mean is known."""
        return not self._left.any()

    @property
    def settled(self) -> bool:
        """Whether the interval is as short as asked."""
        return self.estimate.interval.half_width <= self._margin

    def draw(self, stratum: int | None = None) -> tuple[int, int]:
        """Draws a member, from a stratum if given, for which alone the trial then counts.

        Returns its cell, and its number in there.
        """
        if self.trials % _EVERY == 0:
            self._spreads, _ = self._best(self._margin)
        chances = self._left * self._spreads
        if stratum is not None:
            chances[self._strata != stratum] = 0.0
        chances /= chances.sum()
        total = np.cumsum(chances)
        cell = int(np.searchsorted(total, self._generator.random() * total[-1], side="right"))
        self._drawn = (cell, stratum, chances)
        # One step of a shuffle of the cell's numbers, of which only those that moved are kept.
        moved, last = self._moved.setdefault(cell, {}), int(self._left[cell]) - 1
        place = int(self._generator.integers(last + 1))
        number = moved.get(place, place)
        moved[place] = moved.get(last, last)
        return cell, number

    def take(self, outcome: float) -> None:
        """Takes the outcome, in [0, 1], of the member that was drawn last."""
        cell, stratum, chances = self._drawn
        own = self._strata[cell]
        if stratum is None:
            value, low, high = self._unbiased(slice(None), chances, cell, outcome)
            self._betting.add(value, low=low, high=high, variance=self._scatter / self._weight)
            self.trials += 1
            if self.trials <= PILOT:
                self._pilot.add(outcome)
                if self.trials == PILOT and len(self._pilot) == 1:
                    self._betting = self._interval()
            # Later trials vary less, by better predictions: the weight of trial t is t.
            self._weight += self.trials
            before = self._mean
            self._mean += (value - before) * self.trials / (self._weight - _OF_SPREAD)
            self._scatter += self.trials * (value - before) * (value - self._mean)
        part = slice(self._starts[own], self._starts[own + 1])
        within = chances[part] / chances[part].sum()
        self._of_strata[own].append(self._unbiased(part, within, cell - part.start, outcome))
        figures = (outcome, outcome**2, 1.0)
        for table, figure in zip((self._sums, self._squares, self._counts), figures, strict=True):
            table[cell] += figure
        self._of_classes[:, self._classes[cell]] += figures
        self._left[cell] -= 1
        self._predict()

    def _unbiased(
        self, part: slice, chances: np.ndarray, drawn: int, outcome: float
    ) -> tuple[float, float, float]:
        """Z for the mean of a part, and its range; `drawn` counts from the part's first cell."""
        left, means = self._left[part], self._means[part]
        members = left.sum() + self._counts[part].sum()
        base = self._sums[part].sum() + (left * means).sum()
        weights = np.divide(left, chances, out=np.zeros(len(left)), where=left > 0)
        low, high = base - (weights * means).max(), base + (weights * (1 - means)).max()
        value = base + weights[drawn] * (outcome - means[drawn])
        return tuple(float(end / members) for end in (np.clip(value, low, high), low, high))

    def _predict(self) -> None:
        """Means and variances that are expected in the cells, from the trials so far."""
        sums, squares, counts = self._of_classes
        moments = []
        for own, of_class in ((self._sums, sums), (self._squares, squares)):
            expected = self._expected
            if expected is None:
                expected = (of_class.sum() + 0.5) / (counts.sum() + 1)
            expected = (of_class + _OF_CLASS * expected) / (counts + _OF_CLASS)
            moments.append((own + _OF_CELL * expected[self._classes]) / (self._counts + _OF_CELL))
        self._means = moments[0]
        self._variances = np.maximum(moments[1] - moments[0] ** 2, 0.0)

    def _best(self, margin: float) -> tuple[np.ndarray, float]:
        """The spreads that cells are drawn by, and the trials then expected from the first on.

        With stake l and variance V the log capital against a mean that is d off grows by
        l d - l^2 V / 2 a trial, up to log(2 / alpha); l is d / V, or less where the range asks for
        it. The interval is short enough when the d of both sides add up to twice the margin.
        """
        some = self._left > 0
        shares, means = (self._left / self.members)[some], self._means[some]
        zeros, ones = _FLOORS[:, :1] * (1 - means), _FLOORS[:, 1:] * means
        spreads = np.sqrt(self._variances[some] + zeros**2 + ones**2)  # [floors, cells]
        weights = (spreads @ shares)[:, np.newaxis] / spreads  # share / chance
        variances = (weights * self._variances[some]) @ shares
        stakes = [LARGEST_STAKE / (weights * m).max(axis=1) for m in (means, 1 - means)]
        goal = math.log(2 / (1 - self._confidence))

        def distance(trials: np.ndarray) -> np.ndarray:
            free = np.sqrt(2 * variances * goal / trials)
            return sum(
                np.where(
                    free <= most * variances, free, goal / (trials * most) + most * variances / 2
                )
                for most in stakes
            )

        low, high = np.ones(len(_FLOORS)), np.full(len(_FLOORS), 1e12)
        for _ in range(_HALVINGS):
            middle = np.sqrt(low * high)
            reached = distance(middle) <= 2 * margin
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        best = int(np.argmin(high))
        found = np.zeros(len(self._left))
        found[some] = spreads[best]
        return found, float(high[best])

    def trials_expected(self, margin: float) -> int:
        """How many trials a margin will take, the present predictions given."""
        if self.exhausted:
            return self.trials
        return min(self.members, math.ceil(self._best(margin)[1]))

    @property
    def estimate(self) -> Estimate:
        """The population's mean."""
        found = self._betting.interval
        return self._known(slice(None), self._mean if self.trials else math.nan, found)

    def of_stratum(self, stratum: int) -> Estimate:
        """The mean of one stratum; its interval is valid by itself, not for all strata at once."""
        betting = intervals.BettingInterval(level=self._confidence, **_STRATUM)
        trials = self._of_strata[stratum]
        for value, low, high in trials:
            betting.add(value, low=low, high=high)
        mean = math.nan if not trials else math.fsum(value for value, _, _ in trials) / len(trials)
        part = slice(self._starts[stratum], self._starts[stratum + 1])
        return self._known(part, mean, betting.interval)

    def _known(self, part: slice, value: float, found: intervals.Interval) -> Estimate:
        """Cuts an interval to what the outcomes so far leave possible."""
        sure, left = self._sums[part].sum(), self._left[part].sum()
        members = left + self._counts[part].sum()
        low, high = max(found.low, sure / members), min(found.high, (sure + left) / members)
        high = max(low, high)
        if not left:
            value = sure / members
        interval = dataclasses.replace(found, low=float(low), high=float(high))
        return Estimate(float(np.clip(value, low, high)), interval)

    def count(self, stratum: int) -> int:
        """Trials of a stratum."""
        return len(self._of_strata[stratum])
