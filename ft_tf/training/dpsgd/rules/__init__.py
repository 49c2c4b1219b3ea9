"""Rules: per-example gradients of each layer type, without writing them all out."""

from ft_tf.training.dpsgd.rules import convolution, dense, normalization
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    Rule,
    from_materialized,
    register_rule,
    rule_for,
)

__all__ = [
    "PerExampleGradients",
    "Rule",
    "convolution",
    "dense",
    "from_materialized",
    "normalization",
    "register_rule",
    "rule_for",
]
