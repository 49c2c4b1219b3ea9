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


def test_separable_losses_are_told_apart_perfectly():
    found = loss_threshold_attack(
        member_losses=np.linspace(0, 1, 4000), other_losses=np.linspace(2, 3, 2000)
    )
    assert found.advantage == pytest.approx(1.0, abs=2e-3)  # the threshold is a member's own loss
    assert found.true_positive_rate == 1.0
    # Uniform losses on [0, 1]: half of the members lie below their mean, and no other does.
    assert found.advantage_of_mean_loss == pytest.approx(0.5)


def test_shifted_gaussians_have_the_advantage_and_the_roc_of_theory():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0, 1, 200_000), rng.normal(0.5, 1, 200_000)
    found = loss_threshold_attack(member_losses=members, other_losses=others)
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
            member_losses=rng.exponential(size=400), other_losses=rng.exponential(size=400)
        ).advantage
        for _ in range(200)
    ]
    error = np.std(advantages) / np.sqrt(len(advantages))
    assert abs(np.mean(advantages)) < 4 * error


def test_false_positives_stay_within_what_is_allowed_also_among_ties():
    others = np.repeat([1.0, 2.0], 500)
    found = loss_threshold_attack(
        member_losses=np.array([0.5, 1.0, 1.5]), other_losses=others, false_positive_rate=0.4
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
    with pytest.raises(ArgumentError, match="member_losses"):
        loss_threshold_attack(member_losses=losses, other_losses=np.ones(3))


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
    losses = {"member_losses": np.arange(4.0), "other_losses": np.arange(4.0) + 0.5}
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
            member_losses=np.arange(4.0), other_losses=np.arange(4.0), false_positive_rate=rate
        )
