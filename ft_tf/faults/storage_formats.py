"""Storage formats: how a memory holds numbers as words of a few bits. Bit 0 is the lowest one.

    float32            IEEE binary32: bits 0-22 fraction, 23-30 exponent, 31 sign
    bfloat16           the upper half of a float32: 0-6, 7-14, 15
    float16            IEEE binary16: 0-9, 10-14, 15; what is too large becomes infinite
    float8_e4m3        0-2, 3-6, 7; no infinities, the largest number is 448
    float8_e5m2        0-1, 2-6, 7; the largest finite number is 57344
    int8, int4         integer * scale, with one scale for each tensor
    ..._per_channel    one scale for each output channel, the last axis of a Keras kernel (of a
                       transposed convolution's the last but one)
    ..._per_group:SIZE one scale for SIZE consecutive inputs of an output channel
    fixed:TOTAL.FRACTION  integer of TOTAL bits * 2^-FRACTION
    as_stored          the format in which the model itself holds each variable, float32 by default

Floating-point formats round to nearest, ties to even. float8 formats keep finite numbers finite:
what is too large becomes the largest number.

Integers are in two's complement. A scaled one is round(w / scale) (ties to even) clipped to
-L ... L with L = 2^(bits-1) - 1, where scale is max|w| / L, or 1 if all are zero: symmetric, so
that the lowest word arises by a fault only. A tensor of one axis (a bias) has one scale in a format
per channel, and is one channel for groups. The kernel of a depthwise convolution is [height, width,
channels, multiplier]: its last axis is the multiplier, so with the usual multiplier of 1 "per
channel" is one scale. A NaN is stored as 0 in an integer.

Another format is a subclass of `StorageFormat` and a line:

    register_format("ternary", Ternary)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np

from ft_tf._compat import tf
from ft_tf.checks import check_positive, check_positive_integer, shown
from ft_tf.errors import ArgumentError

_UNSIGNED = {8: tf.uint8, 16: tf.uint16, 32: tf.uint32}
_SIGNED = {8: tf.int8, 16: tf.int16, 32: tf.int32}


class Encoded(NamedTuple):
    """Stored values: unsigned words, and what integers are multiplied by (broadcastable)."""

    words: tf.Tensor
    scales: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class StorageFormat:
    """Base of all formats.

    Attributes:
        bits: bits of a word.
        step: quantization step, for tables; None where numbers have steps of different sizes.
        needs_all_values: whether a scale is taken from the values, which weights only allow.
    """

    bits: int
    step: ClassVar[str | None] = None
    needs_all_values: ClassVar[bool] = False

    def encode(self, values: tf.Tensor) -> Encoded:
        """Stores float32 values."""
        raise NotImplementedError(f"{type(self).__name__} must implement encode")

    def decode(self, encoded: Encoded) -> tf.Tensor:
        """Returns the stored values as float32."""
        raise NotImplementedError(f"{type(self).__name__} must implement decode")

    def flip(self, encoded: Encoded, mask: tf.Tensor) -> Encoded:
        """Inverts the bits of each word that are set in `mask`, unsigned and broadcastable."""
        words = encoded.words
        return encoded._replace(words=tf.bitwise.bitwise_xor(words, tf.cast(mask, words.dtype)))

    def of_transposed(self) -> "StorageFormat":
        """Returns the format for kernels [..., outputs, inputs]."""
        return self

    def with_scale(self, scale: float) -> "StorageFormat":
        """Returns the format with a fixed scale; ArgumentError if it has none, or several."""
        raise ArgumentError(
            f"scale={shown(scale)} is for storage='int8' or 'int4', with one scale only"
        )


@dataclasses.dataclass(frozen=True)
class NativeFloat(StorageFormat):
    """A floating-point type of TensorFlow, which rounds and decodes it."""

    dtype: tf.DType

    def encode(self, values: tf.Tensor) -> Encoded:
        return Encoded(tf.bitcast(tf.cast(values, self.dtype), _UNSIGNED[self.bits]))

    def decode(self, encoded: Encoded) -> tf.Tensor:
        """Widens to float32, which is exact."""
        return tf.cast(tf.bitcast(encoded.words, self.dtype), tf.float32)


@dataclasses.dataclass(frozen=True)
class SmallFloat(StorageFormat):
    """A floating-point number of 8 bits or fewer, which TensorFlow cannot take bits from.

    Word e * 2^fraction + f is f * 2^(1 - bias - fraction) for e = 0 (subnormal), else
    (2^fraction + f) * 2^(e - bias - fraction); the highest bit is the sign.

    Attributes:
        fraction: bits of the fraction.
        bias: of the exponent.
        infinity: word of infinity, above which all are NaN; None if only the highest one is.
    """

    fraction: int
    bias: int
    infinity: int | None = None

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """The number that each word stands for."""
        words = np.arange(2 ** (self.bits - 1))
        exponent, fraction = np.divmod(words, 2**self.fraction)
        significand = np.where(exponent > 0, 2**self.fraction + fraction, fraction)
        numbers = np.ldexp(
            significand.astype(np.float32), np.maximum(exponent, 1) - self.bias - self.fraction
        )
        if self.infinity is None:
            numbers[-1] = np.nan
        else:
            numbers[self.infinity :] = np.nan
            numbers[self.infinity] = np.inf
        return np.concatenate([numbers, -numbers]).astype(np.float32)

    def encode(self, values: tf.Tensor) -> Encoded:
        """Rounds to nearest, ties to even; finite values stay finite."""
        positive = self._table[: 2 ** (self.bits - 1)]
        magnitude = tf.minimum(tf.abs(values), float(positive[np.isfinite(positive)].max()))
        # Exponent field of the format, 1 for subnormal numbers too: both have the same step.
        field = tf.bitwise.right_shift(tf.bitcast(magnitude, tf.int32), 23) - 127 + self.bias
        field = tf.maximum(field, 1)
        per_step = 127 + self.bias + self.fraction - field  # 1 / step, as exponent of a float32
        per_step = tf.bitcast(tf.bitwise.left_shift(per_step, 23), tf.float32)
        # The fraction that is rounded up to 2^(fraction + 1) carries into the exponent by itself.
        words = tf.cast(tf.round(magnitude * per_step), tf.int32) + (field - 1) * 2**self.fraction
        not_a_number = 2 ** (self.bits - 1) - 1
        infinite = not_a_number if self.infinity is None else self.infinity
        words = tf.where(tf.math.is_inf(values), infinite, words)
        words = tf.where(tf.math.is_nan(values), not_a_number, words)
        negative = tf.bitcast(values, tf.int32) < 0  # -0 too
        return Encoded(tf.cast(words + tf.where(negative, 2 ** (self.bits - 1), 0), tf.uint8))

    def decode(self, encoded: Encoded) -> tf.Tensor:
        return tf.gather(tf.constant(self._table), tf.cast(encoded.words, tf.int32))


@dataclasses.dataclass(frozen=True)
class ScaledInteger(StorageFormat):
    """A symmetric integer of 8 bits or fewer times a scale.

    Attributes:
        per: what has one scale: "tensor", "channel" or "group" of `size` values.
        scale: of all tensors; None to take it from the values.
        transposed: whether output channels are the last axis but one of kernels.
    """

    per: str = "tensor"
    size: int = 1
    scale: float | None = None
    transposed: bool = False

    def __post_init__(self) -> None:
        check_positive_integer(group_size=self.size)
        if self.scale is not None:
            check_positive(scale=self.scale)

    @property
    def needs_all_values(self) -> bool:
        return self.scale is None

    @property
    def step(self) -> str:
        """The scale, or how it is found."""
        if self.scale is not None:
            return f"{self.scale:g}"
        one = {"tensor": "tensor", "channel": "output channel", "group": f"group of {self.size}"}
        return f"max|w| / {self._largest_integer} of each {one[self.per]}"

    @property
    def _largest_integer(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def with_scale(self, scale: float) -> StorageFormat:
        if self.per != "tensor":
            return super().with_scale(scale)
        return dataclasses.replace(self, scale=scale)

    def of_transposed(self) -> StorageFormat:
        return dataclasses.replace(self, transposed=True)

    def encode(self, values: tf.Tensor) -> Encoded:
        scales = self._scales(values)
        limit = float(self._largest_integer)
        integers = tf.clip_by_value(tf.round(values / scales), -limit, limit)
        return Encoded(_words(integers, self.bits), scales)

    def decode(self, encoded: Encoded) -> tf.Tensor:
        return tf.cast(_integers(encoded.words, self.bits), tf.float32) * encoded.scales

    def _scales(self, values: tf.Tensor) -> tf.Tensor:
        if self.scale is not None:
            return tf.constant(self.scale, tf.float32)
        magnitudes = tf.abs(values)
        if self.transposed:
            moved = self._largest(tf.linalg.matrix_transpose(magnitudes))
            largest = tf.linalg.matrix_transpose(moved) if moved.shape.rank else moved
        else:
            largest = self._largest(magnitudes)
        scales = largest / self._largest_integer
        return tf.where(scales > 0, scales, 1.0)

    def _largest(self, magnitudes: tf.Tensor) -> tf.Tensor:
        """The largest magnitude of each tensor, channel or group; broadcasts over the values."""
        rank = magnitudes.shape.rank
        if self.per == "group":
            columns = magnitudes.shape[-1] if rank > 1 else 1
            rows = tf.reshape(magnitudes, [-1, columns])
            count = rows.shape[0]
            padded = tf.pad(rows, [[0, -count % self.size], [0, 0]])
            largest = tf.reduce_max(tf.reshape(padded, [-1, self.size, columns]), axis=1)
            return tf.reshape(tf.repeat(largest, self.size, axis=0)[:count], magnitudes.shape)
        if self.per == "channel" and rank > 1:
            return tf.reduce_max(magnitudes, axis=list(range(rank - 1)), keepdims=True)
        return tf.reduce_max(magnitudes)


@dataclasses.dataclass(frozen=True)
class FixedPoint(StorageFormat):
    """Two's complement with `fraction` bits behind the point, clipped to its range."""

    fraction: int

    def __post_init__(self) -> None:
        if not (2 <= self.bits <= 32 and 0 <= self.fraction <= 64):
            raise ArgumentError(
                f"storage='fixed:{self.bits}.{self.fraction}' must have 2 to 32 bits and a "
                "fraction of 0 to 64"
            )

    @property
    def step(self) -> str:
        return f"2^-{self.fraction}"

    def encode(self, values: tf.Tensor) -> Encoded:
        limit = 2.0 ** (self.bits - 1)  # float64: limit - 1 of 32 bits is no float32
        integers = tf.round(tf.cast(values, tf.float64) * 2.0**self.fraction)
        return Encoded(_words(tf.clip_by_value(integers, -limit, limit - 1), self.bits))

    def decode(self, encoded: Encoded) -> tf.Tensor:
        return tf.cast(_integers(encoded.words, self.bits), tf.float32) * 2.0**-self.fraction


def _words(integers: tf.Tensor, bits: int) -> tf.Tensor:
    """The lowest bits of whole floats in two's complement; NaN becomes 0."""
    whole = tf.cast(tf.where(tf.math.is_nan(integers), tf.zeros_like(integers), integers), tf.int32)
    mask = tf.constant((1 << bits) - 1, tf.uint32)
    words = tf.bitwise.bitwise_and(tf.bitcast(whole, tf.uint32), mask)
    return tf.cast(words, _UNSIGNED[min(width for width in _UNSIGNED if width >= bits)])


def _integers(words: tf.Tensor, bits: int) -> tf.Tensor:
    """The signed integers that the lowest bits of words stand for in two's complement."""
    width = 8 * words.dtype.size
    if width == bits:
        return tf.bitcast(words, _SIGNED[width])
    shift = width - bits
    raised = tf.bitwise.left_shift(words, tf.constant(shift, words.dtype))
    signed = tf.bitcast(raised, _SIGNED[width])
    return tf.bitwise.right_shift(signed, tf.constant(shift, signed.dtype))  # keeps the sign


_FORMATS: dict[str, tuple[Callable[..., StorageFormat], tuple[str, ...]]] = {}


def register_format(
    name: str, make: Callable[..., StorageFormat], *, parameters: tuple[str, ...] = ()
) -> None:
    """Gives a format a name without ":", under which fault models and command lines find it.

    `make` returns the format; it takes the integers of NAME:INTEGER.INTEGER, which are called as
    `parameters` says, if there are any.
    """
    _FORMATS[name] = (make, parameters)


def format_names() -> list[str]:
    """Names as `format_of` takes them, with parameters in capitals."""
    return [
        f"{name}:{'.'.join(parameters)}" if parameters else name
        for name, (_, parameters) in _FORMATS.items()
    ]


def format_of(name: str) -> StorageFormat:
    """The storage format of a name.

    Raises:
        ArgumentError: no format has the name, or its parameters are out of range.

    >>> format_of("int4_per_group:64").step
    'max|w| / 7 of each group of 64'
    >>> format_of("fixed:8.6").bits
    8
    """
    stem, *given = str(name).replace(":", ".").split(".")
    make, parameters = _FORMATS.get(stem, (None, ()))
    if make is None or len(given) != len(parameters) or not all(map(str.isdecimal, given)):
        raise ArgumentError(f"storage={name!r} must be one of {', '.join(format_names())}")
    return make(*map(int, given))


_NATIVE = {"float64": "float32", "uint8": "fixed:8.0", "int16": "fixed:16.0", "int32": "fixed:32.0"}


def native_format(dtype: str) -> str:
    """Returns the name of the format whose words a type of numbers is.

    >>> native_format("int8"), native_format("int32")
    ('int8', 'fixed:32.0')
    """
    return _NATIVE.get(dtype, dtype)


register_format("float32", lambda: NativeFloat(32, tf.float32))
register_format("as_stored", lambda: NativeFloat(32, tf.float32))
register_format("bfloat16", lambda: NativeFloat(16, tf.bfloat16))
register_format("float16", lambda: NativeFloat(16, tf.float16))
register_format("float8_e4m3", lambda: SmallFloat(8, fraction=3, bias=7))
register_format("float8_e5m2", lambda: SmallFloat(8, fraction=2, bias=15, infinity=0x7C))
for _bits in (8, 4):
    _make = functools.partial(ScaledInteger, _bits)
    register_format(f"int{_bits}", _make)
    register_format(f"int{_bits}_per_channel", functools.partial(_make, "channel"))
    register_format(
        f"int{_bits}_per_group", functools.partial(_make, "group"), parameters=("SIZE",)
    )
register_format("fixed", FixedPoint, parameters=("TOTAL", "FRACTION"))
