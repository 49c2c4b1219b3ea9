"""Judges the description of a model, as parsed from its file: what it names, and what it asks for.

It is judged by what it says, whichever Keras will build it, before any class is looked up.
"""

import graphlib
import math
from collections.abc import Callable, Container, Iterator
from typing import Any

from ft_tf.checks import shown
from ft_tf.models import allowed

_MOST_LAYERS = 10_000
_LARGEST_INTEGER = 1 << 31
_LARGEST_TENSOR = 1 << 28
"""Numbers in one example's tensor: a gigabyte of float32."""
_TEXT_LENGTH = 10_000
MOST_OUTPUTS = 10_000
"""Outputs of one layer: Keras makes each of them, however small."""
_COUNTS_OF_OUTPUTS = ("num", "num_or_size_splits", "indices_or_sections")
_FREE_INTEGERS = ("seed", "salt", "shared_object_id", "vocabulary")
_NAMES = ("module", "class_name", "registered_name", "spec_name", "shared_object_id", "name")
_Call = tuple[str, int]
"""A layer's name, and the number of one of its calls."""


class Judge:
    """Collects what speaks against building one model.

    Attributes:
        stored: Numbers that the weights in the file consist of.
        uses_registered: Whether a class that this process has registered was asked for.
    """

    def __init__(self, stored: int, is_registered: Callable[[str], bool], register: str) -> None:
        """Sets what holds for the whole file.

        Args:
            stored: Numbers in the file's weights.
            is_registered: Whether this process has registered code of its own under a name.
            register: The function that registers a class, for messages.
        """
        self.stored = stored
        self.uses_registered = False
        self._is_registered = is_registered
        self._register = register
        self._layers = 0

    def objections(self, config: Any) -> Iterator[str]:
        """What a configuration asks for that is not allowed; each names its layer."""
        if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
            yield "its description names no model"
            return
        yield from self._object(config, "the model")

    def _value(
        self, value: Any, option: str, layer: str, *, free: bool, own: bool = False
    ) -> Iterator[str]:
        """Judges one value.

        Args:
            value: Any part of the configuration.
            option: The key that it stands under.
            layer: What to call the layer that it belongs to.
            free: Whether plain values may be anything: they go to code that this process has
                registered, or to a function that only computes.
            own: Whether they go to code that this process has registered.
        """
        if not own and option in _COUNTS_OF_OUTPUTS and _outputs(value) > MOST_OUTPUTS:
            yield f"{layer} has {option}={shown(value)}, more than {MOST_OUTPUTS:,} outputs"
        elif not free and option in ("vocabulary", "idf_weights") and isinstance(value, str | dict):
            yield f"{layer} reads its {option} from {value!r}: give it as a list and save again"
        elif not free and option == "stateful" and value:
            yield f"{layer} keeps a state between calls: build it with stateful=False"
        elif isinstance(value, dict):
            if "class_name" in value:
                yield from self._object(value, layer)
            else:
                free = free or option in ("input_layers", "output_layers")
                for key, item in value.items():
                    yield from self._value(item, key, layer, free=free, own=own)
        elif isinstance(value, list):
            if not free and option.endswith("shape"):
                yield from _shape(value, option, layer)
            for item in value:
                if not free and option == "vocabulary" and isinstance(item, str):
                    continue  # a token
                yield from self._value(item, option, layer, free=free, own=own)
        elif not free and isinstance(value, str):
            yield from self._text(value, option, layer)
        elif not free and isinstance(value, int | float):
            yield from self._number(value, option, layer)

    def _object(self, value: dict[str, Any], layer: str) -> Iterator[str]:
        kind, inner = value["class_name"], value.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and kind not in allowed.POLICIES:
            layer = f"layer {name!r} ({kind})"
        if kind in allowed.LITERALS:
            dtype = inner.get("dtype", "bool") if isinstance(inner, dict) else "bool"
            is_text = dtype == "string" and kind != "__numpy__"
            if not is_text and not (isinstance(dtype, str) and dtype in allowed.DTYPES):
                yield f"{layer} has values of dtype={shown(dtype)}, which is no type of numbers"
                return
            for key, item in value.items():
                if key != "class_name":
                    yield from self._value(item, key, layer, free=True)
            return
        if kind in allowed.REASONS:
            yield f"{layer} {allowed.REASONS[kind]}"
            return  # what else it names belongs to that
        named = inner if kind == "function" else value.get("registered_name", kind)
        registered = isinstance(named, str) and self._is_registered(named)
        self.uses_registered |= registered
        if not registered and not _is_allowed(value):
            yield self._unknown(value, layer)
            return
        if not registered and kind in allowed.TF_LAYERS:
            function = inner.get("function") if isinstance(inner, dict) else None
            if function not in allowed.TF_FUNCTIONS:
                yield f"{layer} calls tf.{function}, which is not among the functions that compute"
                return
            inner = {key: item for key, item in inner.items() if key != "function"}
        layers = inner.get("layers") if isinstance(inner, dict) else inner
        self._layers += len(layers) if isinstance(layers, list) else 0
        if self._layers > _MOST_LAYERS:
            yield f"it has more than {_MOST_LAYERS:,} layers"
            return
        for key, item in value.items():
            if key in _NAMES:
                continue
            item = inner if key == "config" else item
            if key == "inbound_nodes":
                yield from self._value(item, key, layer, free=True, own=registered)
            else:
                free = registered or kind == "function"
                yield from self._value(item, key, layer, free=free, own=registered)
        if isinstance(layers, list):
            yield from self._graph(layers, layer)

    def _unknown(self, value: dict[str, Any], layer: str) -> str:
        kind, module = value["class_name"], value.get("module")
        name = value.get("config") if kind == "function" else kind
        if module is None:
            # A class of a user's script or notebook: Keras writes no module to look into.
            known = value.get("registered_name") or kind
            older = "" if "module" in value else ", or save the model as a .keras file"
            return (
                f"{layer} needs the class {kind!r}, which is not registered here as {known!r}: "
                f"register it with {self._register}{older}"
            )
        return (
            f"{layer} needs {name!r} of the module {module!r}, which is none of the parts that "
            f"models are made of: if it is your code, register it with {self._register}"
        )

    def _text(self, value: str, option: str, layer: str) -> Iterator[str]:
        if len(value) > _TEXT_LENGTH:
            yield f"{layer} has {option} of {len(value):,} characters"
            return
        for ending, names in allowed.IDENTIFIERS.items():
            if option.endswith(ending):
                if value not in names and not self._is_registered(value):
                    yield f"{layer} has {option}={value!r}, which is no {ending} of Keras"
                return
        if option not in allowed.TEXTS and not option.endswith("dtype"):
            yield f"{layer} has {option}={value!r}, where no text is expected"

    def _number(self, value: float, option: str, layer: str) -> Iterator[str]:
        if option in allowed.WIDTHS and value > self.stored:
            yield f"{layer} has {option}={value}, and the file holds {self.stored:,} weights in all"
        elif isinstance(value, float) or option in _FREE_INTEGERS:
            return
        elif abs(value) > _LARGEST_INTEGER:
            yield f"{layer} has {option}={value}, which is too large"

    def _graph(self, layers: list[Any], model: str) -> Iterator[str]:
        """Judges how layers are connected: on tensors, and without a circle."""
        named = {layer["name"]: layer for layer in layers if _is_connected(layer)}
        calls = {}
        for name, layer in named.items():
            for number, node in enumerate(layer["inbound_nodes"]):
                calls[name, number] = set(_sources(node, named))
                if not calls[name, number]:
                    yield (
                        f"layer {name!r} ({layer.get('class_name')}) is called on constants alone, "
                        "which would compute while the file is read"
                    )
        if not _are_ordered(calls, named):
            yield f"{model} has layers that wait for each other, or for one that is not there"


def _is_allowed(value: dict[str, Any]) -> bool:
    """Whether a class or function of Keras is on the list, by module and name."""
    kind, module, inner = value["class_name"], value.get("module"), value.get("config")
    registered = value.get("registered_name")
    if kind == "function":
        return (
            module in allowed.FUNCTION_MODULES
            and inner in allowed.ACTIVATIONS
            and registered in (None, inner, "function")
        )
    # Keras takes what is registered under `registered_name` for the class.
    if not isinstance(kind, str) or str(registered or kind).split(">")[-1] != kind:
        return False
    names = allowed.CLASSES.get(str(module)) if "module" in value else allowed.UNQUALIFIED
    return names is not None and kind in names


def _shape(value: list[Any], option: str, layer: str) -> Iterator[str]:
    sizes = [size for size in value if isinstance(size, int) and size > 0]
    if math.prod(sizes) > _LARGEST_TENSOR:
        shown = str(value)[:80]
        yield f"{layer} has {option}={shown}, more than {_LARGEST_TENSOR:,} numbers an example"


def _outputs(value: Any) -> float:
    """The most outputs that an option can mean: a number, or one of each size in a list."""
    if isinstance(value, dict):  # a tuple or an array
        return max(map(_outputs, value.values()), default=0)
    if isinstance(value, list):
        return max(
            len(value), *(_outputs(item) for item in value if isinstance(item, list | dict)), 0
        )
    return value if isinstance(value, int | float) else 0


def _is_connected(layer: Any) -> bool:
    return (
        isinstance(layer, dict)
        and isinstance(layer.get("name"), str)
        and isinstance(layer.get("inbound_nodes"), list)
    )


def _is_model(layer: dict[str, Any]) -> bool:
    config = layer.get("config")
    return isinstance(config, dict) and "layers" in config


def _sources(node: Any, names: Container[str]) -> Iterator[_Call]:
    """The calls whose outputs a call takes: the layer's name and the number of its call."""
    if isinstance(node, dict):
        history = node.get("keras_history")
        for item in [history] if history is not None else node.values():
            yield from _sources(item, names)
    elif isinstance(node, list):
        if (
            len(node) > 2
            and (isinstance(node[0], str) and node[0] in names)
            and (isinstance(node[1], int) and isinstance(node[2], int))
        ):
            yield node[0], node[1]
            node = node[3:]
        for item in node:
            yield from _sources(item, names)


def _are_ordered(calls: dict[_Call, set[_Call]], layers: dict[str, dict[str, Any]]) -> bool:
    """Whether every call can be made after those that it takes; Keras 2 would wait for ever."""
    graph = {}
    for (name, number), sources in calls.items():
        graph[name, number] = needed = {(name, number - 1)} if number else set()
        for source, index in sources:
            if layers[source].get("class_name") == "InputLayer":
                continue
            # A nested model counts its own input as call 0.
            call = source, max(index - 1, 0) if _is_model(layers[source]) else index
            if call not in calls:
                return False
            needed.add(call)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError:
        return False
    return True
