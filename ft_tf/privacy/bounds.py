"""Bounds on the expected generalization gap that follow from differential privacy.

The paper's Theorem 1 bounds the gap by exp(epsilon) - 1 + delta. Its proof replaces one training
example by a fresh one, while its epsilons add or remove one. With replace-one epsilons the same
formula holds, and exceeds 1 for every row of Tables 7 and 8: it says nothing about a gap that
cannot exceed 1. What the stability argument gives directly is the total variation between
runs on data sets that differ in one example:

    |E[training accuracy] - E[test accuracy]| <= TV = delta at epsilon 0, replace-one.

It holds because both expectations are of one indicator, "this point is classified correctly", on a
point that is in the training set and on one that was replaced. The expectations are over
the draw of the data and the run; a single run's gap may lie above them.
"""

import dataclasses
import math

from ft_tf.checks import check_fraction, check_non_negative, check_type
from ft_tf.privacy.accounting import NOT_PRIVATE, PrivacyCost
from ft_tf.privacy.gaussian import gaussian_total_variation
from ft_tf.privacy.pld import GridError, PrivacyLoss

_TRIVIAL = 0.9995
"""From here on a bound prints as 100.0 points."""


@dataclasses.dataclass(frozen=True)
class GapBounds:
    """Bounds on the expected accuracy gap, as fractions; below 1 a bound says something.

    Attributes:
        theorem_1_as_printed: exp(epsilon_paper) - 1 + delta, with the paper's add-or-remove
            epsilon: as Theorem 1 is used in the paper, which its proof does not support.
        epsilon_replace_one: tight epsilon when one example is replaced, Poisson sampling.
        theorem_1_replace_one: exp(epsilon_replace_one) - 1 + delta: Theorem 1 as its proof has it.
        gap_bound: total variation under replace-one, Poisson sampling: the bound that holds.
        gap_bound_method: how `gap_bound` was computed.
        gap_bound_shuffled: the same for shuffled fixed batches.
        reasons: field name -> why it is None.
    """

    theorem_1_as_printed: float | None
    epsilon_replace_one: float | None
    theorem_1_replace_one: float | None
    gap_bound: float | None
    gap_bound_method: str
    gap_bound_shuffled: float | None
    reasons: dict[str, str]

    @property
    def informative(self) -> dict[str, bool]:
        """For each bound, whether it says something: an accuracy's gap is at most 1 anyway."""
        names = (
            "theorem_1_as_printed", "theorem_1_replace_one", "gap_bound", "gap_bound_shuffled",
        )  # fmt: skip
        bounds = {name: getattr(self, name) for name in names}
        return {name: bound is not None and bound < _TRIVIAL for name, bound in bounds.items()}


def theorem_1(epsilon: float, *, delta: float) -> float:
    """The paper's Theorem 1: exp(epsilon) - 1 + delta; infinite where a float cannot hold it.

    >>> round(theorem_1(0.49, delta=1e-5), 3)
    0.632
    """
    check_fraction(delta=delta)
    if not (isinstance(epsilon, float) and epsilon == math.inf):  # no noise
        check_non_negative(epsilon=epsilon)
    return math.expm1(epsilon) + delta if epsilon < 700 else math.inf


def gap_bounds(cost: PrivacyCost) -> GapBounds:
    """Works out every bound for an accounted run.

    Args:
        cost: the run, as `privacy_cost` returned it.
    """
    check_type(PrivacyCost, cost=cost)
    values: dict[str, float | None] = dict.fromkeys(
        ("theorem_1_as_printed", "epsilon_replace_one", "theorem_1_replace_one", "gap_bound",
         "gap_bound_shuffled")
    )  # fmt: skip
    reasons: dict[str, str] = {}
    method = "total variation, replace-one privacy loss distribution"
    if not cost.private:
        return GapBounds(
            **values, gap_bound_method=method, reasons=dict.fromkeys(values, NOT_PRIVATE)
        )
    values["gap_bound_shuffled"] = gaussian_total_variation(2 * cost.mu_shuffled)
    try:
        loss = PrivacyLoss.of_phases(cost.phases, adjacency="replace_one")
        values["gap_bound"] = loss.total_variation()
        values["epsilon_replace_one"] = loss.epsilon(delta=cost.delta)
    except GridError as error:
        absent = (name for name in ("gap_bound", "epsilon_replace_one") if values[name] is None)
        reasons |= dict.fromkeys(absent, str(error))
    replaced = values["epsilon_replace_one"]
    for name, source, epsilon in (
        ("theorem_1_as_printed", "the paper's epsilon", cost.epsilon_paper),
        ("theorem_1_replace_one", "the epsilon of replacing an example", replaced),
    ):
        bound = None if epsilon is None else theorem_1(epsilon, delta=cost.delta)
        if bound is None:
            reasons[name] = f"{source} is not to be had"
        elif math.isinf(bound):
            reasons[name] = f"exp({epsilon:.4g}) is beyond every number that a float can hold"
        else:
            values[name] = bound
    return GapBounds(**values, gap_bound_method=method, reasons=reasons)
