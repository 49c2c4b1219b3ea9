import mpmath
import numpy as np
import pytest

from ft_tf.privacy import rdp
from ft_tf.privacy.phases import Phase

PAPER = 250 / 60_000


def quadrature_rdp(sigma, q, order):
    """Rényi divergence of one step by adaptive quadrature with 30 digits."""
    mpmath.mp.dps = 30
    s, p, a = mpmath.mpf(sigma), mpmath.mpf(q), mpmath.mpf(str(order))

    def integrand(x):
        ratio = (1 - p) + p * mpmath.exp((2 * x - 1) / (2 * s**2))
        return mpmath.npdf(x, 0, s) * ratio**a

    low, high = -14 * s, a + 14 * s
    points = mpmath.linspace(low, high, int((high - low) / min(s, 2 * s**2)) + 2)
    return float(mpmath.log(mpmath.quad(integrand, points)) / (a - 1))


@pytest.mark.parametrize(
    ("sigma", "q", "order"),
    [
        (0.5, PAPER, 1.9),  # dp-accounting 0.6 returns 1.6% more here
        (0.5, PAPER, 1.1),
        (1.1, PAPER, 8.9),
        (5.0, PAPER, 48),
        (0.4, 0.2, 3.3),
        (2.0, 0.9, 5.5),
        (1.0, 1e-6, 2.5),
    ],
)
def test_against_high_precision_quadrature(sigma, q, order):
    steps = 1000
    ours = rdp.rdp_of_phases([Phase(sigma, q, steps)], [order])[0]
    truth = steps * quadrature_rdp(sigma, q, order)
    assert ours == pytest.approx(truth, rel=1e-9, abs=2e-9)
    assert ours >= truth * (1 - 1e-12)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 7.0, 300.0])
@pytest.mark.parametrize("q", [1e-4, 0.01, 0.5, 0.999])
def test_integer_orders_are_the_binomial_sum(sigma, q):
    """E[(1 - q + q z)^n] = sum over i of C(n, i) (1 - q)^(n - i) q^i exp((i^2 - i) / (2 s^2))."""
    mpmath.mp.dps = 50
    orders = [2, 3, 16, 63, 256]
    ours = rdp.rdp_of_phases([Phase(sigma, q, 1)], orders)
    for order, value in zip(orders, ours, strict=True):
        p, variance = mpmath.mpf(q), mpmath.mpf(sigma) ** 2
        moment = mpmath.fsum(
            mpmath.binomial(order, i)
            * (1 - p) ** (order - i)
            * p**i
            * mpmath.exp((i * i - i) / (2 * variance))
            for i in range(order + 1)
        )
        assert value == pytest.approx(float(mpmath.log(moment) / (order - 1)), rel=1e-9, abs=1e-12)


def test_without_sampling_it_is_the_gaussian():
    ours = rdp.rdp_of_phases([Phase(2.0, 1.0, 3)], [1.5, 10])
    np.testing.assert_allclose(ours, [3 * 1.5 / 8, 3 * 10 / 8], rtol=1e-12)


def test_orders_are_the_papers():
    assert rdp.PAPER_ORDERS[:3] == (1.1, 1.2, 1.3)
    assert rdp.PAPER_ORDERS[97:100] == (10.8, 10.9, 12)
    assert rdp.PAPER_ORDERS[-1] == 63
    assert len(rdp.PAPER_ORDERS) == 99 + 52


def test_default_grid_is_dp_accountings():
    from dp_accounting import rdp as library

    np.testing.assert_allclose(library.RdpAccountant()._orders, rdp.ORDERS)


@pytest.mark.parametrize(
    ("sigma", "paper", "order", "today"),
    [
        (5, 0.49177, 48, 0.380695),
        (1.1, 2.96993, 8.9, 2.56172),
        (0.5, 24.6624, 1.9, 23.2020),
        (0.05, 2.29998e6, 1.1, 2.29998e6),
    ],
)
def test_goldens_of_the_paper(sigma, paper, order, today):
    phases = [Phase(sigma, PAPER, 14_400)]
    assert rdp.epsilon_paper(phases, delta=1e-5) == (pytest.approx(paper, rel=1e-5), order)
    assert rdp.epsilon_rdp(phases, delta=1e-5)[0] == pytest.approx(today, rel=1e-5)


def test_orders_near_one_take_the_two_millions_down():
    """ARTIFACT.md has it: the figure is the grid's, whose least order is 1.1."""
    phases = [Phase(noise_multiplier=0.05, sampling_probability=250 / 60_000, steps=14_400)]
    orders = 1 + np.geomspace(1e-4, 1, 400)
    epsilons = rdp.rdp_of_phases(phases, orders) - np.log(1e-5) / (orders - 1)
    assert epsilons.min() == pytest.approx(19_600, abs=25)
    assert orders[epsilons.argmin()] == pytest.approx(1.0027, abs=2e-4)
