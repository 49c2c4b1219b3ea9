"""The least noise that keeps a run within a privacy budget."""

import functools
import math
from collections.abc import Callable

from scipy import optimize, special

from ft_tf.checks import (
    check_choice,
    check_delta,
    check_positive,
    check_positive_integer,
    check_probability,
)
from ft_tf.errors import ArgumentError
from ft_tf.privacy import rdp
from ft_tf.privacy.accounting import ACCOUNTANTS, epsilon_of
from ft_tf.privacy.gaussian import gaussian_total_variation
from ft_tf.privacy.phases import Phase
from ft_tf.privacy.pld import LEAST_DELTA, GridError, PrivacyLoss

_TOLERANCE = 2e-4
"""Of the noise multiplier, relative: epsilon then stays within 0.1% of the target."""

_LARGE = 50.0

_LEAST_NOISE, _MOST_NOISE = 1e-2, 1e6


def noise_multiplier_for(
    *,
    target_epsilon: float,
    delta: float,
    sampling_probability: float,
    steps: int,
    accountant: str = "pld",
) -> float:
    """Returns the smallest noise multiplier whose epsilon does not exceed the target, to 0.02%.

    The epsilon at the returned value is at most `target_epsilon`; at 0.999 of it, it is more.

    Args:
        target_epsilon: > 0, by `accountant`.
        delta: in (0, 1).
        sampling_probability: in (0, 1].
        steps: number of steps, >= 1.
        accountant: "pld" (tight, for a delta of at least 1e-10), "rdp", "paper" (both Poisson
            sampling as well) or "shuffled" (fixed batches).

    Raises:
        ArgumentError: an argument is out of range, or no noise multiplier between 0.01 and 1e6
            meets the target exactly; the message names the epsilons that are possible.

    >>> sigma = noise_multiplier_for(
    ...     target_epsilon=2.97, delta=1e-5, sampling_probability=1 / 240, steps=14_400,
    ...     accountant="paper")
    >>> round(sigma, 2)
    1.1
    """
    check_positive(target_epsilon=target_epsilon)
    check_delta(delta=delta)
    check_positive_integer(steps=steps)
    check_choice(ACCOUNTANTS, accountant=accountant)
    if accountant == "pld" and delta < LEAST_DELTA and sampling_probability < 1:
        raise ArgumentError(
            f"delta={delta:g} is below {LEAST_DELTA:g}, which accountant=pld cannot resolve: use "
            "accountant=rdp"
        )

    def gap_by(accountant: str) -> Callable[[float], float]:
        def epsilon(sigma: float) -> float:
            phase = Phase(sigma, sampling_probability, steps)
            return epsilon_of([phase], delta=delta, accountant=accountant)

        return _log_ratio(epsilon, target_epsilon)

    gap, least, most = gap_by(accountant), math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    if gap(most) > 0:
        raise ArgumentError(_out_of_reach(target_epsilon, delta, accountant))
    if gap(least) <= 0:
        raise ArgumentError(
            f"target_epsilon={target_epsilon:g} is met by noise_multiplier={_LEAST_NOISE:g}: it "
            "protects nothing; choose a smaller target"
        )
    # RDP is quick, and its answer lies within a few percent of the one by PLD.
    start = 0.0
    if accountant == "pld" and (quick := gap_by("rdp"))(most) <= 0:
        start = min(_root(quick, start, step=0.5), most)
    return _least_noise(gap, start, step=0.1)


def noise_multiplier_for_advantage(
    *, max_advantage: float, sampling_probability: float, steps: int, accountant: str = "pld"
) -> float:
    """Returns the smallest noise multiplier that holds every membership test to an advantage.

    Calibrates to the attack itself instead of to (epsilon, delta) (Kulynych et al. 2024).

    Args:
        max_advantage: in (0, 1): true minus false positive rate of the best test.
        sampling_probability: in (0, 1].
        steps: number of steps, >= 1.
        accountant: "pld" (Poisson sampling) or "shuffled" (fixed batches).

    Returns:
        The noise multiplier, to 0.02%; its advantage is at most `max_advantage`.

    Raises:
        ArgumentError: an argument is out of range, or no noise multiplier from 0.01 to 1e6 serves.

    >>> sigma = noise_multiplier_for_advantage(max_advantage=0.1, sampling_probability=1.0, steps=4)
    >>> round(sigma, 2)  # 2 / sigma = 2 Phi^-1(0.55)
    7.96
    """
    check_probability(max_advantage=max_advantage)
    check_positive_integer(steps=steps)
    check_choice(("pld", "shuffled"), accountant=accountant)
    passes = Phase(1.0, sampling_probability, steps).passes
    mu = 2 * float(special.ndtri((1 + max_advantage) / 2))

    def advantage(sigma: float) -> float:
        if accountant == "shuffled":
            return gaussian_total_variation(math.sqrt(passes) / sigma)
        return PrivacyLoss.of_phases([Phase(sigma, sampling_probability, steps)]).total_variation()

    gap = _log_ratio(advantage, max_advantage)
    least, most = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    if gap(most) > 0 or gap(least) <= 0:
        raise ArgumentError(
            f"max_advantage={max_advantage:g} needs a noise_multiplier outside "
            f"{_LEAST_NOISE:g} ... {_MOST_NOISE:g}"
        )
    # q sqrt(T (exp(1 / sigma^2) - 1)) = mu, the limit of many steps, lies near the answer.
    start = -math.log(math.log1p((mu / sampling_probability) ** 2 / steps)) / 2
    return _least_noise(gap, min(max(start, least), most), step=0.05)


def _log_ratio(cost: Callable[[float], float], target: float) -> Callable[[float], float]:
    """log(cost / target) as a function of log(noise_multiplier), each point computed once."""

    @functools.cache
    def gap(log_sigma: float) -> float:
        try:
            found = cost(math.exp(log_sigma))
        except GridError:  # so little noise that the cost is far above every sensible target
            return _LARGE
        return math.log(found / target) if found else -_LARGE

    return gap


def _least_noise(gap: Callable[[float], float], start: float, step: float) -> float:
    log_sigma = _root(gap, start, step) + _TOLERANCE / 2
    while gap(log_sigma) > 0:
        log_sigma += _TOLERANCE / 4
    return math.exp(log_sigma)


def _root(gap: Callable[[float], float], start: float, step: float) -> float:
    """Returns the zero of `gap`, to a quarter of the tolerance, searching outward from `start`.

    It lies between the least and the most noise.
    """
    least, most = math.log(_LEAST_NOISE), math.log(_MOST_NOISE)
    low = high = start
    while gap(high) > 0:
        low, high, step = high, min(high + step, most), 2 * step
    while gap(low) <= 0:
        low, high, step = max(low - step, least), low, 2 * step
    return optimize.brentq(gap, low, high, xtol=_TOLERANCE / 4)


def _out_of_reach(target_epsilon: float, delta: float, accountant: str) -> str:
    if accountant in ("paper", "rdp"):
        orders = rdp.PAPER_ORDERS if accountant == "paper" else rdp.ORDERS
        floor = -math.log(delta) / (orders[-1] - 1)
        return (
            f"target_epsilon={target_epsilon:g} is out of reach of accountant={accountant}, whose "
            f"orders end at {orders[-1]:g} (about {floor:.3g} at delta={delta:g}): use pld"
        )
    return f"target_epsilon={target_epsilon:g} needs a noise_multiplier above {_MOST_NOISE:g}"
