"""Accounts of several fits, against the closed forms and against one run of the same steps."""

import math

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy import Phase, PrivacyEvent, account_for, privacy_cost, privacy_cost_of_phases
from ft_tf.privacy.gaussian import gaussian_epsilon

DELTA = 1e-5


def poisson(steps, *, examples=60_000, batch_size=250, noise=1.1, seeded=False):
    return PrivacyEvent(noise, "poisson", examples, batch_size, steps, seeded)


def shuffled(steps, *, offset=0, examples=1000, batch_size=100, noise=1.0, reshuffled=False):
    return PrivacyEvent(
        noise, "shuffle", examples, batch_size, steps, False, offset, reshuffled=reshuffled
    )


def shuffled_epsilon(passes, noise=1.0):
    """A pass is one Gaussian mechanism, and n of them are one with noise / sqrt(n)."""
    return gaussian_epsilon(math.sqrt(passes) / noise, delta=DELTA)


def test_fits_cost_what_one_fit_of_all_their_steps_costs():
    whole = privacy_cost(
        noise_multiplier=1.1, sampling_probability=250 / 60_000, steps=14_400, delta=DELTA
    )
    account = account_for([poisson(10_000), poisson(4_400)], delta=DELTA)
    assert account.cost.steps == 14_400
    assert account.epsilon == whole.epsilon_pld
    assert account.sampling == "poisson"
    assert "(epsilon=2.35, delta=1e-05)-differentially private" in account.statement


def test_fits_that_differ_are_phases():
    account = account_for([poisson(100), poisson(50, batch_size=600)], delta=DELTA)
    phases = [Phase(1.1, 250 / 60_000, 100), Phase(1.1, 0.01, 50)]
    assert account.epsilon == privacy_cost_of_phases(phases, delta=DELTA).epsilon_pld
    assert account.epsilon > account_for([poisson(100)], delta=DELTA).epsilon


@pytest.mark.parametrize(
    ("events", "passes"),
    [
        ([shuffled(10)], 1),
        ([shuffled(11)], 2),
        ([shuffled(10), shuffled(10)], 2),
        # Interrupted after 4 of 10 steps, the next fit ends the pass.
        ([shuffled(4), shuffled(6, offset=4)], 1),
        ([shuffled(4), shuffled(7, offset=4)], 2),
        # Begun by another process: its pass counts, and so does the one after it.
        ([shuffled(10, offset=4)], 2),
        # The data are in another order in the second fit: a new pass.
        ([shuffled(4), shuffled(6)], 2),
        # Steps 3 to 5 of another permutation than steps 0 to 7 of ten: its pass is another one.
        ([shuffled(8), shuffled(2, offset=8), shuffled(2, offset=3, reshuffled=True)], 2),
        ([shuffled(3), shuffled(2, offset=3, reshuffled=True)], 2),
        # Another batch size at the same step cuts another permutation.
        ([shuffled(4), shuffled(5, offset=4, batch_size=200)], 3),
    ],
)
def test_passes_of_shuffled_fits_are_counted_by_hand(events, passes):
    account = account_for(events, delta=DELTA)
    assert account.cost.passes == passes
    assert account.epsilon == pytest.approx(shuffled_epsilon(passes))
    assert f"{passes} Gaussian mechanisms" in account.statement


def test_steps_that_are_not_counted_are_named():
    events = [poisson(100)]
    words = account_for(events, delta=DELTA, target_epsilon=3.0, steps_before=29).statement
    assert "had taken 29 steps before these, whose cost is not in it" in words
    assert "epsilon=3 at delta=1e-05, which this run does not keep to" in words
    words = account_for(events, delta=DELTA, target_epsilon=3.0).statement
    assert "steps before" not in words and "epsilon=3 at delta=1e-05." in words


def test_steps_of_unknown_sampling_leave_no_epsilon():
    unknown = PrivacyEvent(1.1, "unknown", None, 250, 40, False)
    for events in ([unknown], [poisson(100), unknown]):
        account = account_for(events, delta=DELTA)
        assert account.epsilon is None
        assert account.statement.startswith("Unaccounted")
        assert account.to_record()["epsilon_claimed"] is None


def test_no_noise_is_not_private():
    account = account_for([poisson(10), poisson(10, noise=0.0)], delta=DELTA)
    assert account.epsilon == math.inf
    assert account.statement.startswith("Not private")


def test_a_seed_is_told():
    assert "seed is secret" in account_for([poisson(10, seeded=True)], delta=DELTA).statement
    assert "seed is secret" not in account_for([poisson(10)], delta=DELTA).statement


def test_the_record_claims_the_same_epsilon():
    for events in ([poisson(100)], [shuffled(25)]):
        account = account_for(events, delta=DELTA)
        record = account.to_record()
        assert record["epsilon_claimed"] == account.epsilon
        assert record["sampling"] == account.sampling


def test_a_delta_too_large_for_the_data_is_warned_about():
    account = account_for([poisson(10, examples=1000, batch_size=10)], delta=0.01)
    assert any("delta=0.01" in warning for warning in account.cost.warnings)
    assert "But delta=0.01 is at least 1/1000" in account.statement


def test_what_cannot_be_accounted_is_refused():
    with pytest.raises(ArgumentError, match="nothing was trained"):
        account_for([], delta=DELTA)
    with pytest.raises(ArgumentError, match="delta=1.0"):
        account_for([poisson(10)], delta=1.0)
    with pytest.raises(ArgumentError, match="mix sampling"):
        account_for([poisson(10), shuffled(10)], delta=DELTA)
