import re

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy import Phase, privacy_cost, privacy_cost_of_phases, statement

PAPER = {"sampling_probability": 250 / 60_000, "steps": 14_400, "delta": 1e-5}


@pytest.fixture(scope="module")
def cost():
    return privacy_cost(noise_multiplier=1.1, **PAPER)


def test_poisson_names_epsilon_adjacency_and_assumption(cost):
    words = statement(cost)
    assert words.startswith("This run is (epsilon=2.35, delta=1e-05)-differentially private")
    assert "adding or removing one example" in words
    assert "Poisson sample" in words
    assert re.search(
        r"telling N\(0, 1\) from N\(0\.5\d+, 1\) at error rates of 1e-05 and more", words
    )
    assert "shuffled fixed batches, epsilon would be 54.05" in words
    for outside in ("clip norms", "histories", "several seeds", "lost count as steps"):
        assert outside in words
    assert "seed is secret" not in words


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_initial_weights_are_outside_unless_known_to_be_fresh(cost, sampling):
    words = statement(cost, sampling=sampling)
    assert "Outside it lie: initial weights, unless they do not come from this data" in words
    fresh = statement(cost, sampling=sampling, fresh_weights=True)
    assert "initial weights" not in fresh
    assert "Outside it lie: learning rates" in fresh


def test_shuffle_leads_with_what_it_earns(cost):
    words = statement(cost, sampling="shuffle", engine="reference")
    assert words.startswith("This run is (epsilon=54.05, delta=1e-05)")
    assert "60 Gaussian mechanisms" in words
    assert "telling N(0, 1) from N(7.04, 1)." in words  # exact: sqrt(60) / 1.1
    assert "The paper would claim 2.97 (2.35 by PLD)" in words
    assert "does not hold for this run" in words


def test_a_fixed_seed_is_a_condition(cost):
    assert "holds only while the seed is secret" in statement(cost, noise_seed=0)


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_published_seed_voids_the_guarantee(cost, sampling):
    words = statement(cost, sampling=sampling, noise_seed=0, seed_is_published=True)
    assert words.startswith("With a secret noise_seed this run would be (epsilon=")
    assert "the seed stands in this record" in words
    assert "for them the guarantee is void" in words
    assert "This run is" not in words
    unseeded = statement(cost, sampling=sampling, seed_is_published=True)
    assert unseeded == statement(cost, sampling=sampling)


def test_no_noise_is_not_private_however_it_was_sampled():
    cost = privacy_cost(noise_multiplier=0.0, **PAPER)
    for sampling in ("poisson", "shuffle"):
        words = statement(cost, sampling=sampling)
        assert words.startswith("Not private")
        assert "-differentially private" not in words


def test_unknown_sampling_is_unaccounted(cost):
    words = statement(cost, sampling="unaccounted")
    assert words.startswith("Unaccounted")
    assert "epsilon=" not in words


def test_phases_are_listed():
    cost = privacy_cost_of_phases([Phase(1.0, 0.1, 3), Phase(2.0, 0.1, 4)], delta=1e-5)
    words = statement(cost)
    assert "3 steps at noise_multiplier=1" in words
    assert "then 4 steps at noise_multiplier=2" in words


def test_the_best_bound_leads_where_pld_cannot_be_had():
    words = statement(privacy_cost(noise_multiplier=0.001, **PAPER))
    assert "(epsilon=7.919e+09" in words
    assert "(RDP)" in words


def test_rejects_what_cannot_be(cost):
    with pytest.raises(ArgumentError, match="engine='reference'"):
        statement(cost, engine="reference")
    with pytest.raises(ArgumentError, match="sampling='uniform'"):
        statement(cost, sampling="uniform")
    with pytest.raises(ArgumentError, match="engine='quick'"):
        statement(cost, engine="quick")
