"""Averages of the iterates against NumPy's over the recorded weights, and their resumption."""

import numpy as np
import pytest

from ft_tf import training
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

N, BATCH, EPOCHS = 40, 10, 3
STEPS = EPOCHS * N // BATCH


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 4)).astype(np.float32), rng.integers(0, 3, N)


def trainer(averaging, **options):
    make = keras.initializers.GlorotUniform
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="relu", kernel_initializer=make(1)),
            keras.layers.LayerNormalization(trainable=False),
            keras.layers.Dense(3, kernel_initializer=make(2)),
        ]
    )
    settings = {"l2_norm_clip": 1.0, "noise_multiplier": 2.0, "noise_seed": 7} | options
    private = training.DPSGDModel(model, averaging=averaging, **settings)
    private.compile(keras.optimizers.SGD(0.3, momentum=0.5), "sparse_categorical_crossentropy",
                    steps_per_execution=1)  # fmt: skip
    return private


class Iterates(keras.callbacks.Callback):
    """The weights after every step."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(self.model.model.get_weights())


def fitted(averaging, *, fits=1, **options):
    """A trainer after training, and its iterates in float64, one list over steps per weight."""
    private, iterates = trainer(averaging, **options), Iterates()
    for _ in range(fits):
        private.fit(*data(), batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[iterates])
    assert len(iterates.found) == fits * STEPS
    return private, [np.array(part, np.float64) for part in zip(*iterates.found, strict=True)]


def check_equal(private, expected):
    for ours, theirs in zip(private.averaged_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
def test_an_exponential_average_is_that_of_numpy(decay):
    private, iterates = fitted(training.ExponentialAverage(decay), fits=2)
    weights = decay ** np.arange(2 * STEPS)[::-1]
    check_equal(private, [np.average(part, axis=0, weights=weights) for part in iterates])


@pytest.mark.parametrize("start", [0.0, 0.5, 0.7, 0.99])
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_tail_average_is_that_of_numpy(start, engine):
    options = {}
    if engine == "reference":
        options = {"engine": engine, "sampling": "shuffle", "noise_seed": None}
    private, iterates = fitted(training.TailAverage(start), fits=2, **options)
    # The tail of the second fit: the first is over.
    kept = STEPS - int(start * STEPS)
    check_equal(private, [part[-kept:].mean(axis=0) for part in iterates])
    np.testing.assert_array_equal(private.averaged_weights()[2], np.ones(5))  # frozen


def test_averaging_changes_neither_training_nor_epsilon():
    plain, _ = fitted(None)
    averaged, iterates = fitted(training.TailAverage(0.5))
    for ours, theirs in zip(averaged.model.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    accounts = [private.privacy_account(delta=1e-3) for private in (plain, averaged)]
    assert accounts[0].epsilon == accounts[1].epsilon
    assert accounts[0].statement == accounts[1].statement
    assert np.abs(averaged.averaged_weights()[0] - iterates[0][-1]).max() > 1e-3


def test_a_tail_that_has_not_begun_is_the_last_iterate():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    private = trainer(training.TailAverage(0.5))
    private.fit(*data(), batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[Stop()])
    check_equal(private, private.model.get_weights())


@pytest.mark.parametrize("averaging", [training.ExponentialAverage(0.9), training.TailAverage(0.5)])
def test_a_run_that_resumes_from_a_checkpoint_has_the_average_of_one_that_did_not(
    averaging, tmp_path
):
    whole, _ = fitted(averaging)

    def checkpoint(private):
        return tf.train.Checkpoint(
            model=private.model, optimizer=private.optimizer, average=private.average
        )

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                path.append(checkpoint(self.model).save(str(tmp_path / "c")))
                raise KeyboardInterrupt

    path, first = [], trainer(averaging)
    with pytest.raises(KeyboardInterrupt):
        first.fit(*data(), batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[Crash()])
    second = trainer(averaging)
    checkpoint(second).restore(path[0]).assert_consumed()
    second.fit(*data(), batch_size=BATCH, epochs=EPOCHS, initial_epoch=2, verbose=0)
    for ours, theirs in zip(second.averaged_weights(), whole.averaged_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layers_that_are_frozen_or_unfrozen_between_fits_stay_in_the_average():
    private, iterates = trainer(training.ExponentialAverage(0.9)), Iterates()
    for first, second in ((True, False), (False, True)):
        private.model.layers[0].trainable, private.model.layers[-1].trainable = first, second
        private.compile(private.optimizer, private.loss, steps_per_execution=1)
        private.fit(*data(), batch_size=BATCH, epochs=1, verbose=0, callbacks=[iterates])
    weights = 0.9 ** np.arange(len(iterates.found))[::-1]
    parts = [np.array(part, np.float64) for part in zip(*iterates.found, strict=True)]
    check_equal(private, [np.average(part, axis=0, weights=weights) for part in parts])
    assert len(private.trainable_weights) == len(private.model.trainable_weights)


def test_the_averaged_model_is_a_copy():
    private, _ = fitted(training.TailAverage(0.5))
    x, _ = data()
    before = private.model.get_weights()
    averaged = private.averaged_model()
    w1, b1, gain, offset, w2, b2 = private.averaged_weights()
    hidden = np.maximum(x @ w1 + b1, 0)
    spread = np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-3)
    hidden = gain * (hidden - hidden.mean(axis=1, keepdims=True)) / spread + offset
    np.testing.assert_allclose(averaged(x), hidden @ w2 + b2, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(private.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_dataset_of_unknown_length_has_no_tail():
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)
    endless = dataset.filter(lambda x, y: True)
    private = trainer(training.TailAverage(0.5))
    with pytest.raises(ArgumentError, match=r"TailAverage\(start=0.5\) needs the number of steps"):
        private.fit(endless, batch_size=BATCH, verbose=0)
    private.fit(dataset, batch_size=BATCH, epochs=2, verbose=0)
    assert int(private.average.first_step) == N // BATCH


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: training.ExponentialAverage(1.0), r"decay=1.0 must be in \[0, 1\)"),
        (lambda: training.TailAverage(-0.1), "start=-0.1"),
        (lambda: trainer("tail"), "averaging='tail' must be ExponentialAverage"),
        (lambda: trainer(None).averaged_weights(), "averaging=None keeps no average"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
