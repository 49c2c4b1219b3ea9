"""Every confidence interval in the project; each one names its method and unit of replication."""

from ft_tf.intervals.basic import Interval, mean, prediction, proportion

__all__ = ["Interval", "mean", "prediction", "proportion"]
