"""A compiled loss, example by example."""

from collections.abc import Callable

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

PerExampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(y [batch, ...], outputs [batch, ...]) -> float32 [batch]."""


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
