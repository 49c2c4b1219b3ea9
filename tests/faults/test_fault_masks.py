"""Keras's masks of padded sequences go past a fault as they would go without one."""

import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.faults.plan import make_plan

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Cut(layers.Layer):
    """Sets a mask of its own in `call`, as Masking does: only the first two steps count."""

    supports_masking = True

    def call(self, inputs):
        outputs = 2.0 * inputs
        outputs._keras_mask = tf.tile([[True, True, False, False]], [tf.shape(inputs)[0], 1])
        return outputs


@pytest.fixture(scope="module")
def sequences():
    """Sequences [60, 4, 2] that end early: the steps behind are 0."""
    generator = np.random.Generator(np.random.Philox(0))
    x = generator.normal(size=(60, 4, 2)).astype(np.float32)
    x[np.arange(4) >= generator.integers(1, 4, 60)[:, None]] = 0.0
    return x


def recurrent(first, memory):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 2)), first, memory, layers.Dense(3)])
    model.set_weights([3 * weight for weight in model.get_weights()])
    return model


def test_a_kept_activation_keeps_the_mask_that_its_layer_sets(sequences):
    model = recurrent(layers.Masking(), layers.LSTM(8))
    y = model(sequences).numpy().argmax(axis=1)
    frame = faults.sweep(model, sequences, y, target="weights", rates=[0, 0.2], trials=1, seed=0)
    assert frame.attrs["clean_accuracy"] == 1.0
    for row in frame.itertuples():
        with faults.inject(model, target="weights", rate=row.rate, seed=0, trial=row.trial):
            inside = model(sequences).numpy().argmax(axis=1)
        assert np.mean(inside == y) == row.accuracy


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_faulty_units_keep_the_mask_that_their_layer_sets(rate, sequences):
    model = recurrent(Cut(name="cut"), layers.SimpleRNN(8))
    where = {"target": "units", "rate": rate, "seed": 0, "select": faults.Select(layers=("cut",))}
    plan = make_plan(model, target="units", select=where["select"])
    dead = plan.trial(seed=0, trial=0).masks(rate).faulty["units"]
    _, memory, head = model.layers
    with faults.inject(model, **where):
        found = model(sequences).numpy()
    values = np.where(dead, 0, 2 * sequences)
    by_hand = head(memory(values, mask=np.tile([True, True, False, False], (60, 1)))).numpy()
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


@pytest.fixture(scope="module")
def words():
    """Numbers of words [30, 5], padded with 0."""
    generator = np.random.Generator(np.random.Philox(1))
    x = generator.integers(1, 7, (30, 5))
    x[np.arange(5) >= generator.integers(1, 5, 30)[:, None]] = 0
    return x


@pytest.mark.parametrize(
    ("target", "names"),
    [("both", None), ("weights", None), ("units", ("words",)), ("units", ("words", "narrow"))],
)
def test_a_wrapped_model_reads_padding_as_the_model_does(target, names, words):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(7, 4, mask_zero=True, name="words"),
            layers.Dense(4, activation="sigmoid", name="narrow"),
            layers.SimpleRNN(4, return_sequences=True),
            layers.Conv1D(4, 1, activation="tanh"),  # takes no mask, and hands none on
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.set_weights([3 * weight for weight in model.get_weights()])
    select = faults.Select(layers=names)
    where = {"target": target, "rate": 1.0, "fault": faults.SignFlip(), "select": select}
    wrapped = faults.wrap(model, **where)
    np.testing.assert_array_equal(wrapped(words), model(words))
    faulty = wrapped(words, training=True)
    assert np.abs(faulty - model(words)).max() > 1e-3
    with faults.inject(model, seed=1, **where):
        np.testing.assert_allclose(faulty, model(words), atol=1e-6)
