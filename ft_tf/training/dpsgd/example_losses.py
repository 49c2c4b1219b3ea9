"""The compiled loss without its reduction: one loss per example."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.training.compiled_loss import losses_of

PerExampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(y [batch, ...], outputs [batch, ...]) -> float32 [batch]."""

_EXAMPLES = 5
_OPEN_AXIS = 3


def per_example_loss(loss: keras.losses.Loss) -> PerExampleLoss:
    """Returns `loss` without its reduction: float32 [batch].

    Labels and outputs of different ranks are matched as Keras's `compile` does. Losses of several
    positions or outputs of one example are averaged, without positions that the model marks as
    padding (a Keras mask). That is Keras's loss of a batch of one.

    For each new shape of labels and outputs the loss is first tried on made-up numbers, to check
    that it does not mix examples: `check_loss_is_per_example` does so on given ones.

    Raises:
        ArgumentError: when called: the loss mixes examples or gives other than [batch, ...].
    """
    tried = set()

    def losses(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        if not (tf.is_tensor(y) and tf.is_tensor(outputs)):
            raise ArgumentError("DP-SGD needs a model with one output, and y as one array")
        kind = tuple((str(part.shape[1:]), part.dtype) for part in (y, outputs))
        if kind not in tried:
            _try_on_made_up_numbers(loss, y, outputs)
            tried.add(kind)
        return _per_example(loss, y, outputs)

    return losses


def check_loss_is_per_example(loss: keras.losses.Loss, y: Any, outputs: Any) -> None:
    """Checks that no example's loss depends on another example: on its label, its outputs, or it.

    The losses of some examples are compared with those that the same ones have when the first
    example is left out.

    Args:
        loss: from `resolve_loss`.
        y: labels of a few examples [n, ...], n >= 2.
        outputs: the model's outputs on them [n, ...].

    Raises:
        ArgumentError: the losses differ.
    """
    y, outputs = tf.convert_to_tensor(y), tf.convert_to_tensor(outputs)
    # Both are slices: these lose the attributes that Keras adds, mask and logits of a softmax.
    together = _per_example(loss, y, outputs[0:]).numpy()[1:]
    without = _per_example(loss, y[1:], outputs[1:]).numpy()
    finite = together[np.isfinite(together)]
    slack = 1e-5 * np.abs(finite).max(initial=1e-30)  # rounding
    if not np.allclose(together, without, rtol=1e-5, atol=slack, equal_nan=True):
        raise ArgumentError(
            f"loss={loss.name} mixes examples (y of shape {_shape(y)}, outputs {_shape(outputs)}): "
            "leaving one out changes the losses of the others, so clipping would not bound what "
            "it does"
        )


def _per_example(loss: keras.losses.Loss, y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    mask = getattr(outputs, "_keras_mask", None)
    values = losses_of(loss, y, outputs)
    rank = values.shape.rank
    if not rank:
        raise ArgumentError(
            f"loss={loss.name} gives one number for the whole batch: DP-SGD needs one loss "
            "per example, so it must not reduce over the batch axis"
        )
    if not values.shape[:1].is_compatible_with(outputs.shape[:1]):
        raise ArgumentError(
            f"loss={loss.name} gives losses of shape {_shape(values)}: DP-SGD needs one or more "
            "for each example, [batch, ...]"
        )
    axes = list(range(1, rank))
    if mask is None:
        return tf.reduce_mean(values, axis=axes)
    if mask.shape.rank > rank:
        raise ArgumentError(
            f"loss={loss.name} gives one loss for outputs of shape {_shape(outputs)} that have "
            "a mask: masked outputs need a loss per step, [batch, steps]"
        )
    open_mask = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (rank - mask.shape.rank)], 0))
    counts = tf.cast(tf.broadcast_to(open_mask, tf.shape(values)), tf.float32)
    # Not a product: the loss of padding may be infinite.
    valid = tf.where(counts > 0, values, 0.0)
    return tf.math.divide_no_nan(tf.reduce_sum(valid, axis=axes), tf.reduce_sum(counts, axis=axes))


def _try_on_made_up_numbers(loss: keras.losses.Loss, y: tf.Tensor, outputs: tf.Tensor) -> None:
    """Checks a loss for labels and outputs of these shapes, if it takes such numbers.

    Labels are 0 and 1, both classes and values; outputs lie between, both logits and
    probabilities.
    """
    if y.shape.rank is None or outputs.shape.rank is None or y.dtype == tf.string:
        return
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, _made_up_shape(y))
    labels[0] = 1 - labels[1]  # the one that is left out must differ
    numbers = rng.uniform(0.05, 0.95, _made_up_shape(outputs))
    with tf.init_scope():  # now, and not when the step runs
        made_up = tf.cast(labels, y.dtype), tf.cast(numbers, outputs.dtype)
        try:
            check_loss_is_per_example(loss, *made_up)
        except ArgumentError:
            raise
        except Exception:
            return  # the call on the real labels raises if the loss itself is wrong


def _made_up_shape(part: tf.Tensor) -> list[int]:
    return [_EXAMPLES, *(_OPEN_AXIS if size is None else size for size in part.shape[1:])]


def _shape(part: tf.Tensor) -> str:
    return "[" + ", ".join(["batch", *(str(size) for size in part.shape[1:])]) + "]"


def finite_or_all(losses: tf.Tensor) -> tf.Tensor:
    """Returns the finite losses, or all if none is finite, so that a failed training shows."""
    finite = tf.boolean_mask(losses, tf.math.is_finite(losses))
    return tf.cond(tf.size(finite) > 0, lambda: finite, lambda: losses)
