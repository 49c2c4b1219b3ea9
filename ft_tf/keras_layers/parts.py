"""Tensors that are no layer's output, by name: inside attention and recurrent layers, and between.

    attention/query, /key, /value   projections [batch, positions, heads, size]
    attention/scores                after the softmax [batch, heads, positions, positions]
    attention/heads                 what each head gives [batch, positions, heads, size]
    lstm/input_gate, /forget_gate, /output_gate, /candidate, /state, /carry
    gru/update_gate, /reset_gate, /candidate, /state          simple_rnn/state
    OPERATION or TENSOR             of a functional model's graph, such as "add_1", "keras_tensor_7"

A gate or state is that of every time step. The carry is faulty before the state of its step is
computed from it. A layer inside a wrapper (`Bidirectional`) has its inner name, such as
forward_lstm. To give its scores, attention computes them without a fused kernel.
"""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.keras_layers.graph import functional_of, producer
from ft_tf.keras_layers.hooks import attribute, call_name
from ft_tf.keras_layers.table import facts_of, kind_of
from ft_tf.keras_layers.walks import all_layers, leaf_layers

_ATTENTION = {
    "query": ("_query_dense", (-2, -1)),
    "key": ("_key_dense", (-2, -1)),
    "value": ("_value_dense", (-2, -1)),
    "scores": ("_softmax", (1,)),
    "heads": (None, (-2,)),
}
_CELLS = {
    "LSTMCell": {"input_gate": ("recurrent_activation", 0),
                 "forget_gate": ("recurrent_activation", 1),
                 "output_gate": ("recurrent_activation", 2),
                 "candidate": ("activation", 0), "state": (None, 0), "carry": ("activation", 1)},
    "GRUCell": {"update_gate": ("recurrent_activation", 0),
                "reset_gate": ("recurrent_activation", 1),
                "candidate": ("activation", 0), "state": (None, 0)},
    "SimpleRNNCell": {"state": (None, 0)},
}  # fmt: skip
"""Which call of a cell's function gives a gate, or reads the carry; None: which of the cell's
states it is."""
_CARRY = ("activation", 1)

Relay = Callable[[Any], Any]
Hook = Callable[[Relay], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A tensor inside a layer, or one of the graph.

    Attributes:
        name: what it is called.
        leaf: the layer with whose output everything after it begins; None for one of the graph.
        axes: of the tensor, along which its units lie.
        hook: context in which the tensor passes through a function.
    """

    name: str
    leaf: keras.layers.Layer | None
    axes: tuple[int, ...]
    hook: Hook

    def unit_shape(self, shape: Any) -> tuple[int | None, ...]:
        """Shape of one number per unit that broadcasts over the tensor [batch, ...]."""
        axes = sorted(axis % len(shape) for axis in self.axes)
        return tuple(shape[axis] if axis in axes else 1 for axis in range(axes[0], len(shape)))


def inner_parts(model: keras.Model) -> dict[str, Part]:
    """Returns the parts of a model's attention and recurrent layers and of its graph, by name."""
    found: dict[str, Part] = {}
    for leaf in leaf_layers(model):
        for layer in all_layers(leaf):
            for name, axes, hook in _inside(layer):
                full = f"{layer.name}/{name}"
                found.setdefault(full, Part(full, leaf, axes, hook))
    for inner in all_layers(model):
        graph = functional_of(inner) if isinstance(inner, keras.Model) else None
        for tensor in _computed(graph):
            operation, _ = producer(tensor)
            if len(operation._inbound_nodes) > 1:
                continue  # the tensor of another call would be hooked with it
            hook = functools.partial(_outputs, operation, tensor._keras_history.tensor_index)
            is_layer = isinstance(operation, keras.layers.Layer)
            for name in (tensor.name,) if is_layer else (operation.name, tensor.name):
                found.setdefault(name, Part(name, None, (-1,), hook))
    return found


def _computed(graph: Any) -> list[Any]:
    """The tensors that the operations of a functional model give."""
    if graph is None:
        return []
    nodes = [node for at_depth in graph._nodes_by_depth.values() for node in at_depth]
    return [tensor for node in nodes if not node.is_input for tensor in node.outputs]


def _inside(layer: Any) -> Iterator[tuple[str, tuple[int, ...], Hook]]:
    """Names of a layer's parts, the axes of their units and their hooks."""
    if facts_of(layer).calls_parts and hasattr(layer, "_query_dense"):
        for name, (owner, axes) in _ATTENTION.items():
            yield name, axes, functools.partial(_attention, layer, owner)
    cell = getattr(layer, "cell", None)
    for name, place in _CELLS.get(kind_of(cell), {}).items():
        yield name, (-1,), functools.partial(_cell, layer, cell, *place)


def _replaced(thing: Any, name: str, call: Any) -> contextlib.AbstractContextManager[None]:
    return attribute(thing, name, tf.autograph.experimental.do_not_convert(call))


@contextlib.contextmanager
def _outputs(operation: Any, place: int, relay: Relay) -> Iterator[None]:
    name = call_name(operation)
    original = getattr(operation, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        flat = tf.nest.flatten(outputs)
        flat[place] = relay(flat[place])
        return tf.nest.pack_sequence_as(outputs, flat)

    with _replaced(operation, name, call):
        yield


@contextlib.contextmanager
def _attention(layer: Any, owner: str | None, relay: Relay) -> Iterator[None]:
    compute = layer._compute_attention

    def with_scores(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(type(layer)._compute_attention).bind(layer, *args, **kwargs)
        if "return_attention_scores" in given.signature.parameters:
            given.arguments["return_attention_scores"] = True
            return compute(*given.args[1:], **given.kwargs)
        with attribute(layer, "_return_attention_scores", True):
            return compute(*args, **kwargs)

    def heads(*args: Any, **kwargs: Any) -> Any:
        outputs, scores = compute(*args, **kwargs)
        return relay(outputs), scores

    with contextlib.ExitStack() as stack:
        if owner is None:
            stack.enter_context(_replaced(layer, "_compute_attention", heads))
        else:
            stack.enter_context(_outputs(getattr(layer, owner), 0, relay))
        if owner == "_softmax":  # a fused kernel has no scores
            stack.enter_context(_replaced(layer, "_compute_attention", with_scores))
        yield


@contextlib.contextmanager
def _cell(layer: Any, cell: Any, function: str | None, number: int, relay: Relay) -> Iterator[None]:
    step = cell.call
    gate = None if function is None else getattr(cell, function)
    is_carry = (function, number) == _CARRY
    calls: list[Any] = []

    def counted(values: Any) -> Any:
        is_part = len(calls) == number
        # The state of the step is made of the carry, so both must see the same faults.
        calls.append(relay(values) if is_part and is_carry else values)
        given = gate(calls[-1])
        return relay(given) if is_part and not is_carry else given

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.clear()
        output, states = step(*args, **kwargs)
        if is_carry:
            return output, [states[0], calls[number]]
        if gate is not None:
            return output, states
        states = list(states)
        states[number] = relay(states[number])
        return (states[0] if number == 0 else output), states

    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced(cell, "call", call))
        if gate is not None:
            stack.enter_context(_replaced(cell, function, counted))
        if hasattr(layer, "use_cudnn"):  # its kernel has no steps
            stack.enter_context(attribute(layer, "use_cudnn", False))
        yield
