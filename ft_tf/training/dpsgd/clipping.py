"""The sum of clipped per-example gradients, exact, in one forward and one backward pass.

For a batch of examples with gradients g_i over all trainable weights jointly it gives

    sum_i w_i g_i / max(1, |g_i| / C)                      (Abadi et al. 2016, algorithm 1)

with weights w_i of 0 or 1. The backward pass stops at the layers' pre-activations; the norms and
the sum come from the layers' rules.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.capture import LayerUse, captured, check_uses
from ft_tf.training.dpsgd.losses import PerExampleLoss
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses
from ft_tf.training.dpsgd.rules.fallback import fallback_gradients, one_at_a_time
from ft_tf.training.dpsgd.rules.registry import PerExampleGradients, from_materialized


class ClippedSum(NamedTuple):  # a tuple, so that graph functions can return it
    """What one batch gives.

    Attributes:
        gradients: float32, one tensor per trainable variable in the order of the plan's layers:
            the sum of the clipped gradients.
        norms: float32 [batch]: l2 norms before clipping; not finite where a gradient was not.
        finite: bool [batch]; a gradient that is not finite counts as zero.
        losses: float32 [batch].
        outputs: the model's outputs [batch, ...].
    """

    gradients: list[tf.Tensor]
    norms: tf.Tensor
    finite: tf.Tensor
    losses: tf.Tensor
    outputs: tf.Tensor

    def first_rows(self, count: tf.Tensor) -> "ClippedSum":
        """The same sum with the first `count` examples: what comes after them is padding."""
        examples = (part[:count] for part in self[1:])
        return ClippedSum(self.gradients, *examples)


def clip_weights(
    squared_norms: tf.Tensor, weights: tf.Tensor, l2_norm_clip: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Scale of each example's gradient, its norm, and whether that is finite.

    >>> scale, norms, finite = clip_weights(tf.constant([25.0, 1.0]), tf.ones(2), 2.0)
    >>> [round(float(value), 3) for value in scale], norms.numpy().tolist()
    ([0.4, 1.0], [5.0, 1.0])
    """
    norms = tf.sqrt(squared_norms)
    finite = tf.math.is_finite(norms)
    scale = l2_norm_clip / tf.maximum(norms, l2_norm_clip)
    return tf.where(finite, weights * scale, 0.0), norms, finite


def clipped_sum(
    plan: Plan,
    loss: PerExampleLoss,
    x: Any,
    y: tf.Tensor,
    *,
    weights: tf.Tensor,
    l2_norm_clip: float,
    training: bool = True,
) -> ClippedSum:
    """Sum of clipped gradients of one batch that fits in memory.

    Args:
        plan: of the model.
        loss: gives one loss per example.
        x: examples [batch, ...].
        y: labels [batch, ...].
        weights: float32 [batch], 0 for an example that only pads the batch, 1 for the others.
        l2_norm_clip: C.
        training: whether the model runs in training mode.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        with captured(plan.layers, tape) as uses:
            outputs = plan.model(with_open_batch(x), training=training)
        losses = loss(y, outputs)
    check_uses(plan.layers, uses)
    check_no_added_losses(plan.model)
    gradients = tape.gradient(
        losses,
        [use.outputs for use in uses],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    parts = _layer_gradients(plan, uses, gradients)
    squared_norms = tf.add_n([part.squared_norms for part in parts])
    scale, norms, finite = clip_weights(squared_norms, weights, l2_norm_clip)

    def without_the_bad() -> list[tf.Tensor]:
        # 0 * inf is no zero: the rows themselves must go before anything is summed.
        cleaned = [
            dataclasses.replace(
                use,
                inputs=_zero_unless(finite, use.inputs),
                examples=_zero_unless(finite, use.examples),
            )
            for use in uses
        ]
        clean_parts = _layer_gradients(plan, cleaned, _zero_unless(finite, gradients))
        return _weighted_sums(clean_parts, scale)

    sums = tf.cond(tf.reduce_all(finite), lambda: _weighted_sums(parts, scale), without_the_bad)
    return ClippedSum(sums, norms, finite, losses, outputs)


def with_open_batch(x: Any) -> Any:
    """The same tensors, whose number of rows is open, so that no other shape is taken for it."""

    def opened(part: tf.Tensor) -> tf.Tensor:
        if part.shape.rank is None or part.shape[0] is None:
            return part
        return tf.compat.v1.placeholder_with_default(part, [None, *part.shape[1:]])

    return x if tf.executing_eagerly() else tf.nest.map_structure(opened, x)


def _weighted_sums(parts: list[PerExampleGradients], scale: tf.Tensor) -> list[tf.Tensor]:
    return [tensor for part in parts for tensor in part.weighted_sum(scale)]


def _zero_unless(keep: tf.Tensor, nest: Any) -> Any:
    def zero(tensor: tf.Tensor) -> tf.Tensor:
        if not tensor.dtype.is_floating:
            return tensor  # a mask or ids: always finite, and zero may be no possible value
        rows = tf.reshape(keep, [-1] + [1] * (tensor.shape.rank - 1))
        return tf.where(rows, tensor, tf.zeros([], tensor.dtype))

    return tf.nest.map_structure(zero, nest)


def _layer_gradients(
    plan: Plan, uses: list[LayerUse], gradients: list[Any]
) -> list[PerExampleGradients]:
    """One PerExampleGradients per layer of the plan, in its order."""
    return [
        _one_layer(
            plan,
            layer,
            [
                (use, gradient)
                for use, gradient in zip(uses, gradients, strict=True)
                if use.layer is layer
            ],
        )
        for layer in plan.layers
    ]


def _one_layer(
    plan: Plan, layer: keras.layers.Layer, calls: list[tuple[LayerUse, Any]]
) -> PerExampleGradients:
    weights = layer.trainable_weights
    if len(calls) == 1:
        use, gradient = calls[0]
        rule = plan.rule(layer)
        if rule is not None and _has_known_shape(use.inputs):
            return rule(layer, use.inputs, gradient)
        if rule is not None:  # the plan could not know
            _warn_of_the_slow_path(layer, "is called on inputs whose shape is open")
        return fallback_gradients(use.call, weights, use.examples, gradient)
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
