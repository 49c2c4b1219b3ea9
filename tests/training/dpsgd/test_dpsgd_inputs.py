"""Epsilons of tf.data inputs: only what the batches that really came bear out."""

import math
import warnings

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import privacy_cost
from ft_tf.privacy.gaussian import gaussian_epsilon
from ft_tf.training.dpsgd import DPSGDModel

DELTA = 1e-5


def data(count=1000):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 2, count)


def private_model(**options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    private = DPSGDModel(model, **{"l2_norm_clip": 1.0, "noise_multiplier": 1.0} | options)
    private.compile("sgd", "sparse_categorical_crossentropy")
    return private


def cut(count=1000, size=50):
    return tf.data.Dataset.from_tensor_slices(data(count)).batch(size)


def poisson_samples(steps, *, count=1000, probability=0.05):
    x, y = data(count)

    def draw():
        rng = np.random.default_rng(3)
        for _ in range(steps):
            member = rng.random(count) < probability
            yield x[member], y[member]

    kinds = (tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None,), tf.int64))
    batches = tf.data.Dataset.from_generator(draw, output_signature=kinds)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def account(dataset, *, private=None, **arguments):
    private = private or private_model()
    private.fit(dataset, verbose=0, **{"batch_size": 50, "num_examples": 1000} | arguments)
    return private.privacy_account(delta=DELTA)


@pytest.mark.parametrize("pack", [tuple, list, lambda parts: parts[0]])
def test_a_model_with_several_inputs_trains_on_a_tf_data_input_and_is_told_so(pack):
    one, two = keras.Input((4,)), keras.Input((4,))
    private = DPSGDModel(
        keras.Model((one, two), keras.layers.Dense(2)(keras.layers.Concatenate()([one, two]))),
        l2_norm_clip=1.0,
        noise_multiplier=1.0,
    )
    private.compile("sgd", "sparse_categorical_crossentropy")
    x, y = data(100)
    with pytest.raises(ArgumentError, match=r"x must be a tf.data.Dataset .* has 2 inputs"):
        private.fit(pack([x, x]), y, batch_size=50, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices(((x, x), y)).batch(50)
    private.fit(batches, batch_size=50, verbose=0)
    assert int(private.optimizer.iterations) == 2


def test_a_single_input_in_a_structure_is_one():
    one = keras.Input((4,))
    private = DPSGDModel(
        keras.Model({"a": one}, keras.layers.Dense(2)(one)), l2_norm_clip=1.0, noise_multiplier=1.0
    )
    private.compile("sgd", "sparse_categorical_crossentropy")
    private.fit(*data(100), batch_size=50, verbose=0)
    assert int(private.optimizer.iterations) == 2


@pytest.mark.parametrize("epochs", [1, 3])
def test_batches_of_one_size_earn_one_gaussian_a_pass(epochs):
    with pytest.warns(
        UserWarning, match="one size, 50, and are no Poisson samples; the epsilon of"
    ):
        found = account(cut(), epochs=epochs)
    assert found.sampling == "shuffle"
    assert found.epsilon == pytest.approx(gaussian_epsilon(math.sqrt(epochs), delta=DELTA))
    assert "no pass over it gives an example twice is taken on trust" in found.statement
    assert "because its batches have one size, 50" in found.statement
    assert "drawn by shuffling" not in found.statement
    assert found.to_record()["epsilon_claimed"] == found.epsilon


def test_a_smaller_last_batch_is_still_one_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = account(cut(1000, 300), private=private_model(sampling="shuffle"), batch_size=300)
    assert (found.cost.steps, found.cost.passes) == (4, 1)
    assert found.epsilon == pytest.approx(gaussian_epsilon(1.0, delta=DELTA))
    assert "because" not in found.statement


@pytest.mark.parametrize(
    ("dataset", "told", "reason"),
    [
        (cut, {"num_examples": 60_000}, "a pass had 1000 examples, and num_examples=60000"),
        (cut, {"num_examples": 500}, "a pass had 1000 examples, and num_examples=500"),
        (cut, {"batch_size": 5}, "its batches had 50 examples on average, which batch_size=5"),
        (cut, {"batch_size": 100}, "its batches had 50 examples on average, which batch_size=100"),
        (cut, {"batch_size": 48}, "20 of its 20 batches had 50 examples"),
        (lambda: cut().repeat(3), {}, "a pass had 3000 examples, and num_examples=1000"),
        (lambda: cut().take(5), {"epochs": 4}, "a pass had 250 examples, and num_examples=1000"),
        (lambda: cut().repeat(), {"steps_per_epoch": 20, "epochs": 2}, "without repeat"),
        (cut, {"steps_per_epoch": 10, "epochs": 2}, "without repeat"),
        (lambda: cut(size=120), {"num_examples": 100}, "a batch had 120 examples"),
    ],
)  # fmt: skip
def test_what_the_batches_contradict_is_not_claimed(dataset, told, reason):
    with pytest.warns(UserWarning, match="no epsilon can be claimed"):
        found = account(dataset(), **told)
    assert found.epsilon is None
    assert found.statement.startswith("Unaccounted: a tf.data input contradicts")
    assert reason in found.statement


@pytest.mark.parametrize("told", [{}, {"steps_per_epoch": 20}])
def test_poisson_samples_keep_their_epsilon(told):
    epochs = 2 if told else 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = account(poisson_samples(40), epochs=epochs, **told)
    cost = privacy_cost(noise_multiplier=1.0, sampling_probability=0.05, steps=40, delta=DELTA)
    assert found.epsilon == cost.epsilon_pld
    assert "as num_examples says, is taken on trust" in found.statement


def test_an_interrupted_pass_counts():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == 1:
                raise KeyboardInterrupt

    private = private_model(sampling="shuffle")
    with pytest.raises(KeyboardInterrupt):
        account(cut(), private=private, epochs=3, callbacks=Stop())
    found = private.privacy_account(delta=DELTA)
    assert 20 < found.cost.steps < 40
    assert found.cost.passes == 2
    assert found.epsilon == pytest.approx(gaussian_epsilon(math.sqrt(2), delta=DELTA))


def test_num_examples_is_checked_before_training():
    with pytest.raises(ArgumentError, match="num_examples=40 must be at least batch_size=50"):
        account(cut(), num_examples=40)
    with pytest.raises(ArgumentError, match="num_examples=0 "):
        account(cut(), num_examples=0)


def test_labels_in_a_nest_are_refused_in_one_line():
    x, y = data()
    nested = tf.data.Dataset.from_tensor_slices((x, {"out": y})).batch(50)
    with pytest.raises(ArgumentError, match="gives y as a dict: it must be one tensor") as caught:
        private_model().fit(nested, batch_size=50, verbose=0)
    assert "\n" not in str(caught.value)
