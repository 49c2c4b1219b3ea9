import numpy as np
import pytest

from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.metrics import predict_logits
from ft_tf.models import ending_of, logits_of

X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
L = keras.layers


def ending(*layers):
    return keras.Sequential([keras.Input((6,)), L.Dense(5, activation="relu"), *layers])


def functional():
    start = keras.Input((6,))
    hidden = L.Dense(5, activation="relu")(start)
    return keras.Model(start, L.Dense(3, activation="softmax")(L.Concatenate()([hidden, start])))


SOFTMAX = {
    "dense": lambda: ending(L.Dense(3, activation="softmax")),
    "layer": lambda: ending(L.Dense(3), L.Softmax()),
    "activation": lambda: ending(L.Dense(3), L.Activation("softmax")),
    "functional": functional,
}


@pytest.mark.parametrize("case", SOFTMAX)
def test_softmax_of_the_logits_is_what_the_model_gave(case):
    model = SOFTMAX[case]()
    before = model.get_weights()
    probabilities = predict_logits(model, X)
    logits = predict_logits(logits_of(model), X).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    assert ending_of(model).activation == "softmax"
    assert ending_of(logits_of(model)).activation == "linear"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_logit_of_a_sigmoid():
    model = ending(L.Dense(1, activation="sigmoid"))
    logits = predict_logits(logits_of(model), X).astype(np.float64)
    np.testing.assert_allclose(predict_logits(model, X), 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_a_model_that_gives_logits_is_left_alone():
    model = ending(L.Dense(3))
    assert logits_of(model) is model
    assert ending_of(model).activation == "linear"


def test_nested_models_are_looked_into():
    outer = keras.Sequential([keras.Input((6,)), ending(L.Dense(3, activation="softmax"))])
    assert ending_of(outer).gives_probabilities
    with pytest.raises(ModelError, match="inside a nested model"):
        logits_of(outer)


def test_several_sigmoids_are_refused():
    with pytest.raises(ModelError, match="sigmoid .* on 3 outputs"):
        logits_of(ending(L.Dense(3, activation="sigmoid")))


def test_an_activation_of_ones_own_is_no_known_one():
    assert not ending_of(ending(L.Dense(3, activation=lambda x: 2 * x))).gives_probabilities


class OfItsOwn(keras.Model):
    def __init__(self):
        super().__init__()
        self.used = L.Dense(3)
        self.unused = L.Dense(3, activation="softmax")

    def call(self, inputs):
        return self.used(inputs)


def test_what_a_class_of_its_own_ends_in_is_a_guess():
    model = OfItsOwn()
    model(X)
    assert ending_of(model).gives_probabilities
    assert not ending_of(model).certain
    with pytest.raises(ModelError, match="a class of its own"):
        logits_of(model)
    assert ending_of(ending(L.Dense(3))).certain
