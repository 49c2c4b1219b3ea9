"""The card of a .tflite file: its integers are faulted, its outputs attacked, the rest is named."""

import hashlib

import numpy as np
import pytest
import subjects
import tflite_files

from ft_tf import assess, attacks, faults, models
from ft_tf._compat import tf
from ft_tf.assessment import comparison, page
from ft_tf.assessment.card import Card, unpacked
from ft_tf.errors import ArgumentError
from ft_tf.privacy import membership

SEED = 3


@pytest.fixture(scope="module")
def options():
    (x, y), (x_train, y_train) = tflite_files.images(300), tflite_files.images(200, seed=4)
    return {"x_test": x, "y_test": y, "x_train": x_train, "y_train": y_train, "seed": SEED,
            "images_per_trial": 100, "dataset": "quarters"}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tflite")
    for kind in ("int8", "float32", "dynamic"):
        (directory / f"{kind}.tflite").write_bytes(tflite_files.converted(kind))
    return directory


def card_of(model, options, **further):
    return assess(
        model, **options, now=subjects.Ticks(), **{"budget": 2, "protections": {}, **further}
    )


def of_int8(files, options, budget):
    model = models.load(files / "int8.tflite")
    return card_of(model, options, output_dir=files / "card", budget=budget, protections=None)


@pytest.fixture(scope="module")
def int8(files, options):
    return of_int8(files, options, budget=3)


@pytest.fixture(scope="module")
def float32(files, options):
    return card_of(models.load(files / "float32.tflite"), options)


@pytest.fixture(scope="module")
def in_keras(options):
    return card_of(tflite_files.classifier(), options, attack="pgd")


def interpreted(path, x):
    """Probabilities, one image after another, by TensorFlow Lite itself."""
    interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in x:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(result["index"])[0])
    return np.array(found, np.float64)


def test_accuracies_are_those_of_the_interpreter(float32, files, options):
    outputs, y = interpreted(files / "float32.tflite", options["x_test"]), options["y_test"]
    right = outputs.argmax(axis=1) == y
    assert unpacked(float32.clean.right, len(y)).tolist() == right.tolist()
    confidence = outputs.max(axis=1)
    bins = np.minimum((15 * confidence).astype(int), 14)
    error = sum(abs((right - confidence)[bins == n].sum()) for n in range(15)) / len(y)
    assert float32.clean.calibration_error == pytest.approx(error, abs=1e-6)
    assert 0.4 < float32.clean.accuracy < 1  # or the rest would say nothing


def test_members_are_found_by_the_probability_of_their_label(float32, files, options):
    def log_odds(split):
        outputs = interpreted(files / "float32.tflite", options[f"x_{split}"])
        own = outputs[np.arange(len(outputs)), options[f"y_{split}"]]
        return np.log(outputs.sum(axis=1) - own) - np.log(own)

    order = np.random.default_rng(SEED).permutation(len(options["y_train"]))
    found = membership.loss_threshold_attack(
        member_log_odds=log_odds("train")[order], other_log_odds=log_odds("test")
    )
    assert float32.membership.advantage == pytest.approx(found.advantage, abs=0.011)


def test_the_file_is_described(int8, files):
    content = (files / "int8.tflite").read_bytes()
    assert int8.model.weights_fingerprint == hashlib.sha256(content).hexdigest()
    assert int8.model.parameters == tflite_files.classifier().count_params()
    assert (int8.model.storage, int8.model.classes) == ("int8", 4)


def swept(files, options, part, **fault):
    order = np.random.default_rng(SEED).permutation(len(options["y_test"]))
    return faults.sweep(
        models.load(files / "int8.tflite"), options["x_test"][order], options["y_test"][order],
        target="weights", rates=part.rates, trials=part.trials, seed=SEED, images_per_trial=100,
        **fault,
    )  # fmt: skip


def test_bit_errors_hit_the_stored_words(int8, files, options):
    curve = int8.curves["bits"]
    frame = swept(files, options, curve, fault=faults.BitErrors("as_stored"))
    for rate, values in zip(curve.rates, curve.accuracy, strict=True):
        assert frame.loc[frame["rate"] == rate, "accuracy"].tolist() == list(values)
    model = tflite_files.classifier()
    kernels = sum(weights.size for weights in model.get_weights() if weights.ndim > 1)
    assert curve.sites == 8 * kernels + 32 * (model.count_params() - kernels)  # biases of int32
    assert curve.half.value is not None


def test_bits_are_those_of_the_weights_of_the_usual_type(int8, files, options):
    """Kernels are int8 and biases int32: bit 7 is a sign in kernels alone."""
    assert set(int8.bits) == set("01234567")
    part = int8.bits["7"]
    frame = swept(
        files, options, part, fault=faults.BitErrors("int8", bits=(7, 7)),
        select=faults.Select(parameters="kernels"),
    )  # fmt: skip
    assert frame["accuracy_lost"].tolist() == list(part.lost[0])
    assert part.mean[0] > 3 * abs(int8.bits["0"].mean[0])


@pytest.mark.slow
def test_weights_of_mixed_types_get_a_card(files, options):
    """With weights of int8 and, where they are few, of float32."""
    model = models.load(files / "dynamic.tflite")
    assert {tensor.dtype for tensor in model.tensors} == {"int8", "float32"}
    found = card_of(model, options)
    sizes = {tensor.dtype: 0 for tensor in model.tensors}
    for tensor in model.tensors:
        sizes[tensor.dtype] += int(np.prod(tensor.shape))
    assert found.model.storage == "int8" and set(found.bits) == set("01234567")
    assert found.bits["0"].sites == sizes["int8"]
    assert found.curves["bits"].sites == 8 * sizes["int8"] + 32 * sizes["float32"]


def test_the_attack_is_square_on_the_outputs(float32, options):
    """On the Keras model of the same numbers it finds the same."""
    robust = float32.robust
    order = np.random.default_rng(SEED).permutation(300)[: robust.block]
    result = attacks.square(
        models.logits_of(tflite_files.classifier()), options["x_test"][order],
        options["y_test"][order], epsilon=8 / 255, queries=1000, seed=SEED,
    )  # fmt: skip
    survived = unpacked(robust.survived, robust.images)[: robust.block]
    assert robust.attack == "square" and "an upper bound" in robust.warnings[0]
    assert np.mean(survived != ~result.success) <= 0.02  # float rounding
    assert robust.accuracy < robust.clean_accuracy


def test_quantized_outputs_are_attacked_too(int8):
    """Probabilities of exactly 0 have finite logits in TensorFlow's threads."""
    assert int8.robust is not None and int8.robust.accuracy < int8.robust.clean_accuracy


def test_what_a_file_cannot_have_is_named(int8):
    missing = {item.what: item.why for item in int8.not_measured}
    assert "faults hit its weights, not its units" in missing["curves: units"]
    assert missing["protections: range_restriction, weight_clipping"].endswith(
        "is not a Keras model"
    )
    assert missing["AutoAttack, APGD and all attacks with gradients"] == (
        "a .tflite file gives no gradients"
    )
    assert set(int8.protections) == {"secded", "parity", "triplication"}
    assert set(int8.curves) == {"weights", "bits"}


def test_a_second_call_continues_and_pages_come_from_the_file(int8, files, options):
    later = of_int8(files, options, budget=4)
    assert later.curves["bits"].trials > int8.curves["bits"].trials
    for key, curve in int8.curves.items():
        for before, after in zip(curve.accuracy, later.curves[key].accuracy, strict=True):
            assert after[: len(before)] == before
    restored = Card.from_json(int8.to_json())
    for form in (page.terminal, page.html, page.markdown):
        assert form(page.page_of(restored)) == form(page.page_of(int8))


@pytest.mark.slow
def test_a_file_is_compared_with_the_model_that_it_was_made_from(in_keras, int8):
    found = {line.group: line for line in comparison.differences(in_keras, int8)}
    assert found["accuracy"].paired and "bits" not in found and "attack" not in found
    text = page.terminal(comparison.page_of_two(in_keras, int8))
    assert "not compared: accuracy under attack: pgd 8/255 and square 8/255" in text
    assert "not compared: float32 bit errors and int8 bit errors" in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"storage": "int8"}, "storage='int8' is not for a .tflite file"),
        ({"attack": "apgd"}, "attack='apgd' needs gradients, which a .tflite file does not give"),
    ],
)
def test_what_does_not_fit_a_file_is_refused(files, options, given, message):
    with pytest.raises(ArgumentError) as caught:
        card_of(models.load(files / "int8.tflite"), options, **given)
    assert str(caught.value).startswith(message)
