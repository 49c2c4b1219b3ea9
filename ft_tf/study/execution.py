"""A run: frozen configuration -> data -> model -> training -> evaluation -> one record."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import metrics, records
from ft_tf._compat import accelerators, keras, processor, tf
from ft_tf.data import Dataset, fingerprint
from ft_tf.errors import ArgumentError
from ft_tf.study import best, datasets, evaluation, membership, trainer
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
    strategy: trainer.Strategy = None,
) -> records.Run:
    """Trains and evaluates, or goes on where an earlier process stopped, or returns what is done.

    Args:
        config: of the run.
        data: the data set that `config.dataset` names.
        output_dir: the run's own directory is made below it.
        verbose: Keras's progress: 0 silent, 1 bar, 2 a line per epoch.
        callbacks: further Keras callbacks.
        strategy: spreads the training over devices (`strategies.make`); with "multi_worker" this is
            for the chief, and the other processes `trainer.assist`.

    Returns:
        The record; its status is "failed" if the training went wrong numerically.

    Raises:
        RunError: the directory cannot be written, is in use, or belongs to another config.
        ArgumentError: the configuration does not fit the data.
        StackError: a package is missing that the configuration needs.
    """
    check_fits(config, data)
    trainer.check_strategy(config, strategies.name_of(strategy))
    data, held_out, unseen = split(data, config)
    directory, described = directory_of(config, data, output_dir), describe(data)
    if not (directory / records.FILE_NAME).exists():
        config.algorithm.check_packages()

    def compute() -> dict[str, Any]:
        obstacle = best.obstacle(config, data)
        if obstacle and verbose:
            print(obstacle, flush=True)
        trained, history, failure = _train(
            config, data, directory, held_out, strategy, verbose, callbacks
        )
        if config.weight_noise:
            trainer.add_weight_noise(config, trained.model)
        classifier = trainer.evaluation_model(config, trained.model)
        averaged = None if failure else config.algorithm.averaged_model(trained)
        if averaged is not None:
            averaged = trainer.evaluation_model(config, averaged)
        devices, steps = runs.devices(directory), int(trained.optimizer.iterations)
        begun, examples = runs.epochs_started(directory), len(data.x_train)
        private = config.algorithm.privacy(
            config, examples=examples, steps=steps, epochs_started=begun
        )
        if private is not None:
            where = {"where": str(directory), "what": "privacy statement"}
            private = records.parse(records.Privacy, private, **where)
        fields = {
            "failure": failure,
            "rows": config.rows,
            "data": dataclasses.replace(described, classes=datasets.get(config.dataset).classes),
            "environment": records.Environment.here(
                **strategies.describe(strategy),
                trained_on=tuple(devices) if devices not in ([], [_device()]) else None,
            ),
            "deviations": config.deviations,
            "model": records.Model(
                config.architecture, classifier.count_params(), weights_fingerprint(classifier)
            ),
            "training": records.Training(epochs=len(history.get("epoch", [])), steps=steps),
            "history": history,
            "privacy": private,
            **evaluation.NO_RESULTS,
        }
        if failure is None:
            fields |= evaluation.evaluate(
                config, data, classifier, averaged, directory,
                held_out=held_out, unseen=unseen, steps=steps,
            )  # fmt: skip
        _save_model(classifier, directory / runs.MODEL)
        if averaged is not None:
            _save_model(averaged, directory / AVERAGED_MODEL)
        return fields

    return runs.recorded(
        records.Run, directory, config=configs.to_dict(config), data=described, compute=compute
    )


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
    used, _, unseen = split(data, config)
    train, test = len(used.x_train), len(used.x_test)
    if config.batch_size > train:
        raise ArgumentError(
            f"batch_size={config.batch_size} must be at most the {train} training examples"
        )
    measured = config.evaluation
    if measured.reference_models and (len(unseen[1]) < 2 or test < 4):
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


def _device() -> str:
    return ", ".join(dict.fromkeys(accelerators())) or processor()


def split(
    data: Dataset, config: RunConfig
) -> tuple[Dataset, membership.Split | None, membership.Split]:
    """Returns what a run trains and tests on (its fingerprint stays), holds out, and never sees.

    Held out are the last examples within `train_limit`; None if there are none.
    """
    whole = len(data.x_train[: config.train_limit or None])
    trained = whole - config.holdout
    parts = slice(trained), slice(trained, whole), slice(whole, None)
    (x, y), held_out, unseen = ((data.x_train[part], data.y_train[part]) for part in parts)
    x_test, y_test = (part[: config.test_limit or None] for part in data.test)
    used = dataclasses.replace(data, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return used, held_out if config.holdout else None, unseen


def limited(data: Dataset, config: RunConfig) -> Dataset:
    """Returns the part of the data that a run trains and tests on."""
    return split(data, config)[0]


def weights_fingerprint(model: keras.Model) -> str:
    """Returns the SHA-256 of a model's weights, in their order."""
    return fingerprint(**{f"{i:06}": value for i, value in enumerate(model.get_weights())})


def describe(data: Dataset) -> records.Data:
    """Returns what a record says of a run's data."""
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
        *,
        seconds: float,
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._directory = directory
        self._history = history
        self._manager = manager
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
            self._manager.checkpoint.epochs.assign(epoch + 1)
            self._manager.save(checkpoint_number=epoch + 1)
        self._saved = time.monotonic()


def _train(
    config: RunConfig,
    data: Dataset,
    directory: Path,
    held_out: membership.Split | None,
    strategy: trainer.Strategy,
    verbose: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[ResidentModel, runs.History, records.Failure | None]:
    """Trains, or goes on; returns the trained model of this process, its history and failure."""
    model, manager = trainer.resumed(config, strategy, directory)
    runs.delete_strays(directory, latest=manager.latest_checkpoint)
    done = int(manager.checkpoint.epochs)
    history = runs.read_history(directory, epochs=done)
    if done and verbose:
        print(f"going on after epoch {done} of {config.epochs}", flush=True)
    guard = NonFiniteLoss()
    if done < config.epochs:
        runs.note_device(directory, _device())
        classifier = trainer.evaluated(config, model.model)
        options = {"batch_size": config.evaluation.batch_size, "classifier": classifier}
        measuring: list[keras.callbacks.Callback] = []
        if config.stop_at_accuracy:
            first = tuple(part[:_STOPPING_EXAMPLES] for part in data.train)
            examples = held_out if config.stop_at_holdout_accuracy else first
            level = config.stop_at_accuracy
            measuring.append(StopAtAccuracy(examples=examples, accuracy=level, **options))
        if config.evaluation.curve:
            measuring.append(EpochAccuracy(train=data.train, test=data.test, **options))
        if best.applies_to(config, data):
            measuring.append(best.BestCheckpoint(config, data, directory, classifier=classifier))
        # Steps that are lost under secret noise count for privacy: then every epoch is kept.
        seconds = 0.0 if config.algorithm.has_secret_noise else _CHECKPOINT_SECONDS
        checkpointer = _Checkpointer(directory, history, manager, seconds=seconds)
        trainer.fit(
            model, config, data, first=done, verbose=verbose,
            callbacks=[guard, *measuring, checkpointer, *callbacks],
        )  # fmt: skip
    if guard.failure:
        failure = records.Failure(**guard.failure)
    else:
        failure = _failure_of_the_end(config, data, model, history)
    if strategy is not None:
        model = trainer.on_one_device(config, model)
    return model, history, failure


def _failure_of_the_end(
    config: RunConfig, data: Dataset, model: ResidentModel, history: runs.History
) -> records.Failure | None:
    """What the last step broke, when no loss came after it to show that."""
    classifier, size = trainer.evaluation_model(config, model.model), config.evaluation.batch_size
    if not all(np.isfinite(part).all() for part in classifier.get_weights()):
        reason = "weights are not finite"
    elif not np.isfinite(metrics.predict_logits(classifier, data.x_test, batch_size=size)).all():
        reason = "logits of test images are not finite"
    else:
        return None
    return records.Failure(reason, len(history.get("epoch", [])), int(model.optimizer.iterations))
