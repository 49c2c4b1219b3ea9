"""Rules: how each layer type gives per-example gradients without writing them all out."""

from ft_tf.training.dpsgd.rules import convolution, dense, depthwise, embedding, normalization
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    Rule,
    from_materialized,
    register_rule,
    rule_for,
    unregister_rule,
)

__all__ = [
    "PerExampleGradients",
    "Rule",
    "convolution",
    "dense",
    "depthwise",
    "embedding",
    "from_materialized",
    "normalization",
    "register_rule",
    "rule_for",
    "unregister_rule",
]
