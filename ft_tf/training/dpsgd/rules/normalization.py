"""Layers that normalise within each example: y = gamma * z + beta, z the normalised input.

The gradient of gamma is the sum of g z, that of beta the sum of g, over all axes without weights.
"""

import math
from collections.abc import Callable

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules import (
    PerExampleGradients,
    from_materialized,
    register_rule,
    trains,
)


def layer_normalization_rule(
    layer: keras.layers.LayerNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a LayerNormalization layer."""
    inputs, gradients = (tf.cast(part, tf.float32) for part in (inputs, gradients))
    axes = _axes(layer, inputs)
    mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
    normalized = (inputs - mean) * tf.math.rsqrt(variance + layer.epsilon)
    scale = [_summed(gradients * normalized, axes)] if layer.scale else []
    center = [_summed(gradients, axes)] if layer.center else []
    return from_materialized([*scale, *center])


def group_normalization_rule(
    layer: keras.layers.GroupNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a GroupNormalization layer."""
    centered, inverse = _centered(layer, inputs)
    gradients = _by_channel(layer, gradients)
    scale = [_sums(gradients * centered) * inverse] if layer.scale else []
    center = [_sums(gradients)] if layer.center else []
    return from_materialized([*scale, *center])


def group_normalized(layer: keras.layers.GroupNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """The layer's outputs; their gradient by sums over each channel, a fourth of Keras's time.

    With x' = x - mean and r = 1 / sqrt(variance + epsilon) of an example's group of n entries, and
    g' = gamma g, the gradient is r (g' - mean(g') - x' r^2 mean(g' x')).
    """
    gamma = tf.convert_to_tensor(layer.gamma.value) if layer.scale else tf.ones([])
    beta = tf.convert_to_tensor(layer.beta.value) if layer.center else tf.zeros([])
    gamma, beta = (tf.reshape(tf.cast(part, tf.float32), [1, -1]) for part in (gamma, beta))

    @tf.custom_gradient
    def normalized(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        centered, inverse = _centered(layer, inputs)
        scale = gamma * inverse

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            rows = _by_channel(layer, upstream)
            mean = inverse * _group_means(layer, gamma * _sums(rows), rows)
            slope = inverse**3 * _group_means(layer, gamma * _sums(rows * centered), rows)
            result = rows * _spread(scale) - (centered * _spread(slope) + _spread(mean))
            return tf.cast(tf.reshape(result, tf.shape(inputs)), inputs.dtype)

        outputs = centered * _spread(scale) + _spread(beta)
        return tf.cast(tf.reshape(outputs, tf.shape(inputs)), layer.compute_dtype), gradient

    return normalized(inputs)


def _by_channel(layer: keras.layers.GroupNormalization, tensor: tf.Tensor) -> tf.Tensor:
    """[batch, ...] as float32 [batch, entries before the layer's axis, channels, after it]."""
    (axis,) = _axes(layer, tensor)
    shape = tensor.shape.as_list()
    before, after = math.prod(shape[1:axis]), math.prod(shape[axis + 1 :])
    return tf.reshape(tf.cast(tensor, tf.float32), [-1, before, shape[axis], after])


def _centered(
    layer: keras.layers.GroupNormalization, inputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs by channel less their group's mean; 1 / the group's deviation [batch, channels]."""
    rows = _by_channel(layer, inputs)
    centered = rows - _spread(_group_means(layer, _sums(rows), rows))
    variance = _group_means(layer, _sums(tf.square(centered)), rows)
    return centered, tf.math.rsqrt(variance + layer.epsilon)


def _sums(rows: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(rows, [1, 3])


def _spread(by_channel: tf.Tensor) -> tf.Tensor:
    return by_channel[:, tf.newaxis, :, tf.newaxis]


def _group_means(
    layer: keras.layers.GroupNormalization, sums: tf.Tensor, rows: tf.Tensor
) -> tf.Tensor:
    """Means over groups of channels, for each channel, of sums over the channels of `rows`."""
    channels = rows.shape[2]
    grouped = tf.reshape(sums, [-1, layer.groups, channels // layer.groups])
    means = tf.reduce_mean(grouped, 2) / (rows.shape[1] * rows.shape[3])
    return tf.repeat(means, channels // layer.groups, axis=1)


def rms_normalization_rule(
    layer: keras.layers.RMSNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of an RMSNormalization layer: x / sqrt(mean of x^2) * scale."""
    inputs = tf.cast(inputs, tf.float32)
    axes = _axes(layer, inputs)
    mean = tf.reduce_mean(tf.square(inputs), axes, keepdims=True)
    normalized = inputs * tf.math.rsqrt(mean + layer.epsilon)
    return from_materialized([_summed(tf.cast(gradients, tf.float32) * normalized, axes)])


def _summed(tensor: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """The sum over all axes but that of the examples and `axes`."""
    return tf.reduce_sum(tensor, [i for i in range(1, tensor.shape.rank) if i not in axes])


def _axes(layer: keras.layers.Layer, inputs: tf.Tensor) -> list[int]:
    return [axis % inputs.shape.rank for axis in tf.nest.flatten(layer.axis)]


def _is_plain(layer: keras.layers.Layer) -> bool:
    axes = tf.nest.flatten(layer.axis)
    # Else gamma's axes are not in the order of the input's.
    in_order = axes == sorted(axes)
    return in_order and not getattr(layer, "rms_scaling", False) and _trains_all(layer)


_trains_all = trains("gamma", "beta", "scale")


register_rule(keras.layers.LayerNormalization, layer_normalization_rule, applies=_is_plain)
register_rule(
    keras.layers.GroupNormalization,
    group_normalization_rule,
    applies=_trains_all,
    call=group_normalized,
)
register_rule(keras.layers.RMSNormalization, rms_normalization_rule, applies=_is_plain)
