"""A model's description as Keras 2 wrote it, put as Keras 3 writes it.

Keras 3 reads most of these files itself, but not those that call a layer on keyword arguments
(attention) or TensorFlow's functions, nor any .keras file.
"""

import inspect
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.models import allowed
from ft_tf.models.archive import RefusedError
from ft_tf.models.description import MOST_OUTPUTS

_MODULES = ("layers", "initializers", "regularizers", "constraints")
_RENAMED = {
    ("LeakyReLU", "alpha"): "negative_slope",
    ("InputLayer", "batch_input_shape"): "batch_shape",
}
_WITHOUT_EFFECT = frozenset({
    "batch_input_shape", "build_config", "fused", "implementation", "key_shape", "optional",
    "query_shape", "renorm_momentum", "trainable", "value_shape", "virtual_batch_size",
    "zero_output_for_mask",
})  # fmt: skip
_OTHER_MEANING = {"hard_sigmoid": "clip(x / 5 + 1 / 2, 0, 1) in Keras 2 and another function now"}


@keras.saving.register_keras_serializable("ft_tf")
class TensorFlowFunction(keras.layers.Layer):
    """A function of TensorFlow that Keras 2 kept as a layer of a functional model.

    Args:
        function: its name, one of `allowed.TF_FUNCTIONS`.
    """

    def __init__(self, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if function not in allowed.TF_FUNCTIONS:
            raise RefusedError(f"layer {self.name!r} calls tf.{function}, which is not allowed")
        self.function = function
        self._allow_non_tensor_positional_args = True
        found: Any = keras if function.startswith("keras.") else tf
        for name in function.removeprefix("keras.").split("."):
            found = getattr(found, name)
        self._computes = found

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        if self.function in ("split", "unstack"):
            self._check_outputs(**inspect.signature(self._computes).bind(*args, **kwargs).arguments)
        return self._computes(*args, **kwargs)

    def _check_outputs(
        self, value: Any, num_or_size_splits: Any = None, num: Any = None, axis: int = 0, **_: Any
    ) -> None:
        """Raises RefusedError for a function that would give very many tensors."""
        if self.function == "split":
            num = num_or_size_splits
        elif num is None:
            num = tf.convert_to_tensor(value).shape[axis]
        sizes = tf.convert_to_tensor(0 if num is None else num)
        count = sizes.shape.num_elements() if sizes.shape.rank else tf.get_static_value(sizes)
        if count is not None and count > MOST_OUTPUTS:
            raise RefusedError(
                f"layer {self.name!r} has {count:,} outputs, more than {MOST_OUTPUTS:,}"
            )

    def get_config(self) -> dict[str, Any]:
        """The function's name, and what every layer has."""
        return {**super().get_config(), "function": self.function}


def translated(value: Any) -> Any:
    """A description by Keras 2, of a model or any part of it, as one by Keras 3.

    Raises:
        RefusedError: a layer or an option has no counterpart; the message names it.
    """
    if isinstance(value, list):
        return [translated(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not isinstance(value.get("class_name"), str) or "config" not in value:
        return {key: translated(item) for key, item in value.items()}
    kind, config = value["class_name"], value["config"]
    if kind in allowed.POLICIES:
        return config["name"]
    if kind in allowed.LITERALS or kind == "function" or not isinstance(config, dict):
        return value
    parts = {key: value[key] for key in ("name", "shared_object_id") if key in value}
    if ">" in str(value.get("registered_name") or kind):  # the process's own class
        return {**value, **parts, "config": translated(config)}
    if kind in allowed.MODELS:
        of_graph = "input_layers" in config
        kind = "Functional" if of_graph else "Sequential"
        config = _model(config)
        module = "keras.src.models.functional" if of_graph else "keras"
    elif kind in allowed.TF_LAYERS:
        new = _described("TensorFlowFunction", "ft_tf.models.keras2", config)
        return new | parts | {"registered_name": "ft_tf>TensorFlowFunction"}
    else:
        module, config = _options(kind, config)
    return _described(kind, module, config) | parts


def _described(kind: str, module: str, config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _options(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The module of a class of Keras 3, and its options."""
    name = f"layer {config.get('name')!r} ({kind})"
    module = next((m for m in _MODULES if hasattr(getattr(keras, m), kind)), None)
    if module is None:
        raise RefusedError(f"{name} has no counterpart in Keras 3")
    known = _parameters(getattr(getattr(keras, module), kind))
    options = {}
    for old, value in config.items():
        option = _RENAMED.get((kind, old), old)
        if isinstance(value, str) and value in _OTHER_MEANING:
            raise RefusedError(f"{name} has {option}={value}, {_OTHER_MEANING[value]}")
        if kind == "BatchNormalization" and option == "axis" and isinstance(value, list):
            value = value[0]
        if option in known:
            options[option] = translated(value)
        elif option.endswith("_initializer"):
            continue  # the weights are loaded
        elif value and option not in _WITHOUT_EFFECT and (option, value) != ("groups", 1):
            raise RefusedError(f"{name} has {option}={value!r}, which Keras 3 does not know")
    return f"keras.{module}", options


def _parameters(cls: type) -> frozenset[str]:
    """Names that a class's constructor takes, over the base classes that it hands options to."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.startswith("keras.") and "__init__" in vars(base):
            found = inspect.signature(base.__init__).parameters
            names |= set(found)
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in found.values()):
                break
    return frozenset(names - {"self", "args", "kwargs"})


def _model(config: dict[str, Any]) -> dict[str, Any]:
    layers = config["layers"]
    nested = {layer.get("name") for layer in layers if "layers" in (layer.get("config") or {})}
    names = {layer.get("name") for layer in layers}

    def refer(name: str, call: int, output: int) -> list[Any]:
        # A nested model of Keras 2 counts its own input as call 0.
        return [name, max(call - 1, 0) if name in nested else call, output]

    def ends(value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], str):
            return refer(*value)
        if isinstance(value, dict):
            return {key: ends(item) for key, item in value.items()}
        return ends(value[0]) if len(value) == 1 else [ends(item) for item in value]

    def argument(value: Any) -> Any:
        if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
            if value[0] in names:
                history = refer(*value[:3])
                tensor = {"shape": [None], "dtype": "float32", "keras_history": history}
                return {"class_name": "__keras_tensor__", "config": tensor}
            if value[0] == "_CONSTANT_VALUE":
                return value[2]
        if isinstance(value, list):
            return [argument(item) for item in value]
        if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
            return {"class_name": "__slice__", "config": {k: argument(v) for k, v in value.items()}}
        if isinstance(value, dict) and "class_name" not in value:
            return {key: argument(item) for key, item in value.items()}
        return value

    def node(value: Any) -> Any:
        if isinstance(value, dict):
            return value
        # A call on one tensor, or on a list or a dictionary of them; options are of the first.
        single = isinstance(value[0], str)
        calls = [value] if single else value
        options = calls[0][3] if isinstance(calls[0], list) and len(calls[0]) > 3 else {}
        tensors = [argument(call[:3]) for call in calls]
        given = {key: argument(item) for key, item in options.items() if item is not None}
        return {"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": given}

    described = []
    for layer in layers:
        new = translated(layer)
        if "inbound_nodes" in layer:
            new["inbound_nodes"] = [node(value) for value in layer["inbound_nodes"] if value]
        described.append(new)
    found = {key: config[key] for key in ("name", "trainable") if key in config}
    found["layers"] = described
    if "input_layers" in config:
        return found | {key: ends(config[key]) for key in ("input_layers", "output_layers")}
    first = (layers[0].get("config") or {}) if layers else {}
    shape = config.get("build_input_shape")
    if first.get("batch_input_shape") and layers[0]["class_name"] != "InputLayer":
        start = {"batch_shape": first["batch_input_shape"], "dtype": "float32"}
        described.insert(0, _described("InputLayer", "keras.layers", start))
    return found | ({"build_input_shape": shape} if shape else {})
