"""Inputs and labels: the same arrays are taken, and the same refused, by every entry point."""

import warnings

import numpy as np
import pandas as pd
import pytest

from ft_tf import attacks, examples, faults, intervals, metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

layers = keras.layers
X = np.random.default_rng(0).random((6, 4), dtype=np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3)])


def sweep(model, x, y):
    return faults.sweep(model, x, y, target="weights", rates=[0.1], trials=1, seed=0)


ENTRIES = {
    "sweep": sweep,
    "compare": lambda m, x, y: faults.compare(
        m, m, x, y, target="weights", rates=[0.1], trials=2, seed=0
    ),
    "layers": lambda m, x, y: faults.layer_vulnerability(
        m, x, y, target="weights", rate=0.1, trials=2, seed=0
    ),
    "accuracy": metrics.accuracy,
    "error_log_odds": lambda m, x, y: metrics.error_log_odds(metrics.predict_logits(m, x), y),
    "attack": lambda m, x, y: attacks.fgsm(m, x, y, epsilon=0.1),
}
WRONG_LABELS = {
    "negative": (Y - 1, "labels from -1 to 1, must lie in"),
    "from 1": (Y + 1, r"labels from 1 to 3, must lie in \[0, 2\]"),
    "strings": (np.array(list("abcabc")), "dtype <U1 must be integers"),
    "fractions": (Y + 0.5, "dtype float64 must be integers"),
    "NaN": (np.full(6, np.nan), "dtype float64 must be integers"),
    "booleans": (Y > 0, "dtype bool must be integers"),
    "a column": (Y[:, None], r"shape \(6, 1\) must have one integer .*: take y\[:, 0\]"),
    "one-hot": (np.eye(3)[Y], r"shape \(6, 3\) must have .*argmax\(axis=1\) of one-hot"),
    "too few": (Y[:5], r"shape \(5,\) must have one integer per image, shape \(6,\)"),
    "ragged": ([[0], [1, 2], [0], [1], [2], [0]], "must have one integer per image"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("wrong", WRONG_LABELS)
def test_wrong_labels_are_refused_everywhere_in_the_same_words(model, entry, wrong):
    labels, message = WRONG_LABELS[wrong]
    with pytest.raises(ArgumentError, match=message) as caught:
        ENTRIES[entry](model, X, labels)
    with pytest.raises(ArgumentError) as expected:
        examples.check_labels(labels, classes=3, examples=6)
    assert str(caught.value) == str(expected.value) and "\n" not in str(caught.value)


NOT_A_NUMBER = np.where(np.arange(24).reshape(6, 4) == 7, np.nan, X)
WRONG_INPUTS = {
    "NaN": (NOT_A_NUMBER, "x has 1 values that are NaN or infinite"),
    "infinite": (np.where(np.isnan(NOT_A_NUMBER), np.inf, X), "x has 1 values that are NaN"),
    "complex": (X + 0j, "x of dtype complex64 must be real numbers"),
    "objects": (np.array([{}] * 6), "x .* must be real numbers"),
    "ragged": ([[0.1], [0.1, 0.2]], "x .* must be real numbers"),
    "a number": (0.5, "x .* must be real numbers"),
    "nothing": (X[:0], "x must have at least one example"),
    "a data set": (tf.data.Dataset.from_tensor_slices(X), "x is a tf.data.Dataset"),
    "mixed frame": (pd.DataFrame({"a": [1.0] * 6, "b": list("abcdef")}), "x .* must be real"),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("wrong", WRONG_INPUTS)
def test_wrong_inputs_are_refused_everywhere_in_one_line(model, entry, wrong):
    inputs, message = WRONG_INPUTS[wrong]
    with pytest.raises(ArgumentError, match=message) as caught:
        ENTRIES[entry](model, inputs, Y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ENTRIES)
def test_lists_tensors_and_data_frames_are_arrays(model, entry):
    expected = ENTRIES[entry](model, X, Y)
    for x, y in (
        (X.tolist(), Y.tolist()),
        (tf.constant(X), tf.constant(Y)),
        (pd.DataFrame(X), pd.Series(Y)),
        (X, Y.astype(np.uint8)),
    ):
        found = ENTRIES[entry](model, x, y)
        if isinstance(found, pd.DataFrame):
            pd.testing.assert_frame_equal(found, expected)
        elif entry == "attack":
            np.testing.assert_array_equal(found.adversarial, expected.adversarial)
        else:
            np.testing.assert_array_equal(found, expected)


def test_bytes_that_go_unscaled_into_weights_give_a_warning(model):
    pixels = np.full((6, 4), 200, np.uint8)
    for entry in ("sweep", "accuracy"):
        with pytest.warns(UserWarning, match=r"bytes up to 200.*divide by 255"):
            ENTRIES[entry](model, pixels, Y)
    scaled = keras.Sequential([keras.Input((4,)), layers.Rescaling(1 / 255), *model.layers])
    tokens = keras.Sequential([keras.Input((4,)), layers.Embedding(256, 2), layers.Flatten(),
                               layers.Dense(3)])  # fmt: skip
    for taker in (scaled, tokens):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sweep(taker, pixels, Y)


def test_several_inputs_are_a_structure_of_arrays():
    first, second = keras.Input((4,)), keras.Input((2,))
    model = keras.Model([first, second], layers.Dense(3)(layers.Concatenate()([first, second])))
    parts = [X, X[:, :2]]
    labels = np.argmax(model.predict(parts, verbose=0), axis=1)
    assert sweep(model, parts, labels).attrs["clean_accuracy"] == 1
    assert metrics.accuracy(model, parts, labels) == 1
    with pytest.raises(ArgumentError, match=r"x has \[3, 6\] examples in its parts"):
        sweep(model, [X, X[:3, :2]], labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"trials": "3"}, "trials='3' must be an integer >= 1"),
        ({"trials": [1.5]}, "trial=1.5 must be an integer"),
        ({"trials": []}, r"trials=\[\] must have at least one"),
        ({"trials": [True]}, "trial=True"),
        ({"trials": 10**12}, "trials=1000000000000 must be at most 4294967296"),
        ({"trials": [2**32]}, r"trials=\[4294967296\]"),
        ({"select": 3}, "select=3 must be a Select"),
        ({"rates": np.array([])}, r"rates=\[\]"),
    ],
)
def test_arguments_out_of_range_are_refused(model, call, message):
    where = {"target": "weights", "rates": [0.1], "trials": 1, "seed": 0}
    with pytest.raises(ArgumentError, match=message):
        faults.sweep(model, X, Y, **{**where, **call})


def test_many_trials_take_no_memory_before_they_run():
    assert len(faults.rows.trial_numbers(2**32)) == 2**32


def test_accuracies_are_fractions_and_successes_whole():
    with pytest.raises(ArgumentError, match=r"successes=1.5 must be an integer"):
        intervals.proportion(successes=1.5, trials=3)
    with pytest.raises(ArgumentError, match="train_accuracy=90"):
        metrics.generalization_error(train_accuracy=90, test_accuracy=85)
