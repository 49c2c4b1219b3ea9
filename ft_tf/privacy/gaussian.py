"""Closed forms for the Gaussian mechanism: the cost of a run without random sampling.

A composition of Gaussian mechanisms with noise multipliers s_1, ..., s_k is one Gaussian mechanism:
N(0, 1) against N(mu, 1) with mu = sqrt(sum 1 / s_i^2) when an example is added or removed. When one
example replaces another the contributions may point in opposite directions, and mu doubles.
"""

import math
from collections.abc import Callable

from scipy import special

from ft_tf.checks import check_delta, check_non_negative


def bisect(
    holds: Callable[[float], bool], *, fails_at: float, holds_at: float, tolerance: float
) -> float:
    """Returns the point nearest to the edge at which a monotone condition is known to hold.

    Args:
        holds: the condition; it is false at `fails_at`, true at `holds_at`, and changes once.
        fails_at: one end of the bracket.
        holds_at: the other end, on either side.
        tolerance: largest distance between the answer and a point where the condition fails.

    >>> round(bisect(lambda x: x * x >= 2, fails_at=0, holds_at=2, tolerance=1e-9), 6)
    1.414214
    """
    while abs(holds_at - fails_at) > tolerance:
        middle = (fails_at + holds_at) / 2
        if middle in (fails_at, holds_at):  # the floats between the two are used up
            break
        if holds(middle):
            holds_at = middle
        else:
            fails_at = middle
    return holds_at


def gaussian_delta(mu: float, *, epsilon: float) -> float:
    """Smallest delta of N(0, 1) against N(mu, 1) at `epsilon` (Balle and Wang 2018, theorem 8).

    delta = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu)

    >>> round(gaussian_delta(1.0, epsilon=1.0), 6)
    0.126937
    """
    check_non_negative(mu=mu, epsilon=epsilon)
    if mu == 0:
        return 0.0
    kept = special.ndtr(mu / 2 - epsilon / mu)
    taken = math.exp(epsilon + special.log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, float(kept - taken))


def gaussian_epsilon(mu: float, *, delta: float) -> float:
    """Smallest epsilon of N(0, 1) against N(mu, 1) at `delta`, to 1e-12 relative.

    >>> round(gaussian_epsilon(1.0, delta=1e-5), 4)
    4.3772
    """
    check_non_negative(mu=mu)
    check_delta(delta=delta)
    if gaussian_delta(mu, epsilon=0.0) <= delta:
        return 0.0
    # At this epsilon the first term alone is at most delta, by the Chernoff bound of Phi.
    enough = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))
    return bisect(
        lambda epsilon: gaussian_delta(mu, epsilon=epsilon) <= delta,
        fails_at=0.0,
        holds_at=enough,
        tolerance=1e-12 * enough,
    )


def gaussian_total_variation(mu: float) -> float:
    """Total variation between N(0, 1) and N(mu, 1): 2 Phi(mu / 2) - 1.

    >>> round(gaussian_total_variation(1.0), 6)
    0.382925
    """
    check_non_negative(mu=mu)
    return float(special.erf(mu / math.sqrt(8)))
