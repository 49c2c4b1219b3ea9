"""The worst case against all single bits and all pairs of bits of a tiny network."""

import itertools

import enumerated
import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError


def replayed(found, storage):
    """Accuracy after each bit of a result, by NumPy."""
    model, x, y = enumerated.network()
    memory = [enumerated.stored(weight, storage) for weight in model.get_weights()]
    words = [start.copy() for start, _ in memory]
    names = ["first/kernel", "first/bias", "second/kernel", "second/bias"]
    accuracies = []
    for row in found.flips.itertuples():
        number = next(n for n, name in enumerate(names) if row.parameter.endswith(name))
        words[number][row.index] ^= np.uint64(1 << row.bit)
        weights = [decoded(w) for w, (_, decoded) in zip(words, memory, strict=True)]
        assert weights[number][row.index] == pytest.approx(row.after, nan_ok=True)
        accuracies.append(np.mean(enumerated.predictions(weights, x) == y))
    return accuracies


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_accuracies_are_those_of_the_named_bits(storage):
    name = "int8_per_channel" if storage == "int8" else storage
    bits = (0, 29) if storage == "float32" else None
    found = faults.worst_case(
        *enumerated.network(), fault=faults.BitErrors(name, bits=bits), target_accuracy=0.35
    )
    assert found.reached
    assert found.flips["accuracy"].tolist() == pytest.approx(replayed(found, storage))
    assert found.flips["accuracy"].iloc[-1] <= 0.35 < found.clean_accuracy
    assert (found.flips["accuracy"].iloc[:-1] > 0.35).all()
    assert not found.flips.duplicated(["parameter", "index", "bit"]).any()


def tiny():
    """Four inputs to two classes: 10 weights, 80 bits of int8, 3,160 pairs."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    draw = np.random.default_rng(8)
    x = draw.normal(size=(40, 4)).astype(np.float32)
    model.set_weights(
        [draw.normal(size=(4, 2)).astype(np.float32), draw.normal(size=2).astype(np.float32)]
    )
    return model, x, model.predict(x, verbose=0).argmax(axis=1)


def lowest(model, x, y, flips):
    """The lowest accuracy that so many flipped bits of int8 per channel can cause: all tried."""
    memory = [enumerated.stored(weight, "int8") for weight in model.get_weights()]
    bits = [(n, p, b) for n, (w, _) in enumerate(memory) for p in range(w.size) for b in range(8)]
    best = 1.0
    for chosen in itertools.combinations(bits, flips):
        words = [start.copy() for start, _ in memory]
        for number, place, bit in chosen:
            words[number].flat[place] ^= np.uint64(1 << bit)
        kernel, bias = (decoded(w) for w, (_, decoded) in zip(words, memory, strict=True))
        best = min(best, np.mean((x @ kernel + bias).argmax(axis=1) == y))
    return best


def test_the_bits_found_are_no_fewer_than_the_fewest_and_here_as_few():
    model, x, y = tiny()
    one, two = lowest(model, x, y, 1), lowest(model, x, y, 2)
    assert two < one < 1
    options = {"fault": faults.BitErrors("int8_per_channel"), "candidates": 80}
    single = faults.worst_case(model, x, y, target_accuracy=one, **options)
    assert (len(single.flips), single.flips["accuracy"].iloc[0]) == (1, pytest.approx(one))
    between = (one + two) / 2  # one bit cannot, two can
    pair = faults.worst_case(model, x, y, target_accuracy=between, **options)
    assert pair.reached and len(pair.flips) >= 2
    few = faults.worst_case(model, x, y, target_accuracy=between, fault=options["fault"])
    assert few.reached and len(few.flips) <= len(pair.flips) + 1


def test_float32_falls_with_one_exponent_bit():
    found = faults.worst_case(*enumerated.network(), target_accuracy=0.4)
    assert len(found.flips) == 1
    assert found.flips["bit"].tolist() == [30]


def test_a_search_that_does_not_get_there_says_so_and_leaves_the_model_clean():
    model, x, y = enumerated.network()
    before = [weight.tobytes() for weight in model.get_weights()]
    found = faults.worst_case(
        model, x, y, target_accuracy=0.0, most_bits=2,
        fault=faults.BitErrors("int8_per_channel", bits=(0, 1)),
    )  # fmt: skip
    assert not found.reached and len(found.flips) == 2
    assert [weight.tobytes() for weight in model.get_weights()] == before
    none = faults.worst_case(model, x, y, target_accuracy=1.0)
    assert none.reached and none.flips.empty


def test_probabilities_are_searched_like_the_logits_behind_them():
    model, x, y = enumerated.network()
    ended = keras.Sequential([model, keras.layers.Softmax()])
    ended(x[:1])
    options = {"fault": faults.BitErrors("int8_per_channel"), "target_accuracy": 0.5}
    one, other = (
        faults.worst_case(model, x, y, **options),
        faults.worst_case(ended, x, y, **options),
    )
    assert one.flips["index"].tolist() == other.flips["index"].tolist()
    assert one.flips["bit"].tolist() == other.flips["bit"].tolist()


def test_what_cannot_be_searched_is_named():
    model, x, y = enumerated.network()
    copy = keras.models.clone_model(model)
    copy.quantize("int8")
    with pytest.raises(ArgumentError, match="integers have no gradient"):
        faults.worst_case(copy, x, y, target_accuracy=0.5, fault=faults.BitErrors("int8"))
    with pytest.raises(ArgumentError, match="fault=StuckAt"):
        faults.worst_case(model, x, y, target_accuracy=0.5, fault=faults.StuckAt())
    with pytest.raises(ArgumentError, match="inverts several bits at once: give BitErrors"):
        faults.worst_case(model, x, y, target_accuracy=0.5, fault=faults.BurstErrors("int8"))
    with pytest.raises(ArgumentError, match="within 0 ... 15"):
        faults.worst_case(
            *enumerated.in_half_precision("first"), target_accuracy=0.5,
            fault=faults.BitErrors("as_stored", bits=(0, 29)),
        )  # fmt: skip


def test_words_as_stored_are_those_of_each_variable():
    """In a model of float16 and float32 a bit flips in the format that the variable has."""
    subject = enumerated.in_half_precision("first")
    for layer, storage in (("first", "float16"), ("second", "float32")):
        select = faults.Select(layers=(layer,))
        stored, named = (
            faults.worst_case(
                *subject, fault=faults.BitErrors(name), select=select, target_accuracy=0.2,
                most_bits=3,
            ).flips
            for name in ("as_stored", storage)
        )  # fmt: skip
        assert stored.equals(named)
    both = faults.worst_case(
        *subject, fault=faults.BitErrors("as_stored"), target_accuracy=0.0, most_bits=4
    )
    of_first = both.flips[both.flips["layer"] == "first"]
    assert (of_first["bit"] < 16).all()
