"""What one trial shows: accuracy, changed predictions, and how far outputs have moved."""

from typing import Any

import numpy as np

from ft_tf import metrics
from ft_tf.faults import tolerance

COLUMNS = (
    "accuracy",
    "accuracy_lost",
    "sdc_rate",
    "retention",
    "non_finite",
    "total_variation_50",
    "total_variation_95",
    "logit_change_50",
    "logit_change_95",
)
"""accuracy: share of images whose predicted class is the label; an output with a NaN is no
prediction. accuracy_lost: the fault-free model's accuracy on the same images, minus accuracy; where
each trial has images of its own this is free of what they differ in. sdc_rate (silent data
corruption): share of images whose prediction differs from the fault-free model's. retention:
accuracy on the images that the fault-free model gets right.
non_finite: share of images with a NaN or an infinity among their logits. total_variation and
logit_change: medians and 95% quantiles over images of the two forms of epsilon_ft (see
`tolerance`)."""


class Measures:
    """Compares faulty logits with labels and with the fault-free logits.

    Args:
        clean_logits: of the fault-free model, float32 [n, classes].
        labels: int [n].
    """

    def __init__(self, clean_logits: np.ndarray, labels: np.ndarray) -> None:
        self.clean_logits = clean_logits
        self._change = tolerance.OutputChange(clean_logits)
        self._labels = labels
        self._clean_classes = metrics.predicted_labels(clean_logits)

    @property
    def clean_accuracy(self) -> float:
        """Accuracy of the fault-free model."""
        return float(np.mean(self._clean_classes == self._labels))

    def accuracy(self, logits: np.ndarray) -> float:
        """Accuracy on all images."""
        return float(np.mean(metrics.predicted_labels(logits) == self._labels))

    def of(self, logits: np.ndarray, rows: np.ndarray | None = None) -> dict[str, Any]:
        """The figures of one trial, on all images or on `rows`."""
        chosen = slice(None) if rows is None else rows
        labels, clean_classes = self._labels[chosen], self._clean_classes[chosen]
        classes = metrics.predicted_labels(logits)
        right = classes == labels
        clean_right = clean_classes == labels
        moved = np.quantile(self._change.total_variation(logits, chosen), (0.5, 0.95))
        # Infinite changes sort last; interpolating between them would give NaN.
        changed = np.quantile(
            self._change.logit_change(logits, chosen), (0.5, 0.95), method="higher"
        )
        return {
            "accuracy": float(np.mean(right)),
            "accuracy_lost": float(np.mean(clean_right) - np.mean(right)),
            "sdc_rate": float(np.mean(classes != clean_classes)),
            "retention": float(np.mean(right[clean_right])) if clean_right.any() else float("nan"),
            "non_finite": float(np.mean(~np.isfinite(logits).all(axis=1))),
            "total_variation_50": float(moved[0]),
            "total_variation_95": float(moved[1]),
            "logit_change_50": float(changed[0]),
            "logit_change_95": float(changed[1]),
        }
