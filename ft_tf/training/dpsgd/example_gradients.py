"""Gradients of each example of a batch, in one forward and one backward pass.

The inputs and outputs of each layer with weights are captured while the model runs once: `call` of
each such layer is replaced on that one object meanwhile, which serves Sequential, functional and
nested models alike, and leaves all details of calling a layer (autocast, masks, training mode) to
Keras.

The backward pass stops at the layers' pre-activations. From there a layer's rule gives the norm of
each example's gradient and weighted sums of the gradients, which are never all written out; a layer
without a rule is computed one example at a time, exact and slower.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import autocasting, keras, tf
from ft_tf.errors import ModelError
from ft_tf.keras_layers import Call, attribute, facts_of, replaced_calls
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses, described
from ft_tf.training.dpsgd.rules import (
    PerExampleGradients,
    Rule,
    from_materialized,
    one_at_a_time,
    registered,
)

PerExampleLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(y [batch, ...], outputs [batch, ...]) -> float32 [batch]."""

_MASK = "_keras_mask"  # where Keras keeps the mask of a tensor, besides the argument `mask`


@dataclasses.dataclass(frozen=True)
class CallArguments:
    """The arguments of one call of a layer: those with a row per example, and all others.

    A mask, a second input or an initial state belongs to an example as much as the first input
    does. Tensors with a row per example are those whose first dimension is that of the first
    input. With an open batch size no constant of another first dimension can be taken for one.

    Attributes:
        arguments: (inputs, args, kwargs), as `call` got them.
    """

    arguments: tuple[Any, tuple[Any, ...], dict[str, Any]]

    def problem(self) -> str | None:
        """Returns the reason why the arguments cannot be cut into examples, or None."""
        for leaf in tf.nest.flatten(self.arguments):
            if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
                return f"is called on a {type(leaf).__name__}, which cannot be cut into examples"
            if isinstance(leaf, tf.Tensor) and leaf.shape.rank is None:
                return "is called on a tensor of unknown rank, which cannot be cut into examples"
        if not self.examples():
            return "is called on no tensor with a row per example"
        return None

    def examples(self) -> list[tf.Tensor]:
        """Returns the tensors [batch, ...] among the arguments, in order, and their masks."""
        pairs = ((leaf, getattr(leaf, _MASK, None)) for leaf in self._rows())
        return [part for pair in pairs for part in pair if part is not None]

    def with_examples(self, examples: list[tf.Tensor]) -> tuple[Any, tuple[Any, ...], Any]:
        """Returns the arguments with other, distinct tensors in place of `examples()`."""
        rest = iter(examples)
        new = []
        own = {id(leaf) for leaf in self._rows()}
        for leaf in tf.nest.flatten(self.arguments):
            if id(leaf) not in own:
                new.append(leaf)
                continue
            tensor = next(rest)
            if getattr(leaf, _MASK, None) is not None:
                setattr(tensor, _MASK, next(rest))
            new.append(tensor)
        return tf.nest.pack_sequence_as(self.arguments, new)

    def _rows(self) -> list[tf.Tensor]:
        inputs = tf.nest.flatten(self.arguments[0])
        first = next((leaf for leaf in inputs if isinstance(leaf, tf.Tensor)), None)
        if first is None or not first.shape.rank:
            return []
        return [
            leaf
            for leaf in tf.nest.flatten(self.arguments)
            if isinstance(leaf, tf.Tensor) and leaf.shape.rank and leaf.shape[0] == first.shape[0]
        ]


@dataclasses.dataclass(frozen=True)
class LayerUse:
    """One call of one layer.

    Attributes:
        layer: the layer.
        inputs: a nest of tensors [batch, ...], as its `call` got them.
        examples: all tensors [batch, ...] among its arguments: `inputs`, further ones, and masks.
        outputs: a nest of tensors [batch, ...]: before the activation of a Dense, EinsumDense or
            convolution layer.
        call: computes `outputs` from `examples` again, with the same other arguments.
        problem: the reason why its arguments cannot be cut into examples, or None.
    """

    layer: keras.layers.Layer
    inputs: Any
    examples: list[tf.Tensor]
    outputs: Any
    call: Callable[[list[tf.Tensor]], Any]
    problem: str | None


def _split_call(layer: keras.layers.Layer, call: Call) -> tuple[Call, Call]:
    """Returns the layer's call without its activation, and the activation.

    A subclass may do anything after its activation, so only Keras's own classes are split.
    """
    activation = getattr(layer, "activation", None)
    if not callable(activation) or not facts_of(layer).activation_last:
        return call, lambda outputs: outputs

    def linear(*args: Any, **kwargs: Any) -> Any:
        with attribute(layer, "activation", None):
            return call(*args, **kwargs)

    return linear, activation


@contextlib.contextmanager
def captured(
    layers: Sequence[keras.layers.Layer], tape: tf.GradientTape
) -> Iterator[list[LayerUse]]:
    """Appends calls of `layers` to the list that it yields, within the context.

    The outputs of each call are watched by `tape`, so that gradients with respect to them exist
    although no variable is watched.
    """
    uses: list[LayerUse] = []

    def capturing(layer: keras.layers.Layer, original: Call) -> Call:
        linear, activation = _split_call(layer, original)
        _, faster = registered(layer)

        def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            arguments = CallArguments((inputs, args, kwargs))

            def again(examples: list[tf.Tensor]) -> Any:
                inputs, args, kwargs = arguments.with_examples(examples)
                with autocasting(layer):
                    return linear(inputs, *args, **kwargs)

            if faster and isinstance(inputs, tf.Tensor) and inputs.shape[1:].is_fully_defined():
                outputs = faster(layer, inputs)
            else:
                outputs = linear(inputs, *args, **kwargs)
            tape.watch(outputs)
            problem = arguments.problem()
            examples = [] if problem else arguments.examples()
            uses.append(LayerUse(layer, inputs, examples, outputs, again, problem))
            return activation(outputs)

        return call

    with replaced_calls(layers, capturing):
        yield uses


def check_uses(layers: Sequence[keras.layers.Layer], uses: Sequence[LayerUse]) -> None:
    """Rejects calls from which no gradient of an example follows.

    Raises:
        ModelError: a layer was not called, or its arguments cannot be cut into examples.
    """
    for use in uses:
        if use.problem is not None:
            raise ModelError(f"{described(use.layer)} {use.problem}")
    called = {id(use.layer) for use in uses}
    for layer in layers:
        if id(layer) not in called:
            raise ModelError(
                f"{described(layer)} has trainable weights and is never called: freeze it"
            )


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
            _layer_gradients(layer, rule, [call for call in calls if call[0].layer is layer])
            for layer, rule in zip(self.plan.layers, self.plan.rules, strict=True)
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
    layer: keras.layers.Layer, rule: Rule | None, calls: list[tuple[LayerUse, Any]]
) -> PerExampleGradients:
    weights = [weight.value for weight in layer.trainable_weights]
    if len(calls) == 1:
        use, gradient = calls[0]
        if rule is not None:
            if isinstance(use.inputs, tf.Tensor) and use.inputs.shape[1:].is_fully_defined():
                return rule(layer, use.inputs, gradient)
            # The plan could not know.
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
        f"{described(layer)} {why}: its per-example gradients are computed one example at a time, "
        "exact but slow",
        stacklevel=2,
    )
