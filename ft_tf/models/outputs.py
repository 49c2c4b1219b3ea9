"""How a classifier ends: in logits, or in a softmax or sigmoid that can be taken away."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ft_tf._compat import keras, require_keras_model
from ft_tf.errors import ModelError
from ft_tf.keras_layers import graph, table
from ft_tf.models.probing import looks_like_probabilities
from ft_tf.models.tflite import TFLiteModel

PROBABILITIES = ("softmax", "sigmoid", "probabilities")

# Activations of Keras that nobody takes for probabilities: no need to look at what they give.
_NO_PROBABILITIES = frozenset({
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "mish", "tanh",
    "softplus", "softsign", "exponential", "log_softmax",
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ending:
    """The layer that produces a model's output.

    Attributes:
        layer: the layer, inside nested models where they end the model. What only passes values on
            (Reshape, Activation("linear"), tf.cast) may come after it.
        activation: name of the activation that the output has passed, "linear" where there is none
            and "" where it cannot be told; "probabilities" where no layer tells, but what the
            model gives on random inputs looks like them.
        certain: whether the model's graph says so, or what it gives. Of a model that is a class of
            its own, it may be only the last layer that it has.
    """

    layer: keras.layers.Layer
    activation: str
    certain: bool = True

    @property
    def gives_probabilities(self) -> bool:
        """Whether the output is a softmax or a sigmoid, or looks like one."""
        return self.activation in PROBABILITIES

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """Logits that this ending turns into `outputs`; outputs that are no probabilities as such.

        Of a softmax, log p: logits less their log-sum, which changes no prediction and no margin.
        Of one sigmoid, log(p / (1 - p)). A probability of 0 or 1 is taken for the next number.
        Both hold for probabilities whatever they come from.

        Args:
            outputs: float32 [n, classes].

        >>> ending = Ending(None, "sigmoid")
        >>> ending.logits(np.array([[0.5], [0.25]], np.float32)).round(3).tolist()  # log(1 / 3)
        [[0.0], [-1.0989999771118164]]
        """
        lowest = np.finfo(np.float32).tiny  # what is smaller is 0 in TensorFlow's threads
        highest = np.float32(1) - np.finfo(np.float32).epsneg
        if self.activation == "softmax" or (
            self.activation == "probabilities" and outputs.shape[1] > 1
        ):
            return np.log(np.maximum(outputs, lowest))
        if self.gives_probabilities and outputs.shape[1] == 1:
            inside = np.clip(outputs, lowest, highest)
            return np.log(inside) - np.log1p(-inside)
        return outputs


def _way_back(output: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The calls that an output comes through, the last one first: layers and their input tensors.

    It ends with the first call that does more than hand one tensor's values on. Of a nested model
    it is the layers within.
    """
    while output is not None:
        layer, node = graph.producer(output)
        sources = node.input_tensors
        if isinstance(layer, keras.Model) and graph.has_graph(layer):
            for inner, inputs in _way_back(graph.output_of(layer)):
                if not inputs:
                    break  # the model within hands on what it is given
                yield inner, inputs
            else:
                return
        else:
            yield layer, sources
            if not table.hands_on(layer):
                return
        output = sources[0] if len(sources) == 1 else None


def ending_of(model: keras.Model) -> Ending | None:
    """How a Keras model ends; None for one without layers.

    >>> from ft_tf import architectures
    >>> ending_of(architectures.build("fmnist_dnn")).activation
    'linear'
    """
    if isinstance(model, TFLiteModel):
        return Ending(None, model.activation)
    require_keras_model(model)
    certain = graph.has_graph(model)
    last = _last_layer(model, certain)
    if last is None:
        return None
    if isinstance(last, keras.Model):
        inner = ending_of(last)
        if inner is None:
            return None
        last, activation, certain = inner.layer, inner.activation, False
    else:
        activation = None if table.hands_on(last) else table.activation_name(last)
    known = activation in PROBABILITIES or activation in _NO_PROBABILITIES
    if certain and known and table.is_of_keras(last):
        return Ending(last, activation)
    if looks_like_probabilities(model):
        return Ending(last, activation if activation in PROBABILITIES else "probabilities")
    return Ending(last, activation if known else "", certain=certain)


def _last_layer(model: keras.Model, has_graph: bool) -> Any:
    """The layer that gives the output, by the graph or else by the list of layers."""
    if has_graph:
        return list(_way_back(graph.output_of(model)))[-1][0]
    layers = [layer for layer in model.layers if not table.hands_on(layer)] or model.layers
    return layers[-1] if layers else None


def logits_of(model: keras.Model) -> keras.Model:
    """The model without the softmax or sigmoid that it ends in; the model itself if it has none.

    Predictions stay what they are. Attacks, TRADES and the measures of how far outputs move need
    logits. The given model is not changed; a softmax within a Dense layer makes a copy of the
    layers necessary, weights and all. A .tflite file stays as it is.

    Raises:
        ModelError: a sigmoid on several outputs (more than one class may be right), or an ending
            that cannot be taken off.
    """
    if isinstance(model, TFLiteModel):
        return model
    ending = ending_of(model)
    if ending is None or not ending.gives_probabilities:
        return model
    layer = ending.layer
    if ending.activation == "probabilities":
        raise ModelError(
            f"model={model.name} gives what looks like probabilities, and layer {layer.name!r} "
            f"({type(layer).__name__}) does not tell from which logits: end it in "
            "keras.layers.Softmax() or keras.layers.Activation('sigmoid'), or in logits"
        )
    where = f"model={model.name} ends in {ending.activation} (layer {layer.name!r})"
    if not graph.has_graph(model):
        raise ModelError(f"{where}, it seems, and is a class of its own: remove it in its call")
    classes = graph.output_shape_of(model)[-1]
    if ending.activation == "sigmoid" and classes != 1:
        raise ModelError(f"{where} on {classes} outputs: one class must be right")
    functional = graph.functional_of(model)
    if all(layer is not own for own in functional.operations):
        raise ModelError(f"{where} inside a nested model: remove it so that it gives logits")
    if getattr(layer, "activation", None) is None or table.facts_of(layer).activates:
        return _without(functional, list(_way_back(graph.output_of(model))), where)
    nodes = {id(node) for at_depth in functional._nodes_by_depth.values() for node in at_depth}
    calls = sum(id(node) in nodes for node in layer._inbound_nodes)
    if calls > 1:
        raise ModelError(
            f"{where}, a layer that is called {calls} times: use it once, or let the last call be "
            "a separate layer"
        )
    return _with_linear(model, layer)


def _without(model: keras.Model, calls: list[tuple[Any, list[Any]]], where: str) -> keras.Model:
    """The model without the last of `calls`, which has no weights."""
    own = {id(layer) for layer in model.operations}
    sources = calls[-1][1]
    if len(sources) != 1 or any(id(layer) not in own for layer, _ in calls):
        raise ModelError(f"{where}, which cannot be taken off: remove it so that it gives logits")
    tensor = sources[0]
    for layer, _ in reversed(calls[:-1]):
        tensor = type(layer).from_config(layer.get_config())(tensor)
    return keras.Model(graph.input_of(model), tensor, name=model.name)


def _with_linear(model: keras.Model, last: keras.layers.Layer) -> keras.Model:
    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer is last:
            config["activation"] = "linear"
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=clone)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(
            f"model={model.name} cannot be copied without its last activation ({error}): remove "
            "it so that it gives logits"
        ) from None
    copy.set_weights(model.get_weights())
    return copy
