"""What a model takes: how many inputs, and of which shape."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.keras_layers import inputs_of, remember_input
from ft_tf.models.tflite import TFLiteModel


def count_inputs(model: keras.Model) -> int:
    """Inputs of a model, in whatever structure; 1 for a subclassed one, which does not tell.

    >>> one, two = keras.Input((4,)), keras.Input((3,))
    >>> count_inputs(keras.Model((one, two), keras.layers.Concatenate()([one, two])))
    2
    """
    require_keras_model(model)
    return len(inputs_of(model)) or 1


def check_built(model: keras.Model) -> None:
    """Raises ModelError unless `model` is a Keras model that has its weights."""
    require_keras_model(model)
    if not model.built:
        raise ModelError(f"model={model.name} has no weights yet: build it or call it once")


def check_input_shape(model: keras.Model, x: Any, *, name: str = "x") -> None:
    """Checks that a model takes `x`; a kernel of TensorFlow may abort the process instead.

    Args:
        model: a built model.
        x: an array, tensor or tf.TensorSpec; for a model with several inputs a structure of them.
        name: of `x`, for the message.

    Raises:
        ModelError: the model is not built.
        ArgumentError: another number of inputs or axes, or another size of an axis that the model
            fixes.
    """
    if isinstance(model, TFLiteModel):
        return model.check_input(x, name)
    check_built(model)
    inputs = inputs_of(model)
    if not inputs:  # a subclassed model, which takes what it takes
        remember_input(model, x)
        return
    # A list of numbers is one array, and a list of arrays is several.
    parts = [x] if len(inputs) == 1 else tf.nest.flatten(x)
    if len(parts) != len(inputs):
        raise ArgumentError(
            f"{name} has {len(parts)} arrays, model={model.name} takes {len(inputs)} inputs"
        )
    for part, wanted in zip(parts, inputs, strict=True):
        _check_part(model, part, wanted, name)


def _check_part(model: keras.Model, part: Any, wanted: Any, name: str) -> None:
    try:
        part = part if hasattr(part, "shape") else np.asarray(part)
        shape, dtype = tf.TensorShape(part.shape), tf.as_dtype(part.dtype)
    except (TypeError, ValueError):  # arrays of different shapes, objects
        raise ArgumentError(f"{name}={type(part).__name__} must be one array [n, ...]") from None
    if not shape.is_compatible_with(wanted.shape):
        sizes = ", ".join("n" if size is None else str(size) for size in wanted.shape)
        raise ArgumentError(
            f"{name}.shape={tuple(shape)} must be ({sizes}), as model={model.name} takes it"
        )
    if (dtype == tf.string) != (wanted.dtype == "string"):
        raise ArgumentError(
            f"{name}.dtype={dtype.name} must be {wanted.dtype}, as model={model.name} takes it"
        )
