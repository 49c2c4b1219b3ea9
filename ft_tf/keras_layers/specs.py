"""What a model takes, as TensorFlow's specifications."""

from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers.graph import input_of

_REMEMBERED = "_ft_tf_input_spec"


def remember_input(model: keras.Model, x: Any) -> None:
    """Keeps the types of what a model without a graph is given: Keras keeps its shape at most."""
    parts = tf.nest.flatten(x)
    if input_of(model) is None and all(hasattr(part, "dtype") for part in parts):
        specs = [tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in parts]
        # Past Keras's tracking of attributes.
        vars(model)[_REMEMBERED] = tf.nest.pack_sequence_as(x, specs)


def input_spec(model: keras.Model) -> Any:
    """Nested TensorSpec of the model's input, batch size open.

    Of a model without a graph it is that of the last data which ft_tf saw, or floats of the shape
    that it was built for.

    Raises:
        ModelError: the model was never built or called, so that nothing is known of its input.
    """
    inputs = input_of(model)
    if inputs is not None:
        return keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), inputs)
    if _REMEMBERED in vars(model):
        return vars(model)[_REMEMBERED]
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    if len(shapes) != 1:
        raise ModelError(
            f"model={model.name!r} has not been built for one input: call it once on a batch of "
            "data first, or give it an Input"
        )
    (shape,) = shapes.values()
    return _specs(shape, model.input_dtype)


def _specs(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {key: _specs(part, dtype) for key, part in shape.items()}
    if shape and all(size is None or isinstance(size, int) for size in shape):
        return tf.TensorSpec([None, *shape[1:]], dtype)
    return [_specs(part, dtype) for part in shape]
