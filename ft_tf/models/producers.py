"""Which layer produces a model's output: back through what only passes values on."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ft_tf._compat import keras, tf

_layers = keras.layers
# In inference mode these hand on every value, in another shape or type at most.
_PASSING = (
    _layers.Flatten, _layers.Reshape, _layers.Permute, _layers.Dropout, _layers.SpatialDropout1D,
    _layers.SpatialDropout2D, _layers.SpatialDropout3D, _layers.GaussianDropout,
    _layers.GaussianNoise, _layers.AlphaDropout, _layers.ActivityRegularization,
)  # fmt: skip
_PASSING_OPS = (
    "reshape",
    "cast",
    "identity",
    "stop_gradient",
    "squeeze",
    "expand_dims",
    "transpose",
)
_ACTIVATION_OPS = {"softmax": "softmax", "softmax_v2": "softmax", "sigmoid": "sigmoid"}


@dataclasses.dataclass(frozen=True)
class Place:
    """One call of a layer in a model's graph.

    Attributes:
        layer: the layer.
        node: Keras's node of the call; None where the model tells no graph.
    """

    layer: keras.layers.Layer
    node: Any = None

    @property
    def source(self) -> Any:
        """The one tensor that the call is made on; None if there are several, or none."""
        inputs = [] if self.node is None else self.node.keras_inputs
        return inputs[0] if len(inputs) == 1 else None


def activation_of(layer: keras.layers.Layer) -> str | None:
    """Name of the activation that a layer ends with; None where its class does not tell.

    >>> activation_of(keras.layers.Dense(3)), activation_of(keras.layers.Dense(3, "softmax"))
    ('linear', 'softmax')
    >>> activation_of(keras.layers.Lambda(keras.activations.softmax)) is None
    True
    """
    if isinstance(layer, _layers.Softmax):
        return "softmax"
    operation = operation_of(layer)
    if operation is not None:
        return _ACTIVATION_OPS.get(operation)
    activation = getattr(layer, "activation", None)
    if isinstance(activation, keras.layers.Layer):
        return activation_of(activation)
    name = getattr(activation, "__name__", None)
    return _ACTIVATION_OPS.get(name, name)


def passes_on(layer: keras.layers.Layer) -> bool:
    """Whether a layer's outputs are its inputs, in another shape or type at most.

    >>> passes_on(keras.layers.Reshape((3,))), passes_on(keras.layers.Activation("linear"))
    (True, True)
    """
    if type(layer) is _layers.Activation:
        return activation_of(layer) == "linear"
    return type(layer) in _PASSING or operation_of(layer) in _PASSING_OPS


def has_graph(model: keras.Model) -> bool:
    """Whether a model has one output, and tells which layers it comes from.

    A model that is a class of its own tells nothing: its output comes from itself.
    """
    history = getattr(getattr(model, "output", None), "_keras_history", None)
    return history is not None and history.layer is not model


def way_back(output: Any) -> Iterator[Place]:
    """The calls that an output comes through, the last one first.

    It ends with the first call that does more than pass values on. Of a nested model it is the
    layers within.

    Args:
        output: a tensor of a functional or Sequential model.
    """
    while output is not None:
        history = output._keras_history
        place = Place(history.layer, history.layer._inbound_nodes[history.node_index])
        if isinstance(place.layer, keras.Model) and has_graph(place.layer):
            outputs = tf.nest.flatten(place.layer.output)
            for inner in way_back(outputs[history.tensor_index]):
                if isinstance(inner.layer, _layers.InputLayer):
                    break  # the model within passes on what it is given
                yield inner
            else:
                return
        else:
            yield place
            if not passes_on(place.layer):
                return
        output = place.source


def operation_of(layer: keras.layers.Layer) -> str | None:
    """Name of the TensorFlow function that a layer stands for, as tf.nn.softmax(tensor) makes one.

    None for all other layers.
    """
    if type(layer).__name__ != "TFOpLambda":
        return None
    return getattr(layer.function, "__name__", "")
