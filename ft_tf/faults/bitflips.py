"""Bit flips in memory words: float32, bfloat16 or int8, at a rate per word or per bit."""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_positive
from ft_tf.errors import ArgumentError
from ft_tf.faults.models import FaultModel

WIDTHS = {"float32": 32, "bfloat16": 16, "int8": 8}
_MAX_FLIPS = 4  # 35,960 patterns of 4 bits among 32 are kept as a table


@dataclasses.dataclass(frozen=True)
class StoredWords(FaultModel):
    """Values that a memory holds in a format of fewer bits; base of the bit flips.

    All values are rounded to the format, faulty or not, so that rate 0 is the model as that memory
    holds it (for float32: to the bit the model itself). Bit 0 is the least significant one.

    - float32: IEEE binary32. Bits 0-22 fraction, 23-30 exponent, 31 sign.
    - bfloat16: the upper half of a float32, rounded to nearest even. Bits 0-6, 7-14, 15.
    - int8: w = scale * q, q = round(w / scale) clipped to -127 ... 127, in two's complement.

    A flipped exponent bit makes huge numbers, and these make infinities and NaN. An image with a
    NaN among its logits counts as wrong here (Keras's own metrics take the NaN as it comes). But
    ReLU and max pooling make of a NaN what the kernel at hand makes of it, NaN or a number, and
    TensorFlow takes another kernel for another batch size, outside a graph and on another
    processor: such an image may be right in one and wrong in the other, so that accuracies differ
    by whole images between batch sizes and between a sweep and `inject`. `non_finite` shows only
    what reached the logits. Without the highest bit of the exponent (`bits=(0, 29)` of a float32)
    values below 2 stay below 2.

    Attributes:
        storage: "float32", "bfloat16" or "int8".
        bits: lowest and highest bit that may flip, both included; None for all.
        scale: step of the int8 format; None for max|w| / 127 of each tensor.
    """

    storage: str = "float32"
    bits: tuple[int, int] | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        check_choice(WIDTHS, storage=self.storage)
        if self.bits is not None:
            object.__setattr__(self, "bits", tuple(self.bits))
            if len(self.bits) != 2 or not 0 <= self.bits[0] <= self.bits[1] < self.width:
                raise ArgumentError(
                    f"bits={self.bits} must be (lowest, highest) within 0 ... {self.width - 1}"
                )
        if self.scale is not None:
            check_positive(scale=self.scale)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return WIDTHS[self.storage]

    @property
    def bit_numbers(self) -> tuple[int, ...]:
        """The bits that may flip."""
        lowest, highest = self.bits or (0, self.width - 1)
        return tuple(range(lowest, highest + 1))

    def stored(self, values: tf.Tensor) -> tf.Tensor:
        """The values, rounded to the format."""
        if self.storage == "float32":
            return values
        return self.flipped(values, tf.zeros((), tf.uint32))

    def flipped(self, values: tf.Tensor, pattern: tf.Tensor) -> tf.Tensor:
        """The values after exclusive or of their words with `pattern` (uint32)."""
        wide = tf.cast(values, tf.float32)
        if self.storage == "float32":
            words = tf.bitwise.bitwise_xor(tf.bitcast(wide, tf.uint32), pattern)
            return tf.cast(tf.bitcast(words, tf.float32), values.dtype)
        if self.storage == "bfloat16":
            words = tf.bitcast(tf.cast(wide, tf.bfloat16), tf.uint16)
            words = tf.bitwise.bitwise_xor(words, tf.cast(pattern, tf.uint16))
            return tf.cast(tf.bitcast(words, tf.bfloat16), values.dtype)
        scale = self._scale(wide)
        steps = tf.clip_by_value(tf.round(wide / scale), -127.0, 127.0)
        words = tf.bitcast(tf.cast(steps, tf.int8), tf.uint8)
        words = tf.bitwise.bitwise_xor(words, tf.cast(pattern, tf.uint8))
        return tf.cast(tf.cast(tf.bitcast(words, tf.int8), tf.float32) * scale, values.dtype)

    def _scale(self, values: tf.Tensor) -> tf.Tensor:
        if self.scale is not None:
            return tf.constant(self.scale, tf.float32)
        largest = tf.reduce_max(tf.abs(values))
        return tf.where(largest > 0, largest / 127.0, 1.0)


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class BitFlip(StoredWords):
    """A faulty word has `flips` of its bits inverted; the rate is per word.

    Which bits is uniform over all choices of `flips` different bits among `bits`: number
    (random word mod C(bits, flips)) of their list.

    Attributes:
        flips: how many bits of a faulty word are inverted, 1 to 4.
    """

    flips: int = 1
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(range(1, min(_MAX_FLIPS, len(self.bit_numbers)) + 1), flips=self.flips)

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        """The values with a random choice of bits inverted."""
        choices = itertools.combinations(self.bit_numbers, self.flips)
        patterns = np.array([sum(1 << bit for bit in bits) for bits in choices], np.uint32)
        halves = tf.bitwise.right_shift(tf.cast(words, tf.int64), tf.constant(1, tf.int64))
        number = tf.math.floormod(halves[..., 1] * 2**31 + halves[..., 0], len(patterns))
        return self.flipped(values, tf.gather(tf.constant(patterns), number))


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class BitErrors(StoredWords):
    """Every bit among `bits` is a site of its own: the rate is per bit.

    A word may have several faulty bits; each is inverted.
    """

    @property
    def sites_per_value(self) -> int:
        """The bits of a word that may flip."""
        return len(self.bit_numbers)

    def apply(
        self, values: tf.Tensor, mask: tf.Tensor, words: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The values with the bits under mask [..., bits] inverted."""
        mask = mask if self.sites_per_value > 1 else mask[..., tf.newaxis]
        pattern = tf.zeros(tf.shape(mask)[:-1], tf.uint32)
        for place, bit in enumerate(self.bit_numbers):
            inverted = tf.constant(1 << bit, tf.uint32)
            pattern |= tf.where(mask[..., place], inverted, tf.constant(0, tf.uint32))
        return self.flipped(values, pattern)
