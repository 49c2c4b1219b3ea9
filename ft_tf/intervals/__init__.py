"""Every confidence interval in the project; each one names its method and unit of replication."""

from ft_tf.intervals.bands import simultaneous
from ft_tf.intervals.basic import (
    Interval,
    difference,
    has_spread,
    mean,
    paired_proportions,
    prediction,
    proportion,
    welch,
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
    "Interval",
    "VarianceComponents",
    "allocate",
    "difference",
    "has_spread",
    "mean",
    "over_seeds",
    "paired_proportions",
    "prediction",
    "proportion",
    "simultaneous",
    "stein",
    "stein_trials",
    "variance_components",
    "welch",
]
