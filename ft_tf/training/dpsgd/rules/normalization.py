"""Layers that normalise within each example: y = gamma * z + beta, z the normalised input.

The gradient of gamma is the sum of g z, that of beta the sum of g, over all axes without weights.
"""

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
    inputs = tf.cast(inputs, tf.float32)
    axes = _axes(layer, inputs)
    mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
    normalized = (inputs - mean) * tf.math.rsqrt(variance + layer.epsilon)
    return _scale_and_center(layer, normalized, gradients, axes)


def group_normalization_rule(
    layer: keras.layers.GroupNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a GroupNormalization layer."""
    inputs = tf.cast(inputs, tf.float32)
    (axis,) = _axes(layer, inputs)
    shape = inputs.shape.as_list()
    split = [layer.groups, shape[axis] // layer.groups]
    grouped = tf.reshape(inputs, [-1, *shape[1:axis], *split, *shape[axis + 1 :]])
    others = [i for i in range(1, grouped.shape.rank) if i != axis]
    mean, variance = tf.nn.moments(grouped, others, keepdims=True)
    normalized = (grouped - mean) * tf.math.rsqrt(variance + layer.epsilon)
    return _scale_and_center(layer, tf.reshape(normalized, [-1, *shape[1:]]), gradients, [axis])


def rms_normalization_rule(
    layer: keras.layers.RMSNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of an RMSNormalization layer: x / sqrt(mean of x^2) * scale."""
    inputs = tf.cast(inputs, tf.float32)
    axes = _axes(layer, inputs)
    mean = tf.reduce_mean(tf.square(inputs), axes, keepdims=True)
    normalized = inputs * tf.math.rsqrt(mean + layer.epsilon)
    return from_materialized([_summed(tf.cast(gradients, tf.float32) * normalized, axes)])


def _scale_and_center(
    layer: keras.layers.Layer, normalized: tf.Tensor, gradients: tf.Tensor, axes: list[int]
) -> PerExampleGradients:
    gradients = tf.cast(gradients, tf.float32)
    scale = [_summed(gradients * normalized, axes)] if layer.scale else []
    center = [_summed(gradients, axes)] if layer.center else []
    return from_materialized([*scale, *center])


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
register_rule(keras.layers.GroupNormalization, group_normalization_rule, applies=_trains_all)
register_rule(keras.layers.RMSNormalization, rms_normalization_rule, applies=_is_plain)
