"""Losses that `compile` takes, against Keras's own compiled loss."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.training import NaturalModel

L = keras.layers
N = 5


@pytest.mark.parametrize("loss", ["mse", lambda y, outputs: tf.square(y - outputs)])
@pytest.mark.parametrize("case", ["outputs [n], y [n, 1]", "outputs [n, n, 1], y [n, n]"])
def test_ranks_that_differ_are_matched_as_keras_does(loss, case):
    rng = np.random.default_rng(0)
    if case.startswith("outputs [n],"):
        model = keras.Sequential([keras.Input((4,)), L.Dense(1), L.Reshape(())])
        x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, 1))
    else:
        model = keras.Sequential([keras.Input((N, 4)), L.Dense(1)])
        x, y = rng.normal(size=(N, N, 4)), rng.normal(size=(N, N))
    x, y = x.astype("float32"), y.astype("float32")
    trainer = NaturalModel(model)
    trainer.compile(keras.optimizers.SGD(0.0), loss)
    by_hand = np.mean((model(x).numpy().ravel() - y.ravel()) ** 2)
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(by_hand, rel=1e-5)
    model.compile(keras.optimizers.SGD(0.0), loss)
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
