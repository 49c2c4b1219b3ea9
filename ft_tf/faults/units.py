"""Units of a layer: where they sit, after which activation, and what silences one."""

from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.faults import forward
from ft_tf.keras_layers import activation_name, facts_of, keeps_zero, kind_of


def channel_shape(layer: keras.layers.Layer, output_shape: Any) -> tuple[int, ...] | None:
    """Shape of one number per channel that broadcasts over outputs [batch, ...]; None if open."""
    shape = tf.TensorShape(output_shape)
    if getattr(layer, "data_format", None) == "channels_first":
        return None if shape[1] is None else (shape[1],) + (1,) * (shape.rank - 2)
    return None if shape[-1] is None else (shape[-1],)


def chain_to_activation(flow: forward.ForwardPass, call: forward.Call) -> list[forward.Call]:
    """The calls from `call` to the one at whose output its units have passed their activation."""
    if not facts_of(call.layer).units or activation_name(call.layer) != "linear":
        return [call]
    chain = [call]
    while True:
        following = flow.only_consumer(chain[-1])
        facts = None if following is None else facts_of(following.layer)
        if facts is None or not (facts.activates or facts.between):
            return [call]
        chain.append(following)
        if facts.activates:
            return chain


def silencers(
    flow: forward.ForwardPass, chains: list[list[forward.Call]]
) -> tuple[keras.Variable, ...]:
    """The variables whose zeros at index j make unit j of a layer deliver exactly 0.

    They are a kernel's column and its bias, or gamma and beta of the batch normalization between
    them and an activation that maps 0 to 0. Faults of this kind then reach everything that computes
    with the model, compiled before or after, and cost nothing. There are none where zeros would not
    do, or would do more: a normalization or a kernel that other layers use too would silence their
    units as well. `chains` are the calls up to the activation, for each call of the layer.
    """
    found = {id(variable): variable for variable in _zeroed(chains)}
    own = {id(call) for chain in chains for call in chain}
    elsewhere = (v for call in flow.calls if id(call) not in own for v in call.layer.weights)
    return () if any(id(variable) in found for variable in elsewhere) else tuple(found.values())


def _zeroed(chains: list[list[forward.Call]]) -> tuple[keras.Variable, ...]:
    """What to set to zero if nothing else computes with it."""
    if not all(keeps_zero(chain[-1].layer) for chain in chains):
        return ()
    between = [call.layer for chain in chains for call in chain[1:-1]]
    norms = [layer for layer in between if kind_of(layer) == "BatchNormalization"]
    if not norms:
        source = chains[0][0].layer
        # A kernel that is put together from several variables (LoRA, integers) has no one column.
        if not facts_of(source).columns or len(source.weights) != 1 + source.use_bias:
            return ()
        return (source._kernel, source.bias) if source.use_bias else (source._kernel,)
    norm = norms[-1]
    axes = norm.axis if isinstance(norm.axis, list | tuple) else [norm.axis]
    if len(chains) > 1 or not norm.scale or list(axes) not in _unit_axes(chains[0][0]):
        return ()
    return (norm.gamma, norm.beta) if norm.center else (norm.gamma,)


def _unit_axes(call: forward.Call) -> tuple[list[int], ...]:
    """The axis of a layer's output along which its units lie, as a number from either end."""
    rank = call.outputs.shape.rank
    channels_first = getattr(call.layer, "data_format", None) == "channels_first"
    return ([1], [1 - rank]) if channels_first else ([rank - 1], [-1])
