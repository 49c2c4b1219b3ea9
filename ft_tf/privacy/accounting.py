"""The privacy cost of a run of DP-SGD: the paper's epsilon, and tighter and more honest ones."""

import dataclasses
import math
from collections.abc import Sequence

from ft_tf.checks import check_choice, check_delta, check_positive_integer, check_range
from ft_tf.privacy import rdp
from ft_tf.privacy.gaussian import gaussian_epsilon
from ft_tf.privacy.phases import MOST_EXAMPLES, MOST_STEPS, Phase, merged
from ft_tf.privacy.pld import GridError, PrivacyLoss

ACCOUNTANTS = ("pld", "rdp", "paper", "shuffled")
"""The four ways to arrive at an epsilon; see `PrivacyCost`."""

NOT_PRIVATE = "noise_multiplier=0 adds no noise: the run is not private, epsilon is infinite"

_MEANINGFUL = 10.0


@dataclasses.dataclass(frozen=True)
class PrivacyCost:
    """Every epsilon of one run at one delta; values that could not be computed are None.

    The first three assume Poisson sampling and neighbours that differ by one added or removed
    example. All are upper bounds on one and the same quantity, so the smallest holds.

    Attributes:
        phases: the executed steps, equal phases joined.
        delta: in (0, 1).
        epsilon_paper: RDP on the paper's orders, epsilon = min rdp - ln(delta) / (order - 1).
        order_paper: the RDP order that attains it.
        epsilon_rdp: RDP, conversion of Canonne, Kamath and Steinke (2020).
        order_rdp: the RDP order that attains it.
        epsilon_pld: privacy loss distribution: tight up to its grid.
        epsilon_shuffled: of the same steps when the data are shuffled into fixed batches: one plain
            Gaussian per pass, no sampling. Neighbours there differ by one example's contribution
            left out of its batch.
        mu_shuffled: the shuffled run is as private as N(0, 1) against N(mu_shuffled, 1).
        passes: passes over the data that `epsilon_shuffled` counts.
        warnings: what to know before quoting these figures.
        reasons: field name -> why it is None.
    """

    phases: tuple[Phase, ...]
    delta: float
    epsilon_paper: float | None
    order_paper: float | None
    epsilon_rdp: float | None
    order_rdp: float | None
    epsilon_pld: float | None
    epsilon_shuffled: float | None
    mu_shuffled: float | None
    passes: int
    warnings: tuple[str, ...]
    reasons: dict[str, str]

    @property
    def private(self) -> bool:
        """True if every executed step added noise."""
        return all(phase.noise_multiplier > 0 for phase in self.phases)

    @property
    def delta_warning(self) -> str:
        """The warning that delta is too large for the number of examples, or ""."""
        return next((text for text in self.warnings if text.startswith("delta=")), "")

    @property
    def steps(self) -> int:
        """Steps over all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def noise_multiplier(self) -> float | None:
        """The noise multiplier, None when phases differ in it or there is none."""
        return _common([phase.noise_multiplier for phase in self.phases])

    @property
    def sampling_probability(self) -> float | None:
        """The sampling probability, None when phases differ in it or there is none."""
        return _common([phase.sampling_probability for phase in self.phases])


def _common(values: list[float]) -> float | None:
    return values[0] if len(set(values)) == 1 else None


def privacy_cost(
    *,
    noise_multiplier: float,
    sampling_probability: float,
    steps: int,
    delta: float,
    passes: int | None = None,
    examples: int | None = None,
) -> PrivacyCost:
    """Accounts for a run of equal steps; see `privacy_cost_of_phases`.

    >>> cost = privacy_cost(
    ...     noise_multiplier=1.1, sampling_probability=250 / 60_000, steps=14_400, delta=1e-5)
    >>> round(cost.epsilon_paper, 2), cost.order_paper, round(cost.epsilon_pld, 2)
    (2.97, 8.9, 2.35)
    """
    phase = Phase(noise_multiplier, sampling_probability, steps)
    return privacy_cost_of_phases([phase], delta=delta, passes=passes, examples=examples)


def privacy_cost_of_phases(
    phases: Sequence[Phase],
    *,
    delta: float,
    passes: int | None = None,
    examples: int | None = None,
) -> PrivacyCost:
    """Accounts for a run of one or more phases.

    Args:
        phases: executed steps, also those whose result was lost; a + b steps may be given as one
            phase or as two.
        delta: in (0, 1).
        passes: passes begun over the data, for `epsilon_shuffled`. Left out, each phase counts
            ceil(steps / floor(1 / sampling_probability)). Given together with several phases, all
            passes are taken to have had the least noise of any phase.
        examples: number of training examples, where known: delta is warned about against it.

    Raises:
        ArgumentError: a phase, delta, passes or examples is out of range.
    """
    check_delta(delta=delta)
    phases = merged(phases)
    if passes is not None:
        check_positive_integer(passes=passes)
        check_range(1, MOST_STEPS, passes=passes)
    if examples is not None:
        check_positive_integer(examples=examples)
        check_range(1, MOST_EXAMPLES, examples=examples)
    counted = passes if passes is not None else sum(phase.passes for phase in phases)
    values: dict[str, float | None] = dict.fromkeys(
        ("epsilon_paper", "order_paper", "epsilon_rdp", "order_rdp", "epsilon_pld",
         "epsilon_shuffled", "mu_shuffled")
    )  # fmt: skip
    reasons: dict[str, str] = {}
    if any(phase.noise_multiplier == 0 for phase in phases):
        reasons = dict.fromkeys(values, NOT_PRIVATE)
    else:
        values["epsilon_paper"], values["order_paper"] = rdp.epsilon_paper(phases, delta=delta)
        values["epsilon_rdp"], values["order_rdp"] = rdp.epsilon_rdp(phases, delta=delta)
        values["mu_shuffled"] = mu = _mu_shuffled(phases, passes)
        values["epsilon_shuffled"] = gaussian_epsilon(mu, delta=delta)
        try:
            values["epsilon_pld"] = PrivacyLoss.of_phases(phases).epsilon(delta=delta)
        except GridError as error:
            reasons["epsilon_pld"] = str(error)
    warnings = _warnings(values, phases, delta, examples)
    return PrivacyCost(
        phases=phases, delta=delta, passes=counted, warnings=warnings, reasons=reasons, **values
    )


def epsilon_of(phases: Sequence[Phase], *, delta: float, accountant: str) -> float:
    """One epsilon by one of ACCOUNTANTS, infinite where a step adds no noise.

    Raises:
        ArgumentError: the accountant is unknown, or delta out of range.
        ft_tf.privacy.pld.GridError: the privacy loss distribution cannot be computed.
    """
    check_choice(ACCOUNTANTS, accountant=accountant)
    check_delta(delta=delta)
    phases = merged(phases)
    if any(phase.noise_multiplier == 0 for phase in phases):
        return math.inf
    if accountant == "paper":
        return rdp.epsilon_paper(phases, delta=delta)[0]
    if accountant == "rdp":
        return rdp.epsilon_rdp(phases, delta=delta)[0]
    if accountant == "shuffled":
        return gaussian_epsilon(_mu_shuffled(phases, None), delta=delta)
    return PrivacyLoss.of_phases(phases).epsilon(delta=delta)


def _mu_shuffled(phases: Sequence[Phase], passes: int | None) -> float:
    """Distance of the Gaussian pair of a shuffled run: sqrt(sum of passes / noise_multiplier^2).

    Every example takes part in at most one step of a pass, so that a pass is one Gaussian
    mechanism. Which phase a given pass belongs to is not known: with `passes` given, the least
    noise of any phase is assumed for all of them.
    """
    if phases and passes is not None:
        return math.sqrt(passes) / min(phase.noise_multiplier for phase in phases)
    return math.sqrt(sum(phase.passes / phase.noise_multiplier**2 for phase in phases))


def _warnings(
    values: dict[str, float | None],
    phases: Sequence[Phase],
    delta: float,
    examples: int | None,
) -> tuple[str, ...]:
    warnings = []
    if any(phase.noise_multiplier == 0 for phase in phases):
        warnings.append(NOT_PRIVATE)
    for name, order, orders in (
        ("epsilon_paper", values["order_paper"], rdp.PAPER_ORDERS),
        ("epsilon_rdp", values["order_rdp"], rdp.ORDERS),
    ):
        if order in (orders[0], orders[-1]):
            warnings.append(
                f"{name}={values[name]:.4g} is attained at order {order:g}, the edge of its grid "
                f"{orders[0]:g} ... {orders[-1]:g}: the grid, not the run, sets this figure"
            )
    tight = values["epsilon_pld"]
    if tight is not None and tight > _MEANINGFUL:
        warnings.append(
            f"epsilon_pld={tight:.4g} above {_MEANINGFUL:g} is no protection worth the name: "
            "it allows the odds of any outcome to change by a factor of exp(epsilon)"
        )
    if examples is not None and delta * examples >= 1:
        warnings.append(
            f"delta={delta:g} is at least 1/{examples}: at such a delta, publishing one example "
            "at random would count as private; choose it well below"
        )
    return tuple(warnings)
