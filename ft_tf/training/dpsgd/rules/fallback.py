"""The exact slower path: per-example gradients of any layer, one example at a time.

A layer that treats examples independently has gradient i = VJP(layer on example i, g_i), which is
computed here by a loop over the examples. Nothing is known about the layer but that.
"""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import tf
from ft_tf.training.dpsgd.rules.registry import PerExampleGradients, from_materialized


def one_at_a_time(
    call: Callable[[Any], Any], weights: list[tf.Variable], inputs: Any, gradients: Any
) -> list[tf.Tensor]:
    """Per-example gradients of `weights`, each [batch, *weight.shape].

    Args:
        call: the layer as a function of `inputs`.
        weights: the trainable weights of the layer.
        inputs: a nest of tensors [batch, ...].
        gradients: a nest of tensors [batch, ...]: gradients with respect to what `call` returns.
    """

    def gradient(example: tuple[Any, Any]) -> list[tf.Tensor]:
        example_inputs, example_gradients = tf.nest.map_structure(
            lambda part: part[tf.newaxis], example
        )
        with tf.GradientTape() as tape:
            outputs = call(example_inputs)
        parts = tape.gradient(
            outputs,
            weights,
            output_gradients=example_gradients,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [tf.cast(tf.convert_to_tensor(part), tf.float32) for part in parts]

    signature = [tf.TensorSpec(weight.shape, tf.float32) for weight in weights]
    return tf.map_fn(
        gradient, (inputs, gradients), fn_output_signature=signature, parallel_iterations=4
    )


def fallback_gradients(
    call: Callable[[Any], Any], weights: list[tf.Variable], inputs: Any, gradients: Any
) -> PerExampleGradients:
    """`one_at_a_time` as PerExampleGradients."""
    return from_materialized(one_at_a_time(call, weights, inputs, gradients))
