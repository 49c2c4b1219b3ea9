"""Per-epoch accuracies and the stop on a loss that is not finite, inside real trainings."""

import csv

import numpy as np
import pytest

from ft_tf import metrics
from ft_tf._compat import keras
from ft_tf.training import AdditiveGaussian, NaturalModel, TradesModel
from ft_tf.training.callbacks import EpochAccuracy, NonFiniteLoss, StopAtAccuracy


def classifier(*extra, classes=2):
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(8, "relu", kernel_initializer=keras.initializers.GlorotUniform(1)),
            *extra,
            keras.layers.Dense(classes, kernel_initializer=keras.initializers.GlorotUniform(2)),
        ]
    )


def examples(count=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((count, 3), dtype=np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


def compiled(trainer, rate=0.5, **options):
    trainer.compile(keras.optimizers.SGD(rate), metrics=["accuracy"], **options)
    return trainer


class Snapshots(keras.callbacks.Callback):
    """Accuracies as the model stands after each epoch, measured by hand."""

    def __init__(self, *splits):
        super().__init__()
        self.splits, self.found = splits, []

    def on_epoch_end(self, epoch, logs=None):
        weights = self.model.model.get_weights()
        clean = classifier()
        clean.set_weights(weights)
        self.found.append([np.mean(clean(x).numpy().argmax(1) == y) for x, y in self.splits])


@pytest.mark.parametrize("steps_per_execution", [1, 16])
def test_curves_are_whole_splits_in_inference_mode_after_each_epoch(steps_per_execution, tmp_path):
    train, test = examples(), examples(45, seed=1)
    # Dropout and input noise make the running accuracy of fit another figure.
    trainer = NaturalModel(
        classifier(keras.layers.Dropout(0.5, seed=1)), input_noise=AdditiveGaussian(0.5)
    )
    compiled(trainer, steps_per_execution=steps_per_execution)
    snapshots = Snapshots(train, test)
    history = trainer.fit(
        *train,
        batch_size=20,
        epochs=4,
        verbose=0,
        callbacks=[
            EpochAccuracy(train=train, test=test, batch_size=7, classifier=lambda: trainer.model),
            keras.callbacks.CSVLogger(tmp_path / "history.csv"),
            snapshots,
        ],
    ).history
    for index, name in enumerate(("train_accuracy", "test_accuracy")):
        expected = [pair[index] for pair in snapshots.found]
        assert history[name] == pytest.approx(expected)
        with open(tmp_path / "history.csv", newline="") as file:
            assert [float(row[name]) for row in csv.DictReader(file)] == pytest.approx(expected)
    assert history["accuracy"] != pytest.approx(history["train_accuracy"])


def test_accuracy_of_one_logit_has_its_threshold_at_zero():
    train = examples()
    trainer = NaturalModel(classifier(classes=1))
    trainer.compile(keras.optimizers.SGD(0.5))
    history = trainer.fit(
        *train,
        batch_size=20,
        epochs=3,
        verbose=0,
        callbacks=[EpochAccuracy(train=train, test=train, classifier=lambda: trainer.model)],
    ).history
    expected = np.mean((trainer.model(train[0]).numpy()[:, 0] > 0) == train[1])
    assert history["test_accuracy"][-1] == pytest.approx(expected)
    assert metrics.accuracy(trainer.model, *train) == pytest.approx(expected)


def test_another_model_can_be_measured_than_the_one_that_trains():
    x, y = examples()
    always_right = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    always_right.set_weights([np.float32([[1, -1], [-1, 1], [0, 0]]) * [-1.0, -1.0]])
    trainer = compiled(NaturalModel(classifier()), rate=1e-6)
    shared = {"classifier": lambda: always_right}
    history = trainer.fit(
        x,
        y,
        batch_size=20,
        epochs=3,
        verbose=0,
        callbacks=[
            EpochAccuracy(train=(x, y), test=(x, y), **shared),
            StopAtAccuracy(examples=(x, y), accuracy=1.0, **shared),
        ],
    ).history
    assert history["test_accuracy"] == [1.0]  # and so training stopped in the first epoch
    assert metrics.accuracy(trainer.model, x, y) < 1


def test_a_healthy_training_is_left_alone():
    guard = NonFiniteLoss()
    history = compiled(NaturalModel(classifier())).fit(
        *examples(), batch_size=20, epochs=3, verbose=0, callbacks=[guard]
    )
    assert guard.failure is None
    assert len(history.history["loss"]) == 3


@pytest.mark.parametrize(
    "make",
    [
        NaturalModel,
        lambda model: TradesModel(model, epsilon=0.1, step_size=0.05, num_steps=2, beta=6.0),
    ],
)
def test_a_diverging_training_stops_and_says_where(make):
    guard = NonFiniteLoss()
    trainer = compiled(make(classifier()), rate=1e30, steps_per_execution=1)
    history = trainer.fit(*examples(), batch_size=20, epochs=50, verbose=0, callbacks=[guard])
    steps = int(trainer.optimizer.iterations)
    assert guard.failure["step"] == steps < 20
    assert guard.failure["epoch"] == len(history.history["loss"]) == -(-steps // 3)
    assert "loss=" in guard.failure["reason"] and "not finite" in guard.failure["reason"]


def test_a_single_bad_batch_is_noticed_at_the_end_of_its_execution():
    x, y = examples()
    x[17] = 3e38  # finite, but its sums are not
    guard, model = NonFiniteLoss(), classifier()
    model.set_weights([np.full_like(weight, 4) for weight in model.get_weights()])
    trainer = compiled(NaturalModel(model), rate=0.0, steps_per_execution=16)
    trainer.fit(x, y, batch_size=20, epochs=5, verbose=0, callbacks=[guard])
    assert guard.failure["epoch"] == 1
    assert guard.failure["step"] == 3


def test_training_stops_at_the_first_step_that_reaches_the_accuracy():
    x, y = examples(200)
    trainer = compiled(NaturalModel(classifier(), seed=1), steps_per_execution=1)
    stop = StopAtAccuracy(examples=(x, y), accuracy=0.9, classifier=lambda: trainer.model)
    trainer.fit(x, y, batch_size=20, epochs=200, verbose=0, callbacks=[stop])
    taken = int(trainer.optimizer.iterations)
    assert metrics.accuracy(trainer.model, x, y) >= 0.9
    assert 1 < taken <= 64  # so far every step is looked at

    again = compiled(NaturalModel(classifier(), seed=1), steps_per_execution=1)
    looks = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            looks.append(metrics.accuracy(self.model.model, x, y))
            self.model.stop_training = int(self.model.optimizer.iterations) >= taken

    again.fit(x, y, batch_size=20, epochs=200, verbose=0, callbacks=[Look()])
    assert max(looks[:-1]) < 0.9 <= looks[-1]


@pytest.mark.slow
def test_looks_become_rarer_and_an_interruption_moves_none(monkeypatch):
    x, y = examples(200)
    looked = []

    def fits(*epochs):
        trainer = compiled(NaturalModel(classifier(), seed=1), steps_per_execution=1)
        monkeypatch.setattr(
            metrics,
            "accuracy",
            lambda *args, **kwargs: looked.append(int(trainer.optimizer.iterations)) or 0.0,
        )
        for count in epochs:
            stop = StopAtAccuracy(examples=(x, y), accuracy=0.9, classifier=lambda: trainer.model)
            trainer.fit(x, y, batch_size=20, epochs=count, verbose=0, callbacks=[stop])

    fits(70)
    whole = looked.copy()
    looked.clear()
    fits(9, 20, 41)
    assert looked == whole
    assert whole[:67] == [*range(1, 65), 66, 68, 70]
    assert np.diff([step for step in whole if step > 512]).tolist() == [16] * 11
