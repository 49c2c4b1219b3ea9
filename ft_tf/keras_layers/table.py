"""The one table of what is known of each class of layers.

What holds for a class holds for a subclass too only where its own `call` cannot change it
(`_INHERITED`).
"""

import dataclasses
from typing import Any

from ft_tf._compat import keras


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about a class of layers; False where nothing is known.

    Attributes:
        units: each channel of its output is a unit (a neuron, a filter).
        columns: unit j is computed by the last axis' column j of `kernel`, and `bias[j]`.
        activation_last: its `call` ends with its `activation`.
        activates: it is an activation.
        same_values: in inference it hands on every value, in another shape or type at most.
        between: it may stand between a layer with units and their activation.
        by_channel: in inference a channel of zeros stays one, and no other channel depends on it.
        homogeneous: in inference f(c x) = c f(x) for c > 0.
        pads: it hands on every value, and zeros.
        random: it draws random numbers in training.
        mixes_examples: in training an example's output depends on the others of its batch.
        learns_in_inference: it updates its state from the data, without a gradient.
        pure: it depends neither on the mode nor on the rest of the batch.
        gains_from_xla: XLA makes a network of only such layers faster on a processor.
        calls_parts: it computes by calling the layers in it.
        by_axis: it normalises over the axes in `axis`.
        recurrent: with `stateful` it hands its state on to the next batch.
    """

    units: bool = False
    columns: bool = False
    activation_last: bool = False
    activates: bool = False
    same_values: bool = False
    between: bool = False
    by_channel: bool = False
    homogeneous: bool = False
    pads: bool = False
    random: bool = False
    mixes_examples: bool = False
    learns_in_inference: bool = False
    pure: bool = False
    gains_from_xla: bool = False
    calls_parts: bool = False
    by_axis: bool = False
    recurrent: bool = False


_INHERITED = (
    "units", "random", "mixes_examples", "learns_in_inference", "calls_parts", "by_axis",
    "recurrent",
)  # fmt: skip
_NOTHING = Facts()

_ROWS = {
    # Dense layers and convolutions
    "Dense": "units columns activation_last pure gains_from_xla",
    "Conv1D Conv2D Conv3D": "units columns activation_last pure",
    "EinsumDense": "units activation_last",
    "DepthwiseConv1D DepthwiseConv2D": "units activation_last pure",
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose SeparableConv1D SeparableConv2D": "units pure",
    # Activations
    "Activation": "activates pure gains_from_xla",
    "LeakyReLU PReLU ELU Softmax": "activates pure",
    "ReLU": "activates homogeneous pure gains_from_xla",
    # Inputs and shapes
    "InputLayer": "same_values pure gains_from_xla",
    "Identity Permute RepeatVector": "same_values pure",
    "Flatten Reshape": "same_values homogeneous pure gains_from_xla",
    "ActivityRegularization": "same_values",
    "ZeroPadding1D ZeroPadding2D ZeroPadding3D": "pads pure",
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Embedding": "pure",
    "Rescaling": "pure gains_from_xla",
    "Add Subtract Multiply Average Maximum Minimum Concatenate Dot": "pure",
    # Pooling
    "MaxPooling1D MaxPooling2D MaxPooling3D": "by_channel homogeneous pure",
    "AveragePooling1D AveragePooling2D AveragePooling3D": "by_channel homogeneous pure",
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D": "pure",
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D": "pure",
    # Noise
    "Dropout SpatialDropout2D": "same_values random between by_channel homogeneous",
    "SpatialDropout1D SpatialDropout3D": "same_values random",
    "GaussianDropout GaussianNoise AlphaDropout": "same_values random",
    # Normalization
    "BatchNormalization": "between mixes_examples",
    "MixUp CutMix": "random mixes_examples",
    "LayerNormalization RMSNormalization UnitNormalization": "by_axis pure",
    "GroupNormalization": "pure",
    "SpectralNormalization": "learns_in_inference",
    # Layers made of others
    "MultiHeadAttention GroupQueryAttention": "calls_parts",
    "RNN": "recurrent",
}
_TABLE: dict[type, Facts] = {
    getattr(keras.layers, name): Facts(**dict.fromkeys(facts.split(), True))
    for names, facts in _ROWS.items()
    for name in names.split()
}


def facts_of(layer: Any) -> Facts:
    """Returns the facts about a layer.

    >>> facts_of(keras.layers.BatchNormalization()).mixes_examples
    True
    """
    known = _TABLE.get(type(layer))
    if known is not None:
        return known
    base = next((_TABLE[kind] for kind in type(layer).__mro__ if kind in _TABLE), _NOTHING)
    return Facts(**{name: getattr(base, name) for name in _INHERITED})


def is_of_keras(layer: Any) -> bool:
    """Returns True if the class of a layer or operation is one of Keras."""
    return type(layer).__module__.split(".")[0] == "keras"


def kind_of(layer: Any) -> str:
    """The name of a class of Keras; "" for a class of a user's own."""
    return type(layer).__name__ if is_of_keras(layer) else ""


# Operations of Keras (keras.ops.softmax on a symbolic tensor) stand in a model as layers do.
_ACTIVATION_OPS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "LogSoftmax": "log_softmax"}
_SAME_VALUES_OPS = frozenset(
    {"Reshape", "Cast", "StopGradient", "Squeeze", "ExpandDims", "Transpose", "Ravel", "Identity"}
)


def hands_on(layer: Any) -> bool:
    """Returns True if a layer or operation changes at most the shape or type of its values.

    >>> hands_on(keras.layers.Reshape((3,))), hands_on(keras.layers.Activation("linear"))
    (True, True)
    """
    if type(layer) is keras.layers.Activation:
        return activation_name(layer) == "linear"
    if not isinstance(layer, keras.layers.Layer):
        return kind_of(layer) in _SAME_VALUES_OPS
    return facts_of(layer).same_values


def activation_name(layer: Any) -> str | None:
    """Name of the activation that a layer or operation ends with; None where it is not known.

    >>> activation_name(keras.layers.Dense(3)), activation_name(keras.layers.Dense(3, "softmax"))
    ('linear', 'softmax')
    >>> activation_name(keras.layers.Lambda(keras.activations.softmax)) is None
    True
    """
    if type(layer) is keras.layers.Softmax:
        return "softmax"
    if not isinstance(layer, keras.layers.Layer):
        return _ACTIVATION_OPS.get(kind_of(layer)) if is_of_keras(layer) else None
    activation = getattr(layer, "activation", None)
    if isinstance(activation, keras.layers.Layer):
        return activation_name(activation)
    name = getattr(activation, "__name__", None)
    return name if name is None else name.removesuffix("_v2")  # tf.nn.softmax calls itself so


_ZERO_AT_ZERO = frozenset(
    {"linear", "relu", "elu", "selu", "tanh", "silu", "gelu", "softsign", "leaky_relu"}
)


def keeps_zero(layer: Any) -> bool:
    """Returns True if the activation that a layer is, or ends with, maps 0 to 0."""
    kind = kind_of(layer)
    if kind == "ReLU":
        return not layer.threshold
    if kind in ("LeakyReLU", "ELU", "PReLU"):
        return True
    if not (facts_of(layer).columns or kind == "Activation"):
        return False
    activation = layer.activation
    name = activation_name(layer)
    return activation is None or (
        name in _ZERO_AT_ZERO and activation is getattr(keras.activations, name, None)
    )
