"""Layer wrappers: faults as part of a model, armed by variables, and fault-aware training.

    faulty = wrap(model, target="units", rate=0.2, during_training=True)
    faulty.compile(...); faulty.fit(...)      # fresh faults in every training step
    arm(faulty, target="units", rate=0.5, seed=1)
    faulty.evaluate(...)                      # with the faults of inject() at that seed
    disarm(faulty); model = unwrap(faulty)    # a plain model with the trained weights

A wrapper's masks belong to no weight list: no file that Keras writes can hold them, and a model
that is read back is disarmed.
"""

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_fraction, check_non_negative_integer
from ft_tf.errors import ModelError
from ft_tf.faults.forward import masked_like
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.plan import Draws, make_plan
from ft_tf.faults.sites import TARGETS, Select, SiteGroup, find_sites
from ft_tf.faults.units import channel_shape

_OUTPUT = -1


@keras.saving.register_keras_serializable("ft_tf")
class FaultWrapper(keras.layers.Wrapper):
    """A layer whose parameters or output can be made faulty.

    At inference the resident masks apply: none are set until `arm`. In training every parameter,
    or every channel of the output, is faulty on its own with probability `rate`, drawn afresh from
    (seed, layer name, step) in each step, if `during_training`; gradients pass through what is not
    faulty, and through what a fault model lets pass (a sign flip, noise).

    Args:
        layer: the layer.
        target: what is faulty in training: "weights", "units" (the last axis of the output) or
            "both".
        rate: share of faulty sites in training.
        fault: what a faulty value becomes; stuck at 0 by default. A fault model of your own must
            be registered with `keras.saving.register_keras_serializable` to be saved.
        seed: fixes the faults in training.
        during_training: whether training sees faults.
    """

    is_fault_wrapper = True

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        target: str = "weights",
        rate: float = 0.0,
        fault: FaultModel | None = None,
        seed: int = 0,
        during_training: bool = False,
        **kwargs: Any,
    ) -> None:
        # Inputs are cast as the layer would cast them, and masks taken where it takes them.
        super().__init__(layer, **{"name": layer.name, **kwargs, "dtype": layer.dtype_policy})
        self._autocast = layer._autocast
        self.supports_masking = layer.supports_masking
        check_choice(TARGETS, target=target)
        check_fraction(rate=rate)
        check_non_negative_integer(seed=seed)
        self.target, self.rate, self.seed = target, rate, seed
        self.fault = StuckAt(0.0) if fault is None else fault
        self.during_training = during_training
        # Past Keras's __setattr__: what it does not track it cannot save.
        vars(self)["_resident"] = {}

    def build(self, input_shape: Any) -> None:
        """Builds the layer, its resident masks, and the step counter of its faults in training."""
        super().build(input_shape)
        shapes: dict[int, tuple[int, ...] | None] = {}
        if self.target != "units":
            shapes = {place: tuple(v.shape) for place, v in enumerate(self._parameters())}
        if self.target != "weights":
            shapes[_OUTPUT] = channel_shape(
                self.layer, self.layer.compute_output_shape(input_shape)
            )
            if shapes[_OUTPUT] is None:
                raise ModelError(f"layer={self.name!r} has no units: its output has no channels")
        with tf.init_scope():
            self._resident.update(
                {place: self._no_faults(shape) for place, shape in shapes.items()}
            )
        if self.during_training:
            self.fault_step = self.add_weight(
                "fault_step", shape=(), dtype=tf.int64, initializer="zeros", trainable=False
            )

    def _parameters(self) -> list[tf.Variable]:
        return [variable for variable in self.layer.weights if variable.trainable]

    def place_of(self, variable: tf.Variable | None) -> int:
        """Number of a parameter among the layer's, or that of the output for None."""
        if variable is None:
            return _OUTPUT
        places = [place for place, v in enumerate(self._parameters()) if v is variable]
        if not places:
            raise ModelError(f"layer={self.name!r}: {variable.name} is no parameter of it")
        return places[0]

    def _no_faults(self, shape: tuple[int, ...]) -> tuple[tf.Variable, tf.Variable | None]:
        mask = tf.zeros(self._mask_shape(shape), tf.bool)
        words = tf.zeros((*shape, 2), tf.uint32) if self.fault.random else None
        return tuple(None if t is None else tf.Variable(t, trainable=False) for t in (mask, words))

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        per_value = self.fault.sites_per_value
        return (*shape, per_value) if per_value > 1 else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask that the layer gives its output: faults change none."""
        return self.layer.compute_mask(inputs, mask)

    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        """The layer's output, with the faults of this step or the resident ones."""
        if getattr(self.layer, "_expects_training_arg", False):
            kwargs["training"] = training
        if mask is not None and self.layer._expects_mask_arg:
            kwargs["mask"] = mask
        if training is None or isinstance(training, bool | int):
            if not training:
                return self._faulty_call(inputs, self._resident, kwargs)
            draws = self._training_draws() if self.during_training else {}
            return self._faulty_call(inputs, draws, kwargs)
        raise ModelError(f"layer={self.name!r}: training must be True or False, not a tensor")

    def _faulty_call(self, inputs: Any, draws: dict[int, Any], kwargs: dict[str, Any]) -> Any:
        replaced = {
            id(variable): self.fault.apply(_stored(variable), *draws[place])
            for place, variable in enumerate(self._parameters())
            if place in draws
        }
        with _substituted(self.layer, replaced):
            outputs = self.layer(inputs, **kwargs)
        if _OUTPUT in draws:
            return masked_like(outputs, self.fault.apply(outputs, *draws[_OUTPUT]))
        return outputs

    def _training_draws(self) -> dict[int, tuple[tf.Tensor, tf.Tensor | None]]:
        """Fresh masks and words, by place of the variable, and of the output."""
        step = self.fault_step.assign_add(1)
        base = (self.seed << 32) ^ zlib.crc32(self.name.encode())

        def bits(like: tf.Variable, stream: int) -> tf.Tensor:
            # A step count stays far below 2^40, so no two streams share a counter.
            seed = tf.stack([tf.constant(base, tf.int64), step + (stream << 40)])
            return tf.random.stateless_uniform(
                like.shape, seed, None, None, tf.uint64 if like.dtype == tf.bool else like.dtype
            )

        return {
            place: (
                _below(bits(mask, 2 * number), self.rate),
                None if words is None else bits(words, 2 * number + 1),
            )
            for number, (place, (mask, words)) in enumerate(self._resident.items())
        }

    def arm(self, draws: dict[int, tuple[tf.Tensor, tf.Tensor | None]]) -> None:
        """Makes inference faulty: masks and words by place (see `place_of`)."""
        missing = set(draws) - set(self._resident)
        if missing:
            raise ModelError(f"layer={self.name!r} is wrapped for target={self.target!r} only")
        self.disarm()
        for place, pair in draws.items():
            for variable, tensor in zip(self._resident[place], pair, strict=True):
                if variable is not None:
                    variable.assign(tensor)

    def disarm(self) -> None:
        """Makes inference clean again."""
        for mask, _ in self._resident.values():
            mask.assign(tf.zeros_like(mask))

    def get_config(self) -> dict[str, Any]:
        """Everything but the resident masks."""
        return {
            **super().get_config(),
            "target": self.target,
            "rate": self.rate,
            "fault": keras.saving.serialize_keras_object(self.fault),
            "seed": self.seed,
            "during_training": self.during_training,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "FaultWrapper":
        """The wrapper that `get_config` described, disarmed."""
        config = dict(config)
        layer = keras.layers.deserialize(config.pop("layer"), custom_objects=custom_objects)
        fault = config.pop("fault")
        if not isinstance(fault, FaultModel):
            fault = keras.saving.deserialize_keras_object(fault, custom_objects=custom_objects)
        return cls(layer, fault=fault, **config)


def _below(words: tf.Tensor, rate: float) -> tf.Tensor:
    if rate >= 1.0:
        return tf.ones_like(words, tf.bool)
    return words < tf.constant(int(rate * 2**64), tf.uint64)


def _is_autocast(variable: Any) -> bool:
    """Whether mixed precision casts what is read of a variable within a layer's call."""
    return hasattr(variable, "true_dtype")


def _stored(variable: tf.Variable) -> tf.Tensor:
    """The value as it is in memory, which is where faults sit: mixed precision casts it later."""
    return tf.convert_to_tensor(variable._variable if _is_autocast(variable) else variable)


@contextlib.contextmanager
def _substituted(layer: keras.layers.Layer, tensors: dict[int, tf.Tensor]) -> Iterator[None]:
    """Inside the block the layer's attributes hold tensors where they held variables."""
    places = [
        (part, name, value)
        for part in (layer, *layer.submodules)
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
            vars(part)[name] = (
                tf.cast(faulty, part.compute_dtype) if _is_autocast(value) else faulty
            )
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
    during_training: bool = False,
) -> keras.Model:
    """A copy of a functional or Sequential model in which every layer with sites is wrapped.

    Args:
        model: the model; its weights are copied.
        target: "weights", "units" or "both".
        rate: share of faulty sites in training.
        fault: what a faulty value becomes in training; stuck at 0 by default.
        seed: fixes the faults in training.
        select: which layers: wrapped are those that hold the sites it selects.
        during_training: whether training sees faults.

    Raises:
        ModelError: something asked for cannot be faulted, or the model cannot be cloned.
    """
    layers: dict[int, str] = {}
    for group in find_sites(model, target=target, select=select):
        for layer in _holders(model, group):
            held = layers.setdefault(id(layer), group.target)
            layers[id(layer)] = held if held == group.target else "both"

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = type(layer).from_config(layer.get_config())
        if id(layer) not in layers:
            return copy
        return FaultWrapper(
            copy,
            target=layers[id(layer)],
            rate=rate,
            fault=fault,
            seed=seed,
            during_training=during_training,
        )

    wrapped = _cloned(model, clone)
    unreached = len(layers) - len(_wrappers(wrapped))
    if unreached:
        raise ModelError(
            f"model={model.name!r} has {unreached} layers with sites inside nested models: wrap "
            "those models, or use inject, FaultInjection or sweep"
        )
    _copy_weights(model, wrapped)
    return wrapped


def unwrap(model: keras.Model) -> keras.Model:
    """A plain copy of a wrapped model, with the same weights."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = layer.layer if isinstance(layer, FaultWrapper) else layer
        return type(inner).from_config(inner.get_config())

    plain = _cloned(model, clone)
    _copy_weights(model, plain)
    return plain


def arm(
    model: keras.Model,
    *,
    target: str,
    rate: float,
    seed: int,
    trial: int = 0,
    allocation: str = "model",
    select: Select | None = None,
) -> int:
    """Arms a wrapped model for inference with the sites and fault model that `inject` would use.

    Returns:
        The number of faulty sites.

    Raises:
        ModelError: a layer with selected sites is not wrapped, or not for this target.
    """
    faults = {wrapper.fault for wrapper in _wrappers(model)}
    if len(faults) != 1:
        raise ModelError(f"model={model.name!r} must have wrappers of one fault model: {faults}")
    (fault,) = faults
    plan = make_plan(model, target=target, fault=fault, allocation=allocation, select=select)
    masks = plan.trial(seed=seed, trial=trial).masks(rate)
    draws: dict[int, dict[int, Any]] = {}
    constants = Draws.tensors(masks)
    for group, *pair in [
        *constants.by_group(plan, "weights"),
        *constants.by_group(plan, "units"),
    ]:
        for holder in _holders(model, group):
            if not isinstance(holder, FaultWrapper):
                raise ModelError(f"layer={holder.name!r} is not wrapped: use wrap() with target")
            draws.setdefault(id(holder), {})[holder.place_of(group.variable)] = pair
    disarm(model)
    for wrapper in _wrappers(model):
        if id(wrapper) in draws:
            wrapper.arm(draws[id(wrapper)])
    return masks.count


def disarm(model: keras.Model) -> None:
    """Makes a wrapped model clean."""
    for wrapper in _wrappers(model):
        wrapper.disarm()


def _wrappers(model: keras.Model) -> list[FaultWrapper]:
    return [layer for layer in model.layers if isinstance(layer, FaultWrapper)]


def _holders(model: keras.Model, group: SiteGroup) -> list[keras.layers.Layer]:
    """The layers that must be wrapped for a group of sites."""
    if group.variable is None:
        return list({id(layer): layer for layer, _ in group.points}.values())
    return [layer for layer in model.layers if any(group.variable is v for v in layer.weights)] or [
        model
    ]


def _cloned(model: keras.Model, clone: Any) -> keras.Model:
    try:
        return keras.models.clone_model(model, clone_function=clone)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            f"model={model.name!r} cannot be cloned ({error}): use inject, FaultInjection or sweep"
        ) from None


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies parameters layer by layer; step counters of wrappers have no counterpart."""
    for old, new in zip(source.layers, target.layers, strict=True):
        inner_old = old.layer if isinstance(old, FaultWrapper) else old
        inner_new = new.layer if isinstance(new, FaultWrapper) else new
        inner_new.set_weights(inner_old.get_weights())
