"""What sizes tell: against simulated samples, and against SciPy's own binomial distribution."""

import numpy as np
import pytest
from scipy import stats

from ft_tf.privacy import batch_sizes
from ft_tf.privacy.batch_sizes import examine

WHAT = {"stated": "poisson", "whole_passes": False, "complete": True}


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "steps"),
    [
        (1000, 50, 40), (60_000, 250, 240), (100, 60, 6), (1000, 1, 300), (30, 29, 50),
        (10**9, 64, 90),
    ],
)  # fmt: skip
def test_poisson_samples_are_hardly_ever_taken_for_something_else(num_examples, batch_size, steps):
    rng = np.random.default_rng(num_examples)
    draws = rng.binomial(num_examples, batch_size / num_examples, (200, steps)).tolist()
    found = [
        examine([sizes], num_examples=num_examples, batch_size=batch_size, **WHAT).sampling
        for sizes in draws
    ]
    # Of 200 runs at a chance of 2e-4 each, 3 mistakes have a chance of 1e-5.
    assert found.count("poisson") >= 198


@pytest.mark.parametrize("true_size", [40, 60])
def test_samples_at_another_rate_are_found(true_size):
    sizes = np.random.default_rng(0).binomial(1000, true_size / 1000, 60).tolist()
    found = examine([sizes], num_examples=1000, batch_size=50, **WHAT)
    assert found.sampling == "unknown"
    assert "batch_size=50 contradicts" in found.reason


@pytest.mark.parametrize(
    "sizes",
    [
        [50] * 19 + [49] + [50] * 20,  # one size but for one batch
        [50, 50, 40] * 4,  # cut, then repeated: a remainder within the stream
        [49, 50, 51] * 20,  # too regular
        [30, 70] * 8,  # too irregular
    ],
)
def test_sizes_that_repeat_are_no_poisson_samples(sizes):
    found = examine([sizes], num_examples=1000, batch_size=50, **WHAT)
    assert found.sampling == "unknown"


@pytest.mark.parametrize("probability", [0.02, 0.6, 1.0])
def test_the_chance_of_repeats_is_the_union_over_sizes(probability):
    n, batches, count = 50, 12, 5
    each = stats.binom.pmf(np.arange(n + 1), n, probability)
    expected = stats.binom.sf(count - 1, batches, each).sum()
    assert batch_sizes._chance_of_repeats(count, batches, n, probability) == pytest.approx(expected)


def test_batches_of_all_examples_are_passes():
    found = examine([[100]] * 3, num_examples=100, batch_size=100, **WHAT | {"whole_passes": True})
    assert found.sampling == "shuffle"  # of which epsilon is the same: q is 1


def test_stated_shuffled_but_uneven():
    found = examine([[30, 28, 30]], num_examples=100, batch_size=30, **WHAT | {"stated": "shuffle"})
    assert found.sampling == "unknown"
    assert "28 to 30 examples" in found.reason


def test_a_pass_that_was_cut_short_is_not_held_against_the_number_of_examples():
    cut = {"num_examples": 100, "batch_size": 20, "stated": "shuffle", "whole_passes": True}
    passes = [[20] * 5, [20] * 2]
    assert examine(passes, complete=False, **cut).sampling == "shuffle"
    assert examine(passes, complete=True, **cut).sampling == "unknown"
