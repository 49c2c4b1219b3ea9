"""What `fit` and `evaluate` of every trainer do with what Keras takes and ft_tf must not."""

import re

import numpy as np
import pytest

import ft_tf
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.training import DPSGDModel, NaturalModel, TradesModel

RNG = np.random.default_rng(0)
X, Y = RNG.random((20, 3), np.float32), RNG.integers(0, 2, 20)
TRAINERS = {
    "natural": NaturalModel,
    "trades": lambda model: TradesModel(model, epsilon=0.1, step_size=0.1, num_steps=1, beta=1.0),
    "dpsgd": lambda model: DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0),
}


@pytest.fixture(params=TRAINERS)
def trainer(request):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    made = TRAINERS[request.param](model)
    made.compile("sgd", loss="sparse_categorical_crossentropy")
    return made


def fit(trainer, x, y=None, **options):
    if isinstance(trainer, DPSGDModel) or isinstance(x, np.ndarray):
        options["batch_size"] = 5
    return trainer.fit(x, y, verbose=0, **options)


def batches(*arrays):
    """A tf.data input of 4 batches whose length TensorFlow does not know."""
    whole = tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])
    return whole.batch(5).filter(lambda *parts: True)


def refused(call, message):
    with pytest.raises((ArgumentError, ModelError)) as error:
        call()
    text = str(error.value)
    assert len(text.splitlines()) == 1 and re.search(message, text), text


def test_training_without_labels_is_refused(trainer):
    refused(lambda: fit(trainer, X), "has no labels|y=NoneType must be")
    refused(lambda: fit(trainer, batches(X)), "x=_FilterDataset has no labels")


def test_validation_and_evaluation_without_labels_are_refused(trainer):
    for data in ((X,), X, batches(X)):
        refused(
            lambda data=data: fit(trainer, X, Y, validation_data=data), "validation_data=.*no lab"
        )
    refused(lambda: trainer.evaluate(X, verbose=0), "x=ndarray has no labels")
    refused(lambda: trainer.evaluate(batches(X), verbose=0), "has no labels")
    assert int(trainer.optimizer.iterations) == 0


def test_a_generator_without_labels_is_refused():
    trainer = NaturalModel(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    trainer.compile("sgd")
    refused(lambda: trainer.fit(((X[:5],) for _ in range(3)), verbose=0), "has no labels")


def test_validation_is_checked_before_training(trainer):
    refused(lambda: fit(trainer, X, Y, validation_data=(X, Y[:3])), "one length")
    refused(
        lambda: fit(trainer, X, Y, validation_data=(X, Y + 1)), "labels from 1 to 2|in \\[0, 1\\]"
    )
    refused(
        lambda: fit(trainer, X, Y, validation_data=(X[:, :2], Y)), r"\(20, 2\) must be \(n, 3\)"
    )
    assert int(trainer.optimizer.iterations) == 0


def test_shapes_that_the_model_does_not_take_are_one_line(trainer):
    refused(lambda: fit(trainer, X[:, :2], Y), r"x.shape=\(20, 2\) must be \(n, 3\)")
    refused(lambda: fit(trainer, batches(X[:, :2], Y)), r"x.shape=\(None, 2\) must be \(n, 3\)")
    refused(lambda: fit(trainer, X, Y[:3]), "len|one length")
    refused(lambda: fit(trainer, X[:0], Y[:0]), "at least 1|examples=0")


def test_before_compile_one_line_says_so():
    for make in TRAINERS.values():
        trainer = make(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
        refused(lambda trainer=trainer: fit(trainer, X, Y), "needs compile first")


def test_an_input_of_unknown_length_trains_as_in_keras(trainer):
    history = fit(trainer, batches(X, Y), epochs=3, validation_data=batches(X, Y))
    assert int(trainer.optimizer.iterations) == 12
    assert len(history.history["val_loss"]) == 3
    assert trainer.evaluate(batches(X, Y), verbose=0) == pytest.approx(
        trainer.evaluate(X, Y, verbose=0), rel=1e-5
    )
    assert trainer.predict(batches(X), verbose=0).shape == (20, 2)
    # The steps per execution of `compile` are back, for inputs of known length.
    assert trainer.steps_per_execution == 16


def test_an_input_from_a_generator_trains_as_one_of_known_length():
    def weights_after(x):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu")])
        model.set_weights([np.full((3, 2), 0.5), np.zeros(2)])
        trainer = NaturalModel(model)
        trainer.compile(keras.optimizers.SGD(0.1))
        trainer.fit(x, epochs=2, steps_per_epoch=None, verbose=0)
        return np.concatenate([np.ravel(w) for w in model.get_weights()])

    spec = (tf.TensorSpec((None, 3)), tf.TensorSpec((None,), tf.int64))
    parts = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 20, 5)]
    known = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5)
    unknown = tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)
    np.testing.assert_allclose(weights_after(unknown), weights_after(known), rtol=1e-6)


def test_private_steps_of_an_input_of_unknown_length_are_counted():
    private = TRAINERS["dpsgd"](keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    private.compile("sgd", loss="sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="one size, 5"):
        private.fit(batches(X, Y), batch_size=5, epochs=3, num_examples=20, verbose=0)
    (event,) = private.privacy_events()
    assert (event.steps, event.sampling, event.passes) == (12, "shuffle", 3)


@pytest.mark.parametrize("whole", [True, False])
def test_a_checkpoint_holds_the_inner_model(whole, trainer, tmp_path):
    path = tmp_path / ("model.keras" if whole else "trained.weights.h5")
    keep = keras.callbacks.ModelCheckpoint(str(path), save_weights_only=not whole)
    fit(trainer, X, Y, callbacks=[keep])
    if whole:
        loaded = ft_tf.load_model(path)
    else:
        loaded = keras.models.clone_model(trainer.model)
        loaded.load_weights(str(path))
    for ours, theirs in zip(trainer.model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_save_writes_what_load_model_reads(trainer, tmp_path):
    trainer.save(tmp_path / "model.keras")
    loaded = ft_tf.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), trainer.predict(X, verbose=0))
    trainer.save_weights(tmp_path / "w.weights.h5")
    trainer.model.set_weights([0 * w for w in trainer.model.get_weights()])
    trainer.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(loaded.get_weights()[0], trainer.model.get_weights()[0])
    refused(lambda: keras.models.save_model(trainer, tmp_path / "trainer.keras"), "model.save")


class _Numbers(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)


def test_callbacks_see_no_step_beyond_the_end_of_an_epoch(trainer):
    known = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5)
    for source in ((X, Y), (known, None)):
        numbers = _Numbers()
        fit(trainer, *source, epochs=2, callbacks=[numbers])
        assert numbers.seen == [3, 3] and numbers.params["steps"] == 4


def test_an_endless_input_takes_exactly_the_steps_asked_for(trainer):
    endless = tf.data.Dataset.from_tensor_slices((X, Y)).batch(5).repeat()
    history = fit(
        trainer, endless, epochs=2, steps_per_epoch=38, validation_data=endless, validation_steps=3
    )
    assert int(trainer.optimizer.iterations) == 76
    assert trainer.steps_per_execution == 16  # of `compile` again
    fifteen = trainer.evaluate(X[:15], Y[:15], batch_size=5, verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(np.ravel(fifteen)[0], rel=1e-5)
    if isinstance(trainer, DPSGDModel):
        assert [event.steps for event in trainer.privacy_events()] == [76]


BAD = np.where(np.arange(X.size).reshape(X.shape) == 50, np.nan, X).astype(np.float32)
WRONG_VALUES = {
    "NaN": (BAD, Y, "x has 1 values that are NaN or infinite"),
    "infinite": (np.where(np.isnan(BAD), np.inf, X), Y, "x has 1 values that are NaN"),
    "negative": (X, np.where(np.arange(20) == 17, -1, Y), "y has labels from -1 to 1"),
    "large": (X, np.where(np.arange(20) == 17, 2, Y), r"y has labels from . to 2"),
    "fractions": (X, np.where(np.arange(20) == 17, 0.5, Y), "y.* integers"),
}
WAYS = {
    "arrays": lambda *arrays: arrays,
    "tensors": lambda *arrays: tuple(map(tf.constant, arrays)),
    "tf.data": lambda *arrays: (tf.data.Dataset.from_tensor_slices(arrays).batch(5),),
    "unknown length": lambda *arrays: (batches(*arrays),),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", WRONG_VALUES)
def test_values_are_refused_however_they_come(trainer, way, wrong):
    x, y, message = WRONG_VALUES[wrong]
    if isinstance(trainer, DPSGDModel) and message.startswith("x"):
        return  # a gradient that is not finite is clipped to nothing, and reported
    refused(lambda: fit(trainer, *WAYS[way](x, y)), message)
    assert np.isfinite(trainer.model.get_weights()[0]).all()
    if message.startswith("y"):
        refused(lambda: trainer.evaluate(*WAYS[way](x, y), verbose=0), message)


def test_trades_refuses_pixels_outside_its_bounds_however_they_come():
    trainer = TRAINERS["trades"](keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    trainer.compile("sgd")
    for way in WAYS.values():
        refused(
            lambda way=way: fit(trainer, *way(255 * X, Y)), r"x lies in .*outside bounds=\(0, 1"
        )
        trainer.evaluate(*way(255 * X, Y), verbose=0)  # an accuracy may be asked for anywhere
