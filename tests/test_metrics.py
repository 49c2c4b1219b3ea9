"""Measures against hand-computed values."""

import gc
import math
import warnings
import weakref

import numpy as np
import pytest

from ft_tf import metrics
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError


def threshold_model(classes=2):
    """Logits (x, 0) or (x): class 0, or 1 with one logit, where x > 0."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(classes)])
    model.set_weights([np.eye(1, classes, dtype=np.float32), np.zeros(classes, np.float32)])
    return model


def test_accuracy_from_logits_by_hand():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, -1.0, 0.0], [0.0, 0.0, 0.1], [2.0, 2.0, 1.0]])
    assert metrics.predicted_labels(logits).tolist() == [1, 0, 2, 0]  # a tie goes to the first
    assert metrics.accuracy_from_logits(logits, np.array([1, 0, 1, 0])) == 0.75


def test_a_nan_is_no_prediction_and_never_right():
    logits = np.array([[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan], [np.inf, 1.0], [0.0, 1.0]])
    assert metrics.predicted_labels(logits).tolist() == [-1, -1, -1, 0, 1]
    for label in (0, 1):
        labels = np.array([label, label, label, 0, 1])
        assert metrics.accuracy_from_logits(logits, labels) == 0.4
    assert metrics.predicted_labels(np.array([[np.nan], [1.0], [-np.inf]])).tolist() == [-1, 1, 0]


def test_one_logit_has_its_threshold_at_zero_not_at_a_half():
    logits = np.array([[0.2], [-0.2], [0.0], [4.0]])
    assert metrics.predicted_labels(logits).tolist() == [1, 0, 0, 1]
    assert metrics.accuracy_from_logits(logits, np.array([1, 1, 0, 1])) == 0.75


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_predictions_cover_every_example_in_order(batch_size):
    x = np.linspace(-1, 1, 7, dtype=np.float32)[:, None]
    logits = metrics.predict_logits(threshold_model(), x, batch_size=batch_size)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, np.hstack([x, 0 * x]))


def test_accuracy_of_a_model_by_hand():
    x = np.array([[-1.0], [0.5], [2.0], [3.0]], np.float32)
    assert metrics.accuracy(threshold_model(), x, np.array([1, 0, 0, 1])) == 0.75
    assert metrics.accuracy(threshold_model(1), x, np.array([0, 1, 1, 0])) == 0.75


def test_prediction_is_in_inference_mode():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dropout(0.5)])
    x = np.ones((50, 1), np.float32)
    np.testing.assert_array_equal(metrics.predict_logits(model, x), x)


def test_new_weights_are_seen_and_the_model_can_be_freed():
    model, x = threshold_model(), np.ones((2, 1), np.float32)
    metrics.predict_logits(model, x)
    model.set_weights([2 * weight for weight in model.get_weights()])
    np.testing.assert_allclose(metrics.predict_logits(model, x), [[2, 0], [2, 0]])
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_generalization_error_keeps_its_sign():
    assert metrics.generalization_error(train_accuracy=0.9, test_accuracy=0.85) == pytest.approx(
        0.05
    )
    assert metrics.generalization_error(train_accuracy=0.8, test_accuracy=0.85) == pytest.approx(
        -0.05
    )


def test_parameter_spread_by_hand():
    # Mean 2; deviations -2, -1, 0, 3: mean square 14/4, mean absolute 6/4.
    spread = metrics.parameter_spread([np.array([[0.0, 1.0]]), np.array([2.0, 5.0])], bins=5)
    assert spread.standard_deviation == pytest.approx(np.sqrt(3.5))
    assert spread.equation_10 == pytest.approx(np.sqrt(1.5))
    assert spread.bin_edges == pytest.approx((0, 1, 2, 3, 4, 5))
    assert spread.bin_counts == (1, 1, 1, 0, 1)


def test_spread_moves_under_a_rescaling_that_changes_no_prediction():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 6)), rng.normal(size=(6, 3))
    x = rng.normal(size=(50, 4))
    forward = lambda a, b: np.maximum(x @ a, 0) @ b  # noqa: E731
    np.testing.assert_array_equal(forward(first, second), forward(first * 8, second / 8))
    plain = metrics.parameter_spread([first, second])
    scaled = metrics.parameter_spread([first * 8, second / 8])
    assert scaled.standard_deviation > 3 * plain.standard_deviation
    assert scaled.equation_10 > 1.5 * plain.equation_10


def test_spread_is_computed_in_float64():
    parameters = [np.full(1000, 4096.0, np.float32), np.full(1000, 4096.5, np.float32)]
    assert metrics.parameter_spread(parameters).standard_deviation == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.predicted_labels(np.zeros(3)), r"logits\.shape=\(3,\)"),
        (
            lambda: metrics.accuracy_from_logits(np.zeros((3, 2)), np.zeros(2)),
            r"y of shape \(2,\) must have one integer per image, shape \(3,\)",
        ),
        (
            lambda: metrics.predict_logits(threshold_model(), np.zeros((2, 1)), batch_size=0),
            "batch_size=0",
        ),
        (lambda: metrics.parameter_spread([np.zeros(2)], bins=0), "bins=0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_log_odds_are_those_of_the_losses_of_keras_also_where_softmax_saturates():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 30, (50, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 50)
    expected = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    found = np.logaddexp(0.0, metrics.error_log_odds(logits, labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    one = logits[:, :1]
    signed = np.where(labels % 2, -1.0, 1.0) * one[:, 0].astype(np.float64)
    np.testing.assert_allclose(metrics.error_log_odds(one, labels % 2), signed, rtol=1e-9)


def test_log_odds_are_not_rounded_to_nothing_as_losses_are():
    logits = np.array([[80.0, 1.0, 0.0], [90.0, 2.0, 1.0]], np.float32)
    tail = 1.0 + math.log1p(math.exp(-1.0))  # log(exp(1) + exp(0))
    np.testing.assert_allclose(
        metrics.error_log_odds(logits, np.zeros(2, int)), [tail - 80, tail + 1 - 90], rtol=1e-12
    )
    small = np.random.default_rng(4).normal(0, 2, (50, 10)).astype(np.float32)
    labels = np.arange(50) % 10
    others = np.exp(small.astype(np.float64))
    own = others[np.arange(50), labels]
    np.testing.assert_allclose(
        metrics.error_log_odds(small, labels), np.log((others.sum(axis=1) - own) / own), rtol=1e-9
    )


class OwnSigmoid(keras.Model):
    """A class of its own that lists a sigmoid last; whether it uses it is up to `used`."""

    def __init__(self, used):
        super().__init__()
        self.used = used
        self.logit = keras.layers.Dense(1)
        self.last = keras.layers.Activation("sigmoid")

    def call(self, inputs):
        return self.last(self.logit(inputs)) if self.used else self.logit(inputs)


@pytest.mark.parametrize("last", ["sigmoid", "sigmoid, linear", "own", "own without"])
def test_accuracy_of_one_probability_has_its_threshold_at_a_half(last):
    x = np.array([[-1.0], [0.5], [2.0], [-3.0]], np.float32)
    if last.startswith("own"):
        model = OwnSigmoid(used=last == "own")
        model(x)
    else:
        layers = [keras.layers.Activation(name) for name in last.split(", ")]
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), *layers])
    model.set_weights([np.eye(1, dtype=np.float32), np.zeros(1, np.float32)])
    assert metrics.accuracy(model, x, np.array([0, 1, 0, 0])) == 0.75


def test_a_class_that_is_impossible_takes_no_part_in_the_odds():
    logits = np.array([[-np.inf, 1.0], [-np.inf, 1.0], [-np.inf, 1.0]])
    odds = metrics.error_log_odds(logits, np.array([1, 1, 0]))
    np.testing.assert_array_equal(odds, [-np.inf, -np.inf, np.inf])


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_calibration_error_is_that_of_bins_counted_one_by_one(classes):
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(300, classes)) * 2
    labels = generator.integers(0, max(2, classes), 300)
    both = np.concatenate([np.zeros((300, 1)), logits], axis=1) if classes == 1 else logits
    odds = np.exp(both)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0.0
    for number in range(15):
        inside = (confidence >= number / 15) & (confidence < (number + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    found = metrics.calibration_error(logits, labels)
    assert found == pytest.approx((error, confidence.mean()), abs=1e-12)


def test_infinite_logits_take_all_of_the_probability():
    """The limit of softmax: equal infinities share it; a NaN is no prediction."""
    inf, nan = np.inf, np.nan
    logits = np.array([[inf, 0, -inf], [0, 1e9, -inf], [inf, 1, inf], [-inf] * 3, [nan, inf, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error, confidence = metrics.calibration_error(logits, np.array([0, 1, 0, 0, 1]))
        odds = [metrics.error_log_odds(logits[:4], np.full(4, label)) for label in range(3)]
    assert confidence == pytest.approx((1 + 1 + 1 / 2 + 1 / 3 + 0) / 5)
    assert error == pytest.approx((0 + 0 + 1 / 2 + 2 / 3 + 0) / 5)
    half = np.log(2)
    np.testing.assert_allclose(odds[0], [-inf, 1e9, 0, half])
    np.testing.assert_allclose(odds[1], [inf, -1e9, inf, half])
    np.testing.assert_allclose(odds[2], [inf, inf, 0, half])
    single = np.array([[inf], [-inf]])
    assert metrics.error_log_odds(single, np.array([1, 1])).tolist() == [-inf, inf]
