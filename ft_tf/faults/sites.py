"""Where faults can sit: every parameter of a Keras model, and every unit or activation.

`find_sites` looks at a model once and lists groups of sites, in an order that depends on nothing
but the model's structure, so that models of one shape have the same sites.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_type, check_types
from ft_tf.errors import ModelError
from ft_tf.faults import forward
from ft_tf.faults.models import FaultModel
from ft_tf.keras_layers import (
    Part,
    activation_name,
    facts_of,
    inner_parts,
    is_composite,
    keeps_zero,
    kind_of,
    leaf_layers,
    parameters_of,
    transposed_kernels,
    variables_of,
)
from ft_tf.models import TFLiteModel, check_built

TARGETS = ("weights", "units", "both")


@dataclasses.dataclass(frozen=True)
class Select:
    """Which part of a model faults may hit.

    Attributes:
        layers: names of layers (or of nested models, which stand for all their layers); None for
            all. A layer with an output of one tensor [batch, ..., channels] may be named for unit
            faults even if it is none of the layers that have units by default; and so may parts of
            attention and recurrent layers, and tensors of the graph, as `keras_layers.parts` lists
            them: attention/scores, lstm/forget_gate, add_1.
        parameters: "all", "kernels" (embeddings among them) or "biases".
        moving_statistics: whether parameters that training does not touch, such as a batch
            normalization's moving mean and variance, are sites too.
        output_layer: whether units of the output layer are sites; naming the layer asks for it.
        units: "channels" (a Dense neuron, a convolution channel) or "positions" (every single
            activation of one image).
        dtype: type that parameters are stored in, such as "int8"; None for any.
    """

    layers: tuple[str, ...] | None = None
    parameters: str = "all"
    moving_statistics: bool = False
    output_layer: bool = False
    units: str = "channels"
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_choice(("all", "kernels", "biases"), parameters=self.parameters)
        check_choice(("channels", "positions"), units=self.units)
        if self.layers is not None:
            check_types(str, layers=self.layers)


@dataclasses.dataclass(frozen=True, eq=False)
class SiteGroup:
    """Sites that lie in one variable, or in the output of one layer.

    Attributes:
        target: "weights" or "units".
        layer: name of the layer that is faulty.
        name: the variable's name, or that of the layer after whose activation the units sit.
        shape: of the variable, or of the units as they broadcast over [batch, ...] activations.
        variable: the faulted variable, or weights of a .tflite file; None for units.
        dtype: type of the values.
        owner: number of the layer among the model's; names may repeat in nested models. -1 for
            variables that the model itself made.
        points: (layer, call) pairs at whose outputs the units sit: several if a layer is shared.
        silencers: variables whose last axis is the unit's number and whose zeros make the unit
            deliver exactly 0 if its inputs are finite; empty where that is not known, and for
            weights.
        positions: whether a unit is a single activation and no channel.
        transposed: whether a variable is a kernel [..., outputs, inputs].
        fault: what happens there; `make_plan` knows.
    """

    target: str
    layer: str
    name: str
    shape: tuple[int, ...]
    owner: int
    variable: Any = None
    dtype: str = "float32"
    points: tuple[tuple[keras.layers.Layer, int], ...] = ()
    silencers: tuple[keras.Variable, ...] = ()
    positions: bool = False
    transposed: bool = False
    fault: FaultModel | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def sites(self) -> int:
        """Number of fault sites: values, or their bits where the rate is per bit."""
        return self.size * self.fault.sites_per_value

    @property
    def part(self) -> Part | None:
        """The part of a layer, or tensor of the graph, that the units are in; None for a layer."""
        point = self.points[0][0] if self.points else None
        return point if isinstance(point, Part) else None

    @property
    def spare_sites(self) -> int:
        """Fault sites besides those of the values, such as check bits."""
        return self.fault.spare_sites(self.size)

    def holds(self, layer: keras.layers.Layer, index: int) -> bool:
        """Whether the group's units sit at the output of that call of a layer."""
        return any(layer is point and index == call for point, call in self.points)


def find_sites(
    model: keras.Model, *, target: str, select: Select | None = None
) -> tuple[SiteGroup, ...]:
    """Lists the fault sites of a model.

    Weights are the model's parameters in the order of its layers. Units sit after the activation:
    at the output of a Dense or convolution layer that has an activation of its own, else at the
    output of the activation layer that follows it directly or behind batch normalization or
    dropout, else at its own output. An activation that is an operation, as `keras.ops.sigmoid(z)`,
    or a Lambda layer is not known as one: units stay before it, and one stuck at 0 delivers
    sigmoid(0). The output layer (the last one with parameters on its path) is left out unless asked
    for. Of a model that Keras has quantised the weights are the stored integers and their scales.

    Args:
        model: any Keras model that has been built, or one of a .tflite file: its constants of
            integers of up to 16 bits and of floats are weights, and biases of int32.
        target: "weights", "units" or "both".
        select: which part of the model; all of it by default.

    Raises:
        ModelError: something that was asked for cannot be faulted; the message names all of it.
    """
    check_choice(TARGETS, target=target)
    select = Select() if select is None else select
    check_type(Select, select=select)
    if isinstance(model, TFLiteModel):
        return _stored_groups(model, target, select)
    check_built(model)
    leaves = leaf_layers(model)
    chosen, parts = _chosen(model, leaves, select.layers)
    problems: list[str] = []
    if target == "weights":
        problems += [f"{part.name} has no parameters" for part in parts]
    groups: list[SiteGroup] = []
    if target != "units":
        groups += _weight_groups(model, leaves, chosen, select, problems)
    if target != "weights":
        groups += _unit_groups(model, leaves, chosen, parts, select, problems)
    for kind in ("weights", "units") if target == "both" else (target,):
        if not problems and not any(group.target == kind for group in groups):
            problems.append(f"it has no {kind} to fault")
    if problems:
        raise ModelError(f"model={model.name!r} cannot be faulted: {'; '.join(problems)}")
    return tuple(groups)


def _chosen(
    model: keras.Model, leaves: list[keras.layers.Layer], names: Sequence[str] | None
) -> tuple[list[keras.layers.Layer], list[Part]]:
    """The layers of these names, and what else is called so."""
    if names is None:
        return leaves, []
    by_name: dict[str, list[keras.layers.Layer]] = {}
    for layer in leaves:
        by_name.setdefault(layer.name, []).append(layer)
    for nested in model.layers:
        if is_composite(nested):
            by_name.setdefault(nested.name, []).extend(leaf_layers(nested))
    others = [name for name in dict.fromkeys(names) if name not in by_name]
    parts = inner_parts(model) if others else {}
    known = [*by_name, *(name for name, part in parts.items() if part.leaf is not None)]
    _check_known([name for name in others if name not in parts], known, model)
    wanted = {id(layer) for name in names for layer in by_name.get(name, ())}
    return [layer for layer in leaves if id(layer) in wanted], [parts[name] for name in others]


def _check_known(unknown: list[str], known: list[str], model: Any) -> None:
    if unknown:
        raise ModelError(
            f"layers={', '.join(unknown)} not in model {model.name!r}: it has {', '.join(known)}"
        )


def _is_selected(select: Select, *, is_bias: bool, rank: int, dtype: str) -> bool:
    kinds = {"all": True, "biases": is_bias, "kernels": not is_bias and rank >= 2}
    return kinds[select.parameters] and select.dtype in (None, dtype)


def _weight_groups(
    model: keras.Model,
    leaves: list[keras.layers.Layer],
    chosen: list[keras.layers.Layer],
    select: Select,
    problems: list[str],
) -> list[SiteGroup]:
    owned = {id(variable) for layer in leaves for variable in layer.weights}
    stray = [v for v in variables_of(model) if id(v) not in owned] if select.layers is None else []
    number = {id(layer): place for place, layer in enumerate(leaves)}
    candidates = [(layer.name, number[id(layer)], v) for layer in chosen for v in layer.weights]
    candidates += [(model.name, -1, variable) for variable in stray]  # made by the model itself
    parameters = {id(variable) for variable in parameters_of(model)}
    transposed = {id(kernel) for layer in chosen for kernel in transposed_kernels(layer)}
    groups: dict[int, SiteGroup] = {}
    for layer_name, owner, variable in candidates:
        shape, dtype = tuple(variable.shape), variable.dtype
        if id(variable) not in parameters and not (
            select.moving_statistics
            and tf.as_dtype(dtype).is_floating  # no seed and no counter
            and not variable.overwrite_with_gradient
        ):
            continue
        is_bias = "bias" in variable.name
        if not _is_selected(select, is_bias=is_bias, rank=len(shape), dtype=dtype):
            continue
        name = variable.path.removeprefix(f"{model.name}/")  # a loaded model's lacks this
        facts = {"variable": variable, "dtype": dtype, "transposed": id(variable) in transposed}
        group = SiteGroup("weights", layer_name, name, shape, owner, **facts)
        groups.setdefault(id(variable), group)
    if select.layers is not None:
        found = {group.layer for group in groups.values()}
        problems += [
            f"layer {layer.name} ({type(layer).__name__}) has no such parameters"
            for layer in chosen
            if layer.name not in found
        ]
    return list(groups.values())


def _unit_groups(
    model: keras.Model,
    leaves: list[keras.layers.Layer],
    chosen: list[keras.layers.Layer],
    parts: list[Part],
    select: Select,
    problems: list[str],
) -> list[SiteGroup]:
    named = select.layers is not None
    wanted = {id(layer) for layer in chosen if named or facts_of(layer).units}
    flow = forward.trace(model, parts=parts)
    number = {id(layer): place for place, layer in enumerate(leaves)}
    calls: dict[int, list[forward.Call]] = {}
    for call in flow.calls:
        if id(call.layer) in wanted:
            calls.setdefault(id(call.layer), []).append(call)
    groups = []
    for own in calls.values():
        layer = own[0].layer
        chains = [chain_to_activation(flow, call) for call in own]
        ends = [chain[-1] for chain in chains]
        if not (named or select.output_layer) and not any(flow.feeds_layer(e) for e in ends):
            continue
        channels = functools.partial(channel_shape, layer)
        shapes = {_unit_shape(end.outputs, channels, select.units) for end in ends}
        if None in shapes or len(shapes) > 1:
            problems.append(
                f"layer {layer.name} ({type(layer).__name__}) has no units: its output is not one "
                f"tensor with a known number of {select.units}"
            )
            continue
        options = {"dtype": ends[0].outputs.dtype.name, "positions": select.units == "positions"}
        options["points"] = tuple((end.layer, end.index) for end in ends)
        if select.units == "channels":
            options["silencers"] = silencers(flow, chains)
        name, owner = ends[0].layer.name, number[id(layer)]
        groups.append(SiteGroup("units", layer.name, name, shapes.pop(), owner, **options))
    if named:
        problems += [
            f"layer {layer.name} is never called" for layer in chosen if id(layer) not in calls
        ]
    for place, part in enumerate(parts):
        outputs = flow.parts.get(id(part))
        shape = _unit_shape(outputs, part.unit_shape, select.units)
        if shape is None:
            problems.append(f"{part.name} is no tensor with a known number of {select.units}")
            continue
        owner = number.get(id(part.leaf), len(leaves) + place)
        options = {"dtype": outputs.dtype.name, "positions": select.units == "positions"}
        options["points"] = ((part, 0),)
        groups.append(SiteGroup("units", part.name, part.name, shape, owner, **options))
    return groups


def _unit_shape(
    outputs: Any, channels: Callable[[Any], Any], granularity: str
) -> tuple[int, ...] | None:
    """The shape of the units in an output, by `channels` where these are channels; None if open."""
    if not tf.is_tensor(outputs) or not outputs.dtype.is_floating:
        return None
    if outputs.shape.rank in (None, 0, 1):
        return None
    shape = tuple(outputs.shape)
    shape = shape[1:] if granularity == "positions" else channels(shape)
    return None if shape is None or None in shape else shape


def _stored_groups(model: TFLiteModel, target: str, select: Select) -> tuple[SiteGroup, ...]:
    """The weights of a .tflite file, in the order of its operators."""
    if target != "weights":
        raise ModelError(
            f"model={model.name!r} is a .tflite file: faults hit its weights, not its {target}"
        )
    names = list(dict.fromkeys(tensor.layer for tensor in model.tensors))
    _check_known([name for name in select.layers or () if name not in names], names, model)
    groups = []
    for tensor in model.tensors:
        shape, dtype = tensor.shape, tensor.dtype
        if (select.layers is None or tensor.layer in select.layers) and _is_selected(
            select, is_bias=tensor.is_bias, rank=len(shape), dtype=dtype
        ):
            place = tensor.layer, tensor.name, shape, names.index(tensor.layer)
            groups.append(SiteGroup("weights", *place, variable=tensor, dtype=dtype))
    if not groups:
        raise ModelError(f"model={model.name!r} has no such weights to fault")
    return tuple(groups)


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

    Its inputs must be finite, as those of a fault-free model are unless it overflows by itself:
    0 times an infinity is NaN.

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
    rank = chains[0][0].outputs.shape.rank
    channels_first = getattr(chains[0][0].layer, "data_format", None) == "channels_first"
    axis = 1 if channels_first else rank - 1  # along which the units lie
    if len(chains) > 1 or not norm.scale or list(axes) not in ([axis], [axis - rank]):
        return ()
    return (norm.gamma, norm.beta) if norm.center else (norm.gamma,)
