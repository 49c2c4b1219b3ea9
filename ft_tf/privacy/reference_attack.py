"""Membership inference with a few reference models: RMIA, on arrays of probabilities.

Zarifzadeh, Liu and Shokri 2024, "Low-cost high-power membership inference attacks", the offline
form. An example x is more likely a member the more its likelihood ratio exceeds those of population
examples z, which are in no training set:

    score(x) = share of z with  (P(x | target) / P(x)) / (P(z | target) / P(z)) >= gamma.

P(x | model) is the probability that a model gives the label, and P(x) its mean over models with and
without x. From models without x alone it is estimated as ((1 + a) P_out(x) + 1 - a) / 2.
"""

import numpy as np
import numpy.typing as npt

from ft_tf.checks import check_fraction, check_positive
from ft_tf.errors import ArgumentError

_LEAST = 1e-30
"""Probabilities below are raised to it: a ratio of two zeros says nothing."""


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

    `ft_tf.privacy.membership.loss_threshold_attack` measures it on minus the scores, where its
    `advantage_of_mean_loss` has no meaning.

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
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != rank or not array.size or not ((array >= 0) & (array <= 1)).all():
        form = "[n]" if rank == 1 else "[k, n]"
        raise ArgumentError(f"{name}.shape={array.shape} must be {form}, probabilities in [0, 1]")
    return np.maximum(array, _LEAST)
