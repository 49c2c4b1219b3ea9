"""SECDED, parity and triplication against a parity-check matrix and votes made by hand."""

import itertools

import keras as keras3
import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.faults.plan import make_plan
from ft_tf.faults.protections import memory
from ft_tf.faults.protections.base import protection_of
from ft_tf.faults.storage_formats import Encoded, format_of

RANDOM = np.random.default_rng(0)
DATA = [p for p in range(72) if p & (p - 1)]  # positions of data bits; 0 holds the overall parity
CHECK_MATRIX = np.array(
    [[p >> j & 1 for p in range(72)] for j in range(7)] + [[1] * 72], dtype=np.int64
)
FORMATS = [
    "float32", "bfloat16", "float16", "float8_e4m3", "float8_e5m2", "int8", "int8_per_channel",
    "int8_per_group:4", "int4", "int4_per_channel", "int4_per_group:4", "fixed:8.6", "fixed:12.9",
]  # fmt: skip


def columns(data, checks):
    """Errors at the 72 positions, [words, 72], from those of data bits and of check bits."""
    found = np.zeros((len(data), 72), np.int64)
    found[:, DATA] = data
    found[:, [2**j for j in range(7)] + [0]] = checks
    return found


def decoded_by_hand(stored, data, checks):
    """What a (72, 64) decoder reads: bits [words, 64] written, errors in data and check bits."""
    syndromes = columns(data, checks) @ CHECK_MATRIX.T % 2
    read = stored ^ data
    for word, (*position, odd) in enumerate(syndromes):
        place = int(np.dot(position, 2 ** np.arange(7)))
        if odd and place in DATA:
            read[word, DATA.index(place)] ^= 1
        elif (odd and place > 71) or (not odd and place):
            read[word] = 0
    return read


def bits_of_words(words, bits):
    return (words[:, None].astype(np.uint64) >> np.arange(bits, dtype=np.uint64) & 1).astype(int)


def words_of_bits(bits, dtype):
    return (
        (bits.astype(np.uint64) << np.arange(bits.shape[-1], dtype=np.uint64)).sum(-1).astype(dtype)
    )


def secded_read(words, bits, errors, checks):
    found = memory.Secded().read(
        tf.constant(words), bits, [tf.constant(errors)], tf.constant(checks.astype(bool).ravel())
    )
    return found.numpy()


def with_errors(places):
    """Errors in data and check bits of one word each, for tuples of positions of 72."""
    errors = np.zeros((len(places), 72), np.int64)
    for word, chosen in enumerate(places):
        errors[word, list(chosen)] = 1
    return errors[:, DATA], errors[:, [2**j for j in range(7)] + [0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_secded_corrects_every_single_and_detects_every_double_error(count, dtype):
    places = list(itertools.combinations(range(72), count))
    assert len(places) == {0: 1, 1: 72, 2: 72 * 71 // 2}[count]
    data, checks = with_errors(places)
    width = 8 * dtype().itemsize
    for _ in range(3):
        words = RANDOM.integers(1, 2**width, size=(len(places), 64 // width)).astype(dtype)
        errors = words_of_bits(data.reshape(-1, width), dtype)
        read = secded_read(words.ravel(), width, errors, checks).reshape(words.shape)
        np.testing.assert_array_equal(read, words if count < 2 else np.zeros_like(words))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_secded_does_to_more_errors_what_the_check_matrix_says(count):
    places = [RANDOM.choice(72, count, replace=False) for _ in range(4000)]
    data, checks = with_errors(places)
    stored = RANDOM.integers(0, 2, size=data.shape)
    read = secded_read(
        words_of_bits(stored.reshape(-1, 8), np.uint8), 8,
        words_of_bits(data.reshape(-1, 8), np.uint8), checks,
    )  # fmt: skip
    expected = decoded_by_hand(stored, data, checks)
    np.testing.assert_array_equal(read, words_of_bits(expected.reshape(-1, 8), np.uint8))
    wrong = (expected != stored).any(1) & expected.any(1)
    assert wrong.any() if count != 4 else not wrong[data.sum(1) == 0].any()


@pytest.mark.parametrize(("bits", "dtype"), [(4, np.uint8), (12, np.uint16), (8, np.uint8)])
def test_words_of_any_width_lie_in_a_row_of_64_bits(bits, dtype):
    words = RANDOM.integers(0, 2**bits, size=41).astype(dtype)
    blocks = memory.to_blocks(tf.constant(words), bits)
    stream = np.zeros(len(blocks) * 64, int)
    stream[: 41 * bits] = bits_of_words(words, bits).ravel()
    np.testing.assert_array_equal(blocks.numpy(), words_of_bits(stream.reshape(-1, 64), np.uint64))
    back = memory.from_blocks(blocks, bits, like=tf.constant(words))
    np.testing.assert_array_equal(back.numpy(), words)


def network(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, "relu", name="a"),
            keras.layers.Dense(3, name="b"),
        ]
    )
    for variable in model.weights:
        variable.assign(RANDOM.normal(size=variable.shape))
    return model


def masks_of(model, fault, rate, **options):
    plan = make_plan(model, target="weights", fault=fault, **options)
    return plan, plan.trial(seed=3, trial=1).masks(rate)


def faulty_weights(model, fault, rate):
    with faults.inject(model, target="weights", rate=rate, seed=3, trial=1, fault=fault) as found:
        return [variable.numpy() for variable in model.weights], found


def split(flat, sizes):
    return np.split(flat, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("storage", FORMATS)
@pytest.mark.parametrize("name", ["secded", "parity", "triplication"])
def test_bit_errors_behind_each_protection_by_hand(storage, name):
    model, stored = network(), format_of(storage)
    plain, bits = faults.BitErrors(storage), stored.bits
    fault = faults.Protected(plain, protection_of(name))
    sizes = [int(np.prod(v.shape)) for v in model.weights]
    spare = [
        {"secded": 8 * -(-n * bits // 64), "parity": n, "triplication": 2 * n * bits}[name]
        for n in sizes
    ]
    _, unprotected = masks_of(model, plain, 0.02)
    _, masks = masks_of(model, fault, 0.02)
    np.testing.assert_array_equal(masks.faulty["weights"], unprotected.faulty["weights"])
    assert masks.count == unprotected.count == round(0.02 * bits * sum(sizes))
    assert masks.faulty["spare"].sum() == round(0.02 * sum(spare))
    found, injection = faulty_weights(model, fault, 0.02)
    assert injection.faults == masks.count
    errors = split(masks.faulty["weights"].astype(int), [n * bits for n in sizes])
    extra = split(masks.faulty["spare"].astype(int), spare)
    for place, variable in enumerate(model.weights):
        encoded = stored.encode(variable.value)
        written = bits_of_words(encoded.words.numpy().ravel(), bits)
        wrong, own = errors[place].reshape(-1, bits), extra[place]
        if name == "parity":
            read = (written ^ wrong) * (1 - (wrong.sum(1) + own) % 2)[:, None]
        elif name == "triplication":
            votes = wrong + own.reshape(2, -1, bits).sum(0)
            read = written ^ (votes >= 2)
        else:
            fill = [(0, -written.size % 64)]
            blocks = [np.pad(part.ravel(), fill).reshape(-1, 64) for part in (written, wrong)]
            read = decoded_by_hand(*blocks, own.reshape(-1, 8)).ravel()[: written.size]
            read = read.reshape(-1, bits)
        words = words_of_bits(read, encoded.words.dtype.as_numpy_dtype)
        expected = stored.decode(
            Encoded(tf.constant(words.reshape(variable.shape)), encoded.scales)
        ).numpy()
        np.testing.assert_array_equal(found[place], expected)


@pytest.mark.parametrize("storage", FORMATS)
def test_without_faults_the_weights_are_as_stored(storage):
    model, plain = network(), faults.BitErrors(storage)
    clean, _ = faulty_weights(model, plain, 0.0)
    for name in ("secded", "parity", "triplication"):
        read, _ = faulty_weights(model, faults.Protected(plain, protection_of(name)), 0.0)
        for one, other in zip(clean, read, strict=True):
            assert one.tobytes() == other.tobytes()


def test_stuck_weights_behind_a_vote():
    model = network()
    clean = [variable.numpy() for variable in model.weights]
    sizes = [value.size for value in clean]
    fault = faults.Protected(faults.StuckAt(0.0), faults.Triplication())
    _, masks = masks_of(model, fault, 0.4)
    found, _ = faulty_weights(model, fault, 0.4)
    own = split(masks.faulty["weights"].astype(int), sizes)
    copies = split(masks.faulty["spare"].astype(int), [2 * n for n in sizes])
    for value, read, first, others in zip(clean, found, own, copies, strict=True):
        dead = first + others.reshape(2, -1).sum(0) >= 2
        np.testing.assert_array_equal(read.ravel(), np.where(dead, 0, value.ravel()))
    assert np.concatenate(own).sum() > 0


def test_a_weight_stuck_at_0_is_an_error_of_all_its_set_bits():
    model = network()
    clean = [variable.numpy().ravel() for variable in model.weights]
    _, masks = masks_of(model, faults.StuckAt(0.0), 0.3)
    dead = split(masks.faulty["weights"], [value.size for value in clean])
    parity, _ = faulty_weights(model, faults.Protected(faults.StuckAt(0.0), faults.Parity()), 0.3)
    secded, _ = faulty_weights(model, faults.Protected(faults.StuckAt(0.0), faults.Secded()), 0.3)
    for value, mask, one, other in zip(clean, dead, parity, secded, strict=True):
        np.testing.assert_array_equal(one.ravel(), np.where(mask, 0, value))
        bits = bits_of_words(value.view(np.uint32), 32)
        fill = [(0, -bits.size % 64)]
        written = np.pad(bits.ravel(), fill).reshape(-1, 64)
        wrong = np.pad((bits * mask[:, None]).ravel(), fill).reshape(-1, 64)
        read = decoded_by_hand(written, wrong, np.zeros((len(written), 8), int))
        words = words_of_bits(read.ravel()[: bits.size].reshape(-1, 32), np.uint32)
        assert other.tobytes() == words.view(np.float32).tobytes()


def test_random_faults_of_the_copies_are_not_those_of_the_values():
    model = network()
    flips = faults.Protected(faults.BitFlip("int8"), faults.Triplication())
    plain, _ = faulty_weights(model, faults.BitFlip("int8"), 1.0)
    voted, _ = faulty_weights(model, flips, 1.0)  # every copy has one of its 8 bits inverted
    clean, _ = faulty_weights(model, faults.BitFlip("int8"), 0.0)
    wrong = np.mean(np.concatenate([(a != b).ravel() for a, b in zip(voted, clean, strict=True)]))
    assert all((a != b).all() for a, b in zip(plain, clean, strict=True))
    assert 0.15 < wrong < 0.55  # two of three at one bit: 1 - 7/8 * 6/8 = 0.34 of 66 weights


def test_layers_are_protected_by_name():
    model = network()
    plain = faults.BitErrors("int8")
    fault = faults.Protected(plain, protection_of("triplication:b"))
    alone, _ = faulty_weights(model, plain, 0.02)
    some, _ = faulty_weights(model, fault, 0.02)
    every, _ = faulty_weights(model, faults.Protected(plain, faults.Triplication()), 0.02)
    for place in (0, 1):
        np.testing.assert_array_equal(some[place], alone[place])
    assert not np.array_equal(some[2], alone[2])
    assert not np.array_equal(every[0], alone[0])
    with pytest.raises(ArgumentError, match=r"names layers c without faults: there are"):
        faulty_weights(model, faults.Protected(plain, protection_of("parity:c")), 0.02)


@pytest.mark.parametrize("allocation", ["layer", "bernoulli"])
def test_spare_sites_follow_the_allocation(allocation):
    model = network()
    fault = faults.Protected(faults.BitErrors("int8"), faults.Parity())
    plan, masks = masks_of(model, fault, 0.25, allocation=allocation)
    assert plan.sites == 8 * 66
    if allocation == "layer":
        counts = [part.sum() for part in np.split(masks.faulty["spare"], [42])]
        assert counts == [round(0.25 * 42), round(0.25 * 24)]
    else:
        assert 0 < masks.faulty["spare"].sum() < 40


def test_integers_of_a_quantised_model_are_protected():
    model = network()
    model.quantize("int8")
    x, y = RANDOM.normal(size=(20, 5)).astype(np.float32), np.arange(20) % 3
    select = faults.Select(parameters="kernels", layers=("a",))
    settings = {"target": "weights", "rates": [0, 0.01], "trials": 3, "seed": 0, "select": select}
    plain = faults.sweep(model, x, y, fault=faults.BitErrors("int8"), **settings)
    fault = faults.Protected(faults.BitErrors("int8"), faults.Triplication())
    voted = faults.sweep(model, x, y, fault=fault, **settings)
    assert (voted["faults"] == plain["faults"]).all()
    assert (voted["sdc_rate"] <= plain["sdc_rate"]).all()
    assert isinstance(model.layers[0], keras3.layers.Dense)


def test_a_sweep_has_the_same_faults_with_a_protection_and_names_it():
    model = network()
    x, y = RANDOM.normal(size=(50, 5)).astype(np.float32), np.arange(50) % 3
    settings = {"target": "weights", "rates": [0, 1e-3, 0.02], "trials": 4, "seed": 0}
    plain = faults.sweep(model, x, y, fault=faults.BitErrors("int8"), **settings)
    fault = faults.Protected(faults.BitErrors("int8"), faults.Secded())
    safe = faults.sweep(model, x, y, fault=fault, **settings)
    assert (safe["faults"] == plain["faults"]).all()
    assert safe.attrs["storage"] == "int8" and "Secded" in safe.attrs["fault"]
    assert faults.paired_difference(safe, plain)["trials"].tolist() == [4, 4, 4]
    again = faults.sweep(model, x, y, fault=fault, **settings | {"trials": [2]})
    whole = safe[safe["trial"] == 2].reset_index(drop=True)
    assert again.equals(whole)


def test_faults_in_check_bits_alone_are_evaluated():
    """At a rate that gives the 66 values no fault but their copies one, trials differ."""
    model = network()
    x, y = RANDOM.normal(size=(50, 5)).astype(np.float32), np.arange(50) % 3

    class Copied(memory.Triplication):
        def read(self, words, bits, errors, checks):
            return words ^ errors[1] ^ errors[2]  # what hits a copy is read

    frame = faults.sweep(
        model, x, y, target="weights", rates=[0.007], trials=6, seed=0,
        fault=faults.Protected(faults.StuckAt(0.0), Copied()),
    )  # fmt: skip
    assert (frame["faults"] == 0).all()
    assert frame["logit_change_95"].nunique() > 1


def test_memory_protections_are_for_weights_in_trials():
    model = network()
    fault = faults.Protected(faults.StuckAt(0.0), faults.Parity())
    with pytest.raises(ArgumentError, match="target='units' must be 'weights'"):
        faults.make_plan(model, target="units", fault=fault)
    with pytest.raises(ArgumentError, match="for trials, not for training"):
        faults.first_order(model, np.zeros((1, 5), np.float32), target="weights", fault=fault)
    with pytest.raises(ArgumentError, match="one of the memory"):
        faults.protect(model, "secded")
    with pytest.raises(ArgumentError, match="protection='ecc' must be one of"):
        protection_of("ecc")
