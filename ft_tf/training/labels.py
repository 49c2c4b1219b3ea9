"""Labels that a loss on integers cannot take, found before TensorFlow stumbles over them."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.validation import check_labels
from ft_tf.errors import ArgumentError
from ft_tf.training.losses import CrossEntropy


def check_labels_of(loss: Any, model: keras.Model, y: np.ndarray) -> None:
    """Refuses arrays of labels that `loss` has no logit for.

    Only losses that are known to take one integer per example are looked after, on a model with
    one row of outputs per example: others (categorical_crossentropy, a function of the user's)
    may take any labels. Integers in a column, or as floats, are taken as Keras takes them.

    Args:
        loss: as `resolve_loss` gives it.
        model: the model that the loss is computed from.
        y: labels.

    Raises:
        ArgumentError: one-hot labels, a label out of range, or no integers.
    """
    shape = model.output_shape if model.built else None
    if not (_takes_integers(loss) and isinstance(shape, tuple) and len(shape) == 2):
        return
    _check_shape(y.shape)
    labels = y.reshape(len(y))
    ignored = getattr(loss, "_fn_kwargs", {}).get("ignore_class")
    if ignored is not None:
        labels = labels[labels != ignored]
    if labels.dtype.kind == "b" or (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all()
    ):
        labels = labels.astype(np.int64)
    if len(labels):
        check_labels(labels, classes=max(2, shape[-1]), examples=len(labels))


def check_label_spec(loss: Any, model: keras.Model, dataset: tf.data.Dataset) -> None:
    """The same for a tf.data input, of which only the labels' shape is known before training.

    Raises:
        ArgumentError: one-hot labels.
    """
    spec = dataset.element_spec
    known = isinstance(spec, tuple) and len(spec) > 1 and isinstance(spec[1], tf.TensorSpec)
    shape = model.output_shape if model.built else None
    if not (known and _takes_integers(loss) and isinstance(shape, tuple) and len(shape) == 2):
        return
    if spec[1].shape.rank is not None:
        _check_shape(tuple(spec[1].shape))


def _takes_integers(loss: Any) -> bool:
    integers = CrossEntropy | keras.losses.SparseCategoricalCrossentropy
    plain = keras.losses.sparse_categorical_crossentropy
    return isinstance(loss, integers) or getattr(loss, "function", None) is plain


def _check_shape(shape: tuple[int | None, ...]) -> None:
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] in (1, None)):
        raise ArgumentError(
            f"y of shape {shape} must have one integer per example, shape ({(*shape, 'n')[0]},): "
            "one-hot labels go with loss='categorical_crossentropy'"
        )
