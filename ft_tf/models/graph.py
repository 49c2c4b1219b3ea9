"""A Keras 3 Sequential or functional model, put together again from Keras 2 layers.

The wiring is read from the history of its tensors: configurations number the calls of a nested
model in two ways.
"""

import numbers
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ft_tf._compat import import_keras_3, keras, tf
from ft_tf.models.translation import NoCounterpart, kind_of, reason_against, translate

GRAPHS = ("Sequential", "Functional")

_MERGES = {
    "Add": keras.layers.Add,
    "Subtract": keras.layers.Subtract,
    "Multiply": keras.layers.Multiply,
    "Maximum": keras.layers.Maximum,
    "Minimum": keras.layers.Minimum,
}
_SCALINGS: dict[str, Callable[[float], dict[str, float]]] = {
    "Add": lambda number: {"scale": 1.0, "offset": number},
    "Subtract": lambda number: {"scale": 1.0, "offset": -number},
    "Multiply": lambda number: {"scale": number},
    "TrueDivide": lambda number: {"scale": 1 / number},
    "Divide": lambda number: {"scale": 1 / number},
}


def parts_of(model: Any) -> Iterator[Any]:
    """The innermost layers and operations of a model, models within models opened."""
    parts = model.layers if kind_of(model) == "Sequential" else model.operations
    for part in parts:
        if kind_of(part) in GRAPHS:
            yield from parts_of(part)
        elif kind_of(part) != "InputLayer":
            yield part


def is_operation(part: Any) -> bool:
    """Whether a part of a functional model is a function of keras.ops and not a layer."""
    return type(part).__module__.startswith("keras.src.ops.")


def problems_of(model: Any) -> list[str]:
    """What has no counterpart, a line for each, as far as the classes tell."""
    problems = []
    for part in parts_of(model):
        kind = type(part).__name__
        if is_operation(part):
            known = kind in _MERGES or kind in _SCALINGS or kind == "Relu"
            reason = None if known else "is none of the few that become layers: use a layer"
            where = f"operation {part.name!r} (keras.ops {kind})"
        else:
            reason = reason_against(part)
            where = f"layer {part.name!r} ({kind})"
        if reason:
            problems.append(f"{where} {reason}")
    return list(dict.fromkeys(problems))


class _Place(NamedTuple):
    part: Any
    call: int
    output: int


class Rebuilder:
    """Makes the Keras 2 counterpart of every layer, once, and connects them.

    Attributes:
        pairs: (Keras 3 layer, Keras 2 layer) for every innermost layer.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, keras.layers.Layer]] = []
        self._made: dict[int, keras.layers.Layer] = {}

    def model(self, model: Any) -> keras.Model:
        """The counterpart of a Sequential or functional model."""
        rebuilt = self._graph(model)
        if not model.trainable:  # then nothing in it trains, in Keras 3 as well
            rebuilt.trainable = False
        return rebuilt

    def _graph(self, model: Any) -> keras.Model:
        if kind_of(model) == "Sequential":
            return self._sequential(model)
        return self._functional(model)

    def _counterpart(self, part: Any) -> keras.layers.Layer:
        if id(part) not in self._made:
            if kind_of(part) in GRAPHS:
                self._made[id(part)] = self._graph(part)
            else:
                try:
                    self._made[id(part)] = translate(part)
                except NoCounterpart as error:
                    kind = type(part).__name__
                    raise NoCounterpart(f"layer {part.name!r} ({kind}) {error}") from None
                self.pairs.append((part, self._made[id(part)]))
        return self._made[id(part)]

    def _sequential(self, model: Any) -> keras.Model:
        (start,) = model.inputs
        source = keras.Input(batch_shape=tuple(start.shape), dtype=start.dtype)
        layers = [self._counterpart(layer) for layer in model.layers]
        rebuilt = keras.Sequential([source, *layers], name=model.name)
        _freeze_like(model, rebuilt)
        return rebuilt

    def _functional(self, model: Any) -> keras.Model:
        tree = import_keras_3().tree
        tensors: dict[_Place, Any] = {_place(source): _input(source) for source in model.inputs}
        stack = list(model.outputs)
        while stack:  # not by recursion: models are deeper than Python's stack
            place = _place(stack[-1])
            if place in tensors:
                stack.pop()
                continue
            node = place.part._inbound_nodes[place.call]
            if not node.input_tensors:
                raise NoCounterpart(f"model {model.name!r} has an output without an input")
            missing = [source for source in node.input_tensors if _place(source) not in tensors]
            if missing:
                stack += missing
                continue
            outputs = self._call(place.part, node, tensors, tree)
            for old, new in zip(node.outputs, tf.nest.flatten(outputs), strict=True):
                tensors[_place(old)] = new

        def counterparts(structure: Any) -> Any:
            return tree.map_structure(lambda tensor: tensors[_place(tensor)], structure)

        rebuilt = keras.Model(
            counterparts(model._inputs_struct), counterparts(model._outputs_struct), name=model.name
        )
        _freeze_like(model, rebuilt)
        return rebuilt

    def _call(self, part: Any, node: Any, tensors: dict[_Place, Any], tree: Any) -> Any:
        def counterpart(value: Any) -> Any:
            if hasattr(value, "_keras_history"):
                return tensors[_place(value)]
            if value is None or isinstance(value, bool | numbers.Number | str):
                return value
            kind = type(part).__name__
            raise NoCounterpart(f"{part.name!r} ({kind}) is called on a constant array")

        args, kwargs = tree.map_structure(counterpart, (node.arguments.args, node.arguments.kwargs))
        if is_operation(part):
            return _operation(part, [*args, *kwargs.values()])
        given = {name: value for name, value in kwargs.items() if value is not None}
        return self._counterpart(part)(*args, **given)


def _freeze_like(model: Any, rebuilt: keras.Model) -> None:
    """Freezes a nested model whose layers are all frozen; these have their own flags by now.

    In Keras 2 a frozen model freezes what is in it, in Keras 3 a layer in it may train all the
    same. Set to True, the flag would unfreeze the layers too.
    """
    if not model.trainable and not any(_trains(part) for part in parts_of(model)):
        rebuilt.trainable = False


def _trains(part: Any) -> bool:
    return not is_operation(part) and part.trainable


def _place(tensor: Any) -> _Place:
    """Where a Keras 3 tensor of a model comes from: layer, number of its call, number of output."""
    history = tensor._keras_history
    return _Place(history.operation, history.node_index, history.tensor_index)


def _input(source: Any) -> Any:
    for option in ("sparse", "ragged"):
        if getattr(source, option, False):
            raise NoCounterpart(f"input {source.name!r} is {option}")
    return keras.Input(
        batch_shape=tuple(source.shape), dtype=source.dtype, name=source._keras_history[0].name
    )


def _operation(part: Any, args: list[Any]) -> Any:
    kind, name = type(part).__name__, part.name
    if kind == "Relu" and len(args) == 1:
        return keras.layers.ReLU(name=name)(args[0])
    tensors = [value for value in args if not isinstance(value, numbers.Number)]
    if len(args) == 2 and len(tensors) == 2 and kind in _MERGES:
        return _MERGES[kind](name=name)(args)
    if len(args) == 2 and len(tensors) == 1 and kind in _SCALINGS:
        left, right = args
        if isinstance(right, numbers.Number):
            return keras.layers.Rescaling(**_SCALINGS[kind](float(right)), name=name)(left)
        if kind in ("Add", "Multiply"):
            return keras.layers.Rescaling(**_SCALINGS[kind](float(left)), name=name)(right)
    raise NoCounterpart(f"operation {name!r} (keras.ops {kind}) has no layer for these arguments")
