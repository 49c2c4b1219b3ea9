"""Protections of the memory that holds the weights: codes on its words, and copies.

`Protected(fault, protection)` is the fault with the protection, for `sweep` and whatever else takes
a fault model. The values' own faults are those of the unprotected campaign with the same seed. The
check bits and copies have faults too, at the same rate, with an exact count and a separate random
stream; the column `faults` counts those of the values. Check bits have faults only where the rate
is per bit (`BitErrors`). What is read:

    errors in   secded, of a word of 64 + 8 bits        parity, of a       triplication, of a
                                                        value + 1 bit      bit in three copies
    0           the word                                the value          the bit
    1           the word                                0                  the bit
    2           0                                       a wrong value      the inverted bit
    3 or more   odd: a further bit is inverted, or 0;   odd: 0; even: a    the inverted bit
                even: 0, or a wrong word                wrong value
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_type, check_types
from ft_tf.errors import ArgumentError
from ft_tf.faults.bitflips import packed
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultPlan
from ft_tf.faults.protections.base import Protection, register_protection
from ft_tf.faults.sites import SiteGroup
from ft_tf.faults.storage_formats import NativeFloat, StorageFormat, format_of

_T = tf.Tensor


@dataclasses.dataclass(frozen=True)
class MemoryProtection(Protection):
    """Base of the protections of stored words.

    Attributes:
        layers: names of the layers whose weights are protected, also as NAME+NAME; None for all.
        copies: how many further copies of the values there are.
    """

    layers: tuple[str, ...] | None = None
    copies: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if isinstance(self.layers, str):
            object.__setattr__(self, "layers", tuple(self.layers.split("+")))
        if self.layers is not None:
            check_types(str, layers=self.layers)
            object.__setattr__(self, "layers", tuple(self.layers))

    def on_fault(self, fault: FaultModel) -> FaultModel:
        return Protected(fault, self)

    def check_bits(self, values: int, bits: int) -> int:
        """Check bits for a tensor of values of `bits` bits each."""
        return 0

    def read(self, words: _T, bits: int, errors: list[_T], checks: _T | None) -> _T:
        """What is read of stored words.

        Args:
            words: unsigned [n], as they were written.
            bits: of each word; the higher ones of its type are 0.
            errors: for the words and each further copy, the inverted bits as words [n].
            checks: bool [check_bits(n, bits)], which check bits are inverted; None for none.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement read")

    def extra_bits(self, model: keras.Model, plan: FaultPlan) -> int:
        return sum(
            self.copies * group.size * bits + self.check_bits(group.size, bits)
            for group in plan.groups_of("weights")
            for bits in [format_in(group.fault, group.dtype).bits]
            if self.layers is None or group.layer in self.layers
        )


@dataclasses.dataclass(frozen=True)
class Parity(MemoryProtection):
    """A parity bit for each value; a value whose parity is wrong reads as 0."""

    arithmetic: ClassVar[str] = "a parity of each value read"

    def check_bits(self, values: int, bits: int) -> int:
        return values

    def read(self, words: _T, bits: int, errors: list[_T], checks: _T | None) -> _T:
        """Zeros where the number of inverted bits is odd."""
        odd = _is_odd(errors[0], checks)
        return tf.where(odd, tf.zeros_like(words), tf.bitwise.bitwise_xor(words, errors[0]))


_CHECKS = 8
_POSITIONS = [p for p in range(1, 72) if p & (p - 1)]
"""Of the 64 data bits; the check bits of the Hamming code are at the powers of two."""
_COVERED = [sum(1 << bit for bit, p in enumerate(_POSITIONS) if p >> j & 1) for j in range(7)]
"""For each check bit of the Hamming code, the data bits that it is the parity of."""


@dataclasses.dataclass(frozen=True)
class Secded(MemoryProtection):
    """A shortened extended Hamming code on words of 64 bits: corrects one error, detects two.

    A word of 64 bits holds consecutive values of a tensor, 8 of int8 for example; the last word of
    a tensor is filled up with zeros that have no faults. The data bits are at the positions 3, 5,
    6, 7, 9, ..., 71, those that are no power of two, check bit j at 2^j, and the eighth check bit
    is the parity of all 71.
    """

    arithmetic: ClassVar[str] = "8 parities of each 64 bits read, an inverted bit"

    def check_bits(self, values: int, bits: int) -> int:
        return _CHECKS * -(-values * bits // 64)

    def read(self, words: _T, bits: int, errors: list[_T], checks: _T | None) -> _T:
        """Inverts the bit that the syndrome names if the number of errors is odd."""
        stored, flipped = to_blocks(words, bits), to_blocks(errors[0], bits)
        if checks is None:
            checks = tf.zeros([self.check_bits(words.shape[0], bits)], tf.bool)
        checks = tf.reshape(checks, [-1, _CHECKS])
        parities = [
            _is_odd(flipped & tf.constant(covered, tf.uint64), checks[:, j])
            for j, covered in enumerate(_COVERED)
        ]
        syndrome = tf.cast(packed(tf.stack(parities, 1), 0), tf.int32)
        odd = _is_odd(flipped, tf.math.reduce_sum(tf.cast(checks, tf.int32), 1) % 2 == 1)
        corrections = np.zeros(128, np.uint64)
        corrections[_POSITIONS] = 1 << np.arange(64, dtype=np.uint64)
        correction = tf.gather(tf.constant(corrections.view(np.int64)), syndrome)
        correction = tf.where(odd, tf.bitcast(correction, tf.uint64), tf.constant(0, tf.uint64))
        detected = tf.where(odd, syndrome > _POSITIONS[-1], syndrome > 0)
        read = tf.where(detected, tf.zeros_like(stored), stored ^ flipped ^ correction)
        return from_blocks(read, bits, like=words)


@dataclasses.dataclass(frozen=True)
class Triplication(MemoryProtection):
    """Two further copies of the weights; what is read is the majority of the three, bit by bit."""

    arithmetic: ClassVar[str] = "a vote on each bit read"
    copies: ClassVar[int] = 2

    def read(self, words: _T, bits: int, errors: list[_T], checks: _T | None) -> _T:
        first, second, third = errors
        return words ^ ((first & second) | (first & third) | (second & third))


def _is_odd(words: tf.Tensor, other: tf.Tensor | None) -> tf.Tensor:
    """Whether the number of set bits of words is odd, `other` counted in."""
    odd = tf.raw_ops.PopulationCount(x=words) % 2 == 1
    return odd if other is None else odd ^ other


def to_blocks(words: tf.Tensor, bits: int) -> tf.Tensor:
    """The bits of words [n], the lowest first, in a row of uint64, filled up with zeros."""
    if bits != 8 * words.dtype.size:
        bit = tf.constant(range(bits), words.dtype)
        stream = tf.reshape(tf.bitwise.right_shift(words[:, tf.newaxis], bit) & 1 > 0, [-1])
        stream = tf.concat([stream, tf.zeros([-stream.shape[0] % 64], tf.bool)], 0)
        words = packed(tf.reshape(stream, [-1, 32]), 0)
    per_block = 64 // (8 * words.dtype.size)
    filled = tf.concat([words, tf.zeros([-words.shape[0] % per_block], words.dtype)], 0)
    return tf.bitcast(tf.reshape(filled, [-1, per_block]), tf.uint64)


def from_blocks(blocks: tf.Tensor, bits: int, *, like: tf.Tensor) -> tf.Tensor:
    """The words that `to_blocks` has put in a row; `like` has their number and type."""
    if bits == 8 * like.dtype.size:
        return tf.reshape(tf.bitcast(blocks, like.dtype), [-1])[: like.shape[0]]
    octets = tf.bitcast(blocks, tf.uint8)[..., tf.newaxis]
    stream = tf.bitwise.right_shift(octets, tf.constant(range(8), tf.uint8)) & 1 > 0
    return packed(tf.reshape(tf.reshape(stream, [-1])[: bits * like.shape[0]], [-1, bits]), 0)


def format_in(fault: FaultModel, dtype: Any) -> StorageFormat:
    """How the memory holds a variable: in the fault's format, else in float32; integers as such."""
    dtype = tf.as_dtype(dtype)
    if dtype.is_integer:
        return NativeFloat(8 * dtype.size, dtype)  # which casts, and integers of 8 bits are exact
    return getattr(fault, "format", None) or format_of("float32")


def _of_fault(name: str) -> property:
    return property(lambda self: getattr(self.fault, name, None))


@dataclasses.dataclass(frozen=True)
class Protected(FaultModel):
    """A fault in protected memory: what the decoder makes of it; for weights in trials.

    A fault that is not one of bits (stuck at 0) is taken for the error of all the bits in which
    the faulty float32 differs from the right one.

    Attributes:
        fault: what happens to the stored values.
        protection: of the memory.
    """

    fault: FaultModel
    protection: MemoryProtection

    def __post_init__(self) -> None:
        check_type(FaultModel, fault=self.fault)
        check_type(MemoryProtection, protection=self.protection)

    random, per_bit, sites_per_value, storage, format, bits, bit_numbers = map(
        _of_fault,
        ("random", "per_bit", "sites_per_value", "storage", "format", "bits", "bit_numbers"),
    )

    def spare_sites(self, values: int) -> int:
        found = self.protection.copies * values * self.sites_per_value
        if self.per_bit:
            found += self.protection.check_bits(values, self.format.bits)
        return found

    def placed(self, groups: Sequence[SiteGroup]) -> list[SiteGroup]:
        groups, layers = self.fault.placed(groups), self.protection.layers
        missing = set(layers or ()) - {group.layer for group in groups}
        if missing:
            raise ArgumentError(
                f"protection={self.protection} names layers {', '.join(sorted(missing))} without "
                f"faults: there are {', '.join(dict.fromkeys(group.layer for group in groups))}"
            )
        if self.protection.copies and any(g.fault.together(g.shape) > 1 for g in groups):
            raise ArgumentError(
                f"fault={self.fault} makes sites fail together: not with {self.protection}, whose "
                "copies fail independently"
            )
        return [
            dataclasses.replace(group, fault=dataclasses.replace(self, fault=group.fault))
            if layers is None or group.layer in layers
            else group
            for group in groups
        ]

    def within(self, groups: Sequence[SiteGroup]) -> FaultModel:
        fault, layers = self.fault.within(groups), self.protection.layers
        if layers is None:
            return dataclasses.replace(self, fault=fault)
        names = {group.layer for group in groups}
        layers = tuple(layer for layer in layers if layer in names)
        if not layers:
            return fault
        return Protected(fault, dataclasses.replace(self.protection, layers=layers))

    def together(self, shape: tuple[int, ...]) -> int:
        return self.fault.together(shape)

    def spread(self, events: np.ndarray) -> np.ndarray:
        return self.fault.spread(events)

    def check_target(self, target: str) -> None:
        self.fault.check_target(target)
        if target != "weights":
            raise ArgumentError(
                f"target={target!r} must be 'weights' with {self.protection}: memory is protected"
            )

    def stored(self, values: tf.Tensor) -> tf.Tensor:
        return self.fault.stored(values)

    def corrupt(self, values: tf.Tensor, words: tf.Tensor | None) -> tf.Tensor:
        """Not given: what is read depends on other sites."""
        raise ArgumentError(f"fault={self} is for trials, not for training or prediction")

    def prepared(self, values: tf.Tensor) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """What is read of these values under a mask: flat, of the values and then the spare."""
        values = tf.convert_to_tensor(values)
        stored, clean = format_in(self.fault, values.dtype), self.fault.stored(values)
        inner, pattern = self.fault.prepared(values), getattr(self.fault, "pattern", None)
        encoded = stored.encode(tf.cast(values, tf.float32))
        written, copies = tf.reshape(encoded.words, [-1]), self.protection.copies
        sites, spare = written.shape[0] * self.sites_per_value, self.spare_sites(written.shape[0])
        mask_shape = (*values.shape, self.sites_per_value)[
            : None if self.sites_per_value > 1 else -1
        ]

        def errors(mask: _T, words: _T | None) -> _T:
            mask = tf.reshape(mask, mask_shape)
            if pattern is not None:
                return tf.cast(tf.reshape(pattern(mask, words), [-1]), written.dtype)
            faulty = stored.encode(tf.cast(inner(mask, words), tf.float32)).words
            return written ^ tf.reshape(faulty, [-1])

        def read(mask: _T, words: _T | None) -> _T:
            mask = tf.reshape(mask, [-1])
            found = [
                # A copy's random words are those of another place: independent of this one's.
                errors(mask[copy * sites : (copy + 1) * sites], _rolled(words, copy))
                for copy in range(1 + copies)
            ]
            checks = mask[(1 + copies) * sites :] if spare > copies * sites else None
            words = self.protection.read(written, stored.bits, found, checks)
            words = tf.reshape(words, values.shape)
            decoded = tf.cast(stored.decode(encoded._replace(words=words)), values.dtype)
            return tf.where(words == encoded.words, clean, decoded)  # of float64 to the bit

        return read


def _rolled(words: _T | None, places: int) -> _T | None:
    if words is None:
        return None
    return tf.reshape(tf.roll(tf.reshape(words, [-1, 2]), places, axis=0), words.shape)


register_protection("secded", Secded)
register_protection("parity", Parity)
register_protection("triplication", Triplication)
