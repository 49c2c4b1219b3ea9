import math

import numpy as np
import pytest
from scipy import special

from ft_tf.privacy import gap_bounds, privacy_cost, theorem_1

PAPER = {"sampling_probability": 250 / 60_000, "steps": 14_400, "delta": 1e-5}


@pytest.mark.parametrize(
    ("sigma", "printed", "gap", "says"),
    [(5, 0.6352, 0.080, (True, False, True)), (1.1, 18.49, 0.368, (False, False, True)),
     (0.5, 5.14e10, 0.947, (False, False, True))],
)  # fmt: skip
def test_goldens_of_the_paper(sigma, printed, gap, says):
    bounds = gap_bounds(privacy_cost(noise_multiplier=sigma, **PAPER))
    assert bounds.theorem_1_as_printed == pytest.approx(printed, rel=1e-3)
    assert bounds.gap_bound == pytest.approx(gap, abs=5e-4)
    names = ("theorem_1_as_printed", "theorem_1_replace_one", "gap_bound")
    assert tuple(bounds.informative[name] for name in names) == says
    assert bounds.theorem_1_replace_one == pytest.approx(
        math.exp(bounds.epsilon_replace_one) - 1 + 1e-5, rel=1e-9
    )


def test_at_the_least_noise_no_bound_says_anything():
    bounds = gap_bounds(privacy_cost(noise_multiplier=0.05, **PAPER))
    assert bounds.theorem_1_as_printed is None
    assert "beyond every number" in bounds.reasons["theorem_1_as_printed"]
    assert bounds.gap_bound == pytest.approx(1.0, abs=1e-6)
    assert bounds.gap_bound <= 1
    assert not any(bounds.informative.values())


def test_no_noise_gives_no_bound():
    bounds = gap_bounds(privacy_cost(noise_multiplier=0.0, **PAPER))
    assert bounds.gap_bound is None
    assert bounds.theorem_1_as_printed is None
    assert "not private" in bounds.reasons["gap_bound"]
    assert not any(bounds.informative.values())


def test_shuffled_bound_is_the_total_variation_of_opposite_contributions():
    bounds = gap_bounds(privacy_cost(noise_multiplier=5, **PAPER))
    truth = 2 * special.ndtr(math.sqrt(60) / 5) - 1  # N(0, 1) against N(2 sqrt(60) / 5, 1)
    assert bounds.gap_bound_shuffled == pytest.approx(truth, rel=1e-12)


def test_theorem_1_is_the_printed_formula():
    assert theorem_1(1.0, delta=0.25) == pytest.approx(math.e - 1 + 0.25)
    assert theorem_1(1e6, delta=0.25) == math.inf


def test_a_learner_that_memorises_meets_the_bound_and_no_more():
    """A worst case made by hand: the model is one noisy vote on whether a target was trained on.

    n examples each contribute +1 if they equal the target, -1 if not; the released vote has noise
    sigma, and the "model" calls a point right if it equals the target and the vote is positive.
    Replacing one example moves the vote from -1 to +1 around the others: TV = 2 Phi(1 / sigma) - 1.
    """
    sigma, runs = 2.0, 200_000
    generator = np.random.Generator(np.random.Philox(7))
    trained = generator.normal(1.0, sigma, runs) > 0
    fresh = generator.normal(-1.0, sigma, runs) > 0
    cost = privacy_cost(noise_multiplier=sigma, sampling_probability=1.0, steps=1, delta=1e-5)
    gap = trained.mean() - fresh.mean()
    bound = gap_bounds(cost).gap_bound
    assert gap <= bound + 4 / math.sqrt(runs)
    assert gap == pytest.approx(bound, abs=0.01)
