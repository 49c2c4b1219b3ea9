"""From what `compile` takes as loss to one loss per example."""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": (keras.losses.SparseCategoricalCrossentropy, "softmax"),
    "categorical_crossentropy": (keras.losses.CategoricalCrossentropy, "softmax"),
    "binary_crossentropy": (keras.losses.BinaryCrossentropy, "sigmoid"),
}

PerExampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(y [batch, ...], outputs [batch, ...]) -> float32 [batch]."""


def _last_activation(model: keras.Model) -> str | None:
    """Name of the activation that gives the model's output, or None if it cannot be told."""
    layer = model
    while isinstance(layer, keras.Model):
        if not getattr(layer, "layers", None):
            return None
        layer = layer.layers[-1]
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", None) if activation is not None else None


def resolve_loss(loss: Any, model: keras.Model) -> keras.losses.Loss:
    """A Keras loss that fits what the model gives.

    A string names a loss on probabilities in Keras; on a model that ends in a linear layer the
    cross-entropies are taken from logits instead, and a loss object that contradicts the model is
    refused.

    Args:
        loss: a name, a keras.losses.Loss, or a function of (y, outputs) that gives one loss per
            example (or more, which are averaged within an example).
        model: the model whose output the loss is computed from.

    Raises:
        ArgumentError: there is no loss, it is unknown, or it contradicts the model's output.
    """
    activation = _last_activation(model)
    if loss is None:
        raise ArgumentError(
            "loss=None: compile needs a loss for DP-SGD, such as "
            "loss='sparse_categorical_crossentropy' (taken from logits where the model gives them)"
        )
    if isinstance(loss, str) and loss in _CROSS_ENTROPIES:
        kind, matching = _CROSS_ENTROPIES[loss]
        if activation not in ("linear", matching):
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
        options = getattr(loss, "_fn_kwargs", {})
        if options.get("from_logits") is False and activation == "linear":
            raise ArgumentError(
                f"loss={type(loss).__name__}(from_logits=False) expects probabilities, but the "
                "model ends in a linear layer: pass from_logits=True"
            )
        if options.get("from_logits") is True and activation in ("softmax", "sigmoid"):
            raise ArgumentError(
                f"loss={type(loss).__name__}(from_logits=True) expects logits, but the model ends "
                f"in a {activation}: remove it"
            )
        return loss
    if not callable(loss):
        raise ArgumentError(f"loss={loss!r} must be a name, a keras.losses.Loss or a function")
    return _FunctionLoss(loss)


class _FunctionLoss(keras.losses.Loss):
    """A function (y, outputs) -> losses [batch, ...] as a Keras loss."""

    def __init__(self, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return self.function(y_true, y_pred)


def per_example_loss(loss: keras.losses.Loss) -> PerExampleLoss:
    """`loss` without its reduction: float32 [batch].

    Losses of several positions or outputs of one example are averaged.
    """

    def losses(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(outputs, tf.float32)
        if y.shape.rank == 1 and outputs.shape.rank == 2:
            y = y[:, tf.newaxis]  # as Keras's compile does
        values = tf.cast(loss.call(y, outputs), tf.float32)
        if values.shape.rank in (None, 0):
            raise ArgumentError(
                f"loss={loss.name} gives one number for the whole batch: DP-SGD needs one loss "
                "per example, so it must not reduce over the batch axis"
            )
        return tf.reduce_mean(values, axis=list(range(1, values.shape.rank)))

    return losses


def finite_or_all(losses: tf.Tensor) -> tf.Tensor:
    """The finite losses; all of them where none is, so that a training gone wrong shows."""
    finite = tf.boolean_mask(losses, tf.math.is_finite(losses))
    return tf.cond(tf.size(finite) > 0, lambda: finite, lambda: losses)
