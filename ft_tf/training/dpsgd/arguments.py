"""What `DPSGDModel` accepts where a range check is not enough."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.models import count_inputs
from ft_tf.training.labels import check_label_spec


def as_array(name: str, value: Any) -> np.ndarray:
    """`value` as an array; the same object where it is one already.

    Raises:
        ArgumentError: it is neither an array nor a tensor.
    """
    if isinstance(value, np.ndarray):
        return value  # the same object in every call stays on the device
    if isinstance(value, tf.Tensor):
        return value.numpy()
    raise ArgumentError(
        f"{name}={type(value).__name__} must be one array, or x a tf.data.Dataset of (x, y)"
    )


def check_takes_arrays(model: keras.Model) -> None:
    """Checks that one array can be the input of a model.

    Raises:
        ArgumentError: it has several inputs.
    """
    count = count_inputs(model)
    if count > 1:
        raise ArgumentError(
            f"x must be a tf.data.Dataset of ((a, b, ...), y): model={model.name} has {count} "
            "inputs"
        )


def check_sizes(batch_size: int | None, num_examples: int | None, resident: int | None) -> None:
    """Refuses a batch size and a number of examples that do not go together.

    Args:
        batch_size: as `fit` got it.
        num_examples: as `fit` got it.
        resident: number of examples in an array; None for a tf.data input.

    Raises:
        ArgumentError: one of them is missing, no positive integer, or contradicts another.
    """
    if batch_size is None:
        raise ArgumentError("batch_size=None: DP-SGD divides by the expected batch size")
    check_positive_integer(batch_size=batch_size)
    if num_examples is None:
        return
    check_positive_integer(num_examples=num_examples)
    if resident not in (None, num_examples):
        raise ArgumentError(f"num_examples={num_examples} contradicts len(x)={resident}")
    if num_examples < batch_size:
        raise ArgumentError(
            f"num_examples={num_examples} must be at least batch_size={batch_size}: a sampling "
            "probability is at most 1"
        )


def check_dataset(loss: Any, model: keras.Model, dataset: tf.data.Dataset) -> None:
    """Refuses a tf.data input whose labels cannot be used, as far as its shapes tell.

    Raises:
        ArgumentError: labels in a nest, or one-hot labels for a loss on integers.
    """
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) > 1 and tf.nest.is_nested(spec[1]):
        raise ArgumentError(
            f"x={type(dataset).__name__} gives y as a {type(spec[1]).__name__}: it must be one "
            "tensor of labels, (x, y)"
        )
    check_label_spec(loss, model, dataset)


def without_weights(data: Any) -> tuple[Any, Any]:
    """(x, y) of a batch as Keras's loop hands it over.

    Raises:
        ArgumentError: it has weights of examples.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ArgumentError("sample_weight cannot be used in DPSGDModel")
    return x, y
