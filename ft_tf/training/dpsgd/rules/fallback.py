"""The exact slower path: per-example gradients of any layer, one example at a time.

A layer that treats examples independently has gradient i = VJP(layer on example i, g_i), which is
computed here by a loop over the examples. Nothing is known about the layer but that.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import tf
from ft_tf.errors import ModelError
from ft_tf.training.dpsgd.rules.registry import PerExampleGradients, from_materialized


def one_at_a_time(
    call: Callable[[list[tf.Tensor]], Any],
    weights: list[tf.Variable],
    examples: list[tf.Tensor],
    gradients: Any,
) -> list[tf.Tensor]:
    """Per-example gradients of `weights`, each [batch, *weight.shape].

    Args:
        call: the layer as a function of `examples`.
        weights: the trainable weights of the layer.
        examples: tensors [batch, ...]: all that the layer gets of each example.
        gradients: a nest of tensors [batch, ...]: gradients with respect to what `call` returns.
    """

    def gradient(example: tuple[Any, Any]) -> list[tf.Tensor]:
        own, own_gradients = tf.nest.map_structure(lambda part: part[tf.newaxis], example)
        with tf.GradientTape() as tape:
            outputs = call(own)
        _check_nothing_was_drawn(weights)
        parts = tape.gradient(
            outputs,
            weights,
            output_gradients=own_gradients,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [tf.cast(tf.convert_to_tensor(part), tf.float32) for part in parts]

    signature = [tf.TensorSpec(weight.shape, tf.float32) for weight in weights]
    with _kept_caching_device():
        return tf.map_fn(
            gradient, (examples, gradients), fn_output_signature=signature, parallel_iterations=4
        )


@contextlib.contextmanager
def _kept_caching_device() -> Iterator[None]:
    """Undoes what map_fn sets in the variable scope and leaves there when its body raises.

    The scope is that of the whole process: no strategy could be entered any more.
    """
    scope = tf.compat.v1.get_variable_scope()
    before = scope.caching_device
    try:
        yield
    finally:
        if scope.caching_device is not before:
            scope.set_caching_device(before)


def _check_nothing_was_drawn(weights: list[tf.Variable]) -> None:
    """Refuses a layer that drew random numbers: it drew others in the forward pass.

    Raises:
        ModelError: the graph that holds one call of the layer has a random operation.
    """
    if tf.executing_eagerly():
        return
    graph = tf.compat.v1.get_default_graph().as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    drawn = sorted({node.op for node in nodes if _draws_anew(node.op)})
    if drawn:
        names = ", ".join(repr(weight.name) for weight in weights)
        raise ModelError(
            f"the layer with the weights {names} draws random numbers ({drawn[0]}) and has no "
            "rule: put the drawing into a layer of its own, such as Dropout or GaussianNoise"
        )


def _draws_anew(op: str) -> bool:
    """Whether an operation gives other numbers each time; a stateless one repeats its own.

    >>> _draws_anew("RandomUniform"), _draws_anew("RngReadAndSkip")
    (True, True)
    >>> _draws_anew("StatelessRandomNormalV2"), _draws_anew("StatefulPartitionedCall")
    (False, False)
    """
    if op.startswith("Stateless"):
        return False
    return op.startswith(("StatefulStandard", "StatefulUniform", "StatefulRandom")) or any(
        name in op for name in ("Random", "TruncatedNormal", "Multinomial", "RngReadAndSkip")
    )


def fallback_gradients(
    call: Callable[[list[tf.Tensor]], Any],
    weights: list[tf.Variable],
    examples: list[tf.Tensor],
    gradients: Any,
) -> PerExampleGradients:
    """`one_at_a_time` as PerExampleGradients."""
    return from_materialized(one_at_a_time(call, weights, examples, gradients))
