"""One effect over several networks: for those that were trained, and for one that was not.

A network here is an architecture on a data set. It has one or more settings (an epsilon, a radius),
and each setting was trained with one or more seeds; a value is the effect of one training.
"""

import dataclasses
import itertools
import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy import optimize, stats

from ft_tf.checks import (
    check_finite,
    check_fraction,
    check_positive,
    check_probability,
    check_type,
    check_types,
    numbers_in,
    shown,
)
from ft_tf.errors import ArgumentError
from ft_tf.intervals.basic import has_spread

SUPPORTED, CONTRADICTED, NO_DIFFERENCE = "supported", "contradicted", "no difference"
MIXED, INCONCLUSIVE = "mixed", "inconclusive"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error and Student's t on `freedom` degrees of freedom.

    Attributes:
        value: the estimate.
        standard_error: NaN where it cannot be estimated.
        freedom: degrees of freedom; infinite for a normal statistic, 0 without a standard error.
        level: nominal coverage of `low` to `high`.
    """

    value: float
    standard_error: float
    freedom: float
    level: float = 0.95

    @cached_property
    def _reach(self) -> float:
        if not self.freedom:
            return math.nan
        return float(stats.t.ppf((1 + self.level) / 2, self.freedom)) * self.standard_error

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self._reach

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self._reach

    @property
    def p(self) -> float:
        """Two-sided p-value of an effect of 0."""
        return self._p_beyond(0.0)

    def p_equivalence(self, smallest: float) -> float:
        """p-value of an effect of at least `smallest` in size: the larger of two one-sided tests.

        It is doubled, so that it is at most 0.05 where the 95% interval lies within +-smallest.
        """
        p = self._p_beyond(smallest)
        return 1.0 if abs(self.value) >= smallest and not math.isnan(p) else p

    def _p_beyond(self, smallest: float) -> float:
        if not self.freedom or math.isnan(self.standard_error):
            return math.nan
        distance = abs(abs(self.value) - smallest)
        return float(2 * stats.t.sf(distance / self.standard_error, self.freedom))


@dataclasses.dataclass(frozen=True)
class NetworkMean:
    """The effect in one network: the mean over its settings.

    Attributes:
        value: plain mean over settings of the mean over seeds.
        variance: of `value`, over seeds; NaN for one seed.
        freedom: degrees of freedom of `variance`; for equal seeds in all settings one less than
            their number; 0 for one seed.
        within: variance of one training within its setting, pooled over settings; NaN likewise.
        within_freedom: degrees of freedom of `within`.
        settings: number of settings.
        seeds: number of distinct seeds.
        trainings: number of values.
        is_borrowed: whether `variance` comes from other networks.
    """

    value: float
    variance: float
    freedom: float
    within: float
    within_freedom: float
    settings: int
    seeds: int
    trainings: int
    is_borrowed: bool = False

    @property
    def has_spread(self) -> bool:
        """True if its own seeds show how they differ."""
        return bool(self.freedom) and not self.is_borrowed

    @property
    def replicates(self) -> float:
        """As many seeds in every setting would tell as much of the spread; one if none does."""
        return self.freedom + 1 if self.has_spread else 1.0

    @property
    def estimate(self) -> Estimate:
        """The network's own effect, with its interval over seeds."""
        return Estimate(self.value, math.sqrt(self.variance), self.freedom)


def network_mean(settings: Sequence[Mapping[Hashable, float]]) -> NetworkMean:
    """The mean over a network's settings, and its variance over seeds.

    Settings of one seed share its initial weights, order of data and fault sets, and often the
    natural training that they are compared with: they are not independent. With J settings, S_j the
    n_j seeds of setting j, m_j its mean, sigma^2 the variance of a value within its setting and c
    the covariance of two values of one seed in different settings, both pooled,

        value = 1/J sum_j m_j
        variance = 1/J^2 (sigma^2 sum_j 1 / n_j + c sum_{j != k} |S_j and S_k| / (n_j n_k))

    which for equal seeds in all settings is s^2 / n of each seed's mean over settings. c is sigma^2
    where no two settings show it. The degrees of freedom are those of the seeds that repeat: one
    less than 1 / sum_s w_s^2, with w_s the share of seed s in the mean over the settings of several
    seeds. In simulations with unequal seeds the 95% interval covers 95 to 98%.

    Args:
        settings: for each setting the effect by seed.

    >>> found = network_mean([{0: 1.0, 1: 3.0}, {0: 2.0, 1: 6.0}])  # seed means 1.5 and 4.5
    >>> found.value, round(found.variance, 4), found.freedom  # 9 / 2 / 2
    (3.0, 2.25, 1.0)
    """
    check_types(Mapping, settings=settings)
    if not settings or not all(settings):
        raise ArgumentError(f"settings={shown(settings)} must have a value in each setting")
    for by_seed in settings:
        check_finite(**{f"settings[...][{seed!r}]": value for seed, value in by_seed.items()})
    means = [float(np.mean(list(by_seed.values()))) for by_seed in settings]
    rests = [
        {seed: value - mean for seed, value in by_seed.items()}
        for by_seed, mean in zip(settings, means, strict=True)
        if len(by_seed) > 1
    ]
    within = variance = math.nan
    freedom, seeds_freedom = 0, 0.0
    if any(has_spread(list(by_seed.values())) for by_seed in settings if len(by_seed) > 1):
        freedom = sum(len(rest) - 1 for rest in rests)
        within = sum(value**2 for rest in rests for value in rest.values()) / freedom
        pairs = [_overlap(one, other) for one, other in itertools.permutations(settings, 2)]
        alone = sum(1 / len(by_seed) for by_seed in settings)
        variance = within * alone + _covariance(rests, within, len(settings)) * sum(pairs)
        variance /= len(settings) ** 2
        shares: dict[Hashable, float] = {}
        for rest in rests:
            for seed in rest:
                shares[seed] = shares.get(seed, 0.0) + 1 / (len(rest) * len(rests))
        seeds_freedom = round(1 / sum(share**2 for share in shares.values()), 9) - 1
    return NetworkMean(
        value=float(np.mean(means)),
        variance=variance,
        freedom=seeds_freedom,
        within=within,
        within_freedom=freedom,
        settings=len(settings),
        seeds=len({seed for by_seed in settings for seed in by_seed}),
        trainings=sum(map(len, settings)),
    )


def _overlap(one: Mapping[Hashable, float], other: Mapping[Hashable, float]) -> float:
    """Shared seeds over the product of the numbers of seeds."""
    return len(one.keys() & other.keys()) / (len(one) * len(other))


def _covariance(rests: Sequence[Mapping[Hashable, float]], within: float, settings: int) -> float:
    """Covariance of two values of one seed, from the deviations of settings of several seeds.

    The products of I shared seeds have a mean of c I (1 - 1/n_j - 1/n_k + I / (n_j n_k)).
    """
    products = weight = 0.0
    for one, other in itertools.combinations(rests, 2):
        shared = one.keys() & other.keys()
        products += sum(one[seed] * other[seed] for seed in sorted(shared, key=str))
        weight += len(shared) * (1 - 1 / len(one) - 1 / len(other) + _overlap(one, other))
    if weight < 1e-9:
        return within
    return min(max(products / weight, -within / max(1, settings - 1)), within)


def seed_variance(networks: Sequence[NetworkMean]) -> tuple[float, float]:
    """Variance of one seed's mean over settings, pooled over networks, and degrees of freedom.

    Each network of several seeds counts with its degrees of freedom; (NaN, 0) if there is none.
    """
    known = [network for network in networks if network.has_spread]
    freedom = sum(network.freedom for network in known)
    if not known:
        return math.nan, 0.0
    return sum(n.freedom * n.replicates * n.variance for n in known) / freedom, freedom


def with_borrowed_spread(networks: Sequence[NetworkMean]) -> list[NetworkMean]:
    """Networks of one seed take `seed_variance` of the others.

    That is right where networks are equally noisy, which one seed cannot show.
    """
    check_types(NetworkMean, networks=networks)
    pooled, freedom = seed_variance(networks)
    return [
        n
        if n.freedom or not freedom
        else dataclasses.replace(
            n, variance=pooled / n.replicates, freedom=freedom, is_borrowed=True
        )
        for n in networks
    ]


def over_networks(networks: Sequence[NetworkMean], *, level: float = 0.95) -> Estimate:
    """The plain mean over networks, with its interval over trainings: the networks are fixed.

    variance = 1/K^2 sum_k variance_k. Networks differ in their spread and in their number of seeds,
    so the degrees of freedom are Welch and Satterthwaite's: (sum_k a_k)^2 / sum_k (a_k^2 / f_k),
    where a_k is all that rests on the spread of network k: its own variance, and what networks of
    one seed borrow of it.

    >>> two = [network_mean([{0: 1.0, 1: 3.0}]), network_mean([{0: 5.0, 1: 7.0}])]
    >>> found = over_networks(two)
    >>> found.value, round(found.standard_error, 4), found.freedom  # sqrt((1 + 1) / 4)
    (4.0, 0.7071, 2.0)
    """
    check_probability(level=level)
    check_types(NetworkMean, networks=networks)
    if not networks:
        raise ArgumentError("networks=[] must have at least one network")
    value = float(np.mean([network.value for network in networks]))
    known = [network for network in networks if network.has_spread]
    if not known:
        return Estimate(value, math.nan, 0.0, level)
    borrowed = sum(1 / network.replicates for network in networks if not network.has_spread)
    total_freedom = sum(network.freedom for network in known)
    parts = [n.variance * (1 + borrowed * n.replicates * n.freedom / total_freedom) for n in known]
    freedom = sum(parts) ** 2 / sum(
        part**2 / network.freedom for part, network in zip(parts, known, strict=True)
    )
    return Estimate(value, math.sqrt(sum(parts)) / len(networks), freedom, level)


def mean_of_population(networks: Sequence[NetworkMean], *, level: float = 0.95) -> Estimate:
    """The mean over networks like these, as if they had been drawn: `random_effects`.

    Variances are `seed_variance` / replicates: a network's own, over two to five seeds, is too
    rough for a weight, and the interval would cover as little as 90%.

    For one further network use `prediction` of the networks' values: with three or four networks
    tau^2 is estimated as 0 too often, and a prediction interval made with it covers 87 to 95%.
    """
    check_types(NetworkMean, networks=networks)
    pooled, freedom = seed_variance(networks)
    variances = [pooled / n.replicates if freedom else 0.0 for n in networks]
    return random_effects([n.value for n in networks], variances, level=level)


def random_effects(
    values: Sequence[float], variances: Sequence[float], *, level: float = 0.95
) -> Estimate:
    """Random-effects mean: tau^2 by Paule and Mandel, interval by Hartung and Knapp.

    With w_k = 1 / (variance_k + tau^2) and K networks the mean is sum w_k y_k / sum w_k, its
    squared standard error max(1, q) / sum w_k with q = sum w_k (y_k - mean)^2 / (K - 1), and its
    interval Student's with K - 1 degrees of freedom. q is 1 where tau^2 > 0; the maximum (the ad
    hoc correction) keeps the interval from shrinking where networks happen to agree better than
    their variances allow. For one network nothing is known: NaN.

    Args:
        values: the effect in each network.
        variances: their variances over trainings.
        level: nominal coverage.

    >>> found = random_effects([1.0, 3.0], [0.0, 0.0])  # 2 +- 12.706 sqrt(2 / 2)
    >>> found.value, round(found.low, 3)
    (2.0, -10.706)
    """
    check_probability(level=level)
    y, v = numbers_in(values=values), numbers_in(variances=variances)
    if y.shape != v.shape or not (v >= 0).all():
        raise ArgumentError(f"values={values!r} need as many variances={variances!r}, each >= 0")
    if len(y) < 2:
        return Estimate(float(y[0]), math.nan, 0.0, level)
    weights = 1 / np.maximum(v + paule_mandel(y, v), np.finfo(np.float64).tiny)
    mean = float(weights @ y / weights.sum())
    q = float(weights @ (y - mean) ** 2) / (len(y) - 1)
    square = max(1.0, q) / float(weights.sum())
    return Estimate(mean, math.sqrt(square), len(y) - 1, level)


def paule_mandel(values: Sequence[float], variances: Sequence[float]) -> float:
    """Paule and Mandel's tau^2: the one with sum_k w_k (y_k - mean)^2 = K - 1; 0 if there is none.

    >>> paule_mandel([1.0, 3.0], [0.0, 0.0]), paule_mandel([1.0, 1.1], [1.0, 1.0])
    (2.0, 0.0)
    """
    y, v = numbers_in(values=values), numbers_in(variances=variances)
    if len(y) < 2 or y.shape != v.shape or not (v >= 0).all():
        raise ArgumentError(
            f"values={shown(values)} must be two or more, with as many variances >= 0"
        )
    largest = float(y.var(ddof=1))  # the root for variances of 0, and never below the root

    def excess(tau_squared: float) -> float:
        weights = 1 / (v + tau_squared)
        return float(weights @ (y - weights @ y / weights.sum()) ** 2) - (len(y) - 1)

    smallest = 0.0 if v.min() > 0 else largest * 1e-12
    if largest == 0 or excess(smallest) <= 0:
        return 0.0
    if excess(largest) >= 0:  # up to rounding: all variances are 0
        return largest
    return float(optimize.brentq(excess, smallest, largest, xtol=largest * 1e-12))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values; those that are NaN stay so and are not counted.

    The i-th smallest of m is multiplied by m - i + 1, made monotone, and cut at 1.

    >>> holm([0.01, 0.04, float("nan"), 0.03])
    [0.03, 0.06, nan, 0.06]
    """
    if not isinstance(p_values, list | tuple | np.ndarray):
        raise ArgumentError(f"p_values={shown(p_values)} must be a list of numbers in [0, 1]")
    known = [index for index, p in enumerate(p_values) if p == p]  # but NaN
    for index in known:
        check_fraction(**{f"p_values[{index}]": p_values[index]})
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for place, index in enumerate(sorted(known, key=lambda index: p_values[index])):
        running = max(running, min(1.0, (len(known) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def outcome(low: float, high: float, smallest: float, per_network: Sequence[Estimate] = ()) -> str:
    """The word for an effect whose positive values support the claim.

    Args:
        low: lower end of the interval over trainings; NaN where it cannot be estimated.
        high: upper end.
        smallest: the smallest effect of interest, above 0.
        per_network: the effect in each network.

    Returns:
        "mixed" if two networks lie beyond the smallest effect on opposite sides, each with its own
        interval beyond 0; else "no difference" if the interval lies within +-smallest; else
        "supported" or "contradicted" if it lies above or below 0; else "inconclusive".

    >>> outcome(1.0, 9.0, 5.0), outcome(-0.2, 0.3, 1.0), outcome(-6.0, 3.0, 5.0)
    ('supported', 'no difference', 'inconclusive')
    """
    check_positive(smallest=smallest)
    check_type(numbers.Real, low=low, high=high)
    check_types(Estimate, per_network=per_network)
    above = any(network.value > smallest and network.low > 0 for network in per_network)
    below = any(network.value < -smallest and network.high < 0 for network in per_network)
    if above and below:
        return MIXED
    if -smallest < low and high < smallest:
        return NO_DIFFERENCE
    if low > 0:
        return SUPPORTED
    return CONTRADICTED if high < 0 else INCONCLUSIVE
