"""The calls that a model's layers make in one forward pass, and hooks on their outputs.

Hooks work on any Keras 2 model, also with branches, shared layers, nested models or a `call` of
its own, because they sit where every model meets its layers: on `layer.call`. They are set on the
instances for the length of a `with` block and leave nothing behind.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.faults.interrupts import interrupts_held
from ft_tf.models.usage import leaf_layers, using

_RANDOM = ("Random", "Stateful", "Rng", "Multinomial", "TruncatedNormal", "Parameterized")
"""How TensorFlow's operations that draw random numbers begin; stateless ones repeat theirs."""

OnOutput = Callable[[keras.layers.Layer, int, Any, Any], Any]
"""(layer, number of the call to that layer in this forward pass, inputs, outputs) -> outputs."""


@contextlib.contextmanager
def hooked(model: keras.Model, on_output: OnOutput) -> Iterator[None]:
    """Passes every layer's output through `on_output` while the block runs."""
    with using(model, "trace"), _hooks(model, on_output):
        yield


@contextlib.contextmanager
def _hooks(model: keras.Model, on_output: OnOutput) -> Iterator[None]:
    calls: dict[int, int] = {}

    @tf.autograph.experimental.do_not_convert
    def relay(layer: keras.layers.Layer, inputs: Any, outputs: Any) -> Any:
        index = calls.get(id(layer), 0)
        calls[id(layer)] = index + 1
        return masked_like(outputs, on_output(layer, index, inputs, outputs))

    def hook(layer: keras.layers.Layer) -> Callable[..., Any]:
        original = layer.call

        # AutoGraph may convert this function and, through it, the layer's own `call`.
        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            return relay(layer, (args, kwargs), outputs)

        return call

    def root(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.clear()  # each forward pass counts from 0
            return original(*args, **kwargs)

        return call

    hooks = {id(layer): (layer, hook(layer)) for layer in leaf_layers(model)}
    hooks[id(model)] = (model, root(model.call))
    previous = [(layer, vars(layer).get("call")) for layer, _ in hooks.values()]
    try:
        for layer, call in hooks.values():
            vars(layer)["call"] = call  # past Keras's __setattr__, which tracks attributes
        yield
    finally:
        with interrupts_held():
            for layer, call in previous:
                if call is None:
                    vars(layer).pop("call", None)
                else:
                    vars(layer)["call"] = call


def masked_like(outputs: Any, replaced: Any) -> Any:
    """`replaced`, with the Keras masks that a layer has set on its own outputs in `call`."""
    if replaced is not outputs:
        for old, new in zip(_tensors(outputs), _tensors(replaced), strict=True):
            mask = getattr(old, "_keras_mask", None)
            if mask is not None:
                new._keras_mask = mask
    return replaced


def _infer(model: keras.Model, inputs: Any) -> Any:
    return model(inputs, training=False)


infer = tf.autograph.to_graph(_infer)
"""The model's outputs in inference mode; layers of a user's own get the AutoGraph they expect."""


def infer_logits(model: keras.Model, inputs: Any) -> tf.Tensor:
    """The outputs of a classifier in inference mode, [n, classes].

    Raises:
        ModelError: the model gives something else.
    """
    outputs = infer(model, inputs)
    if tf.is_tensor(outputs) and outputs.shape.rank in (None, 2):
        return outputs
    if tf.is_tensor(outputs):
        given = f"an output of shape {tuple(outputs.shape)}"
    else:
        given = f"{len(tf.nest.flatten(outputs))} outputs"
    raise ModelError(
        f"model={model.name!r} gives {given}, must give one [n, classes]: take a model of one such "
        "output, keras.Model(model.input, OUTPUT)"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer in a forward pass.

    Attributes:
        layer: the layer.
        index: how many calls of the same layer came before.
        inputs: the symbolic tensors it was given.
        outputs: what it returned.
    """

    layer: keras.layers.Layer
    index: int
    inputs: tuple[tf.Tensor, ...]
    outputs: Any


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPass:
    """A traced forward pass in inference mode.

    Attributes:
        calls: every layer call, in order.
        outputs: what the model returned.
        graph: the graph that holds the tensors.
    """

    calls: tuple[Call, ...]
    outputs: tuple[tf.Tensor, ...]
    graph: tf.Graph

    def reached_from(self, tensors: Iterable[tf.Tensor]) -> set[str]:
        """Names of all tensors that are computed from any of `tensors`, these included."""
        reached = {tensor.name for tensor in tensors}
        for operation in self.graph.get_operations():  # in topological order
            if any(tensor.name in reached for tensor in operation.inputs):
                reached.update(tensor.name for tensor in operation.outputs)
        return reached

    def computed_by(self, tensor: tf.Tensor) -> set[str]:
        """Types of the operations that a tensor is computed by, back to the input."""
        types: set[str] = set()
        seen: set[str] = set()
        waiting = [tensor.op]
        while waiting:
            operation = waiting.pop()
            if operation.name not in seen:
                seen.add(operation.name)
                types.add(operation.type)
                waiting += [source.op for source in operation.inputs]
        return types

    def draws(self) -> bool:
        """Whether some operation draws random numbers, which differ from pass to pass."""
        types = {operation.type for operation in self.graph.get_operations()}
        for function in self.graph.as_graph_def().library.function:  # bodies of loops and branches
            types |= {node.op for node in function.node_def}
        return any(
            name.startswith(_RANDOM) and not name.startswith("StatefulPartitioned")
            for name in types
        )

    def feeds_layer(self, call: Call) -> bool:
        """Whether a layer with weights computes on what `call` returned."""
        reached = self.reached_from(_tensors(call.outputs))
        return any(
            other.layer.weights and any(tensor.name in reached for tensor in other.inputs)
            for other in self.calls
        )

    def only_consumer(self, call: Call) -> Call | None:
        """The one layer call that uses what `call` returned; None if there are more or others.

        Others are the model's output and operations that are no layer's.
        """
        outputs = _tensors(call.outputs)
        if len(outputs) != 1 or any(outputs[0] is tensor for tensor in self.outputs):
            return None
        takers = [c for c in self.calls if any(t is outputs[0] for t in c.inputs)]
        if len(takers) != 1:
            return None
        inside = _operations_of(takers[0])
        only = all(operation.name in inside for operation in outputs[0].consumers())
        return takers[0] if only else None


def _tensors(structure: Any) -> list[tf.Tensor]:
    return [tensor for tensor in tf.nest.flatten(structure) if tf.is_tensor(tensor)]


def _operations_of(call: Call) -> set[str]:
    """Names of the operations that lead from a call's inputs to its outputs."""
    given = {tensor.name for tensor in call.inputs}
    names: set[str] = set()
    waiting = [tensor for tensor in _tensors(call.outputs) if tensor.name not in given]
    while waiting:
        operation = waiting.pop().op
        if operation.name not in names:
            names.add(operation.name)
            waiting += [tensor for tensor in operation.inputs if tensor.name not in given]
    return names


def input_spec(model: keras.Model) -> Any:
    """Nested TensorSpec of the model's input, batch size open.

    Raises:
        ModelError: the model was never built or called, so that nothing is known of its input.
    """
    spec = model.save_spec()
    if spec is None:
        raise ModelError(
            f"model={model.name!r} has not been built: call it once on a batch of data first"
        )
    (inputs, *_), _ = spec
    return inputs


def trace(model: keras.Model, on_output: OnOutput | None = None) -> ForwardPass:
    """Traces one forward pass and records each layer's call; computes nothing.

    Args:
        model: a built model.
        on_output: may replace a layer's outputs, as in `hooked`; recorded is what the layer gave.
    """
    calls: list[Call] = []

    def record(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        tensors = tuple(_tensors(inputs))
        calls.append(Call(layer, index, tensors, outputs))
        return outputs if on_output is None else on_output(layer, index, inputs, outputs)

    @tf.function(autograph=False)
    def forward(inputs: Any) -> Any:
        calls.clear()
        return infer(model, inputs)

    with hooked(model, record):
        concrete = forward.get_concrete_function(input_spec(model))
    # The concrete function's own outputs are identities of what the model returned.
    outputs = tuple(t.op.inputs[0] if t.op.type == "Identity" else t for t in concrete.outputs)
    return ForwardPass(tuple(calls), outputs, concrete.graph)
