"""Privacy loss distributions of whole runs, on grids whose size is settled before they are built.

A fixed grid does not serve every run: dp-accounting's default interval of 1e-4 is too coarse at
large noise and needs more memory than a machine has at small noise. Here the range of the composed
loss is predicted first, and the interval is that range over a fixed number of points. Estimates
are pessimistic at any interval: a coarse grid can overstate epsilon, never understate it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy import special

from ft_tf.checks import check_choice, check_delta
from ft_tf.errors import ArgumentError
from ft_tf.privacy import _dp_accounting
from ft_tf.privacy.gaussian import gaussian_epsilon, gaussian_total_variation
from ft_tf.privacy.phases import Phase

Adjacency = Literal["add_or_remove", "replace_one"]

_POINTS = {"add_or_remove": 50_000, "replace_one": 100_000}
"""Grid points of the composed loss: a replaced example needs one grid, the other two. In the
paper's setting the relative error of epsilon is below 4e-4."""

_POINTS_PER_ROOT_STEP = 400
"""Rounding adds up to interval^2 / 4 of variance a step: small compared with the loss."""

_MOST_POINTS = 1 << 18
_WIDEST_INTERVAL = 50.0
"""In nats: beyond it exp(interval) drowns the masses in rounding."""

_TRUNCATION = 9.75
"""Standard deviations kept of the noise: what lies beyond has probability 2e-22."""


LEAST_DELTA = 1e-10
"""Below it the rounding of a composed distribution shows: epsilon came out 2e-5 of it too small at
a delta of 1e-11, and 3% at 1e-14, against an exact lower bound."""


class GridError(ArgumentError):
    """No grid serves this run; the message is the reason that a report gives."""


@dataclasses.dataclass(frozen=True)
class PrivacyLoss:
    """The privacy loss of a whole run, ready for any epsilon or delta; make it by `of_phases`.

    Attributes:
        mu: distance of the pair N(0, 1), N(mu, 1) where the run is one Gaussian mechanism.
        distribution: dp-accounting's composed distribution otherwise.
    """

    mu: float | None
    distribution: Any = dataclasses.field(default=None, repr=False)

    @classmethod
    def of_phases(
        cls, phases: Sequence[Phase], *, adjacency: Adjacency = "add_or_remove"
    ) -> "PrivacyLoss":
        """Composes the run.

        Args:
            phases: the executed steps; every noise multiplier is > 0.
            adjacency: neighbours differ by one example that is there or not ("add_or_remove"), or
                by one example that is another one ("replace_one").

        Raises:
            GridError: no grid can hold the privacy loss.
        """
        check_choice(get_args(Adjacency), adjacency=adjacency)
        if all(phase.sampling_probability == 1 for phase in phases):
            mu = _gaussian_mu(phases)
            return cls(2 * mu if adjacency == "replace_one" else mu)
        return cls(None, _composed(tuple(_with_one_gaussian(phases)), adjacency))

    def epsilon(self, *, delta: float) -> float:
        """Smallest epsilon at `delta`; exact for a Gaussian, an upper bound otherwise.

        Raises:
            GridError: delta has no finite epsilon on the grid.
        """
        check_delta(delta=delta)
        if self.mu is not None:
            return gaussian_epsilon(self.mu, delta=delta)
        if delta < LEAST_DELTA:
            raise GridError(
                f"delta={delta:g} is below {LEAST_DELTA:g}, where the rounding of a privacy loss "
                "distribution can make epsilon too small: use RDP"
            )
        epsilon = _dp_accounting.epsilon_of_pld(self.distribution, delta)
        if not math.isfinite(epsilon):
            raise GridError(
                f"delta={delta:g} has no finite epsilon on the grid: it is below the tails that "
                "the grid leaves out, or exp(-epsilon) is below what a float resolves"
            )
        return epsilon

    def total_variation(self) -> float:
        """Delta at epsilon 0, in [0, 1]: how far any event's probability can move."""
        if self.mu is not None:
            return gaussian_total_variation(self.mu)
        return float(_dp_accounting.deltas_of_pld(self.distribution, np.zeros(1))[0])


@functools.lru_cache(maxsize=4)  # epsilon, trade-off curve and statement ask for the same one
def _composed(phases: tuple[Phase, ...], adjacency: Adjacency) -> Any:
    interval = _interval(phases, adjacency)
    build = _replace_one if adjacency == "replace_one" else _add_or_remove
    first, *rest = (build(phase, interval) for phase in phases)
    return functools.reduce(lambda whole, part: whole.compose(part), rest, first)


def _gaussian_mu(phases: Sequence[Phase]) -> float:
    return math.sqrt(sum(phase.steps / phase.noise_multiplier**2 for phase in phases))


def _with_one_gaussian(phases: Sequence[Phase]) -> list[Phase]:
    """Joins the steps that are not subsampled into one step of the same privacy."""
    sampled = [phase for phase in phases if phase.sampling_probability < 1]
    rest = [phase for phase in phases if phase.sampling_probability == 1]
    return [*sampled, Phase(1 / _gaussian_mu(rest), 1.0, 1)] if rest else sampled


def _log_keep(q: float) -> float:
    """log(1 - q), minus infinity at q = 1."""
    return math.log1p(-q) if q < 1 else -math.inf


def _add_or_remove(phase: Phase, interval: float) -> Any:
    sigma, q = phase.noise_multiplier, phase.sampling_probability
    loss = _remove_loss(sigma, q)
    lowest = math.floor(loss(1 + _TRUNCATION * sigma) / interval)
    highest = math.ceil(loss(-1 - _TRUNCATION * sigma) / interval)
    epsilons = interval * np.arange(lowest, highest + 1)
    remove = remove_hockey_stick(sigma, q, epsilons)
    add = _reversed(epsilons, remove)
    add[epsilons[::-1] <= _log_keep(q)] = 0  # adding costs at most -log(1 - q)
    return _dp_accounting.composed_pld(
        (_falling(remove), lowest), (_falling(add), -highest), interval=interval, steps=phase.steps
    )


def _replace_one(phase: Phase, interval: float) -> Any:
    sigma, q = phase.noise_multiplier, phase.sampling_probability
    highest = math.ceil(_replace_loss(sigma, q)(-1 - _TRUNCATION * sigma) / interval)
    epsilons = interval * np.arange(highest + 1)
    upper = replace_one_hockey_stick(sigma, q, epsilons)
    lower = _reversed(epsilons, upper)[:-1]  # the pair is its own mirror image
    curve = _falling(np.concatenate([lower, upper])), -highest
    return _dp_accounting.composed_pld(curve, interval=interval, steps=phase.steps)


def _reversed(epsilons: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """The curve with the two distributions swapped, at -epsilons in increasing order.

    D_-e(Q, P) = 1 - exp(-e) + exp(-e) D_e(P, Q)
    """
    return (-np.expm1(-epsilons) + np.exp(-epsilons) * deltas)[::-1]


def _falling(deltas: np.ndarray) -> np.ndarray:
    """Clips what rounding did to a hockey-stick curve, upwards: it lies in [0, 1] and falls."""
    return np.maximum.accumulate(np.clip(deltas, 0.0, 1.0)[::-1])[::-1]


def remove_hockey_stick(
    noise_multiplier: float, sampling_probability: float, epsilons: np.ndarray
) -> np.ndarray:
    """Hockey-stick divergences of one Poisson-subsampled Gaussian step when one example leaves.

    The dominating pair is P = (1 - q) N(0, s^2) + q N(-1, s^2) against Q = N(0, s^2) (Zhu, Dong
    and Wang 2022). The loss falls with x and reaches epsilon > log(1 - q) at

        x = -s^2 log(1 + (exp(epsilon) - 1) / q) - 1 / 2

    Args:
        noise_multiplier: s > 0.
        sampling_probability: q in (0, 1).
        epsilons: float array, of either sign.

    Returns:
        P[x <= x(epsilon)] - exp(epsilon) Q[x <= x(epsilon)], same shape.
    """
    sigma, q, variance = noise_multiplier, sampling_probability, noise_multiplier**2
    with np.errstate(divide="ignore"):
        log_excess = np.where(
            epsilons < 1,
            np.log(np.maximum(q + np.expm1(np.minimum(epsilons, 1)), 0)),
            epsilons + np.log1p(-(1 - q) * np.exp(-np.maximum(epsilons, 1))),
        )
    x = -variance * (log_excess - math.log(q)) - 0.5
    kept = (1 - q) * special.ndtr(x / sigma) + q * special.ndtr((x + 1) / sigma)
    return np.where(
        epsilons <= _log_keep(q),
        -np.expm1(np.minimum(epsilons, 0)),
        np.clip(kept - np.exp(epsilons + special.log_ndtr(x / sigma)), 0.0, 1.0),
    )


def replace_one_hockey_stick(
    noise_multiplier: float, sampling_probability: float, epsilons: np.ndarray
) -> np.ndarray:
    """Hockey-stick divergences of one Poisson-subsampled Gaussian step when one example changes.

    The dominating pair is P = (1 - q) N(0, s^2) + q N(-1, s^2) against its mirror image Q (the
    old and the new example at opposite ends of the clipping ball): the pair that dp-accounting
    0.6 uses. The loss falls with x and reaches epsilon at

        x = -s^2 (asinh(a sinh(epsilon / 2)) + epsilon / 2),  a = exp(1 / (2 s^2)) (1 - q) / q

    Args:
        noise_multiplier: s > 0.
        sampling_probability: q in (0, 1).
        epsilons: float array, >= 0.

    Returns:
        P[x <= x(epsilon)] - exp(epsilon) Q[x <= x(epsilon)], same shape.
    """
    sigma, q, variance = noise_multiplier, sampling_probability, noise_multiplier**2
    log_a = 1 / (2 * variance) + _log_keep(q) - math.log(q)
    with np.errstate(divide="ignore"):  # log sinh(0) is -inf, as it should be
        log_b = log_a + epsilons / 2 + np.log(-np.expm1(-epsilons) / 2)
    # asinh(b) is log(2 b) to double precision long before exp overflows.
    asinh = np.where(log_b > 30, log_b + math.log(2), np.arcsinh(np.exp(np.minimum(log_b, 30))))
    x = -variance * (asinh + epsilons / 2)
    kept = (1 - q) * special.ndtr(x / sigma) + q * special.ndtr((x + 1) / sigma)
    log_taken = np.logaddexp(
        _log_keep(q) + special.log_ndtr(x / sigma),
        math.log(q) + special.log_ndtr((x - 1) / sigma),
    )
    return np.clip(kept - np.exp(epsilons + log_taken), 0.0, 1.0)


def _interval(phases: Sequence[Phase], adjacency: Adjacency) -> float:
    """Grid interval: the predicted range of the composed loss over the number of points."""
    points = max(
        _POINTS[adjacency], _POINTS_PER_ROOT_STEP * math.sqrt(sum(phase.steps for phase in phases))
    )
    width = sum(_predicted_range(phase, adjacency) for phase in phases)
    interval = width / min(points, _MOST_POINTS)
    if not interval <= _WIDEST_INTERVAL:
        smallest = min(phase.noise_multiplier for phase in phases)
        raise GridError(
            f"noise_multiplier={smallest:g} spreads the privacy loss over {width:.3g} nats, "
            "more than a grid can hold"
        )
    return interval


def _predicted_range(phase: Phase, adjacency: Adjacency) -> float:
    """Width in nats of the composed loss that dp-accounting will keep.

    It cuts the tails by Chernoff bounds at orders +-1 ... +-20 over the single step's range; the
    same bounds are worked out here from the moments of the loss, before any grid exists.
    """
    sigma, q = phase.noise_multiplier, phase.sampling_probability
    loss = _replace_loss(sigma, q) if adjacency == "replace_one" else _remove_loss(sigma, q)
    low, high = float(loss(1 + _TRUNCATION * sigma)), float(loss(-1 - _TRUNCATION * sigma))
    u = np.linspace(-_TRUNCATION, _TRUNCATION, 801)
    log_weight = -(u**2) / 2 - special.logsumexp(-(u**2) / 2)
    losses = np.concatenate([loss(sigma * u), loss(sigma * u - 1)])
    log_weights = np.concatenate([_log_keep(q) + log_weight, math.log(q) + log_weight])
    orders = np.arange(1, 21)[:, None] / (high - low)
    tail = math.log(2 / _dp_accounting.TAIL_MASS)
    rise = special.logsumexp(orders * losses + log_weights, axis=1)
    fall = special.logsumexp(-orders * losses + log_weights, axis=1)
    largest = np.min((phase.steps * rise + tail) / orders[:, 0], initial=phase.steps * high)
    smallest = np.max(-(phase.steps * fall + tail) / orders[:, 0], initial=phase.steps * low)
    return float(max(largest - smallest, high - low))


def _remove_loss(sigma: float, q: float) -> Callable[[Any], Any]:
    keep, hit, variance = _log_keep(q), math.log(q), sigma**2
    return lambda x: np.logaddexp(keep, hit - (2 * np.asarray(x) + 1) / (2 * variance))


def _replace_loss(sigma: float, q: float) -> Callable[[Any], Any]:
    remove = _remove_loss(sigma, q)
    return lambda x: remove(x) - remove(-np.asarray(x))
