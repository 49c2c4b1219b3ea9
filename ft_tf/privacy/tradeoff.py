"""What an epsilon means to an attacker: error rates of every membership test, from the run's loss.

An attacker who tests whether one example was in the training set has a false positive rate a (says
"in" when it was out) and a false negative rate. The trade-off curve f(a) is the smallest false
negative rate that the run allows at a (Dong, Roth and Su 2022). With delta(epsilon) of the privacy
loss distribution, in either direction of adding or removing an example,

    f(a) = max over epsilon >= 0 of  1 - delta - exp(epsilon) a  and  exp(-epsilon) (1 - delta - a).

A curve of finitely many epsilons lies below the exact one: it overstates the attacker, never the
protection.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
from scipy import special

from ft_tf.checks import check_choice, check_type
from ft_tf.errors import ArgumentError
from ft_tf.privacy import _dp_accounting
from ft_tf.privacy.accounting import PrivacyCost
from ft_tf.privacy.gaussian import gaussian_total_variation
from ft_tf.privacy.phases import Phase
from ft_tf.privacy.pld import GridError, PrivacyLoss

LEAST_RATE = 1e-5
"""Smallest error rate at which `TradeOff.gaussian_mu` compares: the tails of a subsampled Gaussian
are heavier than those of every Gaussian, and a single example never meets them."""

FALSE_POSITIVE_RATES = (1e-3, 1e-2, 1e-1)
ATTACK_FIGURES = ("gaussian_mu", "membership_advantage", "true_positive_rate_at_1_in_1000",
                  "true_positive_rate_at_1_in_100", "true_positive_rate_at_1_in_10")  # fmt: skip
"""Names of a record's values: mu, the advantage, and the rates at `FALSE_POSITIVE_RATES`."""

_LINES = 3000


@dataclasses.dataclass(frozen=True, eq=False)
class TradeOff:
    """The trade-off curve of a run; make it by `of`.

    Attributes:
        mu: distance of the pair N(0, 1), N(mu, 1) where the run is one Gaussian mechanism.
        epsilons: float array, >= 0, increasing; empty where `mu` is known.
        deltas: delta at each.
    """

    mu: float | None
    epsilons: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))
    deltas: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, loss: PrivacyLoss) -> "TradeOff":
        """Returns the curve of an add-or-remove privacy loss.

        >>> curve = TradeOff.of(PrivacyLoss(1.0))
        >>> round(float(curve.true_positive_rate(0.01)), 3)  # Phi(Phi^-1(0.01) + 1)
        0.092
        """
        if loss.mu is not None:
            return cls(loss.mu)
        epsilons = np.linspace(0, _largest_epsilon(loss), _LINES)
        return cls(None, epsilons, _dp_accounting.deltas_of_pld(loss.distribution, epsilons))

    def false_negative_rate(self, false_positive_rate: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Smallest false negative rate at each false positive rate, in [0, 1]."""
        rate = np.asarray(false_positive_rate, np.float64)
        if not ((rate >= 0) & (rate <= 1)).all():
            raise ArgumentError("false_positive_rate must lie in [0, 1]")
        if self.mu is not None:
            return special.ndtr(-special.ndtri(rate) - self.mu)
        rate = rate[..., None]
        by_odds = np.max(1 - self.deltas - np.exp(self.epsilons) * rate, axis=-1)
        by_rest = np.max(np.exp(-self.epsilons) * (1 - self.deltas - rate), axis=-1)
        return np.maximum(np.maximum(by_odds, by_rest), 0.0)

    def true_positive_rate(self, false_positive_rate: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Largest true positive rate of any membership test at each false positive rate."""
        return 1 - self.false_negative_rate(false_positive_rate)

    @property
    def advantage(self) -> float:
        """Greatest membership advantage, true minus false positive rate: the total variation."""
        if self.mu is not None:
            return gaussian_total_variation(self.mu)
        return float(self.deltas[0])

    @property
    def gaussian_mu(self) -> float:
        """The mu of the Gaussian that fits: smallest mu whose curve lies nowhere above.

        The run is then mu-GDP for error rates from `LEAST_RATE` on: no membership test does better
        than one that tells N(0, 1) from N(mu, 1).
        """
        if self.mu is not None:
            return self.mu
        # By the curve's symmetry the part below its fixed point f(a) = a says all.
        rates = np.geomspace(LEAST_RATE, 0.5, 400)
        power = self.true_positive_rate(rates)
        seen = power <= 1 - LEAST_RATE
        if not seen.any():
            return float(-2 * special.ndtri(LEAST_RATE))
        return max(0.0, float(np.max(special.ndtri(power[seen]) - special.ndtri(rates[seen]))))


def _largest_epsilon(loss: PrivacyLoss) -> float:
    for delta in (1e-9, 1e-7, 1e-5, 1e-3):  # the grid may leave out the smaller tails
        try:
            return min(loss.epsilon(delta=delta), 700.0)
        except GridError:
            continue
    raise GridError("the privacy loss distribution leaves out a thousandth of its mass")


def trade_off(cost: PrivacyCost, *, sampling: str = "poisson") -> TradeOff:
    """Returns the trade-off curve of an accounted run.

    Args:
        cost: the run; every step added noise.
        sampling: "poisson" or "shuffle" (fixed batches, one Gaussian a pass).

    Raises:
        GridError: no grid can hold the privacy loss.
        ArgumentError: the run is not private.

    >>> from ft_tf.privacy import privacy_cost
    >>> cost = privacy_cost(
    ...     noise_multiplier=1.1, sampling_probability=250 / 60_000, steps=14_400, delta=1e-5)
    >>> curve = trade_off(cost)
    >>> round(curve.gaussian_mu, 2), round(curve.advantage, 2)
    (0.58, 0.22)
    """
    check_type(PrivacyCost, cost=cost)
    check_choice(("poisson", "shuffle"), sampling=sampling)
    if not cost.private:
        raise ArgumentError("cost must be of a run whose every step added noise")
    if sampling == "shuffle":
        return TradeOff.of(PrivacyLoss(cost.mu_shuffled))
    return _of_phases(cost.phases)


@functools.lru_cache(maxsize=4)  # a record and its statement ask for the same one
def _of_phases(phases: tuple[Phase, ...]) -> TradeOff:
    return TradeOff.of(PrivacyLoss.of_phases(phases))


def attack_figures(curve: TradeOff) -> dict[str, float]:
    """Returns the values of `ATTACK_FIGURES`."""
    rates = curve.true_positive_rate(FALSE_POSITIVE_RATES).tolist()
    return dict(zip(ATTACK_FIGURES, [curve.gaussian_mu, curve.advantage, *rates], strict=True))


def claimed_curve(cost: PrivacyCost, sampling: str) -> TradeOff | None:
    """Returns the curve for a run's own sampling; None where there is none to claim."""
    if not cost.private or sampling == "unaccounted":
        return None
    try:
        return trade_off(cost, sampling=sampling)
    except GridError:
        return None
