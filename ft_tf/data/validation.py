"""Checks of arrays that users bring: labels in range, pixels in [0, 1], lengths that agree.

Like `ft_tf.checks` they take arrays by keyword, so that the message carries the caller's name.
"""

from typing import Any

import numpy as np

from ft_tf.checks import check_positive_integer
from ft_tf.errors import ArgumentError


def as_array(values: Any) -> np.ndarray:
    """Returns an array; one of objects where `values` are not of one shape."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(values, object)


def check_labels(num_classes: int, /, **labels: np.ndarray) -> None:
    """Raises ArgumentError unless every array is [n], of an integer type, in 0..num_classes - 1.

    >>> check_labels(10, y_train=np.array([3, 10]))
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: y_train[1]=10 must be a label in 0..9
    """
    check_positive_integer(num_classes=num_classes)
    for name, values in labels.items():
        values = as_array(values)
        if values.ndim != 1:
            raise ArgumentError(f"{name}.shape={values.shape} must be [n]: one label per example")
        if values.dtype.kind not in "iu":
            raise ArgumentError(f"{name}.dtype={values.dtype} must be an integer type")
        wrong = np.flatnonzero((values < 0) | (values >= num_classes))
        if wrong.size:
            row = int(wrong[0])
            raise ArgumentError(
                f"{name}[{row}]={values[row]} must be a label in 0..{num_classes - 1}"
            )


def check_pixels(**images: np.ndarray) -> None:
    """Raises ArgumentError unless every array is [n, h, w, c], floating, finite and in [0, 1].

    >>> check_pixels(x_test=np.full((2, 4, 4, 1), 255.0))
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: x_test ranges over [255, 255], pixels must lie in [0, 1]: ...
    """
    for name, values in images.items():
        values = as_array(values)
        if values.ndim != 4:
            raise ArgumentError(f"{name}.shape={values.shape} must be [n, h, w, c]")
        if values.dtype.kind != "f":
            raise ArgumentError(
                f"{name}.dtype={values.dtype} must be floating: divide 8-bit images by 255"
            )
        if not values.size:
            continue
        low, high = float(values.min()), float(values.max())
        # A NaN fails both comparisons, hence the form "not inside" rather than "outside".
        if not (low >= 0.0 and high <= 1.0):
            raise ArgumentError(
                f"{name} ranges over [{low:g}, {high:g}], pixels must lie in [0, 1]: "
                "divide 8-bit images by 255, and undo any normalisation"
            )


def check_same_length(**arrays: np.ndarray) -> None:
    """Raises ArgumentError unless all arrays have the same number (>= 1) of rows.

    >>> check_same_length(x=np.zeros((3, 2)), y=np.zeros(4))
    Traceback (most recent call last):
        ...
    ft_tf.errors.ArgumentError: x has 3 rows, y has 4 rows: they must be as many, and at least 1
    """
    lengths = {name: (as_array(values).shape or (0,))[0] for name, values in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        listed = ", ".join(f"{name} has {length} rows" for name, length in lengths.items())
        raise ArgumentError(f"{listed}: they must be as many, and at least 1")
