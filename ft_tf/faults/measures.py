"""What one trial shows: accuracy, changed predictions, and how far outputs have moved."""

from typing import Any

import numpy as np

from ft_tf import metrics

COLUMNS = (
    "accuracy", "accuracy_lost", "sdc_rate", "retention", "non_finite",
    "total_variation_50", "total_variation_95", "logit_change_50", "logit_change_95",
)  # fmt: skip
"""accuracy: share of images whose predicted class is the label; an output with a NaN is no
prediction. accuracy_lost: the fault-free model's accuracy on the same images, minus accuracy; where
each trial has images of its own this is free of what they differ in. sdc_rate (silent data
corruption): share of images whose prediction differs from the fault-free model's. retention:
accuracy on the images that the fault-free model gets right.
non_finite: share of images with a NaN or an infinity among their logits. total_variation and
logit_change: medians and 95% quantiles over images of the two forms of epsilon_ft (equation 1; see
`OutputChange`)."""


_ALL = slice(None)


class OutputChange:
    """How far faults move a network's output on each input: both forms of epsilon_ft.

    Args:
        clean_logits: float [n, classes], of the fault-free model. One column stands for the two
            classes of a sigmoid.
    """

    def __init__(self, clean_logits: np.ndarray) -> None:
        # [classes, n]: reductions over a few classes are several times faster down the columns.
        self._clean = _columns(clean_logits)
        self._probabilities = _softmax(self._clean)
        if len(self._clean) == 1:
            self._half_margin = np.abs(self._clean[0])
        else:
            top = np.partition(self._clean, -2, axis=0)
            self._half_margin = (top[-1] - top[-2]) / 2

    def total_variation(self, faulty_logits: np.ndarray, rows: Any = _ALL) -> np.ndarray:
        """Total variation distance of the softmax outputs: 1/2 sum_k |p_k - q_k|, float64 [n].

        It is the largest change of probability that the network gives to any set of classes, in
        [0, 1]. Non-finite outputs count as distance 1. The logits, float [n, classes], are those of
        the inputs in `rows`.

        >>> float(OutputChange(np.zeros((1, 2))).total_variation(np.array([[1e9, 0.0]]))[0])
        0.5
        """
        faulty = _softmax(_columns(faulty_logits))
        distance = np.abs(self._probabilities[:, rows] - faulty).sum(axis=0) / 2
        return np.where(np.isfinite(distance), distance, 1.0)

    def logit_change(self, faulty_logits: np.ndarray, rows: Any = _ALL) -> np.ndarray:
        """Largest change of a logit over half the clean margin: max_k |z_k - z'_k| / (m / 2).

        m is the clean difference between the largest and the second largest logit (twice the
        magnitude where there is one logit). Below 1 no fault has changed the prediction. Non-finite
        outputs count as infinity. Arguments are those of `total_variation`.

        >>> change = OutputChange(np.array([[3.0, 1.0]])).logit_change(np.array([[2.5, 1.0]]))
        >>> float(change[0])
        0.5
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.abs(self._clean[:, rows] - _columns(faulty_logits)).max(axis=0)
            ratio = np.where(change == 0, 0.0, change / self._half_margin[rows])
        return np.where(np.isnan(ratio), np.inf, ratio)


def _columns(logits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(logits.T, np.float64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [classes, n] of logits in that layout."""
    if len(logits) == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)])
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits - logits.max(axis=0))
        return powers / powers.sum(axis=0)


class Measures:
    """Compares faulty logits float32 [n, classes] with labels int [n] and the fault-free logits."""

    def __init__(self, clean_logits: np.ndarray, labels: np.ndarray) -> None:
        self.clean_logits = clean_logits
        self._change = OutputChange(clean_logits)
        self._labels = labels
        self._clean_classes = metrics.predicted_labels(clean_logits)
        self.clean_accuracy = self.accuracy(clean_logits)

    def accuracy(self, logits: np.ndarray) -> float:
        """Accuracy on all images."""
        return float(np.mean(metrics.predicted_labels(logits) == self._labels))

    def of(self, logits: np.ndarray, rows: np.ndarray | None = None) -> dict[str, Any]:
        """The figures of one trial, on all images or on `rows`."""
        chosen = _ALL if rows is None else rows
        labels, clean_classes = self._labels[chosen], self._clean_classes[chosen]
        classes = metrics.predicted_labels(logits)
        right = classes == labels
        clean_right = clean_classes == labels
        moved = np.quantile(self._change.total_variation(logits, chosen), (0.5, 0.95))
        # Infinite changes sort last; interpolating between them would give NaN.
        changed = np.quantile(
            self._change.logit_change(logits, chosen), (0.5, 0.95), method="higher"
        )
        figures = (
            np.mean(right),
            np.mean(clean_right) - np.mean(right),
            np.mean(classes != clean_classes),
            np.mean(right[clean_right]) if clean_right.any() else np.nan,
            np.mean(~np.isfinite(logits).all(axis=1)),
            *moved,
            *changed,
        )
        return dict(zip(COLUMNS, map(float, figures), strict=True))
