"""DepthwiseConv2D layers: each input channel has filters of its own.

The gradient of one kernel entry (i, j, c, m) is the sum over positions of the shifted input of
channel c times the gradient of output (c, m). The kernels are small, so the per-example gradients
are written out.
"""

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.convolution import shifted_slices, takes_images
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    from_materialized,
    register_rule,
)


def depthwise_rule(
    layer: keras.layers.DepthwiseConv2D, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a DepthwiseConv2D layer, channels last."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    channels, multiplier = inputs.shape[-1], layer.depth_multiplier
    by_channel = tf.reshape(gradients, [-1, *gradients.shape[1:3], channels, multiplier])
    entries = [
        tf.reduce_sum(part[..., tf.newaxis] * by_channel, axis=[1, 2])
        for part in shifted_slices(layer, inputs, gradients.shape)
    ]
    kernels = tf.reshape(tf.stack(entries, axis=1), [-1, *layer.depthwise_kernel.shape.as_list()])
    biases = [tf.reduce_sum(gradients, axis=[1, 2])] if layer.use_bias else []
    return from_materialized([kernels, *biases])


register_rule(keras.layers.DepthwiseConv2D, depthwise_rule, applies=takes_images)
