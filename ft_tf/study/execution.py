"""A run: frozen configuration -> data -> model -> training -> evaluation -> one record."""

import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ft_tf import records
from ft_tf._compat import (
    accelerators,
    keras,
    package_versions,
    processor,
    tf,
    threads,
    uses_onednn,
)
from ft_tf.data import Dataset, fingerprint
from ft_tf.errors import ArgumentError
from ft_tf.study import best, datasets, distributed, evaluation, trainer
from ft_tf.study import config as configs
from ft_tf.study import directory as runs
from ft_tf.study.config import RunConfig
from ft_tf.training import strategies
from ft_tf.training.base import ResidentModel
from ft_tf.training.callbacks import EpochAccuracy, NonFiniteLoss, StopAtAccuracy

AVERAGED_MODEL = "model_averaged.keras"


def directory_of(config: RunConfig, data: Dataset, output_dir: Path) -> Path:
    """Where a run lives below `output_dir`."""
    return output_dir / config.name(is_sample=data.is_sample)


def run(
    config: RunConfig,
    data: Dataset,
    output_dir: Path,
    *,
    verbose: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    strategy: distributed.Strategy = None,
) -> records.Run:
    """Trains and evaluates, or goes on where an earlier process stopped, or returns what is done.

    Args:
        config: of the run.
        data: the data set that `config.dataset` names.
        output_dir: the run's own directory is made below it.
        verbose: Keras's progress: 0 silent, 1 bar, 2 a line per epoch.
        callbacks: further Keras callbacks.
        strategy: spreads the training over devices (`strategies.make`); with "multi_worker" this is
            for the chief, and the other processes `distributed.assist`.

    Returns:
        The record; its status is "failed" if the training went wrong numerically.

    Raises:
        RunError: the directory cannot be written, is in use, or belongs to another config.
        ArgumentError: the configuration does not fit the data.
        StackError: a package is missing that the configuration needs.
    """
    check_fits(config, data)
    distributed.check(config, strategies.name_of(strategy))
    held_out, unseen = held_out_examples(data, config), unseen_examples(data, config)
    data = limited(data, config)
    directory = directory_of(config, data, output_dir)
    if not (directory / records.FILE_NAME).exists():
        config.algorithm.check_packages()
    with runs.claimed(directory):
        described = _describe_data(data)
        runs.bind(directory, {"config": configs.to_dict(config), "data": described})
        if (directory / records.FILE_NAME).exists():
            return records.load(directory)
        started = time.monotonic()
        obstacle = best.obstacle(config, data)
        if obstacle and verbose:
            print(obstacle, flush=True)
        sessions = runs.count_session(directory)
        trained, history, failure = _train(
            config,
            data,
            directory,
            held_out=held_out,
            strategy=strategy,
            verbose=verbose,
            callbacks=callbacks,
        )
        if config.weight_noise:
            trainer.add_weight_noise(config, trained.model)
        classifier = trainer.evaluation_model(config, trained.model)
        measured = evaluation.evaluate(
            config, data, trained, directory,
            failed=bool(failure), held_out=held_out, unseen=unseen,
        )  # fmt: skip
        record = records.Run(
            name=directory.name,
            status="failed" if failure else "finished",
            failure=failure,
            rows=config.rows,
            config=configs.to_dict(config),
            data=dataclasses.replace(described, classes=datasets.get(config.dataset).classes),
            environment=environment(
                **strategies.describe(strategy), trained_on=_trained_elsewhere(directory)
            ),
            deviations=config.deviations,
            model=records.Model(
                config.architecture, classifier.count_params(), weights_fingerprint(classifier)
            ),
            training=records.Training(
                epochs=len(history.get("epoch", [])),
                steps=int(trained.optimizer.iterations),
            ),
            history=history,
            privacy=evaluation.privacy(config, data, trained, directory),
            timing=records.Timing(round(time.monotonic() - started, 1), sessions),
            **measured,
        )
        _save_model(classifier, directory / runs.MODEL)
        averaged = config.algorithm.averaged_model(trained)
        if averaged is not None and not failure:
            _save_model(trainer.evaluation_model(config, averaged), directory / AVERAGED_MODEL)
        records.write(directory, record)
        return records.load(directory)


def check_fits(config: RunConfig, data: Dataset) -> None:
    """Refuses, before any work, a configuration that its data cannot serve.

    Raises:
        ArgumentError: another data set, a batch larger than the data, or an evaluation that needs
            more examples than there are.
    """
    if data.name != config.dataset:
        raise ArgumentError(f"dataset={config.dataset!r} was configured, {data.name!r} was given")
    if config.stop_at_test_accuracy:
        raise ArgumentError(
            f"stop_at_test_accuracy={config.stop_at_test_accuracy!r} is of older records, which "
            "chose a model on test images: use holdout and stop_at_holdout_accuracy"
        )
    if config.holdout >= (config.train_limit or len(data.x_train)):
        raise ArgumentError(f"holdout={config.holdout} leaves no training example")
    unseen = unseen_examples(data, config)[1]
    data = limited(data, config)
    train, test = len(data.x_train), len(data.x_test)
    if config.batch_size > train:
        raise ArgumentError(
            f"batch_size={config.batch_size} must be at most the {train} training examples"
        )
    measured = config.evaluation
    if measured.reference_models and (len(unseen) < 2 or test < 4):
        raise ArgumentError(
            f"reference_models={measured.reference_models} need four test images, and training "
            "images that the run does not see: set train_limit, to half of them, say"
        )
    if measured.fault_images > test:
        raise ArgumentError(
            f"fault_images={measured.fault_images} must be at most the {test} test examples of "
            f"{data.source}"
        )
    if measured.membership and min(train, test) < 2:
        raise ArgumentError(
            f"membership=True needs two training and two test examples, not {train} and {test}"
        )


def environment(**of_training: Any) -> records.Environment:
    """Returns what results depend on besides the configuration.

    Args:
        of_training: fields that describe a training on other devices than the evaluation's.
    """
    return records.Environment(
        python=platform.python_version(),
        processor=processor(),
        accelerators=tuple(accelerators()) or None,
        threads=threads(),
        onednn=uses_onednn(),
        packages=package_versions(),
        **of_training,
    )


def _device() -> str:
    return ", ".join(dict.fromkeys(accelerators())) or processor()


def _trained_elsewhere(directory: Path) -> tuple[str, ...] | None:
    """Devices of the training, unless they are that of the evaluation."""
    devices = runs.devices(directory)
    return tuple(devices) if devices not in ([], [_device()]) else None


def limited(data: Dataset, config: RunConfig) -> Dataset:
    """Returns the part of the data that a run trains and tests on; the fingerprint stays."""
    whole = len(data.x_train[: config.train_limit or None])
    train = slice(whole - config.holdout)
    test = slice(config.test_limit or None)
    return dataclasses.replace(
        data,
        x_train=data.x_train[train],
        y_train=data.y_train[train],
        x_test=data.x_test[test],
        y_test=data.y_test[test],
    )


def held_out_examples(data: Dataset, config: RunConfig) -> evaluation.Split | None:
    """Returns the training examples that a run holds out; None if there are none."""
    whole = slice(config.train_limit or None)
    held_out = slice(-config.holdout, None)
    found = data.x_train[whole][held_out], data.y_train[whole][held_out]
    return found if config.holdout else None


def unseen_examples(data: Dataset, config: RunConfig) -> evaluation.Split:
    """Returns the training examples that `train_limit` leaves out."""
    left = slice(config.train_limit or len(data.x_train), None)
    return data.x_train[left], data.y_train[left]


def weights_fingerprint(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, in their order."""
    return fingerprint(**{f"{i:06}": value for i, value in enumerate(model.get_weights())})


def _describe_data(data: Dataset) -> records.Data:
    return records.Data(
        name=data.name,
        source=data.source,
        fingerprint=data.fingerprint,
        train_examples=len(data.x_train),
        test_examples=len(data.x_test),
        notes=tuple(data.notes),
    )


def _save_model(model: keras.Model, path: Path) -> None:
    temporary = path.with_name(f".{path.stem}.part.keras")
    model.save(temporary)
    temporary.replace(path)


_STOPPING_EXAMPLES = 10_000
"""Training examples on which `stop_at_train_accuracy` is measured."""
_CHECKPOINT_SECONDS = 5.0
"""Epochs shorter than this share a checkpoint: writing one takes longer than a small epoch."""


class _Checkpointer(keras.callbacks.Callback):
    """Writes the history, then the checkpoint that presupposes it, after epochs that took long."""

    def __init__(
        self,
        directory: Path,
        history: runs.History,
        manager: tf.train.CheckpointManager,
        epochs: tf.Variable,
        *,
        seconds: float,
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._directory = directory
        self._history = history
        self._manager = manager
        self._epochs = epochs
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        runs.note_epoch_started(self._directory, epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in {"epoch": epoch + 1, **(logs or {})}.items():
            self._history.setdefault(name, []).append(float(value))
        is_last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not is_last and time.monotonic() - self._saved < self._seconds:
            return
        runs.write_history(self._directory, self._history)
        if not self.model.stop_training:
            self._epochs.assign(epoch + 1)
            self._manager.save(checkpoint_number=epoch + 1)
        self._saved = time.monotonic()


def _train(
    config: RunConfig,
    data: Dataset,
    directory: Path,
    *,
    held_out: evaluation.Split | None,
    strategy: distributed.Strategy,
    verbose: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[ResidentModel, runs.History, records.Failure | None]:
    """Trains, or goes on; returns the trained model of this process, its history and failure."""
    model = distributed.prepared(config, strategy)
    epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
    manager = trainer.checkpoints(model, epochs, directory / runs.CHECKPOINTS)
    runs.delete_strays(directory, latest=manager.latest_checkpoint)
    done = int(epochs)
    distributed.check_agreement(strategy, done)
    history = runs.read_history(directory, epochs=done)
    if done and verbose:
        print(f"going on after epoch {done} of {config.epochs}", flush=True)
    guard = NonFiniteLoss()
    if done < config.epochs:
        runs.note_device(directory, _device())
        curve: list[keras.callbacks.Callback] = []
        classifier = trainer.evaluated(config, model.model)
        if config.stop_at_accuracy:
            few = slice(_STOPPING_EXAMPLES)
            on_training = config.stop_at_train_accuracy
            curve.append(
                StopAtAccuracy(
                    examples=(data.x_train[few], data.y_train[few]) if on_training else held_out,
                    accuracy=config.stop_at_accuracy,
                    batch_size=config.evaluation.batch_size,
                    classifier=classifier,
                )
            )
        if config.evaluation.curve:
            curve.append(
                EpochAccuracy(
                    train=(data.x_train, data.y_train),
                    test=(data.x_test, data.y_test),
                    batch_size=config.evaluation.batch_size,
                    classifier=classifier,
                )
            )
        if best.applies_to(config, data):
            curve.append(best.BestCheckpoint(config, data, directory, classifier=classifier))
        # Steps that are lost under secret noise count for privacy: then every epoch is kept.
        seconds = 0.0 if config.algorithm.has_secret_noise else _CHECKPOINT_SECONDS
        checkpointer = _Checkpointer(directory, history, manager, epochs, seconds=seconds)
        distributed.fit(
            model, config, data, first=done, verbose=verbose,
            callbacks=[guard, *curve, checkpointer, *callbacks],
        )  # fmt: skip
    if guard.failure is None:
        failure = _failure_of_the_end(config, data, model, history)
    else:
        failure = records.Failure(**guard.failure)
    if strategy is not None:
        model = distributed.on_one_device(config, model)
    return model, history, failure


def _failure_of_the_end(
    config: RunConfig, data: Dataset, model: ResidentModel, history: runs.History
) -> records.Failure | None:
    """What the last step broke, when no loss came after it to show that."""
    reason = evaluation.non_finite_reason(
        trainer.evaluation_model(config, model.model), data, batch_size=config.evaluation.batch_size
    )
    if reason is None:
        return None
    epochs = len(history.get("epoch", []))
    return records.Failure(reason, epochs, int(model.optimizer.iterations))
