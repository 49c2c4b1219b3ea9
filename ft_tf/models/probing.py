"""What a model gives on numbers made up: the only sign of a softmax that no layer tells of."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.keras_layers import all_layers, graph, input_spec

_EXAMPLES = 16
_LARGEST = 1e4  # Rescaling(1 / 255) makes nothing of inputs of size 1
_OPEN_AXIS = 32  # enough for five poolings


def looks_like_probabilities(model: keras.Model) -> bool:
    """Whether outputs on random inputs all lie in [0, 1], and sum to 1 or spread in one column.

    Inputs are up to 10,000 in size, of either sign: logits hardly stay within [0, 1] there. In one
    column some must lie below 0.5 and some above: a constant tells nothing. False where the model
    takes no such inputs, or keeps a state that looking at it would change.
    """
    if any(getattr(part, "stateful", False) for part in all_layers(model)):
        return False
    # `variables` has the states of random layers too.
    before = [(v, v.numpy()) for v in model.variables if not v.trainable]
    try:
        inputs = tf.nest.map_structure(made_up, input_spec(model))
        outputs = model(inputs, training=False)
    except Exception:
        return False  # no model that can be asked
    finally:
        for variable, value in before:  # a layer may count its calls
            variable.assign(value)
    if not tf.is_tensor(outputs) or not outputs.shape.rank:
        return False
    values = tf.cast(outputs, tf.float32).numpy()
    # A softmax that is written out, exp(z) / sum, overflows for large inputs.
    values = values[np.isfinite(values.reshape(len(values), -1)).all(axis=1)]
    if len(values) < _EXAMPLES // 4 or values.min() < 0 or values.max() > 1 + 1e-3:
        return False
    if outputs.shape.rank > 1 and values.shape[-1] > 1:
        return bool((np.abs(values.sum(axis=-1) - 1) < 1e-2).all())
    return bool(values.min() < 0.5 < values.max())


def output_shape_of(model: keras.Model) -> tuple[int | None, ...]:
    """Shape of what a model with one output gives, None for open axes; () if it cannot be told.

    A model that is a class of its own is traced for it, on the inputs that it was built for.

    >>> output_shape_of(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
    (None, 3)
    """
    require_keras_model(model)
    if graph.output_of(model) is not None:
        shape = graph.output_shape_of(model)
        return shape if isinstance(shape, tuple) else ()
    try:
        specs = input_spec(model)
        traced = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        outputs = traced.get_concrete_function(specs).structured_outputs
    except Exception:
        return ()  # never called, or on what no specification tells
    return tuple(outputs.shape) if isinstance(outputs, tf.TensorSpec | tf.Tensor) else ()


def made_up(spec: Any) -> tf.Tensor:
    """Random inputs of many sizes; whole numbers, 0 and 1 mostly, for an integer type."""
    rng = np.random.default_rng(0)
    shape = [_EXAMPLES, *(_OPEN_AXIS if size is None else size for size in spec.shape[1:])]
    if not spec.dtype.is_floating:
        most = 255 if spec.dtype == tf.uint8 else 1  # pixels, or else tokens and flags
        return tf.cast(rng.integers(0, most + 1, shape), spec.dtype)
    scales = np.geomspace(0.1, _LARGEST, _EXAMPLES).reshape([-1] + [1] * (len(shape) - 1))
    return tf.cast(scales * rng.normal(size=shape), spec.dtype)
