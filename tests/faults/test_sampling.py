"""Coverage, bias and economy of stratified sampling, on populations whose mean is known."""

import math

import enumerated
import numpy as np
import pytest

from ft_tf import intervals
from ft_tf.faults.sampling import PILOT, StratifiedMean


class Population:
    """Outcomes in cells, with the strata and classes of these."""

    def __init__(self, cells, strata, classes=None, expected=None):
        self.cells = cells
        self.sizes = np.array([len(cell) for cell in cells])
        self.settings = {"strata": np.array(strata), "classes": classes, "expected": expected}
        self.mean = np.concatenate(cells).mean()

    def campaign(self, seed, *, margin, trials=None):
        """A campaign to its end, or to a number of trials; and whether its pilot agreed."""
        sampler = StratifiedMean(self.sizes, **self.settings, margin=margin, seed=seed)
        pilot = set()
        while not (sampler.exhausted or sampler.settled or sampler.trials == trials):
            cell, number = sampler.draw()
            sampler.take(self.cells[cell][number])
            if sampler.trials <= PILOT:
                pilot.add(self.cells[cell][number])
        return sampler, len(pilot) == 1


def rare(share, failing):
    """2,000 sites in each of ten strata, and one of `share` of all in which some fail."""
    count = round(20_000 * share / (1 - share))
    return Population(
        [*[np.zeros(2000)] * 10, (np.arange(count) < failing * count).astype(float)], range(11)
    )


def of_network(storage, *, binary, classes=False):
    """The single faults of the enumerated network: strata variable x bit, random classes."""
    table = enumerated.outcomes(storage)
    groups = {}
    for (number, place, bit), share in table.items():
        kind = hash((number, place)) % 3 if classes else 0
        groups.setdefault((number, bit, kind), []).append(float(share > 0) if binary else share)
    keys = sorted(groups)
    strata = np.unique([key[:2] for key in keys], axis=0, return_inverse=True)[1].reshape(-1)
    options = {"classes": np.array([key[1] for key in keys])}  # bits
    if classes:
        options = {"classes": np.array([k[2] for k in keys]), "expected": np.array([0.9, 0.1, 0.0])}
    return Population([np.array(groups[key]) for key in keys], strata, **options)


# Failures that are rare, and in one stratum: had a campaign ended without seeing one of them, its
# interval [0, 2 margins] would miss the mean.
POPULATIONS = {
    "0.5%": (lambda: rare(0.01, 0.5), 0.0024),
    "2.4%": (lambda: rare(0.04, 0.6), 0.01),
    "float32": (lambda: of_network("float32", binary=False), 0.015),
    "any image": (lambda: of_network("float32", binary=True), 0.04),
    "int8": (lambda: of_network("int8", binary=True), 0.06),
    "wrong classes": (lambda: of_network("int8", binary=False, classes=True), 0.015),
}


def coverage(name, campaigns, trials=None):
    population, margin = POPULATIONS[name][0](), POPULATIONS[name][1]
    covered, of_agreeing, counts = [], [], []
    for seed in range(campaigns):
        sampler, agrees = population.campaign(seed, margin=margin, trials=trials)
        found = sampler.estimate.interval
        covered.append(found.low <= population.mean <= found.high)
        counts.append(sampler.trials)
        assert trials or found.half_width <= margin or sampler.exhausted
        if agrees:
            of_agreeing.append(covered[-1])
    return np.mean(covered), of_agreeing, counts


@pytest.mark.parametrize("name", ["2.4%", "any image", "wrong classes"])
def test_intervals_cover(name):
    assert coverage(name, 15)[0] >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 15)


@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_cover_when_stopped_early(name):
    assert coverage(name, 40, trials=35)[0] >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 40)


@pytest.mark.parametrize("ones", [0, 2000])
def test_the_interval_starts_after_a_pilot_that_agrees(ones):
    population = Population([(np.arange(2000) < ones).astype(float)], [0])
    before, after = (
        population.campaign(0, margin=0.05, trials=trials)[0].estimate.interval.half_width
        for trials in (PILOT - 1, PILOT)
    )
    assert before < 0.45 < after


@pytest.mark.exhaustive
@pytest.mark.parametrize("trials", [None, 35, 120])
@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_cover_in_a_thousand_campaigns(name, trials):
    share, of_agreeing, counts = coverage(name, 1000, trials)
    print(f"{name}, trials={trials}: {share:.3f}, {np.median(counts):g} trials, "
          f"{np.sum(of_agreeing)} of {len(of_agreeing)} whose pilot agreed")  # fmt: skip
    assert share >= 0.94
    if len(of_agreeing) >= 100:
        assert np.mean(of_agreeing) >= 0.94


@pytest.mark.parametrize("name", ["float32", "wrong classes"])
def test_estimates_are_unbiased_whatever_is_predicted(name):
    population, margin = POPULATIONS[name][0](), POPULATIONS[name][1]
    found = [population.campaign(seed, margin=margin, trials=40)[0].estimate.value
             for seed in range(150)]  # fmt: skip
    assert np.mean(found) == pytest.approx(
        population.mean, abs=3.5 * np.std(found, ddof=1) / math.sqrt(150)
    )


def test_all_sites_give_the_mean_itself_and_each_is_drawn_once():
    population = of_network("int8", binary=False)
    sampler = StratifiedMean(population.sizes, population.settings["strata"], margin=1e-4, seed=3)
    seen = set()
    while not sampler.exhausted:
        site = sampler.draw()
        assert site not in seen
        seen.add(site)
        sampler.take(population.cells[site[0]][site[1]])
    assert len(seen) == sampler.members == population.sizes.sum()
    found = sampler.estimate
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx(
        [population.mean] * 3
    )
    for stratum in set(population.settings["strata"]):
        cells = np.flatnonzero(population.settings["strata"] == stratum)
        truth = np.concatenate([population.cells[cell] for cell in cells]).mean()
        assert sampler.of_stratum(stratum).value == pytest.approx(truth)


def test_intervals_of_strata_cover():
    population = of_network("int8", binary=True)
    strata = population.settings["strata"]
    truth = [np.concatenate([population.cells[c] for c in np.flatnonzero(strata == s)]).mean()
             for s in range(strata.max() + 1)]  # fmt: skip
    covered = []
    for seed in range(12):
        sampler, _ = population.campaign(seed, margin=0.1, trials=200)
        for stratum, mean in enumerate(truth):
            size = population.sizes[strata == stratum].sum()
            while sampler.count(stratum) < min(10, size):
                cell, number = sampler.draw(stratum)
                assert strata[cell] == stratum
                sampler.take(population.cells[cell][number])
            interval = sampler.of_stratum(stratum).interval
            covered.append(interval.low <= mean <= interval.high)
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 12)


def test_fewer_trials_than_a_random_sample_of_the_whole_with_the_same_guarantee():
    for name in ("2.4%", "any image"):
        population, margin = POPULATIONS[name][0](), POPULATIONS[name][1]
        counts = [population.campaign(seed, margin=margin)[0].trials for seed in range(5)]
        everything = np.concatenate(population.cells)
        draw, plain = np.random.default_rng(4), intervals.BettingInterval(half_width=margin)
        number = 0
        while not plain.settled:
            plain.add(draw.choice(everything))
            number += 1
        assert 1.5 * np.median(counts) < number
