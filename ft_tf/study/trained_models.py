"""Models to inject faults into or to attack: those of finished runs, or any file of the user's."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import checks, data, metrics, models, records
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, DataError, ModelError, RunError
from ft_tf.study import config as configs
from ft_tf.study import datasets
from ft_tf.study import directory as runs
from ft_tf.study.config import RunConfig
from ft_tf.study.execution import limited, weights_fingerprint

_NEAR_CHANCE = 1 / 9
"""A classifier this far from guessing to always right, or less, was hardly meant for its images."""


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run whose record says "finished"."""

    directory: Path  # where it lives
    record: records.Run
    config: RunConfig
    model: keras.Model  # the trained classifier, float32
    data: data.Dataset  # cut as in the run


def check_finished(directory: Path) -> records.Run:
    """Returns the record of a run that has finished.

    Raises:
        ArgumentError: there is no record.
        RunError: it cannot be read, or is no finished training's.
    """
    checks.check_path(run=directory)
    directory = Path(directory)
    where = f"run={str(directory)!r}"
    if not (directory / records.FILE_NAME).is_file():
        if (directory / runs.CONFIG).is_file():
            raise ArgumentError(f"{where} is not finished: give its training command again")
        raise ArgumentError(
            f"{where} holds no {records.FILE_NAME}: name a finished run's directory"
        )
    record = records.load(directory)
    if not isinstance(record, records.Run) or record.status != "finished":
        raise RunError(f"{where} is no finished training: there is no model to test")
    return record


def load_run(
    directory: Path,
    *,
    data_dir: str | None = None,
    download: bool = False,
    data_file: str | None = None,
) -> FinishedRun:
    """Loads a finished run, and its data as `datasets.DataSource.load` does.

    `data_file` names the data of a run on the user's own, see `ft_tf.data.load_own`.

    Raises:
        RunError: there is no model, or the run failed, or the model is not the run's.
        ArgumentError: there is no record, or the data set is not known.
        DataError: the data here are not those of the run.
        ModelError: the model file is damaged.
    """
    record = check_finished(directory)
    directory = Path(directory)
    name, where = record.config["dataset"], f"run={str(directory)!r}"
    if data_file is not None:
        datasets.register_own(data_file, name=name, data_dir=data_dir, download=download)
    if name not in datasets.names():
        raise ArgumentError(
            f"{where} was trained on dataset={name!r}, which is not known here: give its "
            "--data, or register it (ft_tf.study.datasets.register)"
        )
    config = configs.from_dict(record.config)
    path = directory / runs.MODEL
    if not path.exists():
        raise RunError(
            f"{where} has a record but no {runs.MODEL} (committed records come without weights): "
            "train it again, with experiments.reproduce or experiments.train"
        )
    model = models.load(path)
    expected = record.model.weights_fingerprint
    if expected not in (None, weights_fingerprint(model)):
        raise RunError(
            f"{path} is not the model of this run's record: its weights have changed; train the "
            "run again in another directory"
        )
    found = datasets.get(name).load(data_dir=data_dir, download=download)
    if found.fingerprint != record.data.fingerprint:
        raise DataError(
            f"{where} was trained on other data: {record.data.source} with sha256 "
            f"{record.data.fingerprint[:12]}, here {found.source} has {found.fingerprint[:12]}: "
            "give the run's --data_dir or --data"
        )
    return FinishedRun(directory, record, config, model, limited(found, config))


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A classifier that gives logits, and the test images that it is tried on."""

    name: str  # what results are headed by
    model: keras.Model
    x: np.ndarray  # test images, in the shape that the model takes
    y: np.ndarray  # labels
    description: str  # the data in one line
    results: str  # results go into the files whose names begin so
    x_train: np.ndarray  # training images of the data set, in that shape too
    notes: tuple[str, ...] = ()  # what the user has to know about model and images
    run: FinishedRun | None = None  # where the model comes from; None for a model file


def results_of_run(directory: Path) -> str:
    """How the names of the files begin that results on a run's model go into."""
    return f"{directory}/"


def results_of_file(path: Path, dataset: str) -> str:
    """The same for a model file, on the images of a data set."""
    return f"{models.zoo.beside(path)}-{dataset}-"


def of_run(directory: Path, **where: Any) -> TrainedModel:
    """Returns the model of a finished run with the test images of that run; see `load_run`."""
    run = load_run(directory, **where)
    return TrainedModel(
        name=directory.name,
        model=run.model,
        x=run.data.x_test,
        y=run.data.y_test,
        description=run.data.describe(),
        results=results_of_run(directory),
        x_train=run.data.x_train,
        run=run,
    )


def of_file(
    path: Path, dataset: str, *, data_dir: str | None = None, download: bool = False
) -> TrainedModel:
    """Returns the model of a .keras file with the test images of a data set.

    A softmax or sigmoid at its end is taken off, which changes no prediction. Images are given
    with pixels in [0, 1]; they are reshaped where the model takes (28, 28) or (784,), say.

    Raises:
        ModelError: the file cannot be loaded, or holds no classifier with one input and one output.
        ArgumentError: the model takes other images, or tells other classes apart.
        DataError: the data are not there.
    """
    loaded = models.load(path)
    model = models.logits_of(loaded)
    notes = []
    if model is not loaded:
        ending = models.ending_of(loaded)
        notes.append(
            f"the model ends in {ending.activation} (layer {ending.layer.name!r}): it is taken "
            "off, so that the model gives logits"
        )
    found = datasets.get(dataset).load(data_dir=data_dir, download=download)
    x, outputs = _shaped(path, model, found, notes), model.output_shape
    if len(outputs) != 2 or max(2, outputs[1] or 0) != found.num_classes:
        raise ArgumentError(
            f"model={str(path)!r} has outputs of shape {outputs[1:]}, dataset={found.name!r} has "
            f"{found.num_classes} classes"
        )
    accuracy = metrics.accuracy(model, x, found.y_test)
    chance = datasets.get(dataset).chance
    if accuracy < chance + _NEAR_CHANCE * (1 - chance):
        notes.append(
            f"accuracy without faults or attack is {accuracy:.2%}, hardly above chance: images are "
            "given with pixels in [0, 1]; was the model trained on such ones, and on these classes?"
        )
    return TrainedModel(
        name=models.zoo.title(path),
        model=model,
        x=x,
        y=found.y_test,
        description=found.describe(),
        notes=tuple(notes),
        results=results_of_file(path, dataset),
        x_train=found.x_train.reshape(-1, *x.shape[1:]),
    )


def _shaped(path: Path, model: keras.Model, found: data.Dataset, notes: list[str]) -> np.ndarray:
    """The test images as the model takes them."""
    wanted, given = model.input_shape, found.x_test.shape[1:]
    if not isinstance(wanted, tuple) or not isinstance(model.output_shape, tuple):
        raise ModelError(f"model={str(path)!r} must have one input and one output")
    wanted = wanted[1:]
    if tf.TensorShape(wanted).is_compatible_with(given):
        return found.x_test
    if None not in wanted and np.prod(wanted) == np.prod(given) and len(wanted) < len(given):
        notes.append(f"images are reshaped from {given} to {wanted}")
        return found.x_test.reshape(-1, *wanted)
    raise ArgumentError(
        f"model={str(path)!r} takes inputs of shape {wanted}, dataset={found.name!r} has images of "
        f"shape {given}"
    )
