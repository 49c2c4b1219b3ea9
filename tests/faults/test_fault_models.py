import dataclasses
import struct

import numpy as np
import pytest
from scipy import stats

from ft_tf import faults
from ft_tf._compat import tf
from ft_tf.errors import ArgumentError

VALUES = np.array([1.0, -2.5, 0.3, 123.75, -1e-3, 0.0], np.float32)


def words(seed, shape):
    generator = np.random.Generator(np.random.Philox(seed))
    return tf.constant(generator.integers(0, 2**32, (*shape, 2), dtype=np.uint32))


def ieee_value(pattern):
    """A float32 from its bits by the definition in IEEE 754."""
    sign, exponent, fraction = pattern >> 31, (pattern >> 23) & 0xFF, pattern & 0x7FFFFF
    if exponent == 255:
        return float("nan") if fraction else (-1.0) ** sign * float("inf")
    scale, lead = (2.0**-126, 0) if exponent == 0 else (2.0 ** (exponent - 127), 1)
    return (-1.0) ** sign * scale * (lead + fraction / 2**23)


@pytest.mark.parametrize("bit", range(32))
def test_each_bit_of_a_float32_has_its_ieee_meaning(bit):
    flipped = faults.BitFlip(bits=(bit, bit)).corrupt(tf.constant(VALUES), words(0, (6,))).numpy()
    for before, after in zip(VALUES, flipped, strict=True):
        (pattern,) = struct.unpack("<I", struct.pack("<f", before))
        expected = ieee_value(pattern ^ (1 << bit))
        assert after == np.float32(expected) or (np.isnan(after) and np.isnan(expected))


@pytest.mark.parametrize(
    "fault",
    [
        faults.BitFlip(),
        faults.BitFlip(flips=3),
        faults.BitFlip(storage="bfloat16"),
        faults.BitFlip(storage="int8", scale=1.0, bits=(0, 6)),
    ],
)
def test_flipping_the_same_bits_twice_gives_the_stored_value_back(fault):
    values = tf.constant(VALUES if fault.storage != "int8" else np.float32([3, -7, 0, 50, 1, 2]))
    once = fault.corrupt(values, words(1, (6,)))
    assert (once.numpy() != values.numpy()).all()
    twice = fault.corrupt(once, words(1, (6,)))
    assert twice.numpy().tobytes() == fault.stored(values).numpy().tobytes()


def test_flipped_bits_are_uniform_and_as_many_as_asked():
    zeros = tf.zeros([60_000], tf.float32)
    for flips in (1, 2):
        fault = faults.BitFlip(flips=flips, bits=(4, 13))
        patterns = fault.corrupt(zeros, words(2, (60_000,))).numpy().view(np.uint32)
        bits = (patterns[:, None] >> np.arange(32, dtype=np.uint32)) & 1
        assert (bits.sum(axis=1) == flips).all()
        counts = bits.sum(axis=0)[4:14]
        assert counts.sum() == 60_000 * flips
        assert stats.chisquare(counts).pvalue > 1e-3


def test_bfloat16_flips_are_flips_of_the_upper_half():
    exact = np.float32([1.0, -2.5, 0.5])  # exact in bfloat16
    flipped = faults.BitFlip(storage="bfloat16", bits=(3, 3)).corrupt(exact, words(0, (3,)))
    np.testing.assert_array_equal(
        flipped.numpy().view(np.uint32), exact.view(np.uint32) ^ np.uint32(1 << 19)
    )


def test_int8_flips_by_hand():
    fault = faults.BitErrors(storage="int8", scale=0.1)
    values = tf.constant([0.5, -0.3, 20.0])  # steps 5, -3 and, clipped, 127
    mask = np.zeros((3, 8), bool)
    mask[0, [1, 7]] = True  # 5 = 0b00000101 -> 0b10000111 = -121
    mask[1, 0] = True  # -3 = 0b11111101 -> 0b11111100 = -4
    result = fault.apply(values, tf.constant(mask)).numpy()
    np.testing.assert_allclose(result, [-12.1, -0.4, 12.7], rtol=1e-6)
    by_tensor = faults.BitFlip(storage="int8").stored(tf.constant([1.27, 0.004, 0.006])).numpy()
    np.testing.assert_allclose(by_tensor, [1.27, 0.0, 0.01], atol=1e-6)


@pytest.mark.parametrize(
    "fault",
    [
        faults.StuckAt(0.0),
        faults.StuckAt(1.0),
        faults.SignFlip(),
        faults.GaussianNoise(0.1),
        faults.BitFlip(),
        faults.BitErrors(bits=(0, 3)),
    ],
)
def test_only_masked_values_change(fault):
    odd = np.array([np.nan, np.inf, -0.0, 1e-42, 5.0, -5.0], np.float32)
    per_value = fault.sites_per_value
    mask = np.zeros((6, per_value) if per_value > 1 else 6, bool)
    mask[4] = True
    result = fault.apply(tf.constant(odd), tf.constant(mask), words(3, (6,))).numpy()
    assert result[[0, 1, 2, 3, 5]].tobytes() == odd[[0, 1, 2, 3, 5]].tobytes()
    assert result[4] != 5.0


def test_stuck_and_flipped_values():
    everywhere = tf.ones([6], tf.bool)
    for constant in (0.0, 1.0, -0.75):
        assert (faults.StuckAt(constant).apply(VALUES, everywhere).numpy() == constant).all()
    np.testing.assert_array_equal(faults.SignFlip().apply(VALUES, everywhere), -VALUES)


def test_gaussian_noise_is_gaussian():
    noise = faults.GaussianNoise(0.5).corrupt(tf.zeros([20_000]), words(4, (20_000,))).numpy()
    assert stats.kstest(noise / 0.5, "norm").pvalue > 1e-3
    extreme = tf.constant([[0, 0], [2**32 - 1, 2**32 - 1]], tf.uint32)
    assert np.isfinite(faults.GaussianNoise(1.0).corrupt(tf.zeros([2]), extreme)).all()


def test_a_users_fault_model_takes_a_few_lines():
    @dataclasses.dataclass(frozen=True)
    class Halved(faults.FaultModel):
        def corrupt(self, values, words):
            return values / 2

    np.testing.assert_array_equal(
        Halved().apply(tf.constant([2.0, 4.0]), tf.constant([True, False])), [1.0, 4.0]
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: faults.StuckAt(float("nan")), "value=nan"),
        (lambda: faults.GaussianNoise(0.0), "scale=0.0"),
        (lambda: faults.BitFlip(storage="fp8"), "storage='fp8'"),
        (lambda: faults.BitFlip(storage="int8", bits=(0, 8)), r"bits=\(0, 8\)"),
        (lambda: faults.BitFlip(bits=(3, 3), flips=2), "flips=2"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
