"""The f-DP audit: by hand, against binomials, and on ten planted bugs in DP-SGD."""

import math

import numpy as np
import pytest
from scipy import special, stats

from ft_tf.errors import ArgumentError
from ft_tf.privacy import Phase, PrivacyLoss, TradeOff, privacy_cost, trade_off
from ft_tf.privacy.audit import audit_one_run
from ft_tf.privacy.f_dp_audit import audit_one_run_f_dp, f_dp_p_value

DELTA = 1e-5


def gaussian(mu):
    return lambda rate: special.ndtr(-special.ndtri(rate) - mu)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_randomised_response_stays_below_the_bound_and_meets_it_where_all_are_right(epsilon):
    """Each of 20 coins is told truly with odds exp(epsilon)."""

    def pure(rate):
        return max(0, 1 - math.exp(epsilon) * rate, math.exp(-epsilon) * (1 - rate))

    for right in (0, 10, 15, 18, 20):
        exact = stats.binom.sf(right - 1, 20, 1 / (1 + math.exp(-epsilon)))
        p_value = f_dp_p_value(pure, canaries=20, guesses=20, right=right)
        assert exact - 1e-8 <= p_value <= min(1, 4 * exact)
    assert p_value == pytest.approx(exact, abs=1e-8)


def test_a_gaussian_on_each_canary_stays_below_the_bound():
    """Every guess by the sign of x - 1/2 is right with chance Phi(mu / 2)."""
    for mu in (0.3, 1.0, 2.0):
        for right in (60, 80, 95):
            exact = stats.binom.sf(right - 1, 100, stats.norm.cdf(mu / 2))
            p_value = f_dp_p_value(gaussian(mu), canaries=100, guesses=100, right=right)
            assert p_value >= exact - 1e-8


def test_two_guesses_by_hand():
    """2 of 2 right with chance t: p_1 / 2 >= f(1 - t), p_0 >= f(1 - t - p_1 / 2) - p_1 / 2."""
    curve = gaussian(0.7)

    def total(t):
        half = curve(1 - t)
        return t + 2 * half + max(0.0, curve(1 - t - half) - half)

    p_value = f_dp_p_value(curve, canaries=2, guesses=2, right=2)
    assert total(p_value) == pytest.approx(1, abs=1e-6)


def coins(key, canaries):
    draws = np.random.Generator(np.random.Philox(key))
    return draws, draws.integers(0, 2, canaries).astype(bool)


def test_a_true_mu_is_refuted_no_more_often_than_the_level_says():
    refuted = 0
    for key in range(60):
        draws, included = coins(key, 200)
        scores = included + draws.normal(0, 1, 200)
        audit = audit_one_run_f_dp(scores, included, delta=DELTA, level=0.9, guesses=[100, 50])
        refuted += audit.details["mu"] > 1
    assert stats.binomtest(refuted, 60, 0.1, alternative="greater").pvalue > 1e-3


CANARIES, STEPS, SIGMA = 1000, 400, 100.0


def dp_sgd(
    key,
    *,
    clip=1.0,
    gradient=10.0,
    scale=SIGMA,
    noisy_steps=STEPS,
    noisy_share=1.0,
    noise="gaussian",
    probability=0.5,
):
    """Sums of the clipped gradients of canaries that are orthogonal, in NumPy, and the coins.

    Its keyword arguments plant the bugs; the claim is clip 1, sigma 100, q = 0.5 and 400 steps.
    """
    draws, included = coins(key, CANARIES)
    times = draws.binomial(STEPS, probability, CANARIES) * included
    kept = min(gradient, clip)
    if noise == "uniform":
        added = draws.uniform(-scale, scale, (noisy_steps, CANARIES)).sum(0)
    else:
        added = draws.normal(0, scale * math.sqrt(noisy_steps), CANARIES)
    added[int(noisy_share * CANARIES) :] = 0
    return kept * times + added + draws.normal(0, 1e-9, CANARIES), included


BUGS = {
    "no noise": {"scale": 0.0},
    "noise divided by the batch size": {"scale": SIGMA / 50},
    "the root of sigma": {"scale": math.sqrt(SIGMA)},
    "the root of sigma, uniform": {"scale": math.sqrt(SIGMA), "noise": "uniform"},
    "no clipping": {"clip": math.inf, "gradient": 100.0},
    "clipped to the squared norm": {"clip": 100.0, "gradient": 200.0},
    "uniform noise of one clip norm": {"scale": 1.0, "noise": "uniform"},
    "noise in the first step only": {"noisy_steps": 1},
    "half of the parameters without noise": {"noisy_share": 0.5},
    "every example in every batch, sigma of the mean": {"probability": 1.0, "scale": 4.0},
}


@pytest.fixture(scope="module")
def claim():
    return privacy_cost(
        noise_multiplier=SIGMA, sampling_probability=0.5, steps=STEPS, delta=DELTA
    ).epsilon_pld


def test_ten_planted_bugs_are_caught_by_both_and_f_dp_is_mostly_the_tighter(claim):
    tighter = []
    for key, bug in enumerate(BUGS.values()):
        scores, included = dp_sgd(key, **bug)
        ours = audit_one_run_f_dp(scores, included, delta=DELTA)
        todays = audit_one_run(scores, included, delta=DELTA)
        assert ours.contradicts(claim) and todays.contradicts(claim), list(BUGS)[key]
        tighter.append(ours.epsilon_lower_bound > todays.epsilon_lower_bound)
    assert len(tighter) == 10 and sum(tighter) >= 5


def test_the_run_that_does_what_it_claims_is_not_contradicted(claim):
    scores, included = dp_sgd(99)
    assert not audit_one_run_f_dp(scores, included, delta=DELTA).contradicts(claim)


def test_a_claimed_curve_is_refuted_by_a_bug_and_not_by_the_run_itself():
    cost = privacy_cost(noise_multiplier=SIGMA, sampling_probability=0.5, steps=STEPS, delta=DELTA)
    curve = trade_off(cost).false_negative_rate
    for scale, is_refuted in ((SIGMA, False), (SIGMA / 50, True)):
        scores, included = dp_sgd(7, scale=scale)
        top = np.argsort(-np.abs(scores - np.median(scores)))[:100]
        right = int(np.sum((scores[top] > np.median(scores)) == included[top]))
        p_value = f_dp_p_value(curve, canaries=CANARIES, guesses=100, right=right)
        assert (p_value < 0.05) == is_refuted
    assert TradeOff.of(PrivacyLoss.of_phases([Phase(1.0, 1.0, 1)])).mu == 1


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="right=4"):
        f_dp_p_value(gaussian(1), canaries=9, guesses=3, right=4)
    with pytest.raises(ArgumentError, match=r"scores\.shape=\(3,\)"):
        audit_one_run_f_dp([1.0, 2.0, 3.0], np.array([True, False]), delta=DELTA)
