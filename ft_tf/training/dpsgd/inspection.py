"""A look at what DP-SGD adds up: the clipped sum of one batch."""

from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd.clipping import clipped_sum
from ft_tf.training.dpsgd.losses import per_example_loss
from ft_tf.training.dpsgd.plan import make_plan, trainable_variables
from ft_tf.training.dpsgd.trial import check_plan


def clipped_gradient_sum(
    model: keras.Model,
    loss: Any,
    x: np.ndarray,
    y: np.ndarray,
    l2_norm_clip: float,
    *,
    training: bool = False,
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Sum of the clipped per-example gradients of a batch, for a look at what training does.

    Args:
        model: a built Keras model.
        loss: as for `DPSGDModel.compile`.
        x: examples [batch, ...].
        y: labels [batch, ...].
        l2_norm_clip: C.
        training: whether the model runs in training mode.

    Returns:
        The sum, one float32 array per entry of `model.trainable_variables`; the l2 norms before
        clipping [batch]; and how many examples' gradients were not finite and count as zero.

    Raises:
        ArgumentError: `l2_norm_clip` is not positive, or the loss cannot be used.
        ModelError: the model cannot be served, or the gradients would be wrong.
    """
    checks.check_positive(l2_norm_clip=l2_norm_clip)
    plan = make_plan(model)
    losses = per_example_loss(resolve_loss(loss, model))
    check_plan(plan, losses, x, y)

    @tf.function(autograph=False)
    def compute(x: tf.Tensor, y: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        weights = tf.ones([tf.shape(y)[0]])
        result = clipped_sum(
            plan, losses, x, y, weights=weights, l2_norm_clip=l2_norm_clip, training=training
        )
        return result.gradients, result.norms, tf.reduce_sum(tf.cast(~result.finite, tf.int32))

    gradients, norms, nonfinite = compute(tf.convert_to_tensor(x), tf.convert_to_tensor(y))
    by_variable = {
        id(variable): gradient.numpy()
        for variable, gradient in zip(trainable_variables(plan), gradients, strict=True)
    }
    ordered = [by_variable[id(variable)] for variable in model.trainable_variables]
    return ordered, norms.numpy(), int(nonfinite)
