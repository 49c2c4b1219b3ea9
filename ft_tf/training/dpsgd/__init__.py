"""DP-SGD: exact per-example clipping at close to the speed of plain SGD."""

from ft_tf.privacy import PrivacyEvent
from ft_tf.training.dpsgd.model import DPSGDModel
from ft_tf.training.dpsgd.rules import PerExampleGradients, from_materialized, register_rule
from ft_tf.training.dpsgd.step import ExponentialAverage, TailAverage

__all__ = [
    "DPSGDModel",
    "ExponentialAverage",
    "PerExampleGradients",
    "PrivacyEvent",
    "TailAverage",
    "from_materialized",
    "register_rule",
]
