"""How a classifier ends: in logits, or in a softmax or sigmoid that can be taken away."""

import dataclasses
from typing import Any

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
    """

    layer: keras.layers.Layer
    activation: str

    @property
    def gives_probabilities(self) -> bool:
        """Whether the output is a softmax or a sigmoid."""
        return self.activation in PROBABILITIES


def ending_of(model: keras.Model) -> Ending | None:
    """How a Keras 2 model ends; None for one whose layers are not known (a class of its own).

    >>> from ft_tf import architectures
    >>> ending_of(architectures.build("fmnist_dnn")).activation
    'linear'
    """
    require_keras2_model(model)
    history = getattr(getattr(model, "output", None), "_keras_history", None)
    last: Any = history.layer if history is not None else (model.layers or [None])[-1]
    if isinstance(last, keras.Model):
        return ending_of(last)
    if last is None:
        return None
    if isinstance(last, keras.layers.Softmax):
        return Ending(last, "softmax")
    activation = getattr(last, "activation", None)
    if activation is None:
        return Ending(last, "linear")
    return Ending(last, getattr(activation, "__name__", ""))


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
