"""Outputs of NaN within the ball: no prediction, and so never right, whatever the label."""

import numpy as np
import pytest

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.attacks.loops import Worst
from ft_tf.attacks.losses import is_wrong

ALL = {**{name: {} for name in attacks.ATTACKS}, "square": {"queries": 60}}
ALL["autoattack"] = {"queries": 60, "targets": 1}


class Cliff(keras.layers.Layer):
    """NaN where the smaller logit is above 8.6, and itself below."""

    def call(self, z):
        return tf.where(tf.reduce_min(z, 1, keepdims=True) > 8.6, np.nan, z)


def cliff(label):
    """At 0.8 the label's logit is 20 and the other one 8; a first entry above 0.86 gives NaN."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, Cliff()(keras.layers.Dense(2, name="logits")(inputs)))
    weights, biases = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    weights[0, 1 - label], biases[label] = 10, 20
    model.get_layer("logits").set_weights([weights, biases])
    return model


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("attack", [*ALL, "transfer"])
def test_a_point_without_a_prediction_is_broken_for_every_label(attack, label):
    model, x, y = cliff(label), np.full((4, 2), 0.8, np.float32), np.full(4, label)
    for distance in attacks.DISTANCES:
        if attack == "transfer":
            found = attacks.transfer(model, model, x, y, epsilon=0.1, distance=distance)
        else:
            found = attacks.evaluate(
                model, x, y, attack=attack, epsilon=0.1, distance=distance, sanity=False,
                **ALL[attack],
            )  # fmt: skip
        assert (found.clean_accuracy, found.robust_accuracy) == (1, 0)
        assert np.isnan(model(found.adversarial)).any(axis=1).all()


def test_the_closest_point_is_sought_on_from_a_point_without_a_prediction():
    """FAB goes back towards x, as from any misclassified point: 0.06 away is the edge."""
    model, x = cliff(0), np.full((1, 2), 0.8, np.float32)
    found = attacks.fab(model, x, [0], epsilon=0.5)
    assert 0.06 < np.abs(found.adversarial - x).max() < 0.075


def test_a_loss_of_nan_is_the_highest():
    nan = np.nan
    losses, others = [1.0, nan, 1.0, nan, nan], [nan, 1.0, 2.0, nan, 3.0]
    broken, now = [True, True, False, True, False], [True, True, False, True, True]
    worst = Worst(tf.zeros((5, 1)), tf.constant(losses), tf.constant(broken))
    found = worst.updated(tf.ones((5, 1)), tf.constant(others), tf.constant(now))
    assert found.point.numpy()[:, 0].tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_array_equal(found.loss, [nan, nan, 2, nan, 3])


def test_infinite_logits_are_predictions():
    logits = tf.constant([[np.inf, 0.0], [0.0, -np.inf], [np.nan, np.inf]])
    assert is_wrong(logits, tf.constant([0, 0, 1])).numpy().tolist() == [False, False, True]
