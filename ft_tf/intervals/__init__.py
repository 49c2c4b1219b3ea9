"""Every confidence interval in the project; each one names its method and unit of replication."""

from ft_tf.intervals.basic import (
    Interval,
    has_spread,
    mean,
    paired_proportions,
    prediction,
    proportion,
    simultaneous,
    welch,
)
from ft_tf.intervals.networks import (
    Estimate,
    NetworkMean,
    holm,
    mean_of_population,
    network_mean,
    outcome,
    over_networks,
    paule_mandel,
    random_effects,
    with_borrowed_spread,
)
from ft_tf.intervals.replication import (
    Allocation,
    VarianceComponents,
    allocate,
    over_seeds,
    stein,
    stein_trials,
    variance_components,
)
from ft_tf.intervals.sequential import BettingInterval

__all__ = [
    "Allocation",
    "BettingInterval",
    "Estimate",
    "Interval",
    "NetworkMean",
    "VarianceComponents",
    "allocate",
    "has_spread",
    "holm",
    "mean",
    "mean_of_population",
    "network_mean",
    "outcome",
    "over_networks",
    "over_seeds",
    "paired_proportions",
    "paule_mandel",
    "prediction",
    "proportion",
    "random_effects",
    "simultaneous",
    "stein",
    "stein_trials",
    "variance_components",
    "welch",
    "with_borrowed_spread",
]
