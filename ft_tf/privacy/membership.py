"""Membership inference: by a threshold on the loss, and by a few reference models (RMIA).

The attacker of Yeom et al. 2018 (section 3) sees an example's loss and says "member" where it is
low. Its advantage is the true positive rate minus the false positive rate. The rule "member where
the prediction is right" is its coarsest form: its advantage is R_train - R_test, the
generalization error of equation 2. By Kairouz et al. 2015 an (epsilon, delta) guarantee allows
every such rule a true positive rate of at most exp(epsilon) times its false positive rate, plus
delta.

`rmia_scores` is the offline form of Zarifzadeh, Liu and Shokri 2024, "Low-cost high-power
membership inference attacks".
"""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from ft_tf import intervals
from ft_tf.checks import check_fraction, check_non_negative, check_positive, numbers_in
from ft_tf.errors import ArgumentError

FALSE_POSITIVE_RATE = 1e-3

_LEAST = 1e-30
"""Probabilities below are raised to it: a ratio of two zeros says nothing."""


@dataclasses.dataclass(frozen=True)
class MembershipInference:
    """Outcome of the loss-threshold attack; rates and advantages are fractions.

    Attributes:
        advantage: of the best threshold, chosen on every other example and measured on the rest.
        advantage_of_mean_loss: of the threshold that Yeom et al. use, the mean training loss.
        threshold: the one that was chosen, on the scale of the log-odds.
        true_positive_rate: members found by the largest threshold that takes at most
            `false_positive_rate` of the others for members.
        true_positive_interval: 95% interval of what the threshold finds that takes exactly this
            share of all others, over both samples: see `loss_threshold_attack`.
        false_positive_rate: at which it is measured.
        members: number of members.
        others: number of non-members.
    """

    advantage: float
    advantage_of_mean_loss: float
    threshold: float
    true_positive_rate: float
    true_positive_interval: tuple[float, float]
    false_positive_rate: float
    members: int
    others: int


def advantage_of_rule(*, on_members: np.ndarray, on_others: np.ndarray) -> float:
    """True minus false positive rate of a rule that said "member" where its array is true.

    With the correctness of predictions as the rule it is the generalization error:

    >>> advantage_of_rule(on_members=np.array([1, 1, 1, 0]), on_others=np.array([1, 0]))
    0.25
    """
    members, others = numbers_in(on_members=on_members), numbers_in(on_others=on_others)
    return float(members.mean() - others.mean())


def allowed_true_positive_rate(
    *, epsilon: float, delta: float, false_positive_rate: float = FALSE_POSITIVE_RATE
) -> float:
    """The largest true positive rate that (epsilon, delta) allows at a false positive rate.

    min(exp(epsilon) FPR + delta, 1 - exp(-epsilon) (1 - delta - FPR), 1): Kairouz et al. 2015.

    Args:
        epsilon: of the pair of data sets that the attacker tells apart.
        delta: failure probability.
        false_positive_rate: share of non-members that the attacker takes for members.

    Raises:
        ArgumentError: an argument is out of range.

    >>> round(allowed_true_positive_rate(epsilon=0.7, delta=1e-5), 5)  # exp(0.7) / 1000 + 1e-5
    0.00202
    """
    check_non_negative(epsilon=epsilon)
    check_fraction(delta=delta, false_positive_rate=false_positive_rate)
    by_odds = math.exp(min(epsilon, 700.0)) * false_positive_rate + delta
    by_rest = 1 - math.exp(-epsilon) * (1 - delta - false_positive_rate)
    return min(by_odds, by_rest, 1.0)


def loss_threshold_attack(
    *,
    member_log_odds: np.ndarray,
    other_log_odds: np.ndarray,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> MembershipInference:
    """Tells members from others by their losses.

    It takes log(exp(loss) - 1), `ft_tf.metrics.error_log_odds`, where thresholds are the same as
    on the loss: of a confident model the losses themselves are rounded to 0 for so many examples
    that no threshold takes few others and any members.

    The interval is distribution-free. The others below the threshold that takes a share f of all
    others are binomial (n, f), which brackets it between two of the others that were seen; the
    members below either have their Clopper-Pearson limit. Each of the four tails has 1.25%.

    Args:
        member_log_odds: float [members], at least two.
        other_log_odds: float [others], at least two.
        false_positive_rate: at which the true positive rate is measured.

    Raises:
        ArgumentError: too few values, one that is NaN, or a rate outside [0, 1].

    >>> found = loss_threshold_attack(
    ...     member_log_odds=np.arange(-6.0, 2.0), other_log_odds=np.arange(4.0)
    ... )
    >>> found.true_positive_rate  # six of the eight lie below all others
    0.75
    """
    check_fraction(false_positive_rate=false_positive_rate)
    found = []
    for name, given in (("member_log_odds", member_log_odds), ("other_log_odds", other_log_odds)):
        values = _floats(given)
        found.append(values)
        if values.ndim != 1 or len(values) < 2 or np.isnan(values).any():
            raise ArgumentError(
                f"{name}.shape={values.shape} must be [n] with at least two values, none NaN"
            )
    members, others = found
    threshold = _best_threshold(members[::2], others[::2])
    hits = np.sum(members <= _threshold_at(others, false_positive_rate))
    losses = [np.logaddexp(0.0, values) for values in found]
    return MembershipInference(
        advantage=_advantage(members[1::2], others[1::2], threshold),
        advantage_of_mean_loss=_advantage(*losses, float(losses[0].mean())),
        threshold=threshold,
        true_positive_rate=float(hits / len(members)),
        true_positive_interval=_interval(members, others, false_positive_rate),
        false_positive_rate=false_positive_rate,
        members=len(members),
        others=len(others),
    )


def _floats(given: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def _interval(members: np.ndarray, others: np.ndarray, rate: float) -> tuple[float, float]:
    """Interval of the members below the `rate`-quantile of all others, not only of those seen."""
    tail = (1 - 0.95) / 4
    fewest, most = stats.binom.ppf([tail, 1 - tail], len(others), rate).astype(int)
    seen = np.concatenate([[-np.inf], np.sort(others), [np.inf]])
    # Ties between members and others: those at the lower bracket are not counted, those at the
    # upper one are, so that the ends stay in order when both brackets are one value.
    low = int(np.sum(members < seen[fewest])) if fewest else 0
    high = int(np.sum(members <= seen[most + 1])) if most < len(others) else len(members)
    options = {"trials": len(members), "level": 1 - 2 * tail}
    least = intervals.proportion(successes=low, **options).low
    return least, intervals.proportion(successes=high, **options).high


def _advantage(members: np.ndarray, others: np.ndarray, threshold: float) -> float:
    return advantage_of_rule(on_members=members <= threshold, on_others=others <= threshold)


def _best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """The member's value at which the empirical distributions are furthest apart."""
    candidates = np.sort(members)
    found = np.searchsorted(candidates, candidates, side="right") / len(members)
    wrong = np.searchsorted(np.sort(others), candidates, side="right") / len(others)
    return float(candidates[np.argmax(found - wrong)])


def _threshold_at(others: np.ndarray, false_positive_rate: float) -> float:
    """The largest threshold below which at most that share of the others lies."""
    allowed = int(false_positive_rate * len(others))
    if allowed == len(others):
        return float("inf")
    return float(np.nextafter(np.sort(others)[allowed], -np.inf))


def rmia_scores(
    *,
    target: npt.ArrayLike,
    references: npt.ArrayLike,
    population_target: npt.ArrayLike,
    population_references: npt.ArrayLike,
    gamma: float = 2.0,
    a: float = 0.3,
) -> npt.NDArray[np.float64]:
    """Returns a score per example, in [0, 1]: the higher, the more likely a member.

    An example x is more likely a member the more its likelihood ratio exceeds those of population
    examples z, which are in no training set:

        score(x) = share of z with  (P(x | target) / P(x)) / (P(z | target) / P(z)) >= gamma.

    P(x | model) is the probability that a model gives the label, and P(x) its mean over models with
    and without x. From models without x alone it is estimated as ((1 + a) P_out(x) + 1 - a) / 2.
    `loss_threshold_attack` measures it on minus the scores, where its `advantage_of_mean_loss` has
    no meaning.

    Args:
        target: float [n], the probability of each example's label by the model under attack:
            exp(-loss) of the cross-entropy.
        references: float [k, n], the same by k >= 1 reference models, not trained on the examples.
        population_target: float [m], as `target` for the population examples.
        population_references: float [k, m], as `references` for them.
        gamma: ratio from which on an example outdoes a population example, > 0.
        a: share of P_out in the estimate of P, in [0, 1]: the larger, the closer members'
            probabilities are taken to be to those of non-members.

    Raises:
        ArgumentError: shapes that do not fit, or values outside [0, 1].

    >>> rmia_scores(target=[0.9, 0.5], references=[[0.2, 0.5]],
    ...     population_target=[0.6, 0.3, 0.5], population_references=[[0.6, 0.4, 0.5]], a=1.0)
    array([1., 0.])
    """
    check_positive(gamma=gamma)
    check_fraction(a=a)
    of_target = _probabilities(1, target=target)
    of_population = _probabilities(1, population_target=population_target)
    references = _probabilities(2, references=references)
    population = _probabilities(2, population_references=population_references)
    shapes = (len(of_target), len(of_population))
    if (references.shape[1], population.shape[1]) != shapes or len(references) != len(population):
        raise ArgumentError(
            f"references.shape={references.shape} and population_references.shape="
            f"{population.shape} must be [k, {shapes[0]}] and [k, {shapes[1]}]"
        )

    def ratio(by_target: np.ndarray, by_references: np.ndarray) -> np.ndarray:
        return by_target / (((1 + a) * by_references.mean(axis=0) + 1 - a) / 2)

    ratios = np.sort(ratio(of_population, population))
    outdone = np.searchsorted(ratios, ratio(of_target, references) / gamma, side="right")
    return outdone / len(ratios)


def _probabilities(rank: int, **values: npt.ArrayLike) -> np.ndarray:
    ((name, given),) = values.items()
    array = _floats(given)
    if array.ndim != rank or not array.size or not ((array >= 0) & (array <= 1)).all():
        form = "[n]" if rank == 1 else "[k, n]"
        raise ArgumentError(f"{name}.shape={array.shape} must be {form}, probabilities in [0, 1]")
    return np.maximum(array, _LEAST)
