"""Rényi divergence of the Poisson-subsampled Gaussian, by quadrature, and its conversions.

The divergence is computed here and not taken from dp-accounting because its releases disagree at
fractional orders: 0.6 sums the absolute values of an alternating series and gives 24.86 where the
integral gives 24.66 (noise multiplier 0.5, the paper's setting).
"""

import functools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import special

from ft_tf.privacy import _dp_accounting
from ft_tf.privacy.phases import Phase

PAPER_ORDERS: tuple[float, ...] = tuple(x / 10 for x in range(11, 110)) + tuple(range(12, 64))
"""1.1, 1.2, ..., 10.9, 12, ..., 63: with the classic conversion they give the paper's epsilons."""

ORDERS: tuple[float, ...] = (
    tuple(x / 10 for x in range(11, 110)) + tuple(range(11, 64)) + (128, 256, 512, 1024)
)
"""dp-accounting's default grid."""

_TAIL = 13.0
"""Standard deviations beyond which the integrand adds less than 1e-36."""

_PURE = 40.0
"""Log ratio of the mixture's two terms beyond which one of them is the whole sum."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)

_ROUNDING = 1e-13
"""Added to each log moment, so that rounding can only overstate a divergence."""


def rdp_of_phases(phases: Iterable[Phase], orders: Sequence[float]) -> np.ndarray:
    """Rényi divergence of a whole run at each order: the sum over phases and steps.

    Args:
        phases: the executed steps; every noise multiplier is > 0.
        orders: orders > 1.

    Returns:
        float64 array, one divergence (nats) per order.
    """
    total = np.zeros(len(orders))
    for phase in phases:
        total += phase.steps * _rdp_of_step(
            phase.noise_multiplier, phase.sampling_probability, tuple(orders)
        )
    return total


@functools.lru_cache(maxsize=64)
def _rdp_of_step(sigma: float, q: float, orders: tuple[float, ...]) -> np.ndarray:
    alphas = np.asarray(orders, np.float64)
    if q == 1:
        return alphas / (2 * sigma**2)
    log_moments = np.empty_like(alphas)
    # Orders of like size share one quadrature grid.
    octave = np.ceil(np.log2(alphas))
    for group in np.unique(octave):
        members = octave == group
        log_moments[members] = _log_moments(sigma, q, alphas[members])
    return log_moments / (alphas - 1)


def _log_moments(sigma: float, q: float, orders: np.ndarray) -> np.ndarray:
    """Logs of E[(1 - q + q exp((2 x - 1) / (2 sigma^2)))^order] over x ~ N(0, sigma^2).

    The remove direction, which is the larger one (Mironov, Talwar and Zhang 2019).
    Where one term of the mixture is the whole sum the integral is a normal probability; between,
    Gauss-Legendre panels follow the integrand's two scales, sigma and sigma^2.
    """
    variance = sigma**2
    keep, hit = math.log1p(-q), math.log(q)
    balance = variance * (keep - hit) + 0.5  # where the two terms are equal
    left, right = balance - _PURE * variance, balance + _PURE * variance
    parts = [
        orders * keep + special.log_ndtr(left / sigma),
        orders * hit
        + (orders**2 - orders) / (2 * variance)
        + special.log_ndtr((orders - right) / sigma),
    ]
    low, high = max(left, -_TAIL * sigma), min(right, orders.max() + _TAIL * sigma)
    if high > low:
        panels = math.ceil((high - low) / min(sigma, 2 * variance))
        half = (high - low) / panels / 2
        x = (low + half * (2 * np.arange(panels)[:, None] + 1 + _NODES)).ravel()
        log_ratio = np.logaddexp(keep, hit + (2 * x - 1) / (2 * variance))
        log_weight = np.log(half * np.tile(_WEIGHTS, panels) / (sigma * math.sqrt(2 * math.pi)))
        log_mass = log_weight - x**2 / (2 * variance)
        parts.append(special.logsumexp(np.outer(orders, log_ratio) + log_mass, axis=1))
    return np.maximum(special.logsumexp(parts, axis=0), 0.0) + _ROUNDING


def epsilon_paper(phases: Sequence[Phase], *, delta: float) -> tuple[float, float | None]:
    """The paper's epsilon and its order: min over PAPER_ORDERS of rdp - ln(delta) / (order - 1).

    The conversion is Mironov 2017, proposition 3, as TF Privacy shipped it in 2019.
    """
    if not phases:
        return 0.0, None
    orders = np.asarray(PAPER_ORDERS)
    candidates = rdp_of_phases(phases, PAPER_ORDERS) - math.log(delta) / (orders - 1)
    best = int(np.argmin(candidates))
    return float(candidates[best]), float(orders[best])


def epsilon_rdp(phases: Sequence[Phase], *, delta: float) -> tuple[float, float | None]:
    """Today's RDP epsilon and its order (Canonne, Kamath and Steinke 2020, proposition 12)."""
    if not phases:
        return 0.0, None
    return _dp_accounting.epsilon_of_rdp(ORDERS, rdp_of_phases(phases, ORDERS), delta)
