"""Rules: per-example gradients of each layer class without writing them all out, or one by one.

A rule is one function

    rule(layer, inputs, gradients) -> PerExampleGradients

where `inputs` is the argument of the layer's call [batch, ...] and `gradients` is the gradient of
the summed per-example losses with respect to the layer's output (for Dense, Conv2D and
DepthwiseConv2D, but not for their subclasses: before the activation). Because no example's loss
depends on another example, row i of `gradients` belongs to example i alone.

A user's layer becomes fast with a rule. This one serves a layer that computes
inputs * scale with a weight `scale` [features] on inputs [batch, features]:

>>> class Scale(keras.layers.Layer):
...     def build(self, shape):
...         self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones")
...     def call(self, inputs):
...         return inputs * self.scale
>>> def scale_rule(layer, inputs, gradients):
...     return from_materialized([inputs * gradients])  # [batch, *scale.shape]
>>> register_rule(Scale, scale_rule)
>>> registered(Scale())[0] is scale_rule
True
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError


@dataclasses.dataclass(frozen=True)
class PerExampleGradients:
    """One layer's gradients of each example's loss, not necessarily written out.

    Attributes:
        squared_norms: float32 [batch]: squared l2 norm over all trainable weights of the layer.
        weighted_sum: returns sum_i w_i g_i in float32 for weights w, float32 [batch]: one tensor
            per entry of `layer.trainable_weights`, in that order.
    """

    squared_norms: tf.Tensor
    weighted_sum: Callable[[tf.Tensor], list[tf.Tensor]]


Rule = Callable[[keras.layers.Layer, Any, tf.Tensor], PerExampleGradients]
"""`rule(layer, inputs, gradients)`; see the docstring of this module."""

Applies = Callable[[keras.layers.Layer], bool]

LayerCall = Callable[[Any, tf.Tensor], tf.Tensor]
"""(layer, inputs) -> what the layer's own `call` returns for them, to rounding."""


def trains(*names: str) -> Applies:
    """Returns the condition that a layer trains exactly these of its weights, in this order.

    A missing name is that of a weight that the layer's configuration leaves out; a weight frozen
    alone, or an adapter (LoRA), makes the rule not apply.
    """

    def applies(layer: keras.layers.Layer) -> bool:
        found = [weight.name for weight in layer.trainable_weights]
        own = [weight.name for weight in layer.weights]
        expected = [name for name in names if name in own]
        return found == expected and getattr(layer, "quantization_mode", None) is None

    return applies


_rules: dict[type, list[tuple[Rule, Applies, LayerCall | None]]] = {}


def register_rule(
    layer_type: type[keras.layers.Layer],
    rule: Rule,
    *,
    applies: Applies = lambda _: True,
    call: LayerCall | None = None,
) -> None:
    """Makes `rule` the rule of layers of exactly `layer_type`.

    A subclass may compute something else, so it needs a separate registration.

    Args:
        layer_type: the Keras layer class.
        rule: returns the per-example gradients; see the docstring of this module.
        applies: returns True for a layer whose configuration the rule serves; the others take the
            exact slower path.
        call: a faster way to the layer's outputs, if there is one.

    Raises:
        ArgumentError: `layer_type` is not a Keras layer class.
    """
    if not (isinstance(layer_type, type) and issubclass(layer_type, keras.layers.Layer)):
        raise ArgumentError(f"layer_type={layer_type!r} must be a class of Keras layers")
    _rules.setdefault(layer_type, []).append((rule, applies, call))


def registered(layer: keras.layers.Layer) -> tuple[Rule | None, LayerCall | None]:
    """Returns the rule of `layer`, None for the exact slower path, and its faster call, if any."""
    known = reversed(_rules.get(type(layer), []))  # the latest first
    return next(((rule, call) for rule, applies, call in known if applies(layer)), (None, None))


def sum_of_squares(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the sum of squares of each example's entries, float32 [batch]."""
    tensor = tf.cast(tensor, tf.float32)
    columns = tensor.shape[1:].num_elements()
    if columns is not None:
        tensor = tf.reshape(tensor, [tf.shape(tensor)[0], columns])
    # One pass over the tensor; tf.square would write its squares out first.
    return tf.square(tf.math.reduce_euclidean_norm(tensor, axis=list(range(1, tensor.shape.rank))))


def weigh(weights: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Returns each example of a [batch, ...] tensor times its weight [batch]."""
    return tensor * tf.reshape(weights, [-1] + [1] * (tensor.shape.rank - 1))


def contract(weights: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Returns sum_i weights[i] tensor[i] of a [batch, ...] tensor, by one matrix product."""
    shape = tensor.shape[1:]
    columns = tf.reshape(tensor, [tf.shape(tensor)[0], shape.num_elements()])
    return tf.reshape(tf.matmul(weights[None, :], columns), shape)


def joined(*parts: PerExampleGradients) -> PerExampleGradients:
    """Returns the gradients of one layer, of which each part has some weights, in order."""
    return PerExampleGradients(
        squared_norms=tf.add_n([part.squared_norms for part in parts]),
        weighted_sum=lambda weights: [g for part in parts for g in part.weighted_sum(weights)],
    )


def from_materialized(gradients: Sequence[tf.Tensor]) -> PerExampleGradients:
    """Returns PerExampleGradients of gradients that are written out.

    Args:
        gradients: [batch, *weight.shape] for each trainable weight of the layer, in order.
    """
    gradients = [tf.cast(gradient, tf.float32) for gradient in gradients]
    return PerExampleGradients(
        squared_norms=tf.add_n([sum_of_squares(gradient) for gradient in gradients]),
        weighted_sum=lambda weights: [contract(weights, gradient) for gradient in gradients],
    )


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
    """Rejects a layer that drew random numbers: the forward pass drew other ones."""
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
