"""Fault models: what a faulty value turns into. Which values are faulty is decided elsewhere.

A fault model is a small frozen dataclass with one method, `corrupt`. A new one takes a few lines:

    @dataclasses.dataclass(frozen=True)
    class Halved(FaultModel):
        def corrupt(self, values, words):
            return values / 2
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_finite, check_positive


@dataclasses.dataclass(frozen=True)
class FaultModel:
    """Base of all fault models.

    Attributes:
        random: whether `corrupt` uses its random words; if not, none are drawn.
        per_bit: whether the sites of a stored value are its bits.
        in_training: whether `wrap` can resample it at every training step.
    """

    random: ClassVar[bool] = False
    per_bit: ClassVar[bool] = False
    in_training: ClassVar[bool] = True

    @property
    def sites_per_value(self) -> int:
        """Fault sites that one stored value holds: 1, or its bits where the rate is per bit."""
        return 1

    def spare_sites(self, values: int) -> int:
        """Fault sites of a tensor of `values` values besides those of the values.

        Their masks, such as those of check bits, follow the mask of the values, which is then flat.
        """
        return 0

    @property
    def zeroes(self) -> bool:
        """Whether every faulty value is 0, whatever it was."""
        return False

    @property
    def name(self) -> str:
        """How reports call it: the class with its parameters."""
        return repr(self)

    def get_config(self) -> dict[str, Any]:
        """The fields, for Keras's serialization."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FaultModel":
        """The fault model that `get_config` described."""
        return cls(**config)

    def placed(self, groups: Sequence[Any]) -> list[Any]:
        """Returns the groups of sites (`sites.SiteGroup`) with what happens in each.

        Groups without faults are left out.

        Raises:
            ArgumentError: the fault model is not for such groups.
            ModelError: it is for layers or parameters that are not among them.
        """
        return [dataclasses.replace(group, fault=self) for group in groups]

    def stored(self, values: tf.Tensor) -> tf.Tensor:
        """The fault-free values as the memory in question holds them: by default unchanged."""
        return values

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        """What every entry of `values` would be, were it faulty.

        Args:
            values: float tensor, as stored.
            words: uint32 tensor [..., 2], broadcastable to values.shape + [2]: 64 random bits for
                each site, a function of seed, trial and site. None unless the class sets `random`.

        Returns:
            Tensor like `values`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement corrupt")

    def apply(
        self, values: tf.Tensor, mask: tf.Tensor, words: tf.Tensor | None = None
    ) -> tf.Tensor:
        """`values` with the entries under `mask` corrupted; a false mask leaves every bit alone."""
        values = self.stored(values)
        return tf.where(mask, tf.cast(self.corrupt(values, words), values.dtype), values)

    def prepared(self, values: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """Returns `apply` for these values, to be called for many trials.

        A fault model may compute here, once, what does not depend on the faults.
        """
        return functools.partial(self.apply, values)

    def within(self, groups: Sequence[Any]) -> "FaultModel":
        """Returns the fault model for some of the groups that it was placed in."""
        return self

    def together(self, shape: tuple[int, ...]) -> int:
        """How many sites of a tensor of this shape fail together: 1 by default."""
        return 1

    def spread(self, events: np.ndarray) -> np.ndarray:
        """The sites that fail with those drawn, both bool [n, *shape, sites per value]."""
        return events

    def check_target(self, target: str) -> None:
        """Raises ArgumentError if the fault model is not for this target."""


def dilated(events: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Makes the `length` - 1 entries after each true one true as well, around the end of the axis.

    >>> dilated(np.array([False, False, False, True]), 2, 0).tolist()
    [True, False, False, True]
    """
    width, length = 1, min(length, events.shape[axis])
    while width < length:
        step = min(width, length - width)
        events = events | np.roll(events, step, axis)
        width += step
    return events


def uniform(words: tf.Tensor) -> tf.Tensor:
    """float64 in (0, 1) from 64 random bits: (high 32 bits + 1/2 + low 32 bits / 2^32) / 2^32."""
    high, low = tf.cast(words[..., 1], tf.float64), tf.cast(words[..., 0], tf.float64)
    # Halved low bits keep the largest value below 1 after rounding to 53 bits.
    return (high + 0.25 + 0.5 * low / 2.0**32) / 2.0**32


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class StuckAt(FaultModel):
    """A faulty value reads as a constant: w -> value. The paper's faults are stuck at 0.

    A faulty unit delivers that constant for every input, its bias notwithstanding.
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        check_finite(value=self.value)

    @property
    def zeroes(self) -> bool:
        return self.value == 0.0

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        return _as_stored(tf.constant(self.value, tf.float64), tf.as_dtype(values.dtype))


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class SignFlip(FaultModel):
    """A faulty value changes its sign: w -> -w."""

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        return -values


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class GaussianNoise(FaultModel):
    """A faulty value is off by a Gaussian: w -> w + scale * N(0, 1).

    The normal variate is the inverse normal distribution function of 64 random bits; it stays the
    same for all images of a trial.

    Attributes:
        scale: standard deviation, in the unit of the values.
    """

    scale: float
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(scale=self.scale)

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        normal = math.sqrt(2.0) * tf.math.erfinv(2.0 * uniform(words) - 1.0)
        if tf.as_dtype(values.dtype).is_integer:
            return _as_stored(tf.cast(values, tf.float64) + self.scale * normal, values.dtype)
        return values + tf.cast(self.scale * normal, values.dtype)


def _as_stored(values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """float64 values in the type of a variable: the nearest integer within range of an integer."""
    return tf.saturate_cast(tf.round(values), dtype) if dtype.is_integer else tf.cast(values, dtype)
