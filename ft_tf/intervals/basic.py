"""Intervals for a proportion, for means of independent replicates, and for one more replicate."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from ft_tf.checks import (
    check_non_negative,
    check_non_negative_integer,
    check_probability,
    numbers_in,
)
from ft_tf.errors import ArgumentError

_DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A two-sided interval, with how it was made.

    Attributes:
        low: lower end.
        high: upper end.
        level: nominal coverage, such as 0.95.
        method: name of the construction, such as "Clopper-Pearson".
        unit: what was replicated, such as "test image", "trial" or "training seed".
    """

    low: float
    high: float
    level: float
    method: str
    unit: str

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def proportion(
    *, successes: int, trials: int, level: float = 0.95, unit: str = "test image"
) -> Interval:
    """Clopper-Pearson interval of a binomial proportion: its coverage is never below `level`.

    >>> interval = proportion(successes=0, trials=10)
    >>> round(interval.low, 4), round(interval.high, 4)  # 1 - 0.025 ** (1 / 10)
    (0.0, 0.3085)
    """
    check_probability(level=level)
    check_non_negative_integer(successes=successes, trials=trials)
    if not 0 <= successes <= trials or trials < 1:
        raise ArgumentError(f"successes={successes} must lie in [0, trials={trials}], trials >= 1")
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = (
        stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    )
    return Interval(float(low), float(high), level, "Clopper-Pearson", unit)


def _replicates(values: Sequence[float], level: float) -> np.ndarray:
    check_probability(level=level)
    return numbers_in(values=values)


_ROUNDING = 1e-12
"""Spread that is rounding: two accuracies on n and m images differ by 1 / (n m) or not at all."""


def has_spread(values: Sequence[float]) -> bool:
    """Whether replicates differ by more than rounding; those that do not tell nothing of a spread.

    Student's intervals of equal replicates have length 0, which is right where the replicates must
    agree and wrong where they happen to: the caller knows which.

    >>> has_spread([0.1, 0.2]), has_spread([0.3, 0.1 + 0.2]), has_spread([0.5])
    (True, False, False)
    """
    array = numbers_in(values=values)
    return array.size > 1 and float(np.ptp(array)) > _ROUNDING * max(1.0, np.abs(array).max())


def mean(values: Sequence[float], *, level: float = 0.95, unit: str) -> Interval:
    """Student-t interval of the mean of independent replicates: mean +- t s / sqrt(n).

    With one replicate the spread is unknown: the interval is infinite.
    """
    array = _replicates(values, level)
    return _student(array, 1 / len(array), 0.0, level, "Student t, mean", unit)


def prediction(
    values: Sequence[float], *, level: float = 0.95, unit: str, further_variance: float = 0.0
) -> Interval:
    """Interval for one further replicate: mean +- t sqrt(s^2 (1 + 1 / n) + v).

    It, not the interval of the mean, is what a single published run should be compared with.

    Args:
        values: the replicates.
        level: nominal coverage.
        unit: what was replicated.
        further_variance: v, which the further replicate has and those do not, such as that of an
            accuracy which is measured on fewer test points: p (1 - p) / n_test.

    >>> interval = prediction([0.0, 1.0, 2.0], unit="trial", further_variance=2 / 3)
    >>> round(interval.half_width, 4)  # 4.3027 sqrt(4 / 3 + 2 / 3)
    6.0849
    """
    array = _replicates(values, level)
    check_non_negative(further_variance=further_variance)
    method = "Student t, prediction"
    return _student(array, 1 + 1 / len(array), further_variance, level, method, unit)


def _student(
    array: np.ndarray, share: float, further: float, level: float, method: str, unit: str
) -> Interval:
    """Mean +- t sqrt(share s^2 + further)."""
    count = len(array)
    if count < 2:
        return Interval(-math.inf, math.inf, level, method, unit)
    centre = float(array.mean())
    variance = share * array.var(ddof=1) + further
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * math.sqrt(variance))
    return Interval(centre - reach, centre + reach, level, method, unit)


def welch(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95, unit: str
) -> Interval:
    """Welch's interval of mean(first) - mean(second), for replicates that have nothing in common.

    With a single replicate on either side the spread is unknown: the interval is infinite.

    >>> interval = welch([1.0, 3.0], [0.0, 0.0], unit="trial")  # 2 +- 12.706 * 1
    >>> round(interval.low, 3), round(interval.high, 3)
    (-10.706, 14.706)
    """
    arrays = [_replicates(values, level) for values in (first, second)]
    method = "Welch t, difference of means"
    if min(map(len, arrays)) < 2:
        return Interval(-math.inf, math.inf, level, method, unit)
    squares = np.array([array.var(ddof=1) / len(array) for array in arrays])
    degrees = np.array([len(array) - 1 for array in arrays])
    spread = 0.0
    if squares.sum() > 0:
        freedom = squares.sum() ** 2 / (squares**2 / degrees).sum()
        spread = float(stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(squares.sum()))
    difference = float(arrays[0].mean() - arrays[1].mean())
    return Interval(difference - spread, difference + spread, level, method, unit)


def paired_proportions(
    first: Sequence[bool], second: Sequence[bool], *, level: float = 0.95, unit: str = "test image"
) -> Interval:
    """Interval of mean(first) - mean(second) where both were seen on the same replicates.

    Bonett and Price 2012: with b of n replicates right in `first` alone and c in `second` alone,
    p = (b + 1) / (n + 2) and q = (c + 1) / (n + 2), it is

        p - q +- z sqrt((p + q - (p - q)^2) / (n + 2)).

    What both get right, or both wrong, does not widen it, unlike the interval of two test sets.

    >>> interval = paired_proportions([True] * 9 + [False], [True] * 6 + [False] * 4)
    >>> round(interval.low, 4), round(interval.high, 4)  # b = 3, c = 0, n = 10
    (-0.0867, 0.5867)
    """
    check_probability(level=level)
    one, other = numbers_in(first=first) != 0, numbers_in(second=second) != 0
    if one.ndim != 1 or one.shape != other.shape or not len(one):
        raise ArgumentError(
            f"first.shape={one.shape} and second.shape={other.shape} must be one, [n >= 1]"
        )
    count = len(one) + 2
    p = (np.count_nonzero(one & ~other) + 1) / count
    q = (np.count_nonzero(other & ~one) + 1) / count
    spread = stats.norm.ppf((1 + level) / 2) * math.sqrt((p + q - (p - q) ** 2) / count)
    low, high = max(-1.0, p - q - spread), min(1.0, p - q + spread)
    return Interval(float(low), float(high), level, "Bonett-Price, paired proportions", unit)


def independent_proportions(
    first: Sequence[bool], second: Sequence[bool], *, level: float = 0.95, unit: str = "test image"
) -> Interval:
    """Interval of mean(first) - mean(second) where they were seen on different replicates.

    Newcombe 1998, method 10: with p and [l, u] the share and the Wilson score interval of `first`,
    q and [m, v] those of `second`, it is

        [p - q - sqrt((p - l)^2 + (v - q)^2), p - q + sqrt((u - p)^2 + (q - m)^2)].

    It has width also where all replicates agree, unlike Welch's.

    >>> interval = independent_proportions([True] * 56 + [False] * 14, [True] * 48 + [False] * 32)
    >>> round(interval.low, 4), round(interval.high, 4)  # table II of the paper, example (a)
    (0.0524, 0.3339)
    """
    check_probability(level=level)
    z = float(stats.norm.ppf((1 + level) / 2))
    parts = []
    for values in (numbers_in(first=first), numbers_in(second=second)):
        share, n = float(np.mean(values != 0)), len(values)
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        reach = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
        parts.append((share, centre - reach, centre + reach))
    (p, l_p, u_p), (q, l_q, u_q) = parts
    low, high = p - q - math.hypot(p - l_p, u_q - q), p - q + math.hypot(u_p - p, q - l_q)
    method = "Newcombe, independent proportions"
    return Interval(max(-1.0, low), min(1.0, high), level, method, unit)


def simultaneous(
    curves: np.ndarray, *, level: float = 0.95, unit: str = "trial", seed: int = 0
) -> list[Interval]:
    """Band around a mean curve: with probability `level` it holds at all its points.

    mean_j +- c s_j / sqrt(n), where c is the `level` quantile of max_j |T_j| for a multivariate t
    with n - 1 degrees of freedom and the curves' own correlations (Monte Carlo, 20,000 draws from
    `seed`). Curves from nested faults are strongly correlated, which makes c much smaller than
    Bonferroni's. Points without any spread get an interval of length 0.

    Args:
        curves: float [n, points], one replicate a row, n >= 3.
        level: nominal coverage of the whole band.
        unit: what a row is.
        seed: fixes the Monte Carlo draws.
    """
    check_probability(level=level)
    check_non_negative_integer(seed=seed)
    try:
        shape = np.shape(curves)
    except ValueError:  # rows of different lengths
        shape = ()
    if len(shape) != 2 or shape[0] < 3:
        raise ArgumentError(f"curves.shape={shape} must be [replicates >= 3, points]")
    curves = numbers_in(curves=np.ravel(curves)).reshape(shape)
    count = len(curves)
    centre, spread = curves.mean(axis=0), curves.std(axis=0, ddof=1)
    varying = spread > 0
    critical = 0.0
    if varying.any():
        standardized = (curves[:, varying] - centre[varying]) / spread[varying]
        critical = _max_t_quantile(standardized, level, seed)
    reach = critical * spread / np.sqrt(count)
    return [
        Interval(float(c - r), float(c + r), level, "simultaneous max-t band", unit)
        for c, r in zip(centre, reach, strict=True)
    ]


def _max_t_quantile(standardized: np.ndarray, level: float, seed: int) -> float:
    """Quantile of max |T|; normal vectors of the sample correlation are sums over the rows."""
    count = len(standardized)
    generator = np.random.Generator(np.random.Philox(seed))
    normal = generator.standard_normal((_DRAWS, count)) @ standardized / np.sqrt(count - 1)
    scale = np.sqrt(generator.chisquare(count - 1, _DRAWS) / (count - 1))
    quantile = float(np.quantile(np.abs(normal).max(axis=1) / scale, level))
    # Never narrower than the interval of a single point, whatever the Monte Carlo error.
    return max(quantile, float(stats.t.ppf((1 + level) / 2, count - 1)))
