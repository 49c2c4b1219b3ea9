"""Coverage by simulation: each interval is built many times on data whose truth is known.

Binomial error at 1,000 repetitions and 95% is 0.7 points; limits allow three of them.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ft_tf import intervals
from ft_tf.errors import ArgumentError


def rng(seed):
    return np.random.Generator(np.random.Philox(seed))


def covered(interval, truth):
    return interval.low <= truth <= interval.high


def test_mean_and_prediction_cover():
    generator = rng(1)
    data = generator.normal(0.6, 0.05, (2000, 8))
    in_mean = [covered(intervals.mean(row, unit="trial"), 0.6) for row in data]
    assert np.mean(in_mean) == pytest.approx(0.95, abs=0.015)
    further = generator.normal(0.6, 0.05, 2000)
    in_next = [
        covered(intervals.prediction(row, unit="trial"), value)
        for row, value in zip(data, further, strict=True)
    ]
    assert np.mean(in_next) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_proportion_never_covers_less_than_its_level(share):
    counts = np.arange(31)
    inside = [covered(intervals.proportion(successes=k, trials=30), share) for k in counts]
    assert stats.binom.pmf(counts, 30, share)[inside].sum() >= 0.95


def test_seeds_are_the_replicates_not_trials():
    generator = rng(2)
    hits = naive = 0
    for _ in range(1000):
        seeds = generator.normal(0.7, 0.03, 5)
        trials = seeds[:, None] + generator.normal(0, 0.01, (5, 20))
        hits += covered(intervals.over_seeds(trials), 0.7)
        naive += covered(intervals.mean(trials.ravel(), unit="trial"), 0.7)
    assert hits / 1000 == pytest.approx(0.95, abs=0.021)
    assert naive / 1000 < 0.6  # what pooling all trials would claim


def finite_population_trials(generator, trials, images, per_trial, between):
    """Accuracies of trials on random subsets of a fixed set of images."""
    levels = np.clip(generator.normal(0.6, math.sqrt(between), trials), 0, 1)
    right = np.round(levels * images).astype(int)
    return generator.hypergeometric(right, images - right, per_trial) / per_trial


def test_variance_components_are_unbiased():
    generator = rng(3)
    parts = [
        intervals.variance_components(
            finite_population_trials(generator, 200, 1000, 100, 0.03**2),
            images_per_trial=100,
            images=1000,
        )
        for _ in range(300)
    ]
    assert np.mean([p.between for p in parts]) == pytest.approx(0.03**2, rel=0.05)
    assert np.mean([p.within for p in parts]) == pytest.approx(0.24 - 0.03**2, rel=0.01)


def test_allocation_is_the_cheapest_by_brute_force():
    components = intervals.VarianceComponents(between=0.03**2, within=0.24, images=10_000)
    costs = {"cost_per_trial": 0.01, "cost_per_image": 1e-5}
    found = intervals.allocate(components, half_width=0.005, pilot_trials=30, **costs)
    everywhere = np.arange(2, 10_001)
    price = (0.01 + 1e-5 * everywhere) * (
        components.between + components.within * (1 / everywhere - 1 / 10_000)
    )
    assert found.images_per_trial == pytest.approx(everywhere[price.argmin()], abs=1)
    full = intervals.VarianceComponents(between=1e-9, within=0.24, images=10_000)
    assert intervals.allocate(
        full, half_width=0.005, pilot_trials=30, **costs
    ).images_per_trial == (10_000)


def test_two_stage_with_allocation_covers_and_is_short_enough():
    generator = rng(4)
    hits = 0
    for _ in range(1000):
        pilot = finite_population_trials(generator, 20, 2000, 200, 0.04**2)
        parts = intervals.variance_components(pilot, images_per_trial=200, images=2000)
        trials = intervals.stein_trials(parts.of_trial(200), half_width=0.015, pilot_trials=20)
        rest = finite_population_trials(generator, trials - 20, 2000, 200, 0.04**2)
        interval = intervals.stein([*pilot, *rest], pilot_trials=20)
        hits += covered(interval, 0.6)
        assert interval.half_width <= 0.0151
    assert hits / 1000 == pytest.approx(0.95, abs=0.021)


def test_simultaneous_band_covers_the_whole_curve():
    generator = rng(6)
    truth = np.linspace(0.9, 0.1, 9)
    hits = pointwise = 0
    for _ in range(300):
        walk = np.cumsum(generator.normal(0, 0.02, (15, 9)), axis=1)  # nested: correlated
        curves = truth + walk
        band = intervals.simultaneous(curves)
        hits += all(covered(i, t) for i, t in zip(band, truth, strict=True))
        single = [intervals.mean(column, unit="trial") for column in curves.T]
        pointwise += all(covered(i, t) for i, t in zip(single, truth, strict=True))
    assert hits / 300 == pytest.approx(0.95, abs=0.038)
    assert pointwise / 300 < 0.9


def test_band_of_constant_points_has_no_width():
    curves = np.column_stack([np.full(4, 0.9), [0.1, 0.2, 0.3, 0.4]])
    band = intervals.simultaneous(curves)
    assert (band[0].low, band[0].high) == (0.9, 0.9)
    assert band[1].half_width > 0


def test_betting_interval_covers_although_it_is_looked_at_all_the_time():
    generator = rng(7)
    repetitions, horizon, truth = 150, 250, 0.3
    ever_missed = t_ever_missed = 0
    for _ in range(repetitions):
        values = generator.beta(3, 7, horizon)  # mean 0.3
        betting = intervals.BettingInterval(half_width=0.03, resolution=501)
        missed = False
        for value in values:
            betting.add(value)
            missed |= not covered(betting.interval, truth)
        ever_missed += missed
        counts = np.arange(2, horizon + 1)
        means = np.cumsum(values)[1:] / counts
        squares = np.cumsum(values**2)[1:] / counts
        error = np.sqrt((squares - means**2) / (counts - 1))
        t_ever_missed += (abs(means - truth) > stats.t.ppf(0.975, counts - 1) * error).any()
    assert ever_missed / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)
    assert t_ever_missed / repetitions > 0.15  # what looking does to a fixed-n interval


def test_betting_interval_is_its_definition():
    """The capital by products, with the variance of the past alone."""
    values, means = rng(9).beta(3, 7, 60), np.linspace(0, 1, 101)
    betting = intervals.BettingInterval(level=0.9, half_width=0.05, resolution=101)
    gain, loss, alive = np.ones(101), np.ones(101), np.ones(101, bool)
    for count, value in enumerate(values):
        past = values[:count]
        squares = 0.05**2 + (((past - past.mean()) ** 2).sum() if count else 0)
        stake = 0.05 * (count + 1) / squares
        with np.errstate(divide="ignore"):
            gain *= 1 + np.minimum(stake, 0.9 / means) * (value - means)
            loss *= 1 - np.minimum(stake, 0.9 / (1 - means)) * (value - means)
        alive &= (gain + loss) / 2 < 10
        betting.add(value)
        first, last = np.flatnonzero(alive)[[0, -1]]
        ends = means[[max(0, first - 1), min(100, last + 1)]]
        np.testing.assert_array_equal([betting.interval.low, betting.interval.high], ends)
    assert betting.interval.half_width < 0.1


def test_betting_interval_settles_near_its_promised_count():
    values = rng(8).normal(0.6, 0.08, 6000).clip(0, 1)
    betting = intervals.BettingInterval(half_width=0.005)
    count = 0
    while not betting.settled:
        betting.add(values[count])
        count += 1
    expected = 2 * math.log(2 / 0.05) * 0.08**2 / 0.005**2
    assert expected / 2 < count < 2 * expected
    assert covered(betting.interval, 0.6)


def test_betting_interval_never_shrinks_to_a_point():
    betting = intervals.BettingInterval(half_width=0.0001, resolution=101)
    for _ in range(20_000):
        betting.add(0.505)  # between two candidates, which both die
    assert betting.interval.low <= 0.5
    assert betting.interval.high >= 0.51
    assert not betting.settled


def test_allocated_trials_give_the_half_width_without_the_pilot():
    pilot_trials, half_width = 12, 0.01
    components = intervals.VarianceComponents(between=0.03**2, within=0.24, images=10_000)
    plan = intervals.allocate(
        components,
        half_width=half_width,
        cost_per_trial=0.01,
        cost_per_image=1e-5,
        pilot_trials=pilot_trials,
    )
    variance = components.of_trial(plan.images_per_trial)
    exact = stats.t.ppf(0.975, pilot_trials - 1) ** 2 * variance / half_width**2
    assert plan.trials == math.ceil(exact)
    values = np.full(pilot_trials + plan.trials, 0.6)
    found = intervals.stein(values, pilot_trials=pilot_trials, pilot_variance=variance)
    assert 0.99 * half_width < found.half_width <= half_width
    tiny = intervals.VarianceComponents(between=1e-9, within=1e-9, images=10_000)
    few = intervals.allocate(
        tiny, half_width=half_width, cost_per_trial=0.01, cost_per_image=1e-5, pilot_trials=30
    )
    assert few.trials == 1  # the pilot is not among them, so it is no lower limit


def test_stein_needs_a_trial_after_a_pilot_that_does_not_count():
    with pytest.raises(ArgumentError, match="pilot_trials=5"):
        intervals.stein([0.5] * 5, pilot_trials=5, pilot_variance=0.01)
    assert intervals.stein([0.5] * 5, pilot_trials=5).half_width == 0


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="level=2"):
        intervals.mean([0.1, 0.2], level=2, unit="trial")
    with pytest.raises(ArgumentError, match="curves.shape"):
        intervals.simultaneous(np.zeros((2, 3)))
    with pytest.raises(ArgumentError, match="value=1.5"):
        intervals.BettingInterval().add(1.5)
    with pytest.raises(ArgumentError, match="images_per_trial=1"):
        intervals.variance_components([0.1, 0.2], images_per_trial=1, images=10)


def test_welch_covers():
    generator = rng(3)
    hits = 0
    for _ in range(2000):
        first, second = generator.normal(0.8, 0.02, 5), generator.normal(0.7, 0.02, 3)
        hits += covered(intervals.welch(first, second, unit="seed"), 0.1)
    assert hits / 2000 == pytest.approx(0.95, abs=0.018)


def test_welch_is_scipys():
    first, second = [0.7, 0.75, 0.72, 0.9], [0.5, 0.66, 0.61]
    ours = intervals.welch(first, second, level=0.9, unit="trial")
    theirs = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    alike = intervals.welch([0.5, 0.5], [0.25, 0.25, 0.25], unit="trial")
    assert (alike.low, alike.high) == (0.25, 0.25)
    assert intervals.welch([0.5], [0.4, 0.3], unit="trial").high == math.inf


@pytest.mark.parametrize(("only_first", "only_second"), [(0.05, 0.02), (0.3, 0.1), (0.0, 0.0)])
def test_paired_proportions_cover_exactly_enumerated(only_first, only_second):
    """All tables of 40 images, weighted by their multinomial probabilities."""
    images, coverage = 40, 0.0
    chances = [only_first, only_second, 1 - only_first - only_second]
    truth = only_first - only_second
    for b in range(images + 1):
        for c in range(images + 1 - b):
            chance = stats.multinomial.pmf([b, c, images - b - c], images, chances)
            if chance > 1e-9:
                first = [True] * b + [False] * (images - b)
                second = [False] * (images - c) + [True] * c
                coverage += chance * covered(intervals.paired_proportions(first, second), truth)
    assert 0.94 <= coverage <= 1.0


@pytest.mark.parametrize("share", [0.02, 0.3])
@pytest.mark.parametrize("other", [0.0, 0.5, 0.98])
def test_independent_proportions_cover_exactly_enumerated(share, other):
    coverage = 0.0
    for a, b in itertools.product(range(31), range(21)):
        chance = stats.binom.pmf(a, 30, share) * stats.binom.pmf(b, 20, other)
        if chance > 1e-9:
            flags = [True] * a + [False] * (30 - a), [True] * b + [False] * (20 - b)
            coverage += chance * covered(intervals.independent_proportions(*flags), share - other)
    assert 0.93 <= coverage <= 1.0


def test_proportions_without_spread_have_an_interval_with_width():
    one = intervals.independent_proportions([True] * 20, [True] * 20)
    assert (round(one.low, 4), round(one.high, 4)) == (-0.1611, 0.1611)  # 1 - 1 / (1 + z^2 / 20)
    with pytest.raises(ArgumentError, match=r"second=\[\] must be"):
        intervals.independent_proportions([True], [])


def test_pairing_makes_the_interval_shorter_than_that_of_two_test_sets():
    generator = rng(5)
    shared = generator.random(1000)
    first, second = shared < 0.8, shared < 0.78
    paired = intervals.paired_proportions(first, second)
    apart = intervals.welch(first, generator.random(1000) < 0.78, unit="test image")
    assert paired.half_width < apart.half_width / 2


def test_paired_proportions_need_pairs():
    with pytest.raises(ArgumentError, match=r"first.shape=\(3,\) and second.shape=\(2,\)"):
        intervals.paired_proportions([True] * 3, [True] * 2)
