"""What inputs and integer labels must be: one check, and the same words, for the whole library."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.checks import check_non_negative_integer, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.keras_layers import facts_of


def check_labels(y: npt.ArrayLike, *, classes: int | None, examples: int) -> npt.NDArray[np.int64]:
    """Returns `y` as int64 [n].

    Args:
        y: labels.
        classes: of the model; None where they are not known yet.
        examples: n.

    Raises:
        ArgumentError: not one integer per example, or a label outside 0 ... classes - 1.
    """
    check_non_negative_integer(examples=examples)
    if classes is not None:
        check_positive_integer(classes=classes)
    try:
        array = np.asarray(y)
    except ValueError:  # rows of different lengths
        raise ArgumentError("y must have one integer per image") from None
    if array.shape != (examples,):
        hint = ""
        if array.ndim == 2 and len(array) == examples:
            one_hot = array.shape[1] > 1
            hint = f": take {'y.argmax(axis=1) of one-hot labels' if one_hot else 'y[:, 0]'}"
        raise ArgumentError(
            f"y of shape {array.shape} must have one integer per image, shape ({examples},){hint}"
        )
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"y of dtype {array.dtype} must be integers")
    if classes is not None and examples and (array.min() < 0 or array.max() >= classes):
        raise ArgumentError(
            f"y has labels from {array.min()} to {array.max()}, must lie in [0, {classes - 1}] "
            f"for a model of {classes} classes"
        )
    return array.astype(np.int64)


def check_inputs(x: Any, *, model: keras.Model | None = None) -> Any:
    """Returns `x` as an array [n, ...], or a structure of arrays for a model with several inputs.

    Lists of numbers, tensors and data frames become arrays; a list, tuple or dictionary of arrays
    is a structure.

    Args:
        x: inputs.
        model: if given, a warning says when it takes bytes 0 ... 255 unscaled.

    Raises:
        ArgumentError: no examples, another number in each part, values that are no finite real
            numbers (or strings).
    """
    if isinstance(x, tf.data.Dataset):
        raise ArgumentError("x is a tf.data.Dataset: give its inputs as an array [n, ...]")
    arrays = _arrays(x, "x")
    lengths = {len(array) for array in tf.nest.flatten(arrays)}
    if lengths == {0}:
        raise ArgumentError("x must have at least one example")
    if len(lengths) != 1:
        raise ArgumentError(
            f"x has {sorted(lengths)} examples in its parts, must have as many in each"
        )
    if model is not None and not isinstance(arrays, dict | list | tuple):
        _warn_of_bytes(arrays, model)
    return arrays


def _arrays(x: Any, name: str) -> Any:
    if isinstance(x, Mapping):
        return {key: _arrays(part, f"{name}[{key!r}]") for key, part in x.items()}
    # A list of arrays is a structure, one of numbers (NumPy's too) or lists is an array.
    if isinstance(x, list | tuple) and x and all(len(getattr(p, "shape", ())) for p in x):
        return [_arrays(part, f"{name}[{index}]") for index, part in enumerate(x)]
    return _array(x, name)


def _array(x: Any, name: str) -> npt.NDArray[Any]:
    try:
        array = x if isinstance(x, np.ndarray) else np.asarray(x)
        kind = tf.as_dtype(array.dtype)
    except (TypeError, ValueError):  # objects, or arrays of different shapes
        kind = None
    is_known = kind is not None and (
        kind.is_floating or kind.is_integer or kind in (tf.bool, tf.string)
    )
    if not is_known or not array.ndim or array.dtype.kind == "O":
        what = f"of dtype {array.dtype}" if kind is not None else f"({type(x).__name__})"
        raise ArgumentError(f"{name} {what} must be real numbers [n, ...]")
    if kind.is_floating:
        infinite = array.size - int(np.count_nonzero(np.isfinite(array)))
        if infinite:
            raise ArgumentError(f"{name} has {infinite} values that are NaN or infinite")
    return array


def _warn_of_bytes(x: npt.NDArray[Any], model: keras.Model) -> None:
    if x.dtype != np.uint8 or x.max() <= 1:
        return
    facts = ((layer, facts_of(layer)) for layer in model.layers)
    first = next((layer for layer, known in facts if not (known.same_values or known.pads)), None)
    if first is not None and facts_of(first).columns:
        warnings.warn(
            f"x has bytes up to {x.max()}, and model={model.name!r} takes them unscaled into layer "
            f"{first.name!r}: divide by 255 if it was trained on [0, 1]",
            stacklevel=4,
        )
