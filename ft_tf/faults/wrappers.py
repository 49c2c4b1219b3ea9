"""Fault-aware training: layer wrappers that resample faults at every training step.

    faulty = wrap(model, target="units", rate=0.2)
    faulty.compile(...); faulty.fit(...)      # new faults in every training step
    model = unwrap(faulty)                    # a plain model with the trained weights

Training under bit errors takes fault=BitErrors("int8_per_channel") and target="weights": the layer
computes with stored, faulty weights, and the gradients go to the float32 weights as if these had
been used (straight-through), but for words with an inverted bit. `limit_weights` keeps the weights
small, so that scales are small and an inverted bit moves a weight less.

Inference has no faults; `inject`, `FaultInjection` and `sweep` serve that.
"""

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import check_choice, check_fraction, check_non_negative_integer, check_positive
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.sites import TARGETS, Select, SiteGroup, channel_shape, find_sites
from ft_tf.keras_layers import all_layers, parameters_of, transposed_kernels
from ft_tf.keras_layers.hooks import masked_like
from ft_tf.models import check_built

_OUTPUT = -1


class LayerWrapper(keras.layers.Wrapper):
    """Base of wrappers that change what a layer computes with, or its output.

    It takes over the layer's name, types and masks.
    """

    is_fault_wrapper = True

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        # Inputs are cast as the layer would cast them, and masks taken where it takes them.
        super().__init__(layer, **{"name": layer.name, **kwargs, "dtype": layer.dtype_policy})
        self.autocast = layer.autocast
        self.supports_masking = layer.supports_masking

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask that the layer gives its output."""
        return self.layer.compute_mask(inputs, previous_mask)


@keras.saving.register_keras_serializable("ft_tf")
class FaultWrapper(LayerWrapper):
    """A layer whose parameters or output are faulty in training.

    Every parameter, frozen or not, or every channel of the output, is faulty independently with
    probability `rate`, resampled from (seed, layer name, step) at each step. Gradients pass through
    values that are not faulty, and through faults that let them pass (a sign flip, noise).

    Args:
        layer: the layer.
        target: "weights", "units" (the last axis of the output) or "both".
        rate: share of faulty sites.
        fault: what a faulty value becomes; stuck at 0 by default. A fault model of your own must
            be registered with `keras.saving.register_keras_serializable` to be saved.
        seed: fixes the faults.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        target: str = "weights",
        rate: float = 0.0,
        fault: FaultModel | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        check_choice(TARGETS, target=target)
        check_fraction(rate=rate)
        check_non_negative_integer(seed=seed)
        self.target, self.rate, self.seed = target, rate, int(seed)  # NumPy's would overflow
        self.fault = StuckAt(0.0) if fault is None else fault
        _check_for_training(self.fault)
        # Past Keras's __setattr__, which would wrap the dict and track it.
        vars(self)["_groups"] = {}  # of sites, by place of the variable, or _OUTPUT

    def build(self, input_shape: Any) -> None:
        """Builds the layer and the step counter of its faults."""
        super().build(input_shape)
        if self.target != "units":
            transposed = set(map(id, transposed_kernels(self.layer)))
            for place, variable in enumerate(self._parameters()):
                facts = {"dtype": variable.dtype, "transposed": id(variable) in transposed}
                self._place(place, tuple(variable.shape), **facts)
        if self.target != "weights":
            shape = channel_shape(self.layer, self.layer.compute_output_shape(input_shape))
            if shape is None:
                raise ModelError(f"layer={self.name!r} has no units: its output has no channels")
            self._place(_OUTPUT, shape, dtype=self.compute_dtype)
        self.fault_step = self.add_weight(
            name="fault_step", shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def _place(self, place: int, shape: tuple[int, ...], **facts: Any) -> None:
        """Adds a group of sites with the fault there, such as one as the variable is stored."""
        target = "units" if place == _OUTPUT else "weights"
        group = SiteGroup(target, self.name, self.name, shape, 0, **facts)
        (self._groups[place],) = self.fault.placed([group])

    def _parameters(self) -> list[keras.Variable]:
        """The variables that `find_sites` counts, frozen ones among them."""
        chosen = {id(variable) for variable in parameters_of(self.layer)}
        return [variable for variable in self.layer.weights if id(variable) in chosen]

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Returns the layer's output: with the faults of this step in training."""
        if self.layer._call_has_training_arg:
            kwargs["training"] = training
        if not (training is None or isinstance(training, bool | int)):
            raise ModelError(f"layer={self.name!r}: training must be True or False, not a tensor")
        draws = self._draws() if training else {}
        replaced = {
            id(variable): self._groups[place].fault.apply(stored_value(variable), *draws[place])
            for place, variable in enumerate(self._parameters())
            if place in draws
        }
        with substituted(self.layer, replaced):
            outputs = self.layer(inputs, **kwargs)
        if _OUTPUT in draws:
            fault = self._groups[_OUTPUT].fault
            return masked_like(outputs, fault.apply(outputs, *draws[_OUTPUT]))
        return outputs

    def _draws(self) -> dict[int, tuple[tf.Tensor, tf.Tensor | None]]:
        """Returns the masks and random words of one step, by place of the variable, or _OUTPUT."""
        step = self.fault_step.assign_add(1)
        # The bits of a seed that do not fit above the name's 32 are added to those.
        base = ((self.seed << 32) % 2**64 | self.seed >> 32) ^ zlib.crc32(self.name.encode())
        base -= base >> 63 << 64  # signed

        def bits(shape: tuple[int, ...], stream: int, dtype: tf.DType) -> tf.Tensor:
            # A step count stays far below 2^40, so no two streams share a counter.
            seed = tf.stack([tf.constant(base, tf.int64), step + (stream << 40)])
            return tf.random.stateless_uniform(shape, seed, None, None, dtype)

        draws = {}
        for number, (place, group) in enumerate(self._groups.items()):
            shape, per_value = group.shape, group.fault.sites_per_value
            sites = (*shape, per_value) if per_value > 1 else shape
            mask = tf.ones(sites, tf.bool)
            if self.rate < 1:
                drawn = bits(sites, 2 * number, tf.uint64)
                mask = drawn < tf.constant(int(self.rate * 2**64), tf.uint64)
            words = None
            if group.fault.random:
                words = bits((*shape, 2), 2 * number + 1, tf.uint32)
            draws[place] = mask, words
        return draws

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the wrapper."""
        fault = keras.saving.serialize_keras_object(self.fault)
        own = {"target": self.target, "rate": self.rate, "fault": fault, "seed": self.seed}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "FaultWrapper":
        """Returns the wrapper that `get_config` described."""
        config = dict(config)
        config.pop("during_training", None)  # in files of earlier versions
        layer = keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
        fault = config.pop("fault")
        if not isinstance(fault, FaultModel):
            fault = keras.saving.deserialize_keras_object(fault, custom_objects=custom_objects)
        return cls(layer, fault=fault, **config)


def _check_for_training(fault: FaultModel | None) -> None:
    if fault is not None and not fault.in_training:
        raise ArgumentError(f"fault={fault!r} is for inject, FaultInjection and sweep")


def stored_value(variable: keras.Variable) -> tf.Tensor:
    """The value as it is in memory, which is where faults sit: mixed precision casts it later."""
    return tf.convert_to_tensor(variable._value)  # `value` would be cast within a layer's call


@contextlib.contextmanager
def substituted(layer: keras.layers.Layer, tensors: dict[int, tf.Tensor]) -> Iterator[None]:
    """Inside the block the layer's attributes hold tensors where they held variables."""
    places = [
        (part, name, value)
        for part in all_layers(layer)
        for name, value in list(vars(part).items())
        if id(value) in tensors
    ]
    missing = set(tensors) - {id(value) for _, _, value in places}
    if missing:
        raise ModelError(
            f"layer={layer.name!r} ({type(layer).__name__}) keeps a parameter where a wrapper "
            "cannot reach it (not as an attribute): use inject, FaultInjection or sweep"
        )
    try:
        for part, name, value in places:
            faulty = tensors[id(value)]
            casts = value._autocast and part.autocast and faulty.dtype.is_floating
            vars(part)[name] = tf.cast(faulty, part.compute_dtype) if casts else faulty
        yield
    finally:
        for part, name, value in places:
            vars(part)[name] = value


def wrap(
    model: keras.Model,
    *,
    target: str,
    rate: float = 0.0,
    fault: FaultModel | None = None,
    seed: int = 0,
    select: Select | None = None,
) -> keras.Model:
    """Returns a copy of a functional or Sequential model whose layers with sites are wrapped.

    Arguments are those of `FaultWrapper`; wrapped are the layers that hold the sites of `select`.

    Raises:
        ModelError: something asked for cannot be faulted, or the model cannot be cloned.
    """
    require_keras_model(model)
    _check_for_training(fault)
    check_fraction(rate=rate)
    check_non_negative_integer(seed=seed)
    layers: dict[int, str] = {}
    groups = find_sites(model, target=target, select=select)
    for group in groups if fault is None else fault.placed(groups):
        for layer in _holders(model, group):
            held = layers.setdefault(id(layer), group.target)
            layers[id(layer)] = held if held == group.target else "both"

    options = {"rate": rate, "fault": fault, "seed": seed}

    def wrapper(layer: keras.layers.Layer, copy: keras.layers.Layer) -> keras.layers.Layer:
        held = layers.pop(id(layer), None)
        return copy if held is None else FaultWrapper(copy, target=held, **options)

    wrapped = wrapped_copy(model, wrapper)
    if layers:
        raise ModelError(
            f"model={model.name!r} has {len(layers)} layers with sites inside nested models: wrap "
            "those models, or use inject, FaultInjection or sweep"
        )
    return wrapped


def wrapped_copy(
    model: keras.Model,
    wrapper: Callable[[keras.layers.Layer, keras.layers.Layer], keras.layers.Layer],
    *,
    recursive: bool = False,
) -> keras.Model:
    """Returns a copy of a functional or Sequential model, weights and all, with wrapped layers.

    `wrapper` is called with each layer and its copy, or with those of nested models instead of
    these if `recursive`, and returns the copy or a wrapper of it.

    Raises:
        ModelError: the model cannot be cloned.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return wrapper(layer, type(layer).from_config(layer.get_config()))

    return _copied(model, clone, recursive=recursive)


def _copied(model: keras.Model, clone: Any, *, recursive: bool = False) -> keras.Model:
    require_keras_model(model)
    try:
        copy = keras.models.clone_model(model, clone_function=clone, recursive=recursive)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            f"model={model.name!r} cannot be cloned ({error}): use inject, FaultInjection or sweep"
        ) from None
    # Layer by layer: step counters of wrappers have no counterpart.
    for old, new in zip(model.layers, copy.layers, strict=True):
        innermost(new).set_weights(innermost(old).get_weights())
    return copy


def limit_weights(model: keras.Model, limit: float) -> None:
    """Lets training clip kernels and biases of a model to [-limit, limit] after each step.

    Optimizers of Keras heed the constraint, which no file keeps.

    Raises:
        ModelError: a weight has a constraint already.
    """
    check_built(model)
    check_positive(limit=limit)
    for variable in model.trainable_variables:
        if len(variable.shape) < 2 and "bias" not in variable.name:
            continue  # of a normalization, which must be able to scale
        if variable.constraint is not None:
            raise ModelError(f"weight={variable.path!r} has a constraint already: remove it")
        variable.constraint = functools.partial(keras.ops.clip, x_min=-limit, x_max=limit)


def unwrap(model: keras.Model) -> keras.Model:
    """Returns a plain copy of a wrapped model, with the same weights."""
    check_built(model)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = innermost(layer)
        return type(inner).from_config(inner.get_config())

    return _copied(model, clone)


def innermost(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the layer in all its wrappers."""
    return innermost(layer.layer) if isinstance(layer, LayerWrapper) else layer


def _holders(model: keras.Model, group: SiteGroup) -> list[keras.layers.Layer]:
    """Returns the layers that must be wrapped for a group of sites."""
    if group.part is not None:
        raise ModelError(f"{group.name} is no layer to wrap: use inject, FaultInjection or sweep")
    if group.variable is None:
        return list({id(layer): layer for layer, _ in group.points}.values())
    holders = [layer for layer in model.layers if any(group.variable is v for v in layer.weights)]
    return holders or [model]
