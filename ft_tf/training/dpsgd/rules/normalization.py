"""LayerNormalization layers: y = gamma * z + beta z the input normalised within each example."""

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    from_materialized,
    register_rule,
)


def layer_normalization_rule(
    layer: keras.layers.LayerNormalization, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients: sum of g z for gamma and of g for beta over all other axes."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    axes = [axis % inputs.shape.rank for axis in _as_list(layer.axis)]
    others = [axis for axis in range(1, inputs.shape.rank) if axis not in axes]
    parts = []
    if layer.scale:
        mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
        normalized = (inputs - mean) * tf.math.rsqrt(variance + layer.epsilon)
        parts.append(tf.reduce_sum(gradients * normalized, axis=others))
    if layer.center:
        parts.append(tf.reduce_sum(gradients, axis=others))
    return from_materialized(parts)


def _as_list(axis: int | list[int] | tuple[int, ...]) -> list[int]:
    return [axis] if isinstance(axis, int) else list(axis)


def _applies(layer: keras.layers.LayerNormalization) -> bool:
    axes = _as_list(layer.axis)
    return axes == sorted(axes)  # else gamma's axes are not in the order of the input's


register_rule(keras.layers.LayerNormalization, layer_normalization_rule, applies=_applies)
