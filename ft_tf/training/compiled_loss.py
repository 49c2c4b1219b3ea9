"""From what `compile` takes as loss to a Keras loss that fits what the model gives."""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.models import PROBABILITIES, ending_of
from ft_tf.training.losses import CrossEntropy

_CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": (keras.losses.SparseCategoricalCrossentropy, "softmax"),
    "categorical_crossentropy": (keras.losses.CategoricalCrossentropy, "softmax"),
    "binary_crossentropy": (keras.losses.BinaryCrossentropy, "sigmoid"),
}


def _last_activation(model: keras.Model) -> str | None:
    """Name of the activation that gives the model's output, or None if it cannot be told."""
    ending = ending_of(model)
    return None if ending is None else ending.activation or None


def resolve_loss(loss: Any, model: keras.Model) -> keras.losses.Loss:
    """A Keras loss that fits what the model gives.

    A string names a loss on probabilities in Keras; on a model that ends in a linear layer the
    cross-entropies are taken from logits instead, and a loss object that contradicts the model is
    refused. `ft_tf.models.ending_of` says what the model gives.

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
    return _FunctionLoss(loss)


def matched(y: tf.Tensor, outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and outputs as Keras's compiled loss hands them to a loss: of ranks and types alike.

    Labels [n] beside outputs [n, k] become [n, 1], and take the type of the outputs where both are
    floating, or both integers.
    """
    y, outputs, _ = keras.src.engine.compile_utils.match_dtype_and_rank(y, outputs, None)
    return y, outputs


class _FunctionLoss(keras.losses.Loss):
    """A function (y, outputs) -> losses [batch, ...] as a Keras loss."""

    def __init__(self, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        if tf.is_tensor(y_true) and tf.is_tensor(y_pred):
            # As Keras does for the functions that it wraps: [n] beside [n, 1] would make [n, n].
            squeezed = keras.src.utils.losses_utils.squeeze_or_expand_dimensions
            y_pred, y_true = squeezed(y_pred, y_true)
        return self.function(y_true, y_pred)
