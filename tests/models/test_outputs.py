import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.metrics import accuracy, predict_logits
from ft_tf.models import ending_of, logits_of, output_shape_of

X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
L = keras.layers
ops = keras.ops


def ending(*layers):
    return keras.Sequential([keras.Input((6,)), L.Dense(5, activation="relu"), *layers])


def functional():
    start = keras.Input((6,))
    hidden = L.Dense(5, activation="relu")(start)
    return keras.Model(start, L.Dense(3, activation="softmax")(L.Concatenate()([hidden, start])))


def in_lists():
    model = functional()
    return keras.Model([model.inputs[0]], [model.outputs[0]])


SOFTMAX = {
    "in lists": in_lists,
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


def of_logits(make, classes=3, **kind):
    """A functional model: `make` of the logits of a Dense layer."""
    keras.utils.set_random_seed(1)
    start = keras.Input((6,))
    return keras.Model(start, make(L.Dense(classes, kernel_initializer="he_normal", **kind)(start)))


# What comes between a softmax or sigmoid and the output, or makes it, without telling.
BEHIND = {
    "linear activation": lambda z, f: L.Activation("linear", dtype="float32")(L.Activation(f)(z)),
    "reshape": lambda z, f: L.Reshape((z.shape[-1],))(L.Reshape((1, -1))(L.Activation(f)(z))),
    "dropout": lambda z, f: L.Dropout(0.5)(L.Activation(f)(z)),
    "function": lambda z, f: getattr(ops, f)(z),
    "activation function": lambda z, f: keras.activations.get(f)(z),
    "functions after it": lambda z, f: ops.squeeze(
        ops.reshape(ops.cast(getattr(ops, f)(z), "float32"), [-1, 1, z.shape[-1]]),
        1,
    ),
}


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("case", BEHIND)
def test_what_only_passes_values_on_hides_no_probabilities(case, kind):
    classes = 1 if kind == "sigmoid" else 3
    model = of_logits(lambda z: BEHIND[case](z, kind), classes)
    logits_model = of_logits(lambda z: z, classes)
    assert (ending_of(model).activation, ending_of(model).certain) == (kind, True)
    taken_off = logits_of(model)
    assert ending_of(taken_off).activation == "linear"
    np.testing.assert_allclose(taken_off(X), logits_model(X), rtol=1e-6)
    probabilities = model(X).numpy()
    back = ending_of(model).logits(probabilities)
    shift = 0 if classes == 1 else back[:, :1] - logits_model(X).numpy()[:, :1]
    np.testing.assert_allclose(back - shift, logits_model(X), atol=1e-4)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_softmax_within_a_dense_layer_is_found_behind_a_linear_activation(kind):
    classes = 1 if kind == "sigmoid" else 3
    model = of_logits(L.Activation("linear", dtype="float32"), classes, activation=kind)
    assert ending_of(model).activation == kind
    logits = logits_of(model)(X).numpy()
    np.testing.assert_allclose(logits, of_logits(lambda z: z, classes)(X), rtol=1e-6)


def test_the_function_softmax_of_tensorflow_is_a_softmax():
    assert ending_of(ending(L.Dense(3, activation=tf.nn.softmax))).activation == "softmax"
    assert ending_of(ending(L.Dense(3, activation=L.Softmax()))).activation == "softmax"


class Softened(L.Layer):
    def call(self, inputs):
        return tf.nn.softmax(inputs / 2)


UNTOLD = {
    # name: (makes outputs of logits, number of logits)
    "sigmoid in a Lambda": (L.Lambda(tf.nn.sigmoid), 1),
    "softmax in a Lambda": (L.Lambda(tf.nn.softmax), 3),
    "softmax in a layer of its own": (Softened(), 3),
    "mean of two": (lambda z: L.Average()([L.Softmax()(z), L.Softmax()(2 * z)]), 3),
    "softmax by hand": (lambda z: ops.exp(z) / ops.sum(ops.exp(z), -1, keepdims=True), 3),
    "clipped": (lambda z: ops.clip(ops.sigmoid(z), 1e-6, 1 - 1e-6), 1),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_outputs_that_look_like_probabilities_are_taken_for_no_logits(case):
    make, classes = UNTOLD[case]
    model = of_logits(make, classes)
    found = ending_of(model)
    assert (found.activation, found.gives_probabilities, found.certain) == (
        "probabilities", True, True,
    )  # fmt: skip
    with pytest.raises(ModelError, match="looks like probabilities") as caught:
        logits_of(model)
    assert "\n" not in str(caught.value)
    given = model(X).numpy().astype(np.float64)
    back = found.logits(model(X).numpy()).astype(np.float64)
    again = 1 / (1 + np.exp(-back)) if classes == 1 else np.exp(back)
    np.testing.assert_allclose(again, given, atol=1e-6)


NO_PROBABILITIES = {
    "Lambda": L.Lambda(lambda z: 2 * z),
    "operation": lambda z: z / 2,
    "sum": lambda z: L.Add()([z, z]),
    "normalised": lambda z: L.BatchNormalization()(z),
    "ReLU": L.ReLU(),
}


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("case", NO_PROBABILITIES)
def test_endings_that_do_not_tell_and_do_not_look_so_give_logits(case, classes):
    model = of_logits(NO_PROBABILITIES[case], classes)
    assert not ending_of(model).gives_probabilities
    assert logits_of(model) is model


class OfItsOwnWithSigmoid(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = L.Dense(1)

    def call(self, inputs):
        return tf.nn.sigmoid(self.last(inputs))


def test_a_class_of_its_own_is_known_by_what_it_gives():
    model = OfItsOwnWithSigmoid()
    assert ending_of(model).activation == "linear"  # never called: a guess
    model(X)
    assert ending_of(model).activation == "probabilities"
    start = keras.Input((6,))
    assert ending_of(keras.Model(start, model(start))).activation == "probabilities"


def test_a_layer_that_is_called_twice_keeps_its_softmax():
    twice = L.Dense(3, activation="softmax")
    start = keras.Input((3,))
    with pytest.raises(ModelError, match="called 2 times"):
        logits_of(keras.Model(start, twice(twice(start))))
    shared = L.Softmax()
    model = keras.Model(start, shared(L.Dense(3)(shared(start))))
    logits = logits_of(model)(X[:, :3]).numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model(X[:, :3]), expected, rtol=1e-5)


class OneLogit(keras.Model):
    """Pixels that it scales down itself: to numbers of size 1 it answers with its bias."""

    def __init__(self, bias):
        super().__init__()
        self.scale, self.dense = L.Rescaling(1 / 255), L.Dense(1)
        self(np.zeros((1, 6), np.float32))
        self.dense.bias.assign([bias])

    def call(self, inputs):
        return self.dense(self.scale(inputs))


@pytest.mark.parametrize("bias", [0.2, 0.7])
def test_a_logit_near_its_bias_is_no_probability(bias):
    model = OneLogit(bias)
    assert not ending_of(model).gives_probabilities
    images = np.random.default_rng(0).uniform(0, 255, (50, 6)).astype(np.float32)
    labels = (model(images).numpy()[:, 0] > 0).astype(int)
    assert accuracy(model, images, labels) == 1.0
    start = keras.Input((6,))
    rest = L.Lambda(lambda t: t / 1)(model.dense(L.Rescaling(1 / 255)(start)))
    assert not ending_of(keras.Model(start, rest)).gives_probabilities


def test_a_look_at_a_model_leaves_it_as_it_was():
    class Counting(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)
            self.calls = self.add_weight(name="calls", initializer="zeros", trainable=False)
            self.state = L.SimpleRNN(3, stateful=True)

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return self.dense(inputs)

    model = Counting()
    model(np.zeros((1, 6), np.float32))
    ending_of(model)
    assert model.calls.numpy() == 1
    del model.state
    ending_of(model)
    assert model.calls.numpy() == 1


def test_the_shape_of_what_a_model_gives():
    assert output_shape_of(OneLogit(0.0)) == (None, 1)
    assert output_shape_of(ending(L.Dense(3))) == (None, 3)
    start = keras.Input((6,))
    assert output_shape_of(keras.Model(start, [start, start])) == ()
