"""Rescaling: the spread moves as computed by hand, and not one logit does."""

import numpy as np
import pytest

from ft_tf import architectures, faults, metrics
from ft_tf._compat import keras
from ft_tf.errors import ModelError


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("fmnist_dnn", 785 * 512), ("fmnist_cnn_1", 801 * 500), ("fmnist_cnn_2", 4 * 4 * 16 * 32)],
)
def test_no_logit_changes_and_both_measures_do(name, parameters):
    model = architectures.build(name, seed=3)
    x = np.random.default_rng(0).uniform(size=(20, 28, 28, 1)).astype(np.float32)
    first, _ = faults.rescalable_layers(model)
    assert first.count_params() >= parameters
    weights = model.get_weights()
    found = faults.rescaled_spreads(model, x, powers=(-3, 0, 5))
    assert (found["changed_logits"], found["changed_logits_under_faults"]) == (0, 0)
    plain = metrics.parameter_spread(weights)
    assert found["standard_deviation"][1] == plain.standard_deviation
    assert found["equation_10"][1] == plain.equation_10
    assert found["standard_deviation"][2] > 4 * plain.standard_deviation
    assert found["equation_10"][2] > 2 * plain.equation_10
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_spreads_by_hand():
    """Layers (2; bias 0) and (4; bias 0), times 8 and divided: values 16, 0, 0.5, 0."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, activation="relu", name="first"),
            keras.layers.Dense(1, name="second"),
        ]
    )
    model.set_weights([np.float32([[2]]), np.float32([0]), np.float32([[4]]), np.float32([0])])
    found = faults.rescaled_spreads(model, np.float32([[1.0]]), powers=(3,))
    values = np.array([16, 0, 0.5, 0])
    assert found["layers"] == ["first", "second"]
    assert found["standard_deviation"] == pytest.approx([values.std()])
    expected = np.sqrt(np.abs(values - values.mean()).mean())
    assert found["equation_10"] == pytest.approx([expected])


def test_stuck_at_0_curves_stay_the_same_to_the_bit():
    model = architectures.build("fmnist_cnn_2", seed=1)
    generator = np.random.default_rng(1)
    x = generator.uniform(size=(60, 28, 28, 1)).astype(np.float32)
    y = metrics.predicted_labels(metrics.predict_logits(model, x))
    options = {"rates": [0.1, 0.5], "trials": 2, "seed": 0}
    for target in ("weights", "units"):
        before = faults.sweep(model, x, y, target=target, **options)
        with faults.rescaled(model, power=6):
            after = faults.sweep(model, x, y, target=target, **options)
        assert before["accuracy"].tolist() == after["accuracy"].tolist()
        assert before["accuracy"].min() < 1  # the faults did something


def test_models_that_cannot_be_rescaled_are_refused():
    inputs = keras.Input((2,))
    functional = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    smooth = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2, activation="tanh"),
            keras.layers.Dense(2, activation="relu"),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(2),
        ]
    )
    for model, words in ((functional, "not Sequential"), (smooth, "no ReLU layer feeds another")):
        with pytest.raises(ModelError, match=words):
            faults.rescalable_layers(model)
