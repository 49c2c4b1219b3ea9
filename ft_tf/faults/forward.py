"""The calls that a model's layers make in one forward pass."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ft_tf import keras_layers
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.faults.guard import interrupts_held
from ft_tf.keras_layers import Part, infer, input_spec, is_composite
from ft_tf.keras_layers.hooks import OnOutput, tensors_in
from ft_tf.models.usage import using

_RANDOM = ("Random", "Stateful", "Rng", "Multinomial", "TruncatedNormal", "Parameterized")
"""How TensorFlow's operations that draw random numbers begin; stateless ones repeat theirs."""


@contextlib.contextmanager
def hooked(
    model: keras.Model, on_output: OnOutput, *, fuse: bool = False, parts: Sequence[Part] = ()
) -> Iterator[None]:
    """Passes every layer's output, and parts, through `on_output` while the block runs."""
    hooks = keras_layers.hooked(model, on_output, interrupts_held, fuse=fuse, parts=parts)
    with using(model, "trace"), hooks:
        yield


def infer_logits(model: keras.Model, inputs: Any) -> tf.Tensor:
    """The outputs of a classifier in inference mode, [n, classes].

    Raises:
        ModelError: the model gives something else.
    """
    outputs = infer(model, inputs)
    given = f"{len(tf.nest.flatten(outputs))} outputs"
    if tf.is_tensor(outputs):
        if outputs.shape.rank in (None, 2):
            return outputs
        given = f"an output of shape {tuple(outputs.shape)}"
    raise ModelError(
        f"model={model.name!r} gives {given}, must give one [n, classes]: take a model of one such "
        "output, keras.Model(model.input, OUTPUT)"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of one layer in a forward pass, the `index`-th of that layer from 0."""

    layer: keras.layers.Layer
    index: int
    inputs: tuple[tf.Tensor, ...]
    outputs: Any


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPass:
    """A traced forward pass in inference mode: every layer call, in order, and the outputs.

    `parts` has what hooked parts gave, by their ids; it may be in a loop's graph.
    """

    calls: tuple[Call, ...]
    outputs: tuple[tf.Tensor, ...]
    graph: tf.Graph
    parts: dict[int, Any]

    def reached_from(self, tensors: Iterable[tf.Tensor]) -> set[str]:
        """Names of all tensors that are computed from any of `tensors`, these included."""
        reached = {tensor.name for tensor in tensors}
        for operation in self.graph.get_operations():  # in topological order
            if any(tensor.name in reached for tensor in operation.inputs):
                reached.update(tensor.name for tensor in operation.outputs)
        return reached

    def draws(self) -> bool:
        """Whether some operation draws random numbers, which differ from pass to pass."""
        types = {operation.type for operation in self.graph.get_operations()}
        for function in self.graph.as_graph_def().library.function:  # bodies of loops and branches
            types |= {node.op for node in function.node_def}
        # Keras draws by stateless operations from a seed that it counts on in a variable.
        counts_on = any(name.startswith("Assign") for name in types)
        return any(
            (name.startswith(_RANDOM) and not name.startswith("StatefulPartitioned"))
            or (name.startswith("StatelessRandom") and counts_on)
            for name in types
        )

    def feeds_layer(self, call: Call) -> bool:
        """Whether a layer with weights computes on what `call` returned."""
        reached = self.reached_from(tensors_in(call.outputs))
        return any(
            other.layer.weights and any(tensor.name in reached for tensor in other.inputs)
            for other in self.calls
        )

    def only_consumer(self, call: Call) -> Call | None:
        """The one layer call that uses what `call` returned; None if there are more or others.

        Others are the model's output and operations that are no layer's.
        """
        outputs = tensors_in(call.outputs)
        if len(outputs) != 1 or any(outputs[0] is tensor for tensor in self.outputs):
            return None
        takers = [
            c
            for c in self.calls
            if not is_composite(c.layer) and any(t is outputs[0] for t in c.inputs)
        ]
        if len(takers) != 1:
            return None
        inside = operations_between(takers[0].inputs, takers[0].outputs)
        only = all(operation.name in inside for operation in outputs[0].consumers())
        return takers[0] if only else None


def operations_between(inputs: Iterable[tf.Tensor], outputs: Any) -> dict[str, tf.Operation]:
    """The operations that lead from inputs, or from the graph's, to outputs, by name."""
    given = {tensor.name for tensor in inputs}
    found: dict[str, tf.Operation] = {}
    waiting = [tensor for tensor in tensors_in(outputs) if tensor.name not in given]
    while waiting:
        operation = waiting.pop().op
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor for tensor in operation.inputs if tensor.name not in given]
    return found


def trace(
    model: keras.Model, on_output: OnOutput | None = None, parts: Sequence[Part] = ()
) -> ForwardPass:
    """Traces one forward pass and records each layer's call, and `parts`; computes nothing.

    `on_output` may replace outputs, as in `hooked`; recorded is what the layer gave.
    """
    calls: list[Call] = []
    found: dict[int, Any] = {}

    def record(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        if isinstance(layer, Part):
            found[id(layer)] = outputs
        else:
            calls.append(Call(layer, index, tuple(tensors_in(inputs)), outputs))
        return outputs if on_output is None else on_output(layer, index, inputs, outputs)

    @tf.function(autograph=False)
    def forward(inputs: Any) -> Any:
        calls.clear()
        return infer(model, inputs)

    with hooked(model, record, parts=parts):
        concrete = forward.get_concrete_function(input_spec(model))
    # The concrete function's own outputs are identities of what the model returned.
    outputs = tuple(t.op.inputs[0] if t.op.type == "Identity" else t for t in concrete.outputs)
    return ForwardPass(tuple(calls), outputs, concrete.graph, found)
