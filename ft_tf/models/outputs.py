"""How a classifier ends: in logits, or in a softmax or sigmoid that can be taken away."""

import dataclasses
from typing import Any

import numpy as np

from ft_tf._compat import keras, require_keras2_model
from ft_tf.errors import ModelError

PROBABILITIES = ("softmax", "sigmoid")


@dataclasses.dataclass(frozen=True)
class Ending:
    """The layer that gives a model's output.

    Attributes:
        layer: the layer, inside nested models where they end the model.
        activation: name of the activation that the output has passed, "linear" where there is none
            and "" where it cannot be told.
        certain: whether the model's graph says so. Of a model that is a class of its own, it is
            only the last layer that it has.
    """

    layer: keras.layers.Layer
    activation: str
    certain: bool = True

    @property
    def gives_probabilities(self) -> bool:
        """Whether the output is a softmax or a sigmoid."""
        return self.activation in PROBABILITIES

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """Logits that this ending turns into `outputs`; outputs that are no probabilities as such.

        Of a softmax, log p: logits less their log-sum, which changes no prediction and no margin.
        Of one sigmoid, log(p / (1 - p)). A probability of 0 or 1 is taken for the next number.

        Args:
            outputs: float32 [n, classes].

        >>> ending = Ending(None, "sigmoid")
        >>> ending.logits(np.array([[0.5], [0.25]], np.float32)).round(3).tolist()  # log(1 / 3)
        [[0.0], [-1.0989999771118164]]
        """
        lowest, highest = np.float32(1e-38), np.float32(1) - np.finfo(np.float32).epsneg
        if self.activation == "softmax":
            return np.log(np.maximum(outputs, lowest))
        if self.activation == "sigmoid" and outputs.shape[1] == 1:
            inside = np.clip(outputs, lowest, highest)
            return np.log(inside) - np.log1p(-inside)
        return outputs


def ending_of(model: keras.Model) -> Ending | None:
    """How a Keras 2 model ends; None for one without layers.

    >>> from ft_tf import architectures
    >>> ending_of(architectures.build("fmnist_dnn")).activation
    'linear'
    """
    require_keras2_model(model)
    history = getattr(getattr(model, "output", None), "_keras_history", None)
    certain = history is not None
    last: Any = history.layer if certain else (model.layers or [None])[-1]
    if isinstance(last, keras.Model):
        inner = ending_of(last)
        return inner and dataclasses.replace(inner, certain=certain and inner.certain)
    if last is None:
        return None
    if isinstance(last, keras.layers.Softmax):
        return Ending(last, "softmax", certain)
    activation = getattr(last, "activation", None)
    name = "linear" if activation is None else getattr(activation, "__name__", "")
    return Ending(last, name, certain)


def logits_of(model: keras.Model) -> keras.Model:
    """The model without the softmax or sigmoid that it ends in; the model itself if it has none.

    Predictions stay what they are. Attacks, TRADES and the measures of how far outputs move need
    logits. The given model is not changed; a softmax within a Dense layer makes a copy of the
    layers necessary, weights and all.

    Raises:
        ModelError: a sigmoid on several outputs (more than one class may be right), or an ending
            that cannot be taken off.
    """
    ending = ending_of(model)
    if ending is None or not ending.gives_probabilities:
        return model
    layer = ending.layer
    where = f"model={model.name} ends in {ending.activation} (layer {layer.name!r})"
    if ending.activation == "sigmoid" and model.output_shape[-1] != 1:
        raise ModelError(f"{where} on {model.output_shape[-1]} outputs: one class must be right")
    if not ending.certain:
        raise ModelError(f"{where}, it seems, and is a class of its own: remove it in its call")
    if all(layer is not own for own in model.layers):
        raise ModelError(f"{where} inside a nested model: remove it so that it gives logits")
    if isinstance(layer, keras.layers.Softmax | keras.layers.Activation):
        return keras.Model(model.input, layer.input, name=model.name)
    return _with_linear(model, layer)


def _with_linear(model: keras.Model, last: keras.layers.Layer) -> keras.Model:
    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer is last:
            config["activation"] = "linear"
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=clone)
    except (ValueError, NotImplementedError) as error:
        raise ModelError(
            f"model={model.name} cannot be copied without its last activation ({error}): remove "
            "it so that it gives logits"
        ) from None
    copy.set_weights(model.get_weights())
    return copy
