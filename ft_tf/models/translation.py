"""One layer of Keras 3 as a layer of Keras 2: which ones, and what becomes of their options."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from ft_tf._compat import keras

SAME = frozenset(
    f"{name}{dimensions}"
    for name, kinds in {
        "Conv": ("1D", "2D", "3D", "1DTranspose", "2DTranspose", "3DTranspose"),
        "DepthwiseConv": ("1D", "2D"),
        "SeparableConv": ("1D", "2D"),
        "MaxPooling": ("1D", "2D", "3D"),
        "AveragePooling": ("1D", "2D", "3D"),
        "GlobalMaxPooling": ("1D", "2D", "3D"),
        "GlobalAveragePooling": ("1D", "2D", "3D"),
        "ZeroPadding": ("1D", "2D", "3D"),
        "Cropping": ("1D", "2D", "3D"),
        "UpSampling": ("1D", "2D", "3D"),
        "SpatialDropout": ("1D", "2D", "3D"),
    }.items()
    for dimensions in kinds
) | frozenset(
    {
        "Activation", "Add", "Average", "BatchNormalization", "Bidirectional", "Concatenate",
        "Dense", "Dot", "Dropout", "ELU", "EinsumDense", "Embedding", "Flatten", "GRU",
        "GaussianDropout", "GaussianNoise", "GroupNormalization", "LSTM", "LayerNormalization",
        "LeakyReLU", "Masking", "Maximum", "Minimum", "MultiHeadAttention", "Multiply",
        "Normalization", "PReLU", "Permute", "ReLU", "RepeatVector", "Rescaling", "Reshape",
        "SimpleRNN", "Softmax", "Subtract", "TimeDistributed", "UnitNormalization",
    }
)  # fmt: skip
"""Layers of Keras 3 that Keras 2 has too, under the same name and with the same function."""

_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
_WRAPPED = ("layer", "backward_layer")
_WITHOUT_EFFECT = frozenset({"seed", "renorm_momentum", "quantization_config"})
_OTHER_MEANING = {
    "hard_sigmoid": "relu6(x + 3) / 6 in Keras 3, and another function in Keras 2",
}
_POLICIES = re.compile(r"(mixed_)?(b?float(16|32|64))")
_REASONS = {
    "Lambda": "holds Python code, which no configuration describes: write it as layers",
    "TorchModuleWrapper": "holds a PyTorch module",
    "JaxLayer": "holds JAX code",
    "FlaxLayer": "holds JAX code",
    "TFSMLayer": "holds a SavedModel",
}


class NoCounterpart(Exception):
    """A layer cannot be translated; the message says why, without naming the layer."""


def is_of_keras_3(thing: Any) -> bool:
    """Whether a class of the package keras, version 3, made this object."""
    return type(thing).__module__.split(".")[0] == "keras"


def kind_of(thing: Any) -> str:
    """The class of a Keras 3 layer or model by its name, "" where Keras itself did not make it."""
    return type(thing).__name__ if is_of_keras_3(thing) else ""


def reason_against(layer: Any) -> str | None:
    """Why a layer has no counterpart, as far as its class tells; None where it may have one."""
    kind = kind_of(layer)
    if not kind:
        return "is a class of its own, not a layer of Keras: rewrite the model with tf_keras"
    if kind in SAME:
        return None
    return _REASONS.get(kind, "has no counterpart in Keras 2")


def translate(layer: Any) -> keras.layers.Layer:
    """A Keras 2 layer with the options of a Keras 3 layer; its weights come later.

    Initializers are left at their defaults, since the weights are copied.

    Raises:
        NoCounterpart: Keras 2 lacks the layer or one of its options.
    """
    config = dict(layer.get_config())
    if kind_of(layer) == "Normalization" and config.get("mean") is None:
        # Adapted to data: the statistics become constants.
        mean, variance, *_ = layer.get_weights()
        config |= {"mean": mean.tolist(), "variance": variance.tolist()}
    return _from_config(kind_of(layer), config)


def _from_config(kind: str, config: dict[str, Any]) -> keras.layers.Layer:
    cls = getattr(keras.layers, kind)
    options = dict(_options(kind, cls, config))
    for name in _WRAPPED:
        if isinstance(config.get(name), dict):
            options[name] = _wrapped_layer(config[name])
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NoCounterpart(f"is refused by Keras 2: {first}") from None


def _wrapped_layer(serialized: dict[str, Any]) -> keras.layers.Layer:
    kind = serialized["class_name"]
    if kind not in SAME or not str(serialized.get("module")).startswith("keras"):
        raise NoCounterpart(f"wraps a {kind}, which has no counterpart in Keras 2")
    return _from_config(kind, serialized["config"])


def _options(kind: str, cls: type, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    known = _parameters(cls)
    renamed = _RENAMED.get(kind, {})
    for name, value in config.items():
        if name in _WRAPPED or name.endswith("_initializer"):
            continue
        if name == "dtype":
            yield name, _policy(value)
        elif name in renamed:
            yield renamed[name], value
        elif name.endswith("activation"):
            yield name, _activation(value)
        elif name in known:
            yield name, value
        elif value and name not in _WITHOUT_EFFECT and value != "channels_last":
            raise NoCounterpart(f"has {name}={value!r}, which Keras 2 does not know")


def _parameters(cls: type) -> frozenset[str]:
    """Names that a layer's constructor takes, over its base classes."""
    names = {"name", "trainable"}
    for base in cls.__mro__:
        if "__init__" in vars(base) and issubclass(base, keras.layers.Layer):
            names |= set(inspect.signature(base.__init__).parameters)
    return frozenset(names)


def _policy(value: Any) -> str:
    name = value.get("config", {}).get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or not _POLICIES.fullmatch(name):
        raise NoCounterpart(f"computes in {name}, which Keras 2 does not know")
    return name


def _activation(value: Any) -> Any:
    if value is None or isinstance(value, str):
        if value in _OTHER_MEANING:
            raise NoCounterpart(f"has the activation {value}: {_OTHER_MEANING[value]}")
        try:
            keras.activations.get(value)
        except ValueError:
            raise NoCounterpart(f"has the activation {value}, which Keras 2 lacks") from None
        return value
    raise NoCounterpart("has an activation that is a function or a layer of its own")
