"""Epsilon fault tolerance (equation 1): how far faults move a network's output on each input."""

import numpy as np

from ft_tf.errors import ArgumentError

_EVERY_ROW = slice(None)


class OutputChange:
    """Both forms of epsilon_ft, per input, for any number of faulty outputs of one model.

    Args:
        clean_logits: float [n, classes], of the fault-free model. One column stands for the two
            classes of a sigmoid.
    """

    def __init__(self, clean_logits: np.ndarray) -> None:
        if clean_logits.ndim != 2:
            raise ArgumentError(f"clean_logits.shape={clean_logits.shape} must be [n, classes]")
        # [classes, n]: reductions over a few classes are several times faster down the columns.
        self._clean = _columns(clean_logits)
        self._probabilities = _softmax(self._clean)
        if len(self._clean) == 1:
            self._half_margin = np.abs(self._clean[0])
        else:
            top = np.partition(self._clean, -2, axis=0)
            self._half_margin = (top[-1] - top[-2]) / 2

    def total_variation(
        self, faulty_logits: np.ndarray, rows: np.ndarray | slice = _EVERY_ROW
    ) -> np.ndarray:
        """Total variation distance of the softmax outputs: 1/2 sum_k |p_k - q_k|, float64 [n].

        It is the largest change of probability that the network gives to any set of classes, in
        [0, 1]. Outputs that are not finite count as distance 1.

        Args:
            faulty_logits: float [n, classes], of the inputs in `rows`.
            rows: which inputs.
        """
        faulty = _softmax(self._matching(faulty_logits, rows))
        distance = np.abs(self._probabilities[:, rows] - faulty).sum(axis=0) / 2
        return np.where(np.isfinite(distance), distance, 1.0)

    def logit_change(
        self, faulty_logits: np.ndarray, rows: np.ndarray | slice = _EVERY_ROW
    ) -> np.ndarray:
        """Largest change of a logit over half the clean margin: max_k |z_k - z'_k| / (m / 2).

        m is the clean difference between the largest and the second largest logit (twice the
        magnitude where there is one logit). Below 1 no fault has changed the prediction. Outputs
        that are not finite count as infinity.

        Args:
            faulty_logits: float [n, classes], of the inputs in `rows`.
            rows: which inputs.
        """
        faulty = self._matching(faulty_logits, rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.abs(self._clean[:, rows] - faulty).max(axis=0)
            ratio = np.where(change == 0, 0.0, change / self._half_margin[rows])
        return np.where(np.isnan(ratio), np.inf, ratio)

    def _matching(self, faulty_logits: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        faulty = _columns(faulty_logits)
        expected = self._clean[:, rows].shape
        if faulty.shape != expected:
            raise ArgumentError(
                f"faulty_logits.shape={faulty_logits.shape} must be {expected[::-1]}"
            )
        return faulty


def total_variation(clean_logits: np.ndarray, faulty_logits: np.ndarray) -> np.ndarray:
    """Epsilon_ft per input as total variation; see `OutputChange.total_variation`.

    >>> float(total_variation(np.zeros((1, 2)), np.array([[1e9, 0.0]]))[0])
    0.5
    """
    return OutputChange(clean_logits).total_variation(faulty_logits)


def relative_logit_change(clean_logits: np.ndarray, faulty_logits: np.ndarray) -> np.ndarray:
    """Epsilon_ft per input as logit change over half the margin; see `OutputChange.logit_change`.

    >>> float(relative_logit_change(np.array([[3.0, 1.0]]), np.array([[2.5, 1.0]]))[0])
    0.5
    """
    return OutputChange(clean_logits).logit_change(faulty_logits)


def _columns(logits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(logits.T, np.float64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [classes, n] of logits in that layout."""
    if len(logits) == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)])
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits - logits.max(axis=0))
        return powers / powers.sum(axis=0)
