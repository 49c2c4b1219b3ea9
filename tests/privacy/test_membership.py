import math

import numpy as np
import pytest
from scipy import stats

from ft_tf import metrics
from ft_tf.errors import ArgumentError
from ft_tf.privacy.membership import (
    advantage_of_rule,
    allowed_true_positive_rate,
    loss_threshold_attack,
)


def from_losses(losses):
    with np.errstate(divide="ignore"):
        return np.log(np.expm1(losses))


def test_separable_losses_are_told_apart_perfectly():
    found = loss_threshold_attack(
        member_log_odds=from_losses(np.linspace(0, 1, 4000)),
        other_log_odds=from_losses(np.linspace(2, 3, 2000)),
    )
    assert found.advantage == pytest.approx(1.0, abs=2e-3)  # the threshold is a member's own loss
    assert found.true_positive_rate == 1.0
    # Uniform losses on [0, 1]: half of the members lie below their mean, and no other does.
    assert found.advantage_of_mean_loss == pytest.approx(0.5)


def test_shifted_gaussians_have_the_advantage_and_the_roc_of_theory():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0, 1, 200_000), rng.normal(0.5, 1, 200_000)
    found = loss_threshold_attack(member_log_odds=members, other_log_odds=others)
    # The best threshold is halfway: 2 Phi(1/4) - 1.
    assert found.advantage == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.006)
    assert found.threshold == pytest.approx(0.25, abs=0.15)
    power = stats.norm.cdf(stats.norm.ppf(1e-3) + 0.5)
    low, high = found.true_positive_interval
    assert low < found.true_positive_rate < high
    assert found.true_positive_rate == pytest.approx(power, rel=0.25)


def test_equal_distributions_give_no_advantage_although_a_threshold_is_searched_for():
    rng = np.random.default_rng(1)
    advantages = [
        loss_threshold_attack(
            member_log_odds=rng.exponential(size=400), other_log_odds=rng.exponential(size=400)
        ).advantage
        for _ in range(200)
    ]
    error = np.std(advantages) / np.sqrt(len(advantages))
    assert abs(np.mean(advantages)) < 4 * error


def test_members_are_found_where_every_loss_is_rounded_to_nothing():
    """From a margin of 37 on float64 has no loss but 0: all would be ties, and none be found."""
    rng = np.random.default_rng(3)
    members, others = rng.normal(-60, 4, 60_000), rng.normal(-60, 4, 10_000)
    assert np.mean(np.logaddexp(0, others) < 1e-15) > 0.999
    found = loss_threshold_attack(member_log_odds=members, other_log_odds=others)
    assert 2e-4 < found.true_positive_rate < 4e-3
    low, high = found.true_positive_interval
    assert low < 1e-3 < high


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_covers_what_the_quantile_of_all_others_finds(shift):
    """Over members alone, with the threshold taken as known, it covers in half of the cases."""
    rng = np.random.default_rng(4)
    truth = stats.norm.cdf(stats.norm.ppf(0.01) + shift)
    covered, alone = [], []
    for _ in range(300):
        members, others = rng.normal(-shift, 1, 3000), rng.normal(0, 1, 500)
        found = loss_threshold_attack(
            member_log_odds=members, other_log_odds=others, false_positive_rate=0.01
        )
        low, high = found.true_positive_interval
        covered.append(low <= truth <= high)
        seen = stats.binomtest(round(found.true_positive_rate * 3000), 3000).proportion_ci()
        alone.append(seen.low <= truth <= seen.high)
    assert np.mean(covered) >= 0.95
    assert np.mean(alone) < 0.8


def test_the_interval_by_hand():
    """Of two others B(2, 1/2) lie below the median, by chance (over 1.25%) none or both."""
    found = loss_threshold_attack(
        member_log_odds=np.array([0.0, 1.0]),
        other_log_odds=np.array([0.5, 0.6]),
        false_positive_rate=0.5,
    )
    assert found.true_positive_interval == (0.0, 1.0)
    many = loss_threshold_attack(
        member_log_odds=np.arange(100.0),
        other_log_odds=np.arange(100.0) + 0.5,
        false_positive_rate=0.5,
    )
    # B(100, 1/2) has its 1.25% quantiles at 39 and 61: members up to 38.5, and below 61.5.
    ends = stats.beta.ppf(0.0125, 39, 62), stats.beta.ppf(0.9875, 63, 38)
    assert many.true_positive_interval == pytest.approx(ends)


def test_the_interval_says_nothing_where_all_values_are_tied():
    """As of a constant classifier: its ends came out in the wrong order."""
    found = loss_threshold_attack(
        member_log_odds=np.zeros(100), other_log_odds=np.zeros(100), false_positive_rate=0.5
    )
    assert found.true_positive_interval == (0.0, 1.0)


def test_false_positives_stay_within_what_is_allowed_also_among_ties():
    others = np.repeat([1.0, 2.0], 500)
    found = loss_threshold_attack(
        member_log_odds=np.array([0.5, 1.0, 1.5]), other_log_odds=others, false_positive_rate=0.4
    )
    # Every threshold from 1 on lets in half of the others.
    assert found.true_positive_rate == pytest.approx(1 / 3)


def test_the_rule_of_correct_predictions_is_the_generalization_error():
    rng = np.random.default_rng(2)
    right_train, right_test = rng.random(500) < 0.9, rng.random(300) < 0.7
    gap = metrics.generalization_error(
        train_accuracy=right_train.mean(), test_accuracy=right_test.mean()
    )
    assert advantage_of_rule(on_members=right_train, on_others=right_test) == pytest.approx(gap)


@pytest.mark.parametrize("losses", [np.array([1.0]), np.ones((2, 2)), np.array([1.0, np.nan])])
def test_losses_that_cannot_be_used_are_refused(losses):
    with pytest.raises(ArgumentError, match="member_log_odds"):
        loss_threshold_attack(member_log_odds=losses, other_log_odds=np.ones(3))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_randomized_response_reaches_the_ceiling(epsilon):
    """It tells the truth with odds exp(epsilon), so that "member" on a yes finds all it may."""
    truth = math.exp(epsilon) / (1 + math.exp(epsilon))
    ceiling = allowed_true_positive_rate(epsilon=epsilon, delta=0, false_positive_rate=1 - truth)
    assert ceiling == pytest.approx(truth)


def test_the_gaussian_mechanism_stays_below_the_ceiling():
    """Its best attack: Phi(Phi^-1(FPR) + mu); delta(epsilon) by its closed form."""
    mu, epsilon = 1.5, 2.0
    tails = stats.norm.cdf([mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu])
    delta = float(tails[0] - math.exp(epsilon) * tails[1])
    for rate in (1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9):
        best = stats.norm.cdf(stats.norm.ppf(rate) + mu)
        ceiling = allowed_true_positive_rate(epsilon=epsilon, delta=delta, false_positive_rate=rate)
        assert best <= ceiling + 1e-12


def test_the_ceiling_is_at_most_one_and_its_arguments_are_checked():
    assert allowed_true_positive_rate(epsilon=800.0, delta=0, false_positive_rate=0.01) == 1
    with pytest.raises(ArgumentError, match="epsilon=-1"):
        allowed_true_positive_rate(epsilon=-1, delta=0)
    with pytest.raises(ArgumentError, match="delta=2"):
        allowed_true_positive_rate(epsilon=1.0, delta=2)


def test_the_whole_range_of_false_positive_rates():
    losses = {"member_log_odds": np.arange(4.0), "other_log_odds": np.arange(4.0) + 0.5}
    found = {
        rate: loss_threshold_attack(**losses, false_positive_rate=rate).true_positive_rate
        for rate in (0, 0.25, 0.5, 1, 1.0)
    }
    # With k of the four others let through, members up to the next other are found.
    assert found == {0: 0.25, 0.25: 0.5, 0.5: 0.75, 1: 1.0}


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "0.1"])
def test_a_false_positive_rate_outside_the_unit_interval_is_named(rate):
    with pytest.raises(ArgumentError, match="false_positive_rate="):
        loss_threshold_attack(
            member_log_odds=np.arange(4.0), other_log_odds=np.arange(4.0), false_positive_rate=rate
        )
