"""Bit flips in memory words of any storage format, at a rate per word or per bit."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_non_negative_integer, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults.models import FaultModel, dilated
from ft_tf.faults.storage_formats import StorageFormat, format_of, native_format

_MAX_FLIPS = 4  # 35,960 patterns of 4 bits among 32 are kept as a table


@dataclasses.dataclass(frozen=True)
class StoredWords(FaultModel):
    """Values that a memory holds in a storage format; base of the bit flips.

    A variable of integers, of a model that Keras has quantised, is the memory itself: its own bits
    flip, and the format must have as many. All other values are rounded to the format, faulty or
    not, so that rate 0 is the model as that memory holds it (in float32: to the bit the model
    itself, of a float64 model too).

    A flipped exponent bit makes huge numbers, and these make infinities and NaN. ReLU and max
    pooling make of a NaN what the kernel at hand makes of it, NaN or a number, and TensorFlow takes
    another kernel for another batch size, outside a graph and on another processor: accuracies
    differ by whole images between batch sizes and between a sweep and `inject`. `non_finite` shows
    only what reached the logits. Without the highest bit of the exponent (`bits=(0, 29)` of a
    float32) values below 2 stay below 2.

    Attributes:
        storage: name of a storage format, see `storage_formats`; "as_stored" for that in which the
            model holds each variable: the words of a quantised model and of a .tflite file.
        bits: lowest and highest bit that may flip, both included; None for all.
        scale: step of int8 and int4; None for max|w| / 127 (/ 7) of each tensor.
        transposed: whether values are of a kernel [..., outputs, inputs]; `placed` knows.
    """

    storage: str = "float32"
    bits: tuple[int, int] | None = None
    scale: float | None = None
    transposed: bool = dataclasses.field(default=False, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        width = self.format.bits
        if self.bits is not None:
            bits = self.bits
            if not isinstance(bits, tuple | list) or len(bits) != 2:
                raise ArgumentError(f"bits={bits!r} must be (lowest, highest)")
            check_non_negative_integer(**{"bits[0]": bits[0], "bits[1]": bits[1]})
            object.__setattr__(self, "bits", tuple(bits))
            if not 0 <= self.bits[0] <= self.bits[1] < width:
                raise ArgumentError(
                    f"bits={self.bits} must be (lowest, highest) within 0 ... {width - 1}"
                )

    @property
    def format(self) -> StorageFormat:
        """The storage format."""
        stored = format_of(self.storage)
        stored = stored if self.scale is None else stored.with_scale(self.scale)
        return stored.of_transposed() if self.transposed else stored

    @property
    def bit_numbers(self) -> tuple[int, ...]:
        """The bits that may flip."""
        lowest, highest = self.bits or (0, self.format.bits - 1)
        return tuple(range(lowest, highest + 1))

    def placed(self, groups: Sequence[Any]) -> list[Any]:
        def of(group: Any) -> FaultModel:
            native = self.storage == "as_stored"
            storage = native_format(group.dtype) if native else self.storage
            return dataclasses.replace(self, storage=storage, transposed=group.transposed)

        return [dataclasses.replace(group, fault=of(group)) for group in groups]

    def check_target(self, target: str) -> None:
        if target != "weights" and self.format.needs_all_values:
            raise ArgumentError(
                f"scale=None: {self.storage} activations need one scale for all images, give it "
                "(with storage='int8' or 'int4')"
            )

    def stored(self, values: tf.Tensor) -> tf.Tensor:
        if self.storage == "float32" or values.dtype.is_integer:
            return values
        stored = self.format
        return tf.cast(stored.decode(stored.encode(tf.cast(values, tf.float32))), values.dtype)

    def apply(
        self, values: tf.Tensor, mask: tf.Tensor, words: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The stored values, with bits inverted at the sites under the mask.

        Words are integers, through which no gradient passes; that of a value whose word has no
        inverted bit is passed on as it is (straight-through).
        """
        values = tf.convert_to_tensor(values)
        found = self.prepared(tf.stop_gradient(values))(mask, words)
        passed = tf.grad_pass_through(lambda _: found)(values)
        return tf.where(self.pattern(mask, words) == 0, passed, found)

    def prepared(self, values: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """`apply` on these values, which are encoded once."""
        flipped = self.flipper(values)
        return lambda mask, words: flipped(self.pattern(mask, words))

    def flipper(self, values: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function from the bits to invert, unsigned and broadcastable, to the stored values."""
        stored = self.format
        values = tf.convert_to_tensor(values)
        if values.dtype.is_integer:
            width = 8 * values.dtype.size
            if width != stored.bits:
                raise ArgumentError(
                    f"storage={self.storage!r} has {stored.bits} bits and the model stores "
                    f"{values.dtype.name}: give storage='int{width}', or select other parameters"
                )
            unsigned = tf.bitcast(values, {8: tf.uint8, 16: tf.uint16, 32: tf.uint32}[width])
            return lambda pattern: tf.bitcast(
                tf.bitwise.bitwise_xor(unsigned, tf.cast(pattern, unsigned.dtype)), values.dtype
            )
        encoded = stored.encode(tf.cast(values, tf.float32))
        keeps_float64 = self.storage == "float32" and values.dtype == tf.float64

        def flipped(pattern: tf.Tensor) -> tf.Tensor:
            found = tf.cast(stored.decode(stored.flip(encoded, pattern)), values.dtype)
            return tf.where(pattern == 0, values, found) if keeps_float64 else found

        return flipped

    def pattern(self, mask: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        """Which bits of each word are inverted, as an unsigned integer.

        Args:
            mask: bool, which sites are faulty.
            words: random words, as for `corrupt`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement pattern")


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
        return self.apply(values, tf.constant(True), words)

    def pattern(self, mask: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        choices = itertools.combinations(self.bit_numbers, self.flips)
        patterns = np.array([sum(1 << bit for bit in bits) for bits in choices], np.uint32)
        halves = tf.bitwise.right_shift(tf.cast(words, tf.int64), tf.constant(1, tf.int64))
        number = tf.math.floormod(halves[..., 1] * 2**31 + halves[..., 0], len(patterns))
        return tf.where(mask, tf.gather(tf.constant(patterns), number), tf.constant(0, tf.uint32))


@keras.saving.register_keras_serializable("ft_tf")
@dataclasses.dataclass(frozen=True)
class BitErrors(StoredWords):
    """Every bit among `bits` is a site of its own: the rate is per bit.

    A word may have several faulty bits; each is inverted.
    """

    per_bit: ClassVar[bool] = True

    @property
    def sites_per_value(self) -> int:
        return len(self.bit_numbers)

    def pattern(self, mask: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        mask = mask if self.sites_per_value > 1 else mask[..., tf.newaxis]
        return packed(mask, self.bit_numbers[0])


class _Adjacent:
    """Sites of which `length` in a row fail together."""

    in_training: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_integer(length=self.length)

    def together(self, shape: tuple[int, ...]) -> int:
        return min(self.length, math.prod(shape) * self.sites_per_value)

    def spread(self, events: np.ndarray) -> np.ndarray:
        return dilated(events.reshape(len(events), -1), self.length, 1).reshape(events.shape)


@dataclasses.dataclass(frozen=True)
class BurstErrors(_Adjacent, BitErrors):
    """Adjacent bits fail together: every fault inverts `length` bits in a row.

    Bits are in the order of memory: those among `bits` of a word from the lowest on, then those of
    the tensor's next word; after the last word comes the first. Bursts start at random bits, with
    allocation="bernoulli" at each with probability 1 - (1 - rate)^(1 / length), and where they
    overlap a bit is inverted once: each bit is inverted with probability `rate`.

    Attributes:
        length: bits of a burst.
    """

    length: int = 4


@dataclasses.dataclass(frozen=True)
class WordErrors(_Adjacent, StoredWords):
    """Whole words fail: each faulty one reads as random bits, at those among `bits`.

    The rate is per word. Words of which `length` in a row fail together start at random, as the
    bits of `BurstErrors`.

    Attributes:
        length: words that fail together.
    """

    length: int = 1
    random: ClassVar[bool] = True

    def pattern(self, mask: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        bits = tf.constant(sum(1 << bit for bit in self.bit_numbers), tf.uint32)
        drawn = tf.bitwise.bitwise_and(words[..., 0], bits)
        return tf.where(mask, drawn, tf.zeros_like(drawn))


_GATHER = 0x0102040810204080
"""Eight bytes b_0, ..., b_7 of 0 or 1, lowest first, times this have b_0 + 2 b_1 + ... + 128 b_7 in
the highest byte: b_i meets 2^(56 - 7 i), no other product reaches that byte, and none carries."""


def packed(mask: tf.Tensor, lowest: int) -> tf.Tensor:
    """Packs bool [..., n] into unsigned words whose bit lowest + i is mask[..., i].

    Several times faster than adding up n masks, which for a float32 are 32 passes over all words.
    """
    count = mask.shape[-1]
    width = next(width for width in (8, 16, 32) if lowest + count <= width)
    around = [[0, 0]] * (mask.shape.rank - 1) + [[lowest, width - lowest - count]]
    bits = tf.pad(tf.cast(mask, tf.uint8), around)
    shape = tf.shape(mask)[:-1]
    eights = tf.bitcast(tf.reshape(bits, tf.concat([shape, [width // 8, 8]], 0)), tf.uint64)
    gathered = tf.bitwise.right_shift(eights * tf.constant(_GATHER, tf.uint64),
                                      tf.constant(56, tf.uint64))  # fmt: skip
    octets = tf.cast(gathered, tf.uint8)  # [..., width / 8]
    if width == 8:
        return octets[..., 0]
    return tf.bitcast(octets, {16: tf.uint16, 32: tf.uint32}[width])
