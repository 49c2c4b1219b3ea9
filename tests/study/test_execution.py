import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ft_tf import models, records
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, RunError, StackError
from ft_tf.study import config as c
from ft_tf.study import directory as runs
from ft_tf.study import schedule
from ft_tf.study.algorithms import DPSGD, Trades
from ft_tf.study.execution import directory_of, run

CONFIG = c.RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    epochs=3,
    batch_size=20,
    learning_rate=0.05,
    momentum=0.9,
    learning_rate_drops=((2, 0.1),),
    evaluation=c.Evaluation(fault_rates=(0.0, 0.5, 0.9), fault_trials=2),
)
# Records hold the hash of the weights: campaigns, which take longer than training, show no more.
BARE = dataclasses.replace(CONFIG, evaluation=c.Evaluation(fault_targets=()))
PRIVATE = dataclasses.replace(
    BARE, algorithm=DPSGD(noise_multiplier=1.1, noise_seed=7), momentum=0.0
)
DROPPING = dataclasses.replace(BARE, dropout=0.5)
FAULTY = dataclasses.replace(CONFIG, fault_aware_rate=0.3, dropout=0.2)
ROBUST = dataclasses.replace(BARE, algorithm=Trades(epsilon=0.05, num_steps=2))


class StopBefore(keras.callbacks.Callback):
    """Stands for Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(stripes, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("finished")
    return output_dir, run(CONFIG, stripes, output_dir)


def test_a_run_learns_and_leaves_everything(finished, stripes):
    output_dir, record = finished
    directory = directory_of(CONFIG, stripes, output_dir)
    present = {path.name for path in directory.iterdir()}
    assert {"config.json", "history.csv", "checkpoints", "model.keras", "record.json"} <= present
    assert record == records.load(directory)
    assert record.accuracy.train > 0.5
    assert record.training == records.Training(epochs=3, steps=9)
    assert record.history["epoch"] == (1, 2, 3)
    assert record.faults["weights"].faults == (0, 334853, 602735)
    assert record.faults["units"].faults == (0, 512, 922)
    assert record.faults["weights"].mean[0] == record.accuracy.test


def test_a_finished_run_is_not_run_again(finished, stripes):
    output_dir, record = finished
    model = directory_of(CONFIG, stripes, output_dir) / runs.MODEL
    before = model.stat().st_mtime_ns
    assert run(CONFIG, stripes, output_dir) == record
    assert model.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "config",
    [CONFIG, PRIVATE, ROBUST, DROPPING, dataclasses.replace(ROBUST, dropout=0.5), FAULTY],
    ids=["natural", "dpsgd", "trades", "dropout", "trades_dropout", "fault_aware"],
)
def test_an_interrupted_run_ends_with_the_record_of_an_uninterrupted_one(config, stripes, tmp_path):
    whole = run(config, stripes, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, stripes, tmp_path / "broken", callbacks=[StopBefore(2)])
    resumed = run(config, stripes, tmp_path / "broken")
    assert records.comparable(resumed) == records.comparable(whole)
    assert whole.model.weights_fingerprint
    assert (whole.timing.sessions, resumed.timing.sessions) == (1, 2)
    assert whole.model.parameters == 669_706  # no counters of dropout or faults


def test_a_record_says_where_a_training_went_on_from(stripes, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(BARE, stripes, tmp_path, callbacks=[StopBefore(2)])
    trained_on = directory_of(BARE, stripes, tmp_path) / runs.TRAINED_ON
    here = trained_on.read_text(encoding="utf-8").strip()
    trained_on.write_text("NVIDIA A100\n", encoding="utf-8")
    assert run(BARE, stripes, tmp_path).environment.trained_on == ("NVIDIA A100", here)


def test_a_record_of_one_device_names_it_once(finished):
    _, record = finished
    assert record.environment.processor
    assert record.environment.trained_on is None


def test_another_config_in_the_same_place_is_refused(finished, stripes):
    output_dir, _ = finished
    other = dataclasses.replace(CONFIG, learning_rate=0.01)
    with pytest.raises(RunError, match="learning_rate: 0.05 there, 0.01 here"):
        run(other, stripes, output_dir)


@pytest.mark.parametrize("config", [CONFIG, PRIVATE, ROBUST], ids=["natural", "dpsgd", "trades"])
def test_a_loss_that_turns_nan_is_a_failed_record(config, stripes, tmp_path):
    config = dataclasses.replace(config, learning_rate=1e30)
    record = run(config, stripes, tmp_path)
    assert record.status == "failed"
    assert record.failure.epoch >= 1
    assert record.accuracy is None
    assert run(config, stripes, tmp_path) == record


@pytest.mark.parametrize(
    ("learning_rate", "reason"), [(1e38, "logits of test images"), (1e42, "weights are not finite")]
)
def test_a_last_step_that_breaks_the_model_is_a_failed_record(
    learning_rate, reason, stripes, tmp_path
):
    config = dataclasses.replace(CONFIG, learning_rate=learning_rate, batch_size=60, epochs=1)
    record = run(config, stripes, tmp_path)
    assert record.status == "failed"
    assert reason in record.failure.reason
    assert (record.failure.epoch, record.failure.step) == (1, 1)


def test_a_batch_larger_than_the_data_is_refused(stripes, tmp_path):
    config = dataclasses.replace(CONFIG, batch_size=61)
    with pytest.raises(ArgumentError, match="batch_size=61 must be at most the 60"):
        run(config, stripes, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (c.Evaluation(fault_images=31), "fault_images=31 must be at most the 30 test .* of test:"),
        (c.Evaluation(fault_images=31, layer_rate=0.5, fault_targets=()), "fault_images=31"),
    ],
)
def test_an_evaluation_that_needs_more_images_is_refused_before_training(
    evaluation, message, stripes, tmp_path
):
    config = dataclasses.replace(CONFIG, evaluation=evaluation)
    with pytest.raises(ArgumentError, match=message):
        run(config, stripes, tmp_path)
    assert not list(tmp_path.iterdir())


def test_membership_with_a_single_test_image_is_refused_before_training(stripes, tmp_path):
    config = dataclasses.replace(CONFIG, test_limit=1, evaluation=c.Evaluation(membership=True))
    with pytest.raises(ArgumentError, match="needs two training and two test .* not 60 and 1"):
        run(config, stripes, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_private_run_states_what_it_earned(stripes, tmp_path):
    record = run(PRIVATE, stripes, tmp_path)
    privacy = record.privacy
    assert privacy.steps == 9
    assert privacy.sampling_probability == pytest.approx(20 / 60)
    assert privacy.noise_seed_fixed is True
    assert privacy.noise_seed_published is (record.config["algorithm"]["noise_seed"] == 7)
    assert "the seed stands in this record" in privacy.statement
    assert "initial weights" not in privacy.statement  # the study draws them anew


def test_the_reference_engine_trains_as_the_fast_one(stripes, tmp_path):
    shuffled = DPSGD(noise_multiplier=0.0, sampling="shuffle", noise_seed=7)
    found = []
    for algorithm in (shuffled, dataclasses.replace(shuffled, engine="reference")):
        config = dataclasses.replace(
            PRIVATE, algorithm=algorithm, momentum=0.5, train_limit=12, batch_size=4
        )
        with pytest.raises(KeyboardInterrupt):
            run(config, stripes, tmp_path, callbacks=[StopBefore(2)])
        record = run(config, stripes, tmp_path)
        assert (record.training.steps, record.privacy.engine) == (9, algorithm.engine)
        weights = models.load(directory_of(config, stripes, tmp_path) / runs.MODEL).get_weights()
        found.append((record, weights))
    (fast, fast_weights), (reference, reference_weights) = found
    assert reference.accuracy.train == pytest.approx(fast.accuracy.train, abs=0.09)
    for ours, theirs in zip(fast_weights, reference_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_without_tensorflow_privacy_the_reference_engine_leaves_nothing(
    stripes, tmp_path, monkeypatch
):
    algorithm = DPSGD(engine="reference", sampling="shuffle")
    module = "tensorflow_privacy.privacy.optimizers.dp_optimizer_keras"
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(StackError, match="tensorflow-privacy cannot be imported"):
        run(dataclasses.replace(PRIVATE, algorithm=algorithm), stripes, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unseeded_noise_counts_the_steps_that_were_lost(stripes, tmp_path):
    config = dataclasses.replace(PRIVATE, algorithm=DPSGD(noise_multiplier=1.1))
    with pytest.raises(KeyboardInterrupt):
        run(config, stripes, tmp_path, callbacks=[StopBefore(2)])
    record = run(config, stripes, tmp_path)
    assert record.training.steps == 9
    assert record.privacy.steps == 12  # epoch 3 began twice


class StopAfterSteps(keras.callbacks.Callback):
    """Ends training early, as a reached accuracy does."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize("noise_seed", [None, 7])
def test_steps_of_a_training_that_ends_early_are_those_that_ran(noise_seed, stripes, tmp_path):
    algorithm = DPSGD(noise_multiplier=1.1, noise_seed=noise_seed)
    config = dataclasses.replace(PRIVATE, algorithm=algorithm, batch_size=1)
    record = run(config, stripes, tmp_path, callbacks=[StopAfterSteps()])
    assert record.training.steps == 16  # those of one execution, of 60 in the epoch
    privacy = record.privacy
    assert (privacy.steps, privacy.passes) == (16, 1)
    assert privacy.epsilon_claimed > 0


def test_a_job_says_first_what_was_done_before_it_began(stripes, tmp_path):
    # Under fresh noise every epoch is kept, however short.
    config = dataclasses.replace(PRIVATE, algorithm=DPSGD(noise_multiplier=1.1, noise_seed=None))
    with pytest.raises(KeyboardInterrupt):
        run(config, stripes, tmp_path, callbacks=[StopBefore(2)])
    shares = []
    schedule.training_job(config, stripes, tmp_path).execute(shares.append)
    assert shares[0] == pytest.approx(2 / 3)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import striped, test_execution
from ft_tf.study.execution import run
run(test_execution.LONG, striped.make_data(), Path(sys.argv[1]))
"""
LONG = dataclasses.replace(BARE, epochs=60)


def test_a_run_killed_in_training_goes_on_to_the_same_record(stripes, tmp_path):
    here = Path(__file__).parent
    directory = directory_of(LONG, stripes, tmp_path / "killed")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(here)],
        env={**os.environ, "PYTHONPATH": str(here.parent.parent)},
    )
    deadline = time.monotonic() + 120
    while runs.epochs_started(directory) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= runs.epochs_started(directory) < LONG.epochs
    assert not (directory / records.FILE_NAME).exists()
    resumed = run(LONG, stripes, tmp_path / "killed")
    whole = run(LONG, stripes, tmp_path / "whole")
    assert records.comparable(resumed) == records.comparable(whole)
    assert resumed.training.steps == 180
