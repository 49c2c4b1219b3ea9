import math

import mpmath
import numpy as np
import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy.gaussian import gaussian_delta, gaussian_epsilon, gaussian_total_variation


def quadrature_delta(mu, epsilon):
    """Integral of the positive part of N(0, 1) - exp(epsilon) N(mu, 1), to 30 digits."""
    mpmath.mp.dps = 30
    edge = mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu  # the integrand is positive left of it

    def gap(x):
        return mpmath.npdf(x) - mpmath.exp(epsilon) * mpmath.npdf(x, mu)

    return float(mpmath.quad(gap, [edge - 40, edge - 10, edge - 3, edge]))


@pytest.mark.parametrize("mu", [0.05, 0.7, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 2.0, 9.0])
def test_delta_is_the_integral(mu, epsilon):
    assert gaussian_delta(mu, epsilon=epsilon) == pytest.approx(
        quadrature_delta(mu, epsilon), rel=1e-9, abs=1e-15
    )


def test_published_value():
    assert gaussian_epsilon(1.0, delta=1e-5) == pytest.approx(4.3772, abs=5e-5)


@pytest.mark.parametrize("mu", [1e-3, 0.2, 1.0, 7.0, 150.0, 1e4])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_epsilon_is_the_smallest_that_holds(mu, delta):
    epsilon = gaussian_epsilon(mu, delta=delta)
    assert gaussian_delta(mu, epsilon=epsilon) <= delta
    if epsilon:
        assert gaussian_delta(mu, epsilon=epsilon * (1 - 1e-6)) > delta


def test_total_variation_is_delta_at_zero():
    for mu in np.geomspace(1e-3, 30, 9):
        assert gaussian_total_variation(mu) == pytest.approx(
            gaussian_delta(mu, epsilon=0.0), rel=1e-9
        )


def test_paper_shuffled_rows():
    shuffled = [gaussian_epsilon(math.sqrt(60) / sigma, delta=1e-5) for sigma in (5, 1.1, 0.5)]
    assert shuffled == pytest.approx([7.33, 54.0, 185.2], rel=1e-3)


def test_rejects_what_is_no_mechanism():
    with pytest.raises(ArgumentError, match=r"mu=-1\.0"):
        gaussian_epsilon(-1.0, delta=1e-5)
    with pytest.raises(ArgumentError, match=r"delta=1\.0"):
        gaussian_epsilon(1.0, delta=1.0)
