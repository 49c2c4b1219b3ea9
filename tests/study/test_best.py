"""The best checkpoint against trainings that end where it was taken."""

import dataclasses

import numpy as np
import pytest
import striped

from experiments._summary import summary
from ft_tf import attacks, metrics, models, records
from ft_tf._compat import keras
from ft_tf.study import algorithms, best
from ft_tf.study import config as c
from ft_tf.study import directory as runs
from ft_tf.study.execution import directory_of, run

CONFIG = c.RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    algorithm=algorithms.Trades(epsilon=0.05, num_steps=1, step_size=0.05),
    epochs=5,
    batch_size=20,
    learning_rate=0.05,
    learning_rate_drops=((3, 40.0),),  # which spoils the last epochs
    evaluation=c.Evaluation(
        fault_targets=(),
        attacks=("pgd",),
        attack_epsilon=0.05,
        attack_steps=3,
        attack_images=40,
        attack_sanity=False,
        curve=True,
    ),
)


@pytest.fixture(scope="module")
def data():
    return striped.make_data(seed=1, train=100, test=40 + best.SELECTION_IMAGES)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("best")
    return directory_of(CONFIG, data, output_dir), run(CONFIG, data, output_dir)


def attacked(model, x, y, steps):
    return attacks.pgd(model, x, y, epsilon=0.05, num_steps=steps, seed=0).robust_accuracy


def test_it_is_the_epoch_with_the_best_robust_accuracy_and_not_the_last(finished):
    _, record = finished
    curve = record.history["robust_accuracy"]
    assert len(curve) == 5
    assert record.best_checkpoint.epoch == 1 + int(np.argmax(curve)) < 5
    assert curve[-1] < max(curve)


def test_last_and_best_are_both_on_the_record_and_are_the_models_of_their_epochs(
    finished, data, tmp_path
):
    directory, record = finished
    chosen = record.best_checkpoint
    shorter = dataclasses.replace(CONFIG, epochs=chosen.epoch)
    run(shorter, data, tmp_path)
    model = models.load(directory_of(shorter, data, tmp_path) / runs.MODEL)
    first, rest = (data.x_test[:40], data.y_test[:40]), (data.x_test[40:], data.y_test[40:])
    assert chosen.test_accuracy == metrics.accuracy(model, data.x_test, data.y_test)
    assert chosen.robust_accuracy == attacked(model, *first, steps=3)
    assert max(record.history["robust_accuracy"]) == attacked(model, *rest, steps=10)
    last = models.load(directory / runs.MODEL)
    assert record.accuracy.test == metrics.accuracy(last, data.x_test, data.y_test)
    assert record.robustness[0].robust_accuracy == attacked(last, *first, steps=3)
    assert record.accuracy.test < chosen.test_accuracy
    assert f"most robust checkpoint: epoch {chosen.epoch}, test" in summary(record)


class StopBefore(keras.callbacks.Callback):
    """Stands for Ctrl-C."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 4])
def test_an_interrupted_run_ends_with_the_same_choice(epoch, finished, data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, data, tmp_path, callbacks=[StopBefore(epoch)])
    resumed = run(CONFIG, data, tmp_path)
    assert records.comparable(resumed) == records.comparable(finished[1])


@pytest.mark.parametrize("images", [41, 1000])
def test_too_few_images_to_choose_on_are_said(images, data, tmp_path, capsys):
    evaluation = dataclasses.replace(CONFIG.evaluation, attack_images=images, attacks=())
    config = dataclasses.replace(CONFIG, evaluation=evaluation, epochs=1)
    record = run(config, data, tmp_path, verbose=2)
    assert record.best_checkpoint is None
    assert "robust_accuracy" not in record.history
    said = f"chosen on 500 test images beside attack_images={images}, and there are 540"
    assert said in capsys.readouterr().out


def test_a_training_that_diverges_is_a_failed_record(data, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    record = run(config, data, tmp_path)
    assert (record.status, record.best_checkpoint) == ("failed", None)
    assert record.history["robust_accuracy"] == (None,)
    assert record.failure.epoch == 1


def test_nothing_is_said_where_none_was_asked_for(data):
    for change in (
        {"algorithm": algorithms.Natural()},
        {"evaluation": dataclasses.replace(CONFIG.evaluation, curve=False)},
        {"test_limit": 30, "algorithm": algorithms.Natural()},
    ):
        config = dataclasses.replace(CONFIG, **change)
        assert best.obstacle(config, data) is None
        assert not best.applies_to(config, data)
