import numpy as np
import pytest

from ft_tf import attacks
from ft_tf._compat import keras
from ft_tf.errors import ModelError

# One input per example: class 1 where it is above a threshold. A ball of radius 0.1 breaks what
# lies within 0.1 of the threshold, so every accuracy can be counted by hand.
X = np.linspace(0.05, 0.95, 10)[:, None]
Y = (X[:, 0] > 0.5).astype(np.int64)


@pytest.fixture
def threshold(make_linear):
    return lambda at: make_linear([[-40.0, 40.0]], [40.0 * at, -40.0 * at])


def test_accuracies_are_compared_image_by_image(threshold):
    found = attacks.compare(
        threshold(0.5), threshold(0.7), X, Y, attack="pgd", epsilon=0.12, steps=20, sanity=False
    )
    # Threshold 0.5: all right, 0.45 and 0.55 broken. 0.7: 0.55, 0.65 wrong, 0.75 broken.
    assert (found.first.clean_accuracy, found.second.clean_accuracy) == (1.0, 0.8)
    assert (found.first.robust_accuracy, found.second.robust_accuracy) == (0.8, 0.7)
    assert found.clean_difference == pytest.approx(0.2)
    assert found.robust_difference == pytest.approx(0.1)
    # Bonett-Price by hand: b = 2, c = 0 of 10 clean; b = 2 (0.65, 0.75), c = 1 (0.45) robust.
    for interval, b, c in ((found.clean_interval, 2, 0), (found.robust_interval, 2, 1)):
        p, q = (b + 1) / 12, (c + 1) / 12
        spread = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 12)
        assert (interval.low, interval.high) == pytest.approx((p - q - spread, p - q + spread))


def test_a_model_that_gives_probabilities_is_refused(threshold):
    softmax = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    with pytest.raises(ModelError, match="ends in softmax"):
        attacks.compare(threshold(0.5), softmax, X, Y, epsilon=0.1)
