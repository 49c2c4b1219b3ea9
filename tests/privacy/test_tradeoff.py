"""Trade-off curves against the closed form of a Gaussian, and against brute force."""

import math

import numpy as np
import pytest
from scipy import stats

from ft_tf.errors import ArgumentError
from ft_tf.privacy import (
    Phase,
    PrivacyLoss,
    TradeOff,
    noise_multiplier_for_advantage,
    privacy_cost,
    trade_off,
)

RATES = np.array([0.0, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0])


def gaussian(mu, rates=RATES):
    return stats.norm.cdf(stats.norm.ppf(1 - rates) - mu)


@pytest.fixture(scope="module")
def nearly_gaussian():
    """Ten steps at q = 1 - 1e-9: a grid serves it, and it is the Gaussian of mu = 0.8."""
    phase = Phase(math.sqrt(10) / 0.8, 1 - 1e-9, 10)
    loss = PrivacyLoss.of_phases([phase])
    assert loss.mu is None
    return TradeOff.of(loss)


def test_a_gaussian_mechanism_has_its_closed_form(nearly_gaussian):
    exact = TradeOff.of(PrivacyLoss.of_phases([Phase(math.sqrt(10) / 0.8, 1.0, 10)]))
    np.testing.assert_allclose(exact.false_negative_rate(RATES), gaussian(0.8), atol=1e-12)
    assert (exact.gaussian_mu, exact.advantage) == pytest.approx((0.8, math.erf(0.4 / 2**0.5)))
    found = nearly_gaussian.false_negative_rate(RATES)
    assert (found <= gaussian(0.8) + 1e-9).all()  # never overstates the protection
    np.testing.assert_allclose(found, gaussian(0.8), atol=2e-5)
    np.testing.assert_allclose(nearly_gaussian.true_positive_rate(RATES), 1 - found)
    assert nearly_gaussian.advantage == pytest.approx(exact.advantage, rel=1e-4)
    assert nearly_gaussian.gaussian_mu == pytest.approx(0.8, rel=1e-3)


def test_one_subsampled_step_is_the_likelihood_ratio_test():
    """N(0, s^2) against (1 - q) N(0, s^2) + q N(1, s^2): the test x > c, in either direction."""
    q, sigma = 0.3, 0.7
    curve = trade_off(privacy_cost(
        noise_multiplier=sigma, sampling_probability=q, steps=1, delta=1e-5))  # fmt: skip
    cut = np.linspace(-4, 5, 200)
    out, hit = stats.norm.sf(cut, 0, sigma), stats.norm.sf(cut, 1, sigma)
    inside = (1 - q) * out + q * hit
    assert (curve.false_negative_rate(out) <= 1 - inside + 1e-6).all()
    assert (curve.false_negative_rate(1 - inside) <= out + 1e-6).all()
    # Where P leads, the curve is the better of both tests or on a line between them.
    better = np.minimum(1 - inside, np.interp(out, 1 - inside, out))
    near = (out > 1e-4) & (out < 0.2)
    np.testing.assert_allclose(curve.false_negative_rate(out)[near], better[near], atol=2e-3)
    assert curve.advantage == pytest.approx(np.max(inside - out), abs=1e-4)


def test_the_curve_is_convex_falls_and_is_its_own_mirror_image(nearly_gaussian):
    papers = privacy_cost(
        noise_multiplier=1.1, sampling_probability=250 / 60_000, steps=14_400, delta=1e-5
    )
    for curve in (nearly_gaussian, trade_off(papers)):
        rates = np.linspace(0, 1, 101)
        errors = curve.false_negative_rate(rates)
        assert (np.diff(errors) <= 1e-12).all() and (np.diff(errors, 2) >= -1e-12).all()
        np.testing.assert_allclose(curve.false_negative_rate(errors[5:60]), rates[5:60], atol=1e-4)
        assert np.max(1 - errors - rates) == pytest.approx(curve.advantage, abs=1e-3)
        mu = curve.gaussian_mu
        seen = np.linspace(0.001, 0.999, 99)
        assert (curve.false_negative_rate(seen) >= gaussian(mu, seen) - 1e-9).all()
        assert (curve.false_negative_rate(seen) < gaussian(0.9 * mu, seen)).any()
    assert trade_off(papers, sampling="shuffle").gaussian_mu == papers.mu_shuffled


@pytest.mark.parametrize(("q", "steps", "advantage"), [(0.1, 50, 0.2), (0.01, 1000, 0.05)])
def test_noise_for_an_advantage_spends_nearly_all_of_it_and_never_more(q, steps, advantage):
    sigma = noise_multiplier_for_advantage(
        max_advantage=advantage, sampling_probability=q, steps=steps
    )
    spent = PrivacyLoss.of_phases([Phase(sigma, q, steps)]).total_variation()
    assert 0.999 * advantage <= spent <= advantage


def test_noise_for_an_advantage_on_shuffled_batches_is_the_closed_form():
    sigma = noise_multiplier_for_advantage(
        max_advantage=0.3, sampling_probability=0.1, steps=40, accountant="shuffled"
    )
    mu = 2 / sigma  # four passes
    assert 0.999 * 0.3 <= 2 * stats.norm.cdf(mu / 2) - 1 <= 0.3


def test_bad_arguments_are_named(nearly_gaussian):
    with pytest.raises(ArgumentError, match=r"false_positive_rate"):
        nearly_gaussian.false_negative_rate([0.5, 1.1])
    with pytest.raises(ArgumentError, match=r"cost"):
        trade_off(privacy_cost(
            noise_multiplier=0.0, sampling_probability=0.1, steps=1, delta=1e-5))  # fmt: skip
    good = {"max_advantage": 0.1, "sampling_probability": 0.1, "steps": 5}
    for bad in ({"max_advantage": 1.0}, {"steps": 0}, {"sampling_probability": 0.0},
                {"accountant": "rdp"}):  # fmt: skip
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            noise_multiplier_for_advantage(**good | bad)
