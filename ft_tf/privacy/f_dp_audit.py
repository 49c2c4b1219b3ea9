"""One-run audit against a whole trade-off curve instead of one (epsilon, delta).

Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-differential privacy in one run". Let p_j be the
chance of j right guesses among g guesses on m canaries, each included by a fair coin. Under f-DP,
for every J, with the right and the wrong guesses of the outcomes from J on

    r_J = sum over j >= J of p_j j / m,    h_J = sum over j >= J of p_j (g - j) / m,

it holds that h_{J-1} >= f(1 - r_J): under the other value of its coin, a canary that was guessed
right is guessed wrong, and one guess fewer is right. If `right` or more are right with chance t,
these inequalities ask for a least total r_0 + h_0 of all outcomes, and the total is g / m: a t that
asks for more is refuted.
"""

from collections.abc import Callable, Sequence

from scipy import special

from ft_tf.checks import check_non_negative_integer, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.privacy.audit import Audit, counted_guesses
from ft_tf.privacy.gaussian import bisect, gaussian_epsilon

Curve = Callable[[float], float]
"""Smallest false negative rate at a false positive rate: convex, and its own inverse."""

_MOST_MU = 40.0


def f_dp_p_value(curve: Curve, *, canaries: int, guesses: int, right: int) -> float:
    """Returns the largest chance that an f-DP run yields `right` right guesses or more.

    Args:
        curve: f, as `ft_tf.privacy.trade_off(cost).false_negative_rate`: the claim of an
            accountant, which a p-value below 1 - level refutes.
        canaries: m.
        guesses: g, at most m, fixed before the scores are seen.
        right: number of right guesses.

    >>> reveals_nothing = lambda rate: 1 - rate
    >>> p_value = f_dp_p_value(reveals_nothing, canaries=10, guesses=10, right=10)
    >>> abs(p_value - 2**-10) < 1e-8
    True
    """
    if not callable(curve):
        raise ArgumentError(f"curve={curve!r} must be a function of the false positive rate")
    check_positive_integer(canaries=canaries, guesses=guesses)
    check_non_negative_integer(right=right)
    if not right <= guesses <= canaries:
        raise ArgumentError(f"right={right} <= guesses={guesses} <= canaries={canaries} must hold")

    def refuted(chance: float) -> bool:
        return _is_refuted(curve, chance, canaries=canaries, guesses=guesses, right=right)

    if not refuted(1.0):
        return 1.0
    return bisect(refuted, fails_at=0.0, holds_at=1.0, tolerance=1e-9)


def _is_refuted(curve: Curve, chance: float, *, canaries: int, guesses: int, right: int) -> bool:
    """True if no f-DP run has `right` or more right guesses with this chance."""
    correct = right * chance / canaries
    wrong = (guesses - right) * chance / canaries
    total = guesses / canaries * (1 + 1e-12)
    for fewer in range(right - 1, -1, -1):
        if correct + wrong > total:
            return True
        more = max(wrong, float(curve(1 - correct)))
        correct += fewer / (guesses - fewer) * (more - wrong)
        wrong = more
    return correct + wrong > total


def audit_one_run_f_dp(
    scores: Sequence[float],
    included: Sequence[bool],
    *,
    delta: float,
    level: float = 0.95,
    guesses: int | Sequence[int] | None = None,
) -> Audit:
    """Bounds mu, and the epsilon of a Gaussian mechanism of that mu, from one run.

    Guesses as `ft_tf.privacy.audit.audit_one_run` does. The run is not mu-GDP for any smaller mu,
    with confidence `level`. `epsilon_lower_bound` is the epsilon of N(0, 1) against N(mu, 1) at
    delta, which DP-SGD of many steps is close to; a claimed curve of any form is refuted by
    `f_dp_p_value`.

    Args:
        scores: float [m], one score per canary, included or not.
        included: bool [m], the coin flips.
        delta: in (0, 1).
        level: confidence of the bound.
        guesses: as for `audit_one_run`.

    Returns:
        The audit; `details["mu"]` is the bound on mu.
    """
    counts = counted_guesses(scores, included, delta=delta, level=level, guesses=guesses)
    canaries, significance = len(scores), (1 - level) / len(counts)
    found = []
    for count, right in counts:

        def holds(mu: float, count: int = count, right: int = right) -> bool:
            def gaussian(rate: float) -> float:
                return float(special.ndtr(-special.ndtri(rate) - mu))

            return not _is_refuted(
                gaussian, significance, canaries=canaries, guesses=count, right=right
            )

        bound = 0.0
        if not holds(0.0):
            edge = bisect(holds, fails_at=0.0, holds_at=_MOST_MU, tolerance=1e-5)
            bound = max(0.0, edge - 1e-5)
        found.append((bound, count, right))
    mu, count, right = max(found)
    return Audit(
        epsilon_lower_bound=gaussian_epsilon(mu, delta=delta),
        delta=delta,
        level=level,
        method="one run, f-DP, Mahloujifar, Melis and Chaudhuri 2024",
        trials=canaries,
        details={"guesses": float(count), "right": float(right), "mu": mu},
    )
