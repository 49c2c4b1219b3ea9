"""Storage formats against independent decoders: NumPy views, ml_dtypes, Keras's quantiser, hand."""

import dataclasses

import keras as keras3
import ml_dtypes
import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.faults import storage_formats
from ft_tf.faults.bitflips import packed
from ft_tf.faults.keys import SiteKeys, exact_mask
from ft_tf.faults.storage_formats import Encoded, format_of

FLOATS = {
    "float32": (np.float32, np.uint32),
    "bfloat16": (ml_dtypes.bfloat16, np.uint16),
    "float16": (np.float16, np.uint16),
    "float8_e4m3": (ml_dtypes.float8_e4m3fn, np.uint8),
    "float8_e5m2": (ml_dtypes.float8_e5m2, np.uint8),
}
SMALL = [name for name in FLOATS if name != "float32"]
RANDOM = np.random.default_rng(0)


def all_words(name):
    dtype = FLOATS[name][1]
    return np.arange(2 ** (8 * dtype().itemsize), dtype=np.uint64).astype(dtype)


def reference(name, words):
    return words.view(FLOATS[name][0]).astype(np.float32)


def decoded(name, words):
    return format_of(name).decode(Encoded(tf.constant(words))).numpy()


def words_of(name, values):
    return format_of(name).encode(tf.constant(values, tf.float32)).words.numpy()


@pytest.mark.parametrize("name", SMALL)
def test_every_word_stands_for_the_number_that_another_decoder_reads(name):
    words = all_words(name)
    expected = reference(name, words)
    np.testing.assert_array_equal(decoded(name, words), expected)
    np.testing.assert_array_equal(np.signbit(decoded(name, words)), np.signbit(expected))
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(words_of(name, expected)[numbers], words[numbers])


@pytest.mark.parametrize("name", SMALL)
def test_every_bit_of_every_word_flips(name):
    stored, words = format_of(name), all_words(name)
    for bit in range(stored.bits):
        mask = tf.constant(1 << bit, tf.uint32)
        flipped = stored.decode(stored.flip(Encoded(tf.constant(words)), mask)).numpy()
        np.testing.assert_array_equal(
            flipped, reference(name, words ^ words.dtype.type(1 << bit)), err_msg=f"bit {bit}"
        )


@pytest.mark.parametrize("name", SMALL)
def test_values_round_to_nearest_and_ties_to_even(name):
    finite = np.unique(reference(name, all_words(name)))
    finite = finite[np.isfinite(finite)].astype(np.float64)
    middles = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)  # exact: one bit more
    near = [
        middles,
        np.nextafter(middles, np.float32(-1e9)),
        np.nextafter(middles, np.float32(1e9)),
    ]
    spread = RANDOM.normal(size=20_000) * np.exp(RANDOM.normal(size=20_000) * 3)
    values = np.concatenate([*near, np.clip(spread, finite[0], finite[-1]).astype(np.float32)])
    np.testing.assert_array_equal(
        words_of(name, values), values.astype(FLOATS[name][0]).view(FLOATS[name][1])
    )


def test_float32_words_are_those_of_memory():
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-45, 3.4e38, 1 + 2**-23]
    values = np.concatenate([RANDOM.normal(size=10_000), special]).astype(np.float32)
    words = values.view(np.uint32)
    np.testing.assert_array_equal(words_of("float32", values), words)
    for bit in range(32):
        flipped = format_of("float32").flip(Encoded(tf.constant(words)), 1 << bit)
        found = format_of("float32").decode(flipped).numpy()
        assert found.tobytes() == (words ^ np.uint32(1 << bit)).view(np.float32).tobytes()


@pytest.mark.parametrize(
    ("name", "large", "infinite"),
    [
        ("float8_e4m3", 448.0, np.nan),
        ("float8_e5m2", 57344.0, np.inf),
        ("float16", np.inf, np.inf),
        ("bfloat16", np.inf, np.inf),
    ],
)
def test_numbers_that_are_too_large(name, large, infinite):
    values = np.float32([3.4e38, -3.4e38, np.inf, -np.inf, np.nan])
    expected = [large, -large, infinite, -infinite, np.nan]
    np.testing.assert_array_equal(decoded(name, words_of(name, values)), np.float32(expected))


def twos_complement(words, bits):
    return np.where(words >= 2 ** (bits - 1), words - 2**bits, words)


@pytest.mark.parametrize(
    ("name", "bits", "step"),
    [("int8", 8, 0.25), ("int4", 4, 0.25), ("fixed:8.6", 8, 2.0**-6), ("fixed:12.3", 12, 2.0**-3)],
)
def test_every_bit_of_every_integer_word(name, bits, step):
    stored = format_of(name)
    stored = stored if name.startswith("fixed") else stored.with_scale(step)
    integers = twos_complement(np.arange(2**bits), bits)
    lowest = -(2 ** (bits - 1)) + (0 if name.startswith("fixed") else 1)
    reached = integers[integers >= lowest]
    encoded = stored.encode(tf.constant(reached * step, tf.float32))
    np.testing.assert_array_equal(encoded.words, reached % 2**bits)
    for bit in range(bits):
        found = stored.decode(stored.flip(encoded, tf.constant(1 << bit, tf.uint32)))
        expected = twos_complement((reached % 2**bits) ^ (1 << bit), bits) * step
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=f"bit {bit}")


def test_integers_are_clipped_symmetrically_and_fixed_point_to_its_range():
    values = tf.constant([-1e9, -12.8, -12.75, 0.05, 0.15, 1e9, np.nan])
    steps = [-127, -127, -127, 0, 2, 127, 0]  # ties to even; -128 only by a fault
    scaled = format_of("int8").with_scale(0.1)
    integers = twos_complement(scaled.encode(values).words.numpy().astype(int), 8)
    np.testing.assert_array_equal(integers, steps)
    assert (scaled.encode(-values).words[:3].numpy() == 127).all()
    low = format_of("int4").with_scale(1.0).encode(tf.constant([-8.0, 9.0]))
    np.testing.assert_array_equal(twos_complement(low.words.numpy().astype(int), 4), [-7, 7])
    fixed = format_of("fixed:32.31")
    found = fixed.decode(fixed.encode(tf.constant([-3.0, -1.0, 0.5, 3.0, np.nan])))
    np.testing.assert_array_equal(found, np.float32([-1, -1, 0.5, 1, 0]))


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_scales_and_integers_are_those_of_kerass_quantiser(bits, largest, per):
    kernel = (RANDOM.normal(size=(3, 3, 8, 6)) * np.exp(RANDOM.normal(size=6))).astype(np.float32)
    axis = (0, 1, 2) if per == "channel" else (0, 1, 2, 3)
    integers, inverse = keras3.quantizers.abs_max_quantize(
        kernel, axis=axis, value_range=(-largest, largest), epsilon=0.0
    )
    name = f"int{bits}" + ("_per_channel" if per == "channel" else "")
    encoded = format_of(name).encode(tf.constant(kernel))
    np.testing.assert_allclose(
        np.reshape(encoded.scales, -1), 1 / np.reshape(inverse, -1), rtol=1e-6
    )
    found = twos_complement(encoded.words.numpy().astype(int), bits)
    tie = np.abs(np.abs(kernel * np.asarray(inverse)) % 1 - 0.5) < 1e-5  # rounding may decide
    np.testing.assert_array_equal(found[~tie], np.asarray(integers)[~tie])
    assert tie.mean() < 1e-2 and np.abs(found).max() == largest


def test_scales_of_zeros_biases_groups_and_depthwise_kernels():
    kernel = np.zeros((5, 3), np.float32)
    kernel[:, 0] = [1, -2, 3, -4, 5]
    kernel[:, 2] = [10, 20, 0, 0, 0.5]
    assert format_of("int8_per_channel").encode(tf.constant(kernel)).scales.numpy().tolist() == [
        [np.float32(5) / np.float32(127), 1.0, np.float32(20) / np.float32(127)]
    ]
    grouped = format_of("int4_per_group:2").encode(tf.constant(kernel)).scales.numpy() * 7
    np.testing.assert_allclose(grouped[:, 0], [2, 2, 4, 4, 5], rtol=1e-6)
    np.testing.assert_allclose(grouped[:, 1], 7)
    np.testing.assert_allclose(grouped[:, 2], [20, 20, 7, 7, 0.5], rtol=1e-6)
    bias = tf.constant([1.0, -4.0, 2.0])
    assert format_of("int8_per_channel").encode(bias).scales.shape == ()
    np.testing.assert_allclose(
        format_of("int8_per_group:2").encode(bias).scales * 127, [4, 4, 2], rtol=1e-6
    )
    depthwise = tf.constant(RANDOM.normal(size=(3, 3, 4, 1)), tf.float32)
    assert format_of("int8_per_channel").encode(depthwise).scales.shape == (1, 1, 1, 1)
    tiny = tf.constant([1e-45, 0.0])
    assert np.isfinite(faults.BitErrors("int8").stored(tiny)).all()


def classifier():
    model = keras.Sequential(
        [keras.layers.Input((7,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(3)]
    )
    draw = np.random.default_rng(5)
    model.set_weights([draw.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def quantised_by_hand(weight):
    """int8 per output channel in NumPy: integers and scales."""
    largest = np.abs(weight).max(axis=0 if weight.ndim > 1 else None, keepdims=True)
    scales = largest / np.float32(127)
    return np.clip(np.rint(weight / scales), -127, 127).astype(int), scales


def test_rate_0_is_the_stored_model_and_flips_are_flips_made_by_hand():
    model = classifier()
    clean, fault = model.get_weights(), faults.BitErrors("int8_per_channel")
    sites = 8 * sum(weight.size for weight in clean)
    for rate in (0.0, 0.05):
        mask = exact_mask(SiteKeys(3, 1, 0, sites), round(rate * sites)).reshape(-1, 8)
        patterns, start = mask @ (1 << np.arange(8)), 0
        with faults.inject(
            model, target="weights", rate=rate, seed=3, trial=1, fault=fault
        ) as injected:
            assert injected.faults == round(rate * sites)
            for before, after in zip(clean, model.get_weights(), strict=True):
                integers, scales = quantised_by_hand(before)
                pattern = patterns[start : start + before.size].reshape(before.shape)
                words = (integers % 256) ^ pattern
                expected = twos_complement(words, 8).astype(np.float32) * scales
                assert after.tobytes() == expected.astype(np.float32).tobytes()
                start += before.size
    x = np.random.default_rng(6).normal(size=(50, 7)).astype(np.float32)
    stored = classifier()
    stored.set_weights([np.float32(q * s) for q, s in map(quantised_by_hand, clean)])
    y = np.argmax(stored.predict(x, verbose=0), axis=1)
    frame = faults.sweep(model, x, y, target="weights", rates=[0], trials=1, seed=0, fault=fault)
    assert frame["accuracy"].tolist() == [1.0]
    assert not np.array_equal(y, np.argmax(model.predict(x, verbose=0), axis=1))


@pytest.mark.parametrize("storage", ["float16", "float8_e5m2", "int4_per_group:4", "fixed:10.8"])
@pytest.mark.parametrize("kind", [faults.BitErrors, faults.BitFlip])
def test_a_sweep_and_an_injection_have_the_same_faults(storage, kind):
    model, fault = classifier(), kind(storage)
    x = np.random.default_rng(7).normal(size=(60, 7)).astype(np.float32)
    y = np.argmax(model.predict(x, verbose=0), axis=1)
    where = {"target": "weights", "seed": 2, "fault": fault}
    frame = faults.sweep(model, x, y, rates=[0.3], trials=2, **where)
    for trial, accuracy in enumerate(frame["accuracy"]):
        with faults.inject(model, rate=0.3, trial=trial, **where):
            logits = model.predict(x, verbose=0)
        right = (np.argmax(logits, axis=1) == y) & ~np.isnan(logits).any(axis=1)
        assert accuracy == pytest.approx(right.mean())


@pytest.mark.parametrize(("count", "lowest"), [(1, 0), (8, 0), (3, 4), (16, 0), (11, 9), (32, 0)])
def test_masks_are_packed_bit_by_bit(count, lowest):
    mask = RANDOM.random((5, 7, count)) < 0.4
    expected = (mask * (1 << (lowest + np.arange(count, dtype=np.uint64)))).sum(axis=-1)
    np.testing.assert_array_equal(packed(tf.constant(mask), lowest).numpy(), expected)


def test_a_format_of_ones_own_is_a_class_and_a_line():
    @dataclasses.dataclass(frozen=True)
    class Sign(storage_formats.StorageFormat):
        bits: int = 1

        def encode(self, values):
            return Encoded(tf.cast(values < 0, tf.uint8))

        def decode(self, encoded):
            return 1.0 - 2.0 * tf.cast(encoded.words, tf.float32)

    storage_formats.register_format("sign", Sign)
    try:
        fault = faults.BitErrors("sign")
        found = fault.apply(tf.constant([0.3, -2.0]), tf.constant([True, False])).numpy()
        np.testing.assert_array_equal(found, [-1.0, -1.0])
    finally:
        del storage_formats._FORMATS["sign"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: format_of("float8"), r"storage='float8' .* int4_per_group:SIZE, fixed:TOTAL"),
        (lambda: format_of("int8:4"), "storage='int8:4'"),
        (lambda: format_of("int4_per_group"), "storage='int4_per_group'"),
        (lambda: format_of("int4_per_group:0"), "group_size=0"),
        (lambda: format_of("fixed:8.x"), "storage='fixed:8.x'"),
        (lambda: format_of("fixed:40.8"), r"fixed:40.8.* 2 to 32 bits"),
        (lambda: format_of(8), "storage=8"),
        (lambda: faults.BitErrors("float32", scale=0.1), "scale=0.1 is for storage='int8'"),
        (lambda: faults.BitErrors("int8_per_channel", scale=0.1), "scale=0.1 is for"),
        (lambda: faults.BitErrors("int8", scale=0.0), "scale=0.0"),
        (lambda: faults.BitErrors("int4", bits=(0, 4)), r"within 0 \.\.\. 3"),
        (
            lambda: faults.make_plan(
                classifier(), target="units", fault=faults.BitErrors("int8_per_channel")
            ),
            "activations need one scale",
        ),
    ],
)
def test_what_is_no_format_is_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("storage", ["int8_per_channel", "int4_per_group:4"])
def test_transposed_convolutions_have_their_output_channels_before_the_inputs(dimensions, storage):
    transposed = getattr(keras.layers, f"Conv{dimensions}DTranspose")
    layer = keras.layers.TimeDistributed(transposed(5, 3, name="up"), name="each")
    start = keras.Input((2, *[4] * dimensions, 3))
    model = keras.Model(start, keras.layers.Dense(2)(keras.layers.Flatten()(layer(start))))
    kernel = RANDOM.normal(size=(*[3] * dimensions, 5, 3)).astype(np.float32)
    kernel *= np.array([1, 10, 100, 1000, 0], np.float32)[:, np.newaxis]
    layer.set_weights([kernel, np.ones(5)])
    for fault in (faults.BitErrors(storage), faults.WordErrors(storage, length=2)):
        where = {"target": "weights", "rate": 0.0, "seed": 0, "fault": fault}
        plan = faults.make_plan(model, target="weights", fault=fault)
        assert {group.fault for group in plan.groups} == {fault}  # whatever the order of axes
        expected = np.swapaxes(fault.stored(tf.constant(np.swapaxes(kernel, -1, -2))), -1, -2)
        with faults.inject(model, **where):
            np.testing.assert_array_equal(layer.get_weights()[0], expected)
        protected = faults.Protected(fault, faults.Parity())
        with faults.inject(model, **{**where, "fault": protected}):
            np.testing.assert_array_equal(layer.get_weights()[0], expected)
        (group,) = [group for group in plan.groups if group.shape == kernel.shape]
        bits = tf.fill(kernel.shape, tf.constant(1, tf.uint8))
        moved = np.abs(group.fault.flipper(tf.constant(kernel))(bits) - expected)
        largest = np.abs(kernel).max(axis=tuple({*range(dimensions + 2)} - {dimensions}))
        step = np.where(largest > 0, largest / (127 if "int8" in storage else 7), 1)
        assert (moved <= step[:, np.newaxis] * 1.001).all() and (moved > 0).all()
