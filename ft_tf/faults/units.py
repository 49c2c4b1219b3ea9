"""What is known of Keras's layers: which have units, where they activate, what silences one."""

from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.faults import forward

_layers = keras.layers
UNIT_LAYERS = (
    _layers.Dense,
    _layers.Conv1D,  # transposed and separable convolutions are among their subclasses
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.SeparableConv1D,
    _layers.SeparableConv2D,
    _layers.DepthwiseConv1D,
    _layers.DepthwiseConv2D,
    _layers.LocallyConnected1D,
    _layers.LocallyConnected2D,
)
_ACTIVATION_LAYERS = (
    _layers.Activation,
    _layers.ReLU,
    _layers.LeakyReLU,
    _layers.PReLU,
    _layers.ELU,
    _layers.ThresholdedReLU,
    _layers.Softmax,
)
_PASSED_LAYERS = (_layers.BatchNormalization, _layers.Dropout, _layers.SpatialDropout2D)
_COLUMN_LAYERS = (_layers.Dense, _layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
_CHANNELWISE_LAYERS = (
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
    _layers.AveragePooling3D,
    _layers.Dropout,
    _layers.SpatialDropout2D,
)
_ZERO_AT_ZERO = tuple(
    getattr(keras.activations, name)
    for name in ("linear", "relu", "elu", "selu", "tanh", "swish", "gelu", "softsign")
)


def unwrapped(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer inside a fault wrapper, or the layer itself."""
    return layer.layer if getattr(layer, "is_fault_wrapper", False) else layer


def channel_shape(layer: keras.layers.Layer, output_shape: Any) -> tuple[int, ...] | None:
    """Shape of one number per channel that broadcasts over outputs [batch, ...]; None if open."""
    shape = tf.TensorShape(output_shape)
    if getattr(unwrapped(layer), "data_format", None) == "channels_first":
        return None if shape[1] is None else (shape[1],) + (1,) * (shape.rank - 2)
    return None if shape[-1] is None else (shape[-1],)


def chain_to_activation(flow: forward.ForwardPass, call: forward.Call) -> list[forward.Call]:
    """The calls from `call` to the one at whose output its units have passed their activation."""
    if not isinstance(unwrapped(call.layer), UNIT_LAYERS) or _activation(call.layer) is not None:
        return [call]
    chain = [call]
    while True:
        following = flow.only_consumer(chain[-1])
        if following is None or not isinstance(
            unwrapped(following.layer), _ACTIVATION_LAYERS + _PASSED_LAYERS
        ):
            return [call]
        chain.append(following)
        if isinstance(unwrapped(following.layer), _ACTIVATION_LAYERS):
            return chain


def silencers(
    flow: forward.ForwardPass, chains: list[list[forward.Call]]
) -> tuple[tf.Variable, ...]:
    """The variables whose zeros at index j make unit j of a layer deliver exactly 0.

    They are a kernel's column and its bias, or gamma and beta of the batch normalization between
    them and an activation that maps 0 to 0. Faults of this kind then reach everything that computes
    with the model, compiled before or after, and cost nothing.

    Args:
        flow: the forward pass.
        chains: for each call of the layer, the calls up to its activation.

    Returns:
        The variables, or nothing where zeros would not do, or would do more: a normalization or a
        kernel that other layers use too would silence their units as well.
    """
    found = {id(variable): variable for variable in _zeroed(chains)}
    own = {id(call) for chain in chains for call in chain}
    elsewhere = (v for call in flow.calls if id(call) not in own for v in call.layer.weights)
    return () if any(id(variable) in found for variable in elsewhere) else tuple(found.values())


def _zeroed(chains: list[list[forward.Call]]) -> tuple[tf.Variable, ...]:
    """What to set to zero if nothing else computes with it."""
    if not all(_keeps_zero(chain[-1].layer) for chain in chains):
        return ()
    between = [call.layer for chain in chains for call in chain[1:-1]]
    norms = [layer for layer in between if isinstance(layer, _layers.BatchNormalization)]
    if not norms:
        source = chains[0][0].layer
        if type(source) not in _COLUMN_LAYERS:
            return ()
        return (source.kernel, source.bias) if source.use_bias else (source.kernel,)
    norm = norms[-1]
    if len(chains) > 1 or norm.gamma is None or list(norm.axis) != [_unit_axis(chains[0][0])]:
        return ()
    return (norm.gamma,) if norm.beta is None else (norm.gamma, norm.beta)


def _unit_axis(call: forward.Call) -> int:
    """The axis of a layer's output along which its units lie."""
    channels_first = getattr(unwrapped(call.layer), "data_format", None) == "channels_first"
    return 1 if channels_first else call.outputs.shape.rank - 1


def _keeps_zero(layer: keras.layers.Layer) -> bool:
    if type(layer) is _layers.ReLU:
        return not layer.threshold
    if type(layer) in (_layers.LeakyReLU, _layers.ELU, _layers.PReLU):
        return True
    known = type(layer) in (*_COLUMN_LAYERS, _layers.Activation)
    return known and _activation(layer) in (None, *_ZERO_AT_ZERO)


def acts_channelwise(layer: keras.layers.Layer) -> bool:
    """Whether a channel of zeros stays one, and no other channel depends on it (inference)."""
    return type(layer) in _CHANNELWISE_LAYERS


def _activation(layer: keras.layers.Layer) -> Any:
    """The activation that a layer applies; None for none or the identity."""
    activation = getattr(unwrapped(layer), "activation", None)
    return None if activation is keras.activations.linear else activation
