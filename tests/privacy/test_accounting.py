import math

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import special, stats

from ft_tf.errors import ArgumentError
from ft_tf.privacy import ACCOUNTANTS, Phase, epsilon_of, privacy_cost, privacy_cost_of_phases
from ft_tf.privacy.phases import steps_per_pass
from ft_tf.privacy.pld import GridError

PAPER = {"sampling_probability": 250 / 60_000, "steps": 14_400, "delta": 1e-5}


@pytest.mark.parametrize(
    ("sigma", "paper", "today", "tight", "shuffled"),
    [
        (5, 0.492, 0.381, 0.346, 7.33),
        (1.1, 2.970, 2.562, 2.350, 54.0),
        (0.5, 24.662, 23.20, 20.89, 185),
        (0.05, 2.30e6, 2.30e6, 1.861e4, 1.266e4),
    ],
)
def test_goldens_of_the_paper(sigma, paper, today, tight, shuffled):
    cost = privacy_cost(noise_multiplier=sigma, **PAPER)
    assert cost.epsilon_paper == pytest.approx(paper, rel=1e-3)
    assert cost.epsilon_rdp == pytest.approx(today, rel=1e-3)
    assert cost.epsilon_pld == pytest.approx(tight, rel=2e-3)
    assert cost.epsilon_shuffled == pytest.approx(shuffled, rel=2e-3)
    assert cost.passes == 60
    assert cost.reasons == {}


def test_without_sampling_every_accountant_bounds_the_closed_form():
    cost = privacy_cost(noise_multiplier=1.0, sampling_probability=1.0, steps=1, delta=1e-5)
    assert cost.epsilon_pld == pytest.approx(4.3772, abs=5e-5)
    assert cost.epsilon_shuffled == cost.epsilon_pld
    assert cost.epsilon_pld < cost.epsilon_rdp < cost.epsilon_paper


# The sampling probabilities keep runs short of the point where PLD's grid error would show.
sigmas = st.floats(0.4, 20)
probabilities = st.floats(1e-3, 0.5)
steps = st.integers(1, 3000)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@settings(max_examples=8)
@given(sigma=sigmas, q=probabilities, count=steps, factor=st.floats(1.1, 2))
def test_more_noise_fewer_steps_and_smaller_batches_cost_less(accountant, sigma, q, count, factor):
    def epsilon(*phase):
        try:
            return epsilon_of([Phase(*phase)], delta=1e-5, accountant=accountant)
        except GridError:
            reject()  # an epsilon beyond 700 has no place on the grid, which says so

    here = epsilon(sigma, q, count) * (1 + 1e-6)
    assert epsilon(sigma * factor, q, count) <= here
    assert epsilon(sigma, q / factor, count) <= here
    assert epsilon(sigma, q, max(1, int(count / factor))) <= here


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_a_plus_b_steps_are_a_then_b(accountant):
    q = 250 / 60_000
    whole = epsilon_of([Phase(1.1, q, 1000)], delta=1e-5, accountant=accountant)
    parts = [Phase(1.1, q, 300), Phase(1.1, q, 0), Phase(1.1, q, 700)]
    assert epsilon_of(parts, delta=1e-5, accountant=accountant) == whole


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_unlike_phases_cost_more_than_either_and_less_than_the_noisiest_throughout(accountant):
    q = 0.01
    first, second = Phase(1.0, q, 300), Phase(3.0, q, 300)
    both = epsilon_of([first, second], delta=1e-5, accountant=accountant)
    assert both > epsilon_of([first], delta=1e-5, accountant=accountant)
    assert both < epsilon_of([Phase(1.0, q, 600)], delta=1e-5, accountant=accountant)
    assert both == pytest.approx(
        epsilon_of([second, first], delta=1e-5, accountant=accountant), rel=1e-6
    )


def test_no_noise_is_called_not_private_and_has_no_epsilon():
    cost = privacy_cost(noise_multiplier=0.0, **PAPER)
    assert not cost.private
    for name in ("epsilon_paper", "epsilon_rdp", "epsilon_pld", "epsilon_shuffled"):
        assert getattr(cost, name) is None
        assert "not private" in cost.reasons[name]
    assert any("not private" in warning for warning in cost.warnings)
    for accountant in ACCOUNTANTS:
        assert epsilon_of([Phase(0.0, 0.5, 1)], delta=0.1, accountant=accountant) == math.inf


def test_one_step_without_noise_spoils_a_run():
    cost = privacy_cost_of_phases([Phase(5.0, 0.1, 100), Phase(0.0, 0.1, 1)], delta=1e-5)
    assert not cost.private
    assert cost.epsilon_pld is None
    assert cost.noise_multiplier is None
    assert cost.sampling_probability == 0.1


def test_a_run_without_steps_costs_nothing():
    cost = privacy_cost(noise_multiplier=1.0, sampling_probability=0.1, steps=0, delta=1e-5)
    assert (cost.epsilon_paper, cost.epsilon_rdp, cost.epsilon_pld, cost.epsilon_shuffled) == (
        0, 0, 0, 0,
    )  # fmt: skip
    assert cost.private


def test_too_little_noise_for_a_grid_gets_a_reason_instead_of_memory():
    cost = privacy_cost(noise_multiplier=0.001, **PAPER)
    assert cost.epsilon_pld is None
    assert "more than a grid can hold" in cost.reasons["epsilon_pld"]
    assert cost.epsilon_shuffled > 1e7


def least_epsilon(q, sigma, steps, delta):
    """What one event allows: that the sum of all outputs, a binomial mixture, exceeds t."""
    counts = np.arange(steps + 1)
    weights = stats.binom.logpmf(counts, steps, q)
    counts, weights = counts[weights > -200], weights[weights > -200]
    deviation = sigma * math.sqrt(steps)
    found = 0.0
    for t in np.linspace(0, steps * q + 15 * deviation, 3000):
        inside = weights + special.log_ndtr((counts - t) / deviation)
        probability = math.exp(special.logsumexp(inside))
        if probability > delta:
            found = max(found, math.log(probability - delta) - special.log_ndtr(-t / deviation))
    return found


@pytest.mark.parametrize("delta", [1e-9, 1e-10, 1e-11, 1e-13])
def test_no_epsilon_is_below_an_exact_lower_bound_at_a_tiny_delta(delta):
    run = {"sampling_probability": 0.9, "steps": 10_000, "delta": delta}
    cost = privacy_cost(noise_multiplier=300.0, **run)
    least = least_epsilon(0.9, 300.0, 10_000, delta)
    assert least > 1.5
    assert cost.epsilon_rdp >= least
    if delta < 1e-10:
        assert cost.epsilon_pld is None and "use RDP" in cost.reasons["epsilon_pld"]
    else:
        assert least <= cost.epsilon_pld < 1.01 * least


def test_warns_where_the_order_is_the_edge_of_its_grid():
    low = privacy_cost(noise_multiplier=0.05, **PAPER).warnings
    assert any("order 1.1, the edge of its grid" in warning for warning in low)
    high = privacy_cost(noise_multiplier=20.0, **PAPER).warnings
    assert any("epsilon_paper" in w and "order 63, the edge" in w for w in high)
    assert privacy_cost(noise_multiplier=1.1, **PAPER).warnings == ()


def test_warns_where_epsilon_or_delta_protects_nothing():
    assert any("no protection" in w for w in privacy_cost(noise_multiplier=0.5, **PAPER).warnings)
    cost = privacy_cost(
        noise_multiplier=1.1, sampling_probability=0.1, steps=10, delta=1e-3, examples=1000
    )
    assert any("delta=0.001 is at least 1/1000" in warning for warning in cost.warnings)


@pytest.mark.parametrize(
    ("n", "batch", "run_steps", "passes"),
    [(60_000, 250, 14_400, 60), (60_000, 250, 14_401, 61), (100, 60, 10, 10), (7, 7, 3, 3),
     (6000, 250, 24 * 7, 7), (1000, 100, 10, 1), (3, 1, 3, 1)],
)  # fmt: skip
def test_passes_of_a_shuffled_run(n, batch, run_steps, passes):
    """A short last batch may be dropped, so that a pass can have as few as floor(n / batch)."""
    assert Phase(1.0, batch / n, run_steps).passes == passes


def test_given_passes_replace_the_count():
    cost = privacy_cost(noise_multiplier=2.0, **PAPER, passes=4)
    assert cost.passes == 4
    assert cost.epsilon_shuffled == pytest.approx(4.3772, abs=5e-5)  # sqrt(4) / 2 = 1


def test_given_passes_over_several_phases_count_the_least_noise():
    phases = [Phase(4.0, 0.1, 10), Phase(2.0, 0.1, 10), Phase(3.0, 0.1, 10)]
    cost = privacy_cost_of_phases(phases, delta=1e-5, passes=4)
    assert cost.epsilon_shuffled == pytest.approx(4.3772, abs=5e-5)  # sqrt(4) / 2 = 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1.0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"sampling_probability": 1.5}, "sampling_probability=1.5"),
        ({"sampling_probability": 0.0}, "sampling_probability=0.0"),
        ({"steps": -1}, "steps=-1"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"passes": 0}, "passes=0"),
        ({"examples": 0}, "examples=0"),
    ],
)
def test_bad_arguments_are_named(bad, message):
    with pytest.raises(ArgumentError, match=message):
        privacy_cost(**{"noise_multiplier": 1.0, **PAPER, **bad})


def test_unknown_accountant_is_named():
    with pytest.raises(ArgumentError, match="accountant='moments'"):
        epsilon_of([Phase(1.0, 0.1, 1)], delta=1e-5, accountant="moments")


def test_shuffled_data_smaller_than_a_batch_have_no_pass():
    assert steps_per_pass(8, 8, sampling="shuffle") == 1
    with pytest.raises(ArgumentError, match="batch_size=8 must be at most the 3 examples"):
        steps_per_pass(3, 8, sampling="shuffle")
