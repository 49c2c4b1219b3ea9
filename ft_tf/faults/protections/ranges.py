"""Protections that live in the model: outputs or weights stay within ranges recorded before.

What is out of its range, or NaN, is clipped to it (NaN reads as 0) or reads as 0. All ranges
include 0, which is what a unit or weight stuck at 0 delivers. The ranges are numbers in the
configuration of the layers, two of 32 bits each, and have no faults.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, ClassVar

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import check_choice, check_non_negative, check_type
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.examples import check_inputs
from ft_tf.faults import forward
from ft_tf.faults.plan import FaultPlan
from ft_tf.faults.protections.base import Protection, register_protection
from ft_tf.faults.sites import Select, find_sites
from ft_tf.faults.wrappers import LayerWrapper, innermost, stored_value, substituted, wrapped_copy
from ft_tf.keras_layers import all_layers, facts_of, infer
from ft_tf.keras_layers.hooks import masked_like
from ft_tf.models import check_input_shape

OUTSIDE = ("clip", "zero")
Range = tuple[float, float]
_BATCH = 1000


def restricted(values: tf.Tensor, bounds: Range, outside: str) -> tf.Tensor:
    """The values, with those out of bounds clipped or set to 0; NaN becomes 0.

    >>> restricted(tf.constant([-5.0, 0.5, float("nan")]), (-1.0, 2.0), "clip").numpy().tolist()
    [-1.0, 0.5, 0.0]
    """
    low, high = (tf.constant(bound, values.dtype) for bound in bounds)
    if outside == "clip":
        clipped = tf.clip_by_value(values, low, high)
        return tf.where(tf.math.is_nan(values), tf.zeros_like(values), clipped)
    inside = (values >= low) & (values <= high)  # of a NaN false
    return tf.where(inside, values, tf.zeros_like(values))


@keras.saving.register_keras_serializable("ft_tf")
class RangeGuard(LayerWrapper):
    """A layer whose output, or whose weights as it reads them, stay within ranges.

    Args:
        layer: the layer.
        outputs: range of the output; None for any.
        weights: ranges of the layer's floating-point weights in their order; None for any.
        outside: "clip" or "zero".
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        outputs: Range | None = None,
        weights: list[Range] | None = None,
        outside: str = "clip",
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        check_choice(OUTSIDE, outside=outside)
        self.output_range = None if outputs is None else tuple(outputs)
        self.ranges = None if weights is None else [tuple(bounds) for bounds in weights]
        self.outside = outside

    def call(self, inputs: Any, training: Any = None, **kwargs: Any) -> Any:
        """Returns the layer's output."""
        if self.layer._call_has_training_arg:
            kwargs["training"] = training
        ranges = zip(_floating(self.layer), self.ranges, strict=True) if self.ranges else ()
        read = {
            id(variable): restricted(stored_value(variable), bounds, self.outside)
            for variable, bounds in ranges
        }
        with substituted(self.layer, read):
            outputs = self.layer(inputs, **kwargs)
        if self.output_range is None:
            return outputs
        return masked_like(outputs, restricted(outputs, self.output_range, self.outside))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the wrapper."""
        ranges = None if self.ranges is None else [list(bounds) for bounds in self.ranges]
        own = {"outputs": self.output_range, "weights": ranges, "outside": self.outside}
        return {**super().get_config(), **own}


def _floating(layer: keras.layers.Layer) -> list[keras.Variable]:
    weights = getattr(layer, "weights", ())  # an operation in a functional model has none
    return [v for v in weights if tf.as_dtype(v.dtype).is_floating]


@dataclasses.dataclass(frozen=True)
class _Ranges(Protection):
    """Base of both protections.

    Attributes:
        outside: "clip" or "zero".
        slack: how far ranges are widened, as a share of their ends.
    """

    outside: str = "clip"
    slack: float = 0.0

    def __post_init__(self) -> None:
        check_choice(OUTSIDE, outside=self.outside)
        check_non_negative(slack=self.slack)

    def extra_bits(self, model: keras.Model, plan: FaultPlan) -> int:
        """Two numbers of 32 bits for each range."""
        guards = [layer for layer in all_layers(model) if isinstance(layer, RangeGuard)]
        return 64 * sum((g.output_range is not None) + len(g.ranges or ()) for g in guards)


@dataclasses.dataclass(frozen=True)
class RangeRestriction(_Ranges):
    """Activations stay within the range that they have on training data, layer by layer.

    Restricted are the outputs at which hidden units sit (see `find_sites`): of Dense and
    convolution layers behind their activation.

    Attributes:
        slack: how far ranges are widened; the default lets pass that activations differ in their
            last bits between batch sizes.
        output_layer: whether the output layer is restricted too.
    """

    slack: float = 2.0**-10
    output_layer: bool = False
    arithmetic: ClassVar[str] = "2 comparisons of each activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type(bool, output_layer=self.output_layer)

    def on_model(self, model: keras.Model, x_train: Any = None) -> keras.Model:
        """Returns a copy with the ranges recorded on `x_train`."""
        require_keras_model(model)
        groups = find_sites(model, target="units", select=Select(output_layer=self.output_layer))
        if x_train is None:
            raise ArgumentError("x_train=None must be training inputs: their ranges are kept")
        x_train = check_inputs(x_train, model=model)
        check_input_shape(model, x_train)
        places = {id(layer): layer for group in groups for layer, _ in group.points}
        ranges = _recorded(model, x_train, places)

        def wrapper(layer: keras.layers.Layer, copy: keras.layers.Layer) -> keras.layers.Layer:
            place = places.pop(id(innermost(layer)), None)
            if place is None:
                return copy
            low, high = ranges[id(place)]
            bounds = low * (1 + self.slack), high * (1 + self.slack)
            return RangeGuard(copy, outputs=bounds, outside=self.outside)

        protected = wrapped_copy(model, wrapper, recursive=True)
        if places:
            names = ", ".join(layer.name for layer in places.values())
            raise ModelError(
                f"model={model.name!r} has layers inside other layers ({names}), whose outputs "
                "cannot be restricted: build it of layers and models"
            )
        return protected


def _recorded(model: keras.Model, x: Any, layers: Collection[int]) -> dict[int, Range]:
    """The lowest and the highest output of layers, by their ids, over all calls; 0 between them."""
    found = dict.fromkeys(layers, (0.0, 0.0))

    def record(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        if id(layer) in found:
            lowest, highest = (float(of(outputs)) for of in (tf.reduce_min, tf.reduce_max))
            low, high = found[id(layer)]
            found[id(layer)] = min(low, lowest), max(high, highest)
        return outputs

    def batch(first: int) -> Any:
        return tf.nest.map_structure(lambda a: tf.convert_to_tensor(a[first : first + _BATCH]), x)

    with forward.hooked(model, record):
        for first in range(0, len(tf.nest.flatten(x)[0]), _BATCH):
            infer(model, batch(first))
    return found


@dataclasses.dataclass(frozen=True)
class WeightClipping(_Ranges):
    """Weights stay within the range that their tensor has when it is protected.

    Attributes:
        slack: how far ranges are widened; the default lets pass what rounding to a storage format
            does to the largest weight, at most 1/8 in float8_e5m2.
    """

    slack: float = 0.125
    arithmetic: ClassVar[str] = "2 comparisons of each weight"

    def on_model(self, model: keras.Model, x_train: Any = None) -> keras.Model:
        """Returns a copy with the present ranges."""

        def wrapper(layer: keras.layers.Layer, copy: keras.layers.Layer) -> keras.layers.Layer:
            if facts_of(layer).calls_parts:
                raise ModelError(
                    f"layer={layer.name!r} ({type(layer).__name__}) computes by layers in it: "
                    "their weights cannot be clipped"
                )
            values = [(1 + self.slack) * stored_value(v).numpy() for v in _floating(layer)]
            ranges = [(float(v.min(initial=0)), float(v.max(initial=0))) for v in values]
            return RangeGuard(copy, weights=ranges, outside=self.outside) if ranges else copy

        return wrapped_copy(model, wrapper, recursive=True)


register_protection("range_restriction", RangeRestriction)
register_protection("weight_clipping", WeightClipping)
