"""The compiled loss: the loss argument of `compile`, and the labels that the loss can take."""

import re
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.validation import check_labels
from ft_tf.errors import ArgumentError
from ft_tf.keras_layers import output_shape_of
from ft_tf.models import PROBABILITIES, ending_of
from ft_tf.training.batch_values import require_labels


class CrossEntropy(keras.losses.Loss):
    """Mean cross-entropy of integer labels and logits [n, classes], or [n, 1] for binary.

    >>> round(float(CrossEntropy()([1, 0], tf.constant([[0.0], [0.0]]))), 4)  # ln 2
    0.6931
    """

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """Mean loss; Keras would take logits in float64 to float32."""
        if tf.as_dtype(y_pred.dtype) == tf.float64 and self.dtype != "float64":
            exact = CrossEntropy(self.name, reduction=self.reduction, dtype="float64")
            return exact(y_true, y_pred, sample_weight)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Loss of each example [n]."""
        if y_pred.shape[-1] == 1:
            labels = tf.cast(tf.reshape(y_true, [-1]), y_pred.dtype)
            return tf.nn.sigmoid_cross_entropy_with_logits(labels, y_pred[:, 0])
        labels = tf.cast(tf.reshape(y_true, [-1]), tf.int64)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y_pred)


_FUNCTION_LOSS = keras.losses.MeanSquaredError.__base__  # a function as a loss: no public name

_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": (keras.losses.SparseCategoricalCrossentropy, "softmax"),
    "categorical_crossentropy": (keras.losses.CategoricalCrossentropy, "softmax"),
    "binary_crossentropy": (keras.losses.BinaryCrossentropy, "sigmoid"),
}


def resolve_loss(loss: Any, model: keras.Model) -> keras.losses.Loss:
    """Returns a Keras loss that fits the model's output.

    A string names a loss on probabilities in Keras; on a model that ends in a linear layer the
    cross-entropies are taken from logits instead. A loss object that contradicts the model is
    rejected. `ft_tf.models.ending_of` tells logits from probabilities.

    Args:
        loss: a name, a keras.losses.Loss, or a function of (y, outputs) that gives one loss per
            example (or more, which are averaged within an example).
        model: the model whose output the loss is computed from.

    Raises:
        ArgumentError: there is no loss, it is unknown, or it contradicts the model's output.
    """
    ending = ending_of(model)
    activation = None if ending is None else ending.activation or None
    if loss is None:
        raise ArgumentError(
            "loss=None: compile needs a loss, such as "
            "loss='sparse_categorical_crossentropy' (taken from logits where the model gives them)"
        )
    if isinstance(loss, str) and loss in _CROSS_ENTROPIES:
        kind, matching = _CROSS_ENTROPIES[loss]
        if activation not in ("linear", matching, "probabilities"):
            raise ArgumentError(
                f"loss={loss!r} is ambiguous on an output of activation {activation}: pass "
                f"keras.losses.{kind.__name__}(from_logits=...)"
            )
        return kind(from_logits=activation == "linear")
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            raise ArgumentError(f"loss={loss!r} is not the name of a Keras loss") from None
    if isinstance(loss, keras.losses.Loss):
        if isinstance(loss, CrossEntropy) and activation in PROBABILITIES:
            raise ArgumentError(
                "loss=CrossEntropy() expects logits, as does compile() without a loss, but the "
                f"model ends in {activation}: remove it, or pass "
                "loss='sparse_categorical_crossentropy' (one sigmoid: 'binary_crossentropy')"
            )
        options = getattr(loss, "_fn_kwargs", {})
        if options.get("from_logits") is False and activation == "linear":
            raise ArgumentError(
                f"loss={type(loss).__name__}(from_logits=False) expects probabilities, but the "
                "model ends in a linear layer: pass from_logits=True"
            )
        if options.get("from_logits") is True and activation in PROBABILITIES:
            raise ArgumentError(
                f"loss={type(loss).__name__}(from_logits=True) expects logits, but the model ends "
                f"in {activation}: remove it"
            )
        return loss
    if not callable(loss):
        raise ArgumentError(f"loss={loss!r} must be a name, a keras.losses.Loss or a function")
    # A name of Keras's is one of a scope in TensorFlow's graph: no "<lambda>".
    return _FUNCTION_LOSS(loss, name=re.sub(r"\W", "", getattr(loss, "__name__", "loss")))


def losses_of(loss: keras.losses.Loss, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the losses without their reduction, float32: labels take this type, as in Keras."""
    return tf.cast(loss.call(tf.cast(y, tf.float32), tf.cast(outputs, tf.float32)), tf.float32)


def _classes_of(loss: Any, model: keras.Model) -> int | None:
    """Returns the number of classes if `loss` takes one integer per row of outputs, else None."""
    plain = keras.losses.sparse_categorical_crossentropy
    takes_integers = isinstance(loss, CrossEntropy) or getattr(loss, "fn", None) is plain
    shape = output_shape_of(model)
    if not (takes_integers and isinstance(shape, tuple) and len(shape) == 2):
        return None
    return max(2, shape[-1])


def _ignored_class(loss: Any) -> int | None:
    return getattr(loss, "_fn_kwargs", {}).get("ignore_class")


def require_labels_of(loss: Any, model: keras.Model, y: tf.Tensor) -> tf.Tensor:
    """Returns `y`; as `check_labels_of`, by an assertion in the graph."""
    classes = _classes_of(loss, model)
    return y if classes is None else require_labels(y, classes, _ignored_class(loss))


def check_labels_of(loss: Any, model: keras.Model, y: np.ndarray) -> None:
    """Rejects arrays of labels that `loss` has no logit for.

    Only losses that are known to take one integer per example are checked, on a model with one row
    of outputs per example: others (categorical_crossentropy, a user's function) may take any
    labels. Integers in a column, or as floats, are accepted as in Keras.

    Args:
        loss: from `resolve_loss`.
        model: the model that the loss is computed from.
        y: labels.

    Raises:
        ArgumentError: one-hot labels, a label out of range, or no integers.
    """
    classes = _classes_of(loss, model)
    if classes is None:
        return
    _check_shape(y.shape)
    labels = y.reshape(len(y))
    ignored = _ignored_class(loss)
    if ignored is not None:
        labels = labels[labels != ignored]
    if labels.dtype.kind == "b" or (
        labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all()
    ):
        labels = labels.astype(np.int64)
    if len(labels):
        check_labels(labels, classes=classes, examples=len(labels))


def check_label_spec(loss: Any, model: keras.Model, dataset: tf.data.Dataset) -> None:
    """As `check_labels_of` for a tf.data input, of which only the labels' shape is known.

    Raises:
        ArgumentError: one-hot labels.
    """
    spec = dataset.element_spec
    known = isinstance(spec, tuple) and len(spec) > 1 and isinstance(spec[1], tf.TensorSpec)
    if known and _classes_of(loss, model) is not None and spec[1].shape.rank is not None:
        _check_shape(tuple(spec[1].shape))


def _check_shape(shape: tuple[int | None, ...]) -> None:
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] in (1, None)):
        raise ArgumentError(
            f"y of shape {shape} must have one integer per example, shape ({(*shape, 'n')[0]},): "
            "one-hot labels go with loss='categorical_crossentropy'"
        )
