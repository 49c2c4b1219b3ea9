import json
import math

import pytest

from ft_tf.privacy import gap_bounds, privacy_cost, to_record, trade_off
from ft_tf.privacy.tradeoff import ATTACK_FIGURES

MULTIPLIERS = [1.1, 0.05, 0.001, 0.0]
PAPER = {"sampling_probability": 250 / 60_000, "steps": 14_400, "delta": 1e-5}
CONTRACT = {
    "epsilon_paper", "order_paper", "epsilon_rdp", "epsilon_pld", "epsilon_shuffled", "delta",
    "steps", "sampling_probability", "theorem_1_as_printed", "gap_bound", "noise_multiplier",
    "warnings",
}  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    costs = {sigma: privacy_cost(noise_multiplier=sigma, **PAPER) for sigma in MULTIPLIERS}
    return {sigma: (cost, gap_bounds(cost)) for sigma, cost in costs.items()}


@pytest.mark.parametrize("sigma", MULTIPLIERS)
@pytest.mark.parametrize("sampling", ["poisson", "shuffle", "unaccounted"])
def test_is_strict_json_with_a_reason_for_every_null(runs, sigma, sampling):
    cost, bounds = runs[sigma]
    record = to_record(cost, bounds=bounds, sampling=sampling)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record.keys() >= CONTRACT
    figures = {name for name in record if name.startswith(("epsilon_", "order_", "theorem_"))}
    figures |= {"gap_bound", "gap_bound_shuffled", "gap_bound_claimed", *ATTACK_FIGURES}
    assert {name for name in figures if record[name] is None} == record["reasons"].keys()
    assert all(math.isfinite(record[name]) for name in figures - record["reasons"].keys())
    assert record["private"] == (sigma > 0 and sampling != "unaccounted")


def test_carries_the_figures_and_the_words():
    cost = privacy_cost(noise_multiplier=5, **PAPER)
    bounds = gap_bounds(cost)
    record = to_record(cost, bounds=bounds, noise_seed=3)
    assert record["epsilon_paper"] == cost.epsilon_paper
    assert record["gap_bound"] == bounds.gap_bound
    assert record["bound_says_something"]["gap_bound"] is True
    assert record["noise_seed_fixed"] is True
    assert record["noise_seed_published"] is False
    assert "seed is secret" in record["statement"]
    assert record["phases"] == [
        {"noise_multiplier": 5, "sampling_probability": 250 / 60_000, "steps": 14_400}
    ]


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_carries_what_the_runs_own_sampling_allows_an_attacker(runs, sampling):
    cost, bounds = runs[1.1]
    curve, record = (
        trade_off(cost, sampling=sampling),
        to_record(cost, bounds=bounds, sampling=sampling),
    )
    assert record["membership_advantage"] == curve.advantage
    assert record["gaussian_mu"] == curve.gaussian_mu
    rate = float(curve.true_positive_rate(1e-3))
    assert record["true_positive_rate_at_1_in_1000"] == rate
    assert f"finds at most {100 * rate:.3g}% of the members" in record["statement"]
    assert f"more than {100 * curve.advantage:.3g} points" in record["statement"]


def test_says_that_the_seed_stands_in_the_record(runs):
    cost, bounds = runs[1.1]
    seeded = to_record(cost, bounds=bounds, noise_seed=3, seed_is_published=True)
    assert seeded["noise_seed_published"] is True
    assert "the seed stands in this record" in seeded["statement"]
    unseeded = to_record(cost, bounds=bounds, seed_is_published=True)
    assert unseeded["noise_seed_published"] is False


def test_claims_what_the_sampling_earns(runs):
    cost, bounds = runs[1.1]
    poisson = to_record(cost, bounds=bounds)
    assert poisson["epsilon_claimed"] == cost.epsilon_pld
    assert poisson["gap_bound_claimed"] == bounds.gap_bound
    shuffled = to_record(cost, bounds=bounds, sampling="shuffle")
    assert shuffled["epsilon_claimed"] == cost.epsilon_shuffled
    assert shuffled["gap_bound_claimed"] == bounds.gap_bound_shuffled


def test_unaccounted_claims_nothing(runs):
    cost, bounds = runs[1.1]
    record = to_record(cost, bounds=bounds, sampling="unaccounted")
    assert record["epsilon_pld"] is None
    assert record["gap_bound"] is None
    assert "unaccounted" in record["reasons"]["epsilon_pld"]


def test_a_run_without_steps_has_a_record():
    cost = privacy_cost(noise_multiplier=1.0, sampling_probability=0.1, steps=0, delta=1e-5)
    record = to_record(cost)
    assert record["gap_bound"] == 0
    assert record["reasons"]["order_paper"] == "no steps were executed"
