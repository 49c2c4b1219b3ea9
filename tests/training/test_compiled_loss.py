"""Losses that `compile` takes, against Keras's own compiled loss."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.training import NaturalModel, TradesModel

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


def softmax_model(make):
    keras.utils.set_random_seed(1)
    start = keras.Input((4,))
    return keras.Model(start, make(L.Dense(3)(start)))


SOFTMAX = {
    "linear activation": lambda z: L.Activation("linear", dtype="float32")(L.Softmax()(z)),
    "function": lambda z: keras.ops.softmax(z),
    "reshape": lambda z: L.Reshape((3,))(L.Softmax()(z)),
    "Lambda": L.Lambda(tf.nn.softmax),
}


@pytest.mark.parametrize("case", SOFTMAX)
def test_no_softmax_is_taken_of_a_softmax(case):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 4), dtype="float32"), rng.integers(0, 3, 12)
    model = softmax_model(SOFTMAX[case])
    by_hand = -np.mean(np.log(model(x).numpy()[np.arange(12), y]))
    right = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    for loss in (right, "sparse_categorical_crossentropy"):
        trainer = NaturalModel(model)
        trainer.compile(keras.optimizers.SGD(0.0), loss)
        assert trainer.evaluate(x, y, verbose=0) == pytest.approx(by_hand, rel=1e-5)
    of_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for loss in (None, of_logits):
        with pytest.raises(ArgumentError, match="expects logits") as caught:
            NaturalModel(model).compile("sgd", loss)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="gives probabilities"):
        TradesModel(model, epsilon=0.1, step_size=0.1, num_steps=1, beta=1.0)


def test_a_loss_object_decides_where_an_ending_does_not_tell():
    model = softmax_model(L.Lambda(lambda z: 2 * z))
    for from_logits in (False, True):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        NaturalModel(model).compile("sgd", loss)
    with pytest.raises(ArgumentError, match="is ambiguous on an output"):
        NaturalModel(model).compile("sgd", "sparse_categorical_crossentropy")
