"""Gradients of each example of a batch, in one forward and one backward pass.

The backward pass stops at the layers' pre-activations. From there a layer's rule gives the norm of
each example's gradient and weighted sums of the gradients, which are never all written out; a layer
without a rule is computed one example at a time, exact and slower.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.training.dpsgd.capture import LayerUse, captured, check_uses
from ft_tf.training.dpsgd.example_losses import PerExampleLoss
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses
from ft_tf.training.dpsgd.rules import PerExampleGradients, from_materialized


@dataclasses.dataclass(frozen=True)
class ExampleGradients:
    """One batch after its forward and backward pass.

    Attributes:
        plan: of the model.
        uses: the calls of the layers.
        by_output: gradients of the summed losses with respect to the outputs of `uses`.
        losses: float32 [batch].
        outputs: the model's outputs [batch, ...].
    """

    plan: Plan
    uses: list[LayerUse]
    by_output: list[Any]
    losses: tf.Tensor
    outputs: tf.Tensor

    @classmethod
    def of_batch(
        cls, plan: Plan, loss: PerExampleLoss, x: Any, y: tf.Tensor, *, training: bool
    ) -> "ExampleGradients":
        """Runs the model on a batch; see `step.clipped_sum` for the arguments."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            with captured(plan.layers, tape) as uses:
                outputs = plan.model(with_open_batch(x), training=training)
            losses = loss(y, outputs)
        check_uses(plan.layers, uses)
        check_no_added_losses(plan.model)
        by_output = tape.gradient(
            losses,
            [use.outputs for use in uses],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return cls(plan, uses, by_output, losses, outputs)

    def by_layer(self) -> list[PerExampleGradients]:
        """Returns the gradients of each layer of the plan, in its order."""
        calls = list(zip(self.uses, self.by_output, strict=True))
        return [
            _layer_gradients(self.plan, layer, [call for call in calls if call[0].layer is layer])
            for layer in self.plan.layers
        ]

    def zero_unless(self, keep: tf.Tensor) -> "ExampleGradients":
        """Returns the same batch with zero gradients for examples that are not in `keep` [batch].

        The rows themselves become zero, since 0 * inf is not zero in any sum.
        """
        uses = [
            dataclasses.replace(
                use,
                inputs=_zero_unless(keep, use.inputs),
                examples=_zero_unless(keep, use.examples),
            )
            for use in self.uses
        ]
        by_output = _zero_unless(keep, self.by_output)
        return dataclasses.replace(self, uses=uses, by_output=by_output)


def with_open_batch(x: Any) -> Any:
    """Returns the same tensors with an open number of rows: no other axis can be taken for it."""

    def opened(part: tf.Tensor) -> tf.Tensor:
        if part.shape.rank is None or part.shape[0] is None:
            return part
        return tf.compat.v1.placeholder_with_default(part, [None, *part.shape[1:]])

    return x if tf.executing_eagerly() else tf.nest.map_structure(opened, x)


def _zero_unless(keep: tf.Tensor, nest: Any) -> Any:
    def zero(tensor: tf.Tensor) -> tf.Tensor:
        if not tensor.dtype.is_floating:
            return tensor  # a mask or ids: always finite, and zero may be no possible value
        rows = tf.reshape(keep, [-1] + [1] * (tensor.shape.rank - 1))
        return tf.where(rows, tensor, tf.zeros([], tensor.dtype))

    return tf.nest.map_structure(zero, nest)


def _layer_gradients(
    plan: Plan, layer: keras.layers.Layer, calls: list[tuple[LayerUse, Any]]
) -> PerExampleGradients:
    weights = [weight.value for weight in layer.trainable_weights]
    if len(calls) == 1:
        use, gradient = calls[0]
        rule = plan.rule(layer)
        if rule is not None and _has_known_shape(use.inputs):
            return rule(layer, use.inputs, gradient)
        if rule is not None:  # the plan could not know
            _warn_of_the_slow_path(layer, "is called on inputs whose shape is open")
        return from_materialized(one_at_a_time(use.call, weights, use.examples, gradient))
    _warn_of_the_slow_path(layer, f"is called {len(calls)} times")
    # The norm of a sum over several uses needs the gradients themselves.
    written_out = [
        one_at_a_time(use.call, weights, use.examples, gradient) for use, gradient in calls
    ]
    return from_materialized([tf.add_n(parts) for parts in zip(*written_out, strict=True)])


def _warn_of_the_slow_path(layer: keras.layers.Layer, why: str) -> None:
    warnings.warn(
        f"layer {layer.name!r} ({type(layer).__name__}) {why}: its per-example gradients are "
        "computed one example at a time, exact but slow",
        stacklevel=2,
    )


def _has_known_shape(inputs: Any) -> bool:
    return isinstance(inputs, tf.Tensor) and inputs.shape[1:].is_fully_defined()


def one_at_a_time(
    call: Callable[[list[tf.Tensor]], Any],
    weights: list[tf.Variable],
    examples: list[tf.Tensor],
    gradients: Any,
) -> list[tf.Tensor]:
    """Computes the gradients of `weights` by a loop over the examples, each [batch, *weight.shape].

    A layer that treats examples independently has the gradient VJP(layer on example i, g_i).
    Nothing else is assumed about the layer.

    Args:
        call: the layer as a function of `examples`.
        weights: the trained variables of the layer.
        examples: tensors [batch, ...]: all arguments of the layer with a row per example.
        gradients: a nest of tensors [batch, ...]: gradients with respect to what `call` returns.
    """

    def gradient(example: tuple[Any, Any]) -> list[tf.Tensor]:
        one, one_gradients = tf.nest.map_structure(lambda part: part[tf.newaxis], example)
        with tf.GradientTape() as tape:
            outputs = call(one)
        _check_nothing_was_drawn(weights)
        parts = tape.gradient(
            outputs,
            weights,
            output_gradients=one_gradients,
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
    """Restores the variable scope's caching device, which map_fn leaves set when its body raises.

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
    """Rejects a layer that drew random numbers: the forward pass drew other ones.

    Raises:
        ModelError: the graph that holds one call of the layer has such an operation.
    """
    if tf.executing_eagerly():
        return
    graph = tf.compat.v1.get_default_graph().as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    drawn = sorted({node.op for node in nodes if _is_random_op(node.op)})
    if drawn:
        names = ", ".join(repr(weight.name) for weight in weights)
        raise ModelError(
            f"the layer with the weights {names} draws random numbers or changes its state "
            f"({drawn[0]}) and has no rule: do so in a separate layer, such as Dropout"
        )


def _is_random_op(op: str) -> bool:
    """Returns True for an operation that gives other numbers each time it runs, or makes one do so.

    Keras draws by stateless operations from a seed that it moves on.

    >>> _is_random_op("RandomUniform"), _is_random_op("RngReadAndSkip")
    (True, True)
    >>> _is_random_op("AssignVariableOp")
    True
    >>> _is_random_op("StatelessRandomNormalV2"), _is_random_op("StatefulPartitionedCall")
    (False, False)
    """
    if op.startswith("Stateless"):
        return False
    if op.startswith("Assign") and op.endswith("VariableOp"):
        return True
    return op.startswith(("StatefulStandard", "StatefulUniform", "StatefulRandom")) or any(
        name in op for name in ("Random", "TruncatedNormal", "Multinomial", "RngReadAndSkip")
    )
