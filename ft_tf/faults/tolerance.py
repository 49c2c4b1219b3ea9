"""Epsilon fault tolerance (equation 1): how far faults move a network's output on each input."""

import numpy as np

from ft_tf.errors import ArgumentError


def total_variation(clean_logits: np.ndarray, faulty_logits: np.ndarray) -> np.ndarray:
    """Total variation distance of the softmax outputs, per input: 1/2 sum_k |p_k - q_k|.

    It is the largest change of probability that the network gives to any set of classes, in [0, 1].
    One logit column stands for the two classes of a sigmoid. Outputs that are not finite count as
    distance 1.

    Args:
        clean_logits: float [n, classes].
        faulty_logits: float [n, classes].

    Returns:
        float64 [n].

    >>> float(total_variation(np.zeros((1, 2)), np.array([[1e9, 0.0]]))[0])
    0.5
    """
    _check_same(clean_logits, faulty_logits)
    distance = np.abs(_probabilities(clean_logits) - _probabilities(faulty_logits)).sum(axis=1) / 2
    return np.where(np.isfinite(distance), distance, 1.0)


def relative_logit_change(clean_logits: np.ndarray, faulty_logits: np.ndarray) -> np.ndarray:
    """Largest change of a logit over half the clean margin, per input: max_k |z_k - z'_k| / (m/2).

    m is the clean difference between the largest and the second largest logit (twice the
    magnitude where there is one logit, whose rival is its negative). Below 1 no fault can have
    changed the prediction. Outputs that are not finite count as infinity.

    Args:
        clean_logits: float [n, classes].
        faulty_logits: float [n, classes].

    Returns:
        float64 [n].

    >>> float(relative_logit_change(np.array([[3.0, 1.0]]), np.array([[2.5, 1.0]]))[0])
    0.5
    """
    _check_same(clean_logits, faulty_logits)
    clean = clean_logits.astype(np.float64)
    change = np.abs(clean - faulty_logits).max(axis=1)
    if clean.shape[1] == 1:
        margin = 2 * np.abs(clean[:, 0])
    else:
        top = np.partition(clean, -2, axis=1)
        margin = top[:, -1] - top[:, -2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = change / (margin / 2)
    ratio = np.where((change == 0) & np.isfinite(margin), 0.0, ratio)
    return np.where(np.isnan(ratio), np.inf, ratio)


def _check_same(clean_logits: np.ndarray, faulty_logits: np.ndarray) -> None:
    if clean_logits.ndim != 2 or clean_logits.shape != faulty_logits.shape:
        raise ArgumentError(
            f"faulty_logits.shape={faulty_logits.shape} must be clean_logits.shape="
            f"{clean_logits.shape}, [n, classes]"
        )


def _probabilities(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)], axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
