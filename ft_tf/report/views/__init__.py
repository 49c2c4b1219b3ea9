"""Frames as people read them: percent with two decimals, and in words what was run."""

from ft_tf.report.views.accuracy import accuracy, accuracy_brief
from ft_tf.report.views.base import (
    FAILED,
    MISSING,
    NOTHING,
    RAN,
    Column,
    View,
    count,
    figure,
    percent,
    percent_interval,
    words,
)
from ft_tf.report.views.claims import claims, disagreements, evidence
from ft_tf.report.views.judged import equal_training, orderings
from ft_tf.report.views.measured import drops, layers, parameters, robustness
from ft_tf.report.views.overview import tradeoff
from ft_tf.report.views.private import arms, equal_accuracy, membership, privacy_bounds

__all__ = [
    "FAILED",
    "MISSING",
    "NOTHING",
    "RAN",
    "Column",
    "View",
    "accuracy",
    "accuracy_brief",
    "arms",
    "claims",
    "count",
    "disagreements",
    "drops",
    "equal_accuracy",
    "equal_training",
    "evidence",
    "figure",
    "layers",
    "membership",
    "orderings",
    "parameters",
    "percent",
    "percent_interval",
    "privacy_bounds",
    "robustness",
    "tradeoff",
    "words",
]
