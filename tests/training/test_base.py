"""The resident trainer: order of the data, resumption, tf.data inputs, what it refuses."""

import itertools

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.training.base import (
    ATTACK_STREAM,
    AUGMENTATION_STREAM,
    NOISE_STREAM,
    ORDER_STREAM,
    ResidentModel,
)
from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.epochs import same_bytes
from ft_tf.training.natural import NaturalModel

SIZE, BATCH = 23, 5


class Recorder(ResidentModel):
    """Writes down which examples each step got; x of example i is i."""

    default_steps_per_execution = 1

    def __init__(self, **kwargs):
        super().__init__(linear(), **kwargs)
        self.seen = []

    def gradient_step(self, x, y, step):
        self.optimizer.iterations.assign_add(1)

        def note(values, labels, number):
            assert (values[:, 0].astype(np.int64) == labels).all()
            self.seen.append((int(number), labels.tolist()))
            return np.int64(0)

        tf.numpy_function(note, [x, y, step], tf.int64)
        return tf.zeros([tf.shape(x)[0], 2])


def linear(units=2):
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(units)])


def numbered(size=SIZE):
    return np.arange(size, dtype=np.float32)[:, None], np.arange(size, dtype=np.int64)


def recorder(**kwargs):
    trainer = Recorder(**kwargs)
    trainer.compile(keras.optimizers.SGD(0.0))
    return trainer


def batches_of(trainer):
    return [batch for _, batch in trainer.seen]


def test_every_example_once_an_epoch_and_the_last_batch_is_partial():
    trainer = recorder()
    trainer.fit(*numbered(), batch_size=BATCH, epochs=3, verbose=0)
    assert [step for step, _ in trainer.seen] == list(range(15))
    epochs = [batches_of(trainer)[start : start + 5] for start in (0, 5, 10)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [5, 5, 5, 5, 3]
        assert sorted(itertools.chain(*epoch)) == list(range(SIZE))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_order_is_a_function_of_seed_and_step():
    whole, resumed, other = recorder(seed=3), recorder(seed=3), recorder(seed=4)
    whole.fit(*numbered(), batch_size=BATCH, epochs=3, verbose=0)
    resumed.optimizer.iterations.assign(5)  # as a checkpoint after one epoch would
    resumed.fit(*numbered(), batch_size=BATCH, epochs=3, initial_epoch=1, verbose=0)
    other.fit(*numbered(), batch_size=BATCH, epochs=3, verbose=0)
    assert resumed.seen == whole.seen[5:]
    assert batches_of(other) != batches_of(whole)


def test_two_fits_in_a_row_are_one_long_fit():
    long, short = recorder(seed=1), recorder(seed=1)
    x, y = numbered()
    long.fit(x, y, batch_size=BATCH, epochs=4, verbose=0)
    for _ in range(2):
        short.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    assert short.seen == long.seen


def test_new_arrays_replace_the_old_ones():
    trainer = recorder()
    trainer.fit(*numbered(4), batch_size=2, verbose=0)
    trainer.seen.clear()
    x, y = numbered(8)
    trainer.fit(x[4:], y[4:], batch_size=2, verbose=0)
    assert sorted(itertools.chain(*batches_of(trainer))) == [4, 5, 6, 7]


def test_a_dataset_is_taken_as_it_comes_also_after_arrays():
    trainer = recorder()
    trainer.fit(*numbered(4), batch_size=2, verbose=0)
    trainer.seen.clear()
    trainer.fit(tf.data.Dataset.from_tensor_slices(numbered(6)).batch(4), verbose=0)
    assert batches_of(trainer) == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("steps_per_execution", [1, 4, 16])
def test_steps_per_execution_changes_no_weight(steps_per_execution):
    def trained(steps):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, "linear")])
        model.set_weights([np.array([[0.2, -0.1]]), np.zeros(2)])
        trainer = NaturalModel(model, seed=2)
        trainer.compile(keras.optimizers.SGD(0.1), steps_per_execution=steps)
        x, y = numbered()
        trainer.fit(x / SIZE, y % 2, batch_size=BATCH, epochs=2, verbose=0)
        assert int(trainer.optimizer.iterations) == 10
        return model.get_weights()

    for ours, single in zip(trained(steps_per_execution), trained(None), strict=True):
        np.testing.assert_array_equal(ours, single)


def test_streams_and_steps_have_seeds_of_their_own():
    trainer = recorder(seed=9)
    streams = (ORDER_STREAM, AUGMENTATION_STREAM, NOISE_STREAM, ATTACK_STREAM)
    seeds = {
        tuple(trainer.stream_seed(stream, tf.constant(step, tf.int64)).numpy())
        for stream in streams
        for step in (0, 1, 2**31)
    }
    assert len(seeds) == 12
    assert {first for first, _ in seeds} == {9}


def test_evaluation_and_prediction_are_the_models():
    trainer = NaturalModel(linear())
    trainer.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    x, y = numbered(6)
    np.testing.assert_array_equal(
        trainer.predict(x, verbose=0), trainer.model.predict(x, verbose=0)
    )
    expected = np.mean(trainer.model.predict(x, verbose=0).argmax(axis=1) == y % 2)
    assert trainer.evaluate(x, y % 2, verbose=0)[1] == pytest.approx(expected)


@pytest.mark.parametrize("offset", [0.0, -0.3])
def test_accuracy_of_one_logit_has_its_threshold_at_zero(offset):
    trainer = NaturalModel(linear(1))
    trainer.model.set_weights([np.array([[1.0]]), np.array([offset])])
    trainer.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"])
    x = np.array([[-0.1], [0.1], [0.2], [0.4]], np.float32)
    y = np.array([0, 1, 1, 1])
    expected = np.mean((x[:, 0] + offset > 0) == y)
    assert trainer.evaluate(x, y, verbose=0)[1] == pytest.approx(expected)
    history = trainer.fit(x, y, batch_size=2, verbose=0).history
    assert history["accuracy"] == pytest.approx([expected])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 24}, "batch_size=24 must be at most the 23 examples"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"sample_weight": np.ones(SIZE)}, "sample_weight cannot be used"),
        ({"class_weight": {0: 2.0}}, "class_weight cannot be used"),
        ({"validation_split": 0.1}, "validation_split cannot be used"),
        ({"steps_per_epoch": 2}, "steps_per_epoch cannot be used"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        recorder().fit(*numbered(), **{"batch_size": BATCH, "verbose": 0, **arguments})


@pytest.mark.parametrize("as_list", [False, True])
def test_backup_and_restore_which_would_repeat_batches_is_refused(tmp_path, as_list):
    model = recorder()
    callbacks = [keras.callbacks.BackupAndRestore(tmp_path / "backup")]
    if as_list:
        callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    with pytest.raises(ArgumentError, match="callbacks=BackupAndRestore would restore weights"):
        model.fit(*numbered(), batch_size=BATCH, verbose=0, callbacks=callbacks)
    assert model.seen == []


def test_refuses_arrays_of_different_lengths():
    x, y = numbered()
    with pytest.raises(ArgumentError, match="must have one length"):
        recorder().fit(x, y[:-1], batch_size=BATCH)


def test_refuses_a_weighted_dataset():
    x, y = numbered(4)
    data = tf.data.Dataset.from_tensor_slices((x, y, np.ones(4, np.float32))).batch(2)
    with pytest.raises(ArgumentError, match="sample_weight"):
        recorder().fit(data, verbose=0)


def test_refuses_what_is_no_keras_2_model_and_a_negative_seed():
    with pytest.raises(ModelError):
        NaturalModel("fmnist_dnn")
    with pytest.raises(ArgumentError, match="seed=-1"):
        NaturalModel(linear(), seed=-1)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1, 1]])
def test_refuses_labels_without_a_logit(labels):
    trainer = NaturalModel(linear())
    trainer.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(ArgumentError, match="labels from"):
        trainer.fit(np.zeros((3, 1), np.float32), np.array(labels), batch_size=3, verbose=0)


def test_the_end_of_fit_waits_for_no_tuner(monkeypatch):
    # tf.data's tuner sleeps about as long as it has been running, and the end of `fit` joins it.
    taken = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, batches, **_: taken.append(batches))
    recorder().fit(*numbered(), batch_size=BATCH)
    (batches,) = taken
    assert batches.options().autotune.enabled is False


def one_column(*last):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), *last])
    model.set_weights([np.array([[1.0]]), np.array([-0.3])])
    return model


ONE_COLUMN = {
    # name: (what comes after the logit, where the threshold is)
    "logit": ((), 0.0),
    "logit, linear activation": ((keras.layers.Activation("linear"),), 0.0),
    "sigmoid": ((keras.layers.Activation("sigmoid"),), 0.5),
    "sigmoid, reshape": (
        (keras.layers.Activation("sigmoid"), keras.layers.Reshape((1,))),
        0.5,
    ),
    "sigmoid in a Lambda": ((keras.layers.Lambda(tf.nn.sigmoid),), 0.5),
}
TRAINERS = {
    "natural": NaturalModel,
    "private": lambda model: DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=0.0),
}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("metrics", ["accuracy", ["accuracy"], ["acc"], [["accuracy"]]], ids=str)
@pytest.mark.parametrize("case", ONE_COLUMN)
def test_accuracy_of_one_column_has_the_threshold_of_what_it_holds(case, metrics, trainer):
    last, threshold = ONE_COLUMN[case]
    model = one_column(*last)
    x = np.array([[-0.1], [0.2], [0.4], [0.7], [0.9]], np.float32)
    y = np.array([0, 0, 1, 1, 0])
    expected = np.mean((model(x).numpy()[:, 0] > threshold) == y)
    assert expected == 0.8
    loss = keras.losses.BinaryCrossentropy(from_logits=threshold == 0)
    trained = TRAINERS[trainer](model)
    trained.compile(keras.optimizers.SGD(0.0), loss, metrics=metrics)
    found = trained.evaluate(x, y, verbose=0, return_dict=True)
    assert found["acc" if metrics == ["acc"] else "accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("changed", ["x", "y"])
def test_arrays_that_change_in_place_are_trained_on_as_they_are(changed, trainer):
    def moved(in_place):
        keras.utils.set_random_seed(1)
        model = linear()
        trained = TRAINERS[trainer](model)
        trained.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
        x, y = np.ones((8, 1), np.float32), np.arange(8) % 2
        trained.fit(x, y, batch_size=8, verbose=0)
        before = model.get_weights()
        x, y = (x, y) if in_place else (x.copy(), y.copy())
        array = x if changed == "x" else y
        array[:] = 0
        trained.fit(x, y, batch_size=8, verbose=0)
        return [a - b for a, b in zip(model.get_weights(), before, strict=True)]

    for ours, fresh in zip(moved(True), moved(False), strict=True):
        np.testing.assert_array_equal(ours, fresh)


def test_arrays_that_became_wrong_in_place_are_refused():
    trainer = NaturalModel(linear())
    trainer.compile(keras.optimizers.SGD(0.1))
    x, y = np.ones((4, 1), np.float32), np.zeros(4, np.int64)
    trainer.fit(x, y, batch_size=4, verbose=0)
    y[2] = 7
    with pytest.raises(ArgumentError, match="labels from 0 to 7"):
        trainer.fit(x, y, batch_size=4, verbose=0)


def test_labels_are_looked_at_again_for_a_new_loss():
    trainer = NaturalModel(linear())
    x, y = np.ones((4, 1), np.float32), np.arange(4)
    trainer.compile(keras.optimizers.SGD(0.1), lambda y, outputs: outputs)
    trainer.fit(x, y, batch_size=4, verbose=0)
    trainer.compile(keras.optimizers.SGD(0.1))
    with pytest.raises(ArgumentError, match="labels from 0 to 3"):
        trainer.fit(x, y, batch_size=4, verbose=0)


def held_examples():
    rng = np.random.default_rng(0)
    for kind in ("bool", "uint8", "int64", "float16", "float32", tf.bfloat16.as_numpy_dtype):
        yield rng.integers(0, 2, (6, 3)).astype(kind)
    yield np.asfortranarray(rng.random((6, 3)))
    yield np.array([[np.nan, -0.0], [1.0, 2.0]], np.float32)


@pytest.mark.parametrize("array", held_examples(), ids=lambda array: str(array.dtype))
def test_every_byte_of_what_is_held_counts(array):
    held = tf.convert_to_tensor(array)
    assert same_bytes(held, array)
    assert not same_bytes(held, array[:-1])
    changed = array.copy()
    changed[-1, -1] = 3 if array.dtype != bool else not array[-1, -1]
    assert not same_bytes(held, changed)


def test_the_seed_is_fixed():
    trainer = NaturalModel(linear(), seed=3)
    with pytest.raises(ArgumentError, match=r"seed=4 cannot be set: .* make a new NaturalModel"):
        trainer.seed = 4
    assert trainer.seed == 3


def test_accuracy_of_one_logit_of_a_class_of_its_own_has_its_threshold_at_zero():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs)

    own = Own()
    x = np.linspace(-2, 2, 40, dtype=np.float32)[:, None]
    own(x)
    own.set_weights([np.array([[1.0]]), np.array([-0.3])])
    trainer = NaturalModel(own)
    trainer.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), metrics=["accuracy"])
    y = (x[:, 0] > 0.3).astype(np.float32)
    assert trainer.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == 1.0
