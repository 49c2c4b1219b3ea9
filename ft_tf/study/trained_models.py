"""What campaigns and attacks work on: a finished run's model, or any model of the user's."""

import dataclasses
from pathlib import Path

import numpy as np

from ft_tf import data, metrics, models
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.study.finished import FinishedRun, load_run

_NEAR_CHANCE = 2.0
"""A classifier below this many times the accuracy of guessing was hardly meant for these images."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier that gives logits, and the test images that it is tried on.

    Attributes:
        name: what results are headed by.
        model: the classifier.
        x: test images, in the shape that the model takes.
        y: labels.
        description: the data in one line.
        notes: what the user has to know about model and images.
        results: results go into the files whose names begin so.
        run: where the model comes from; None for a model file.
    """

    name: str
    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    description: str
    notes: tuple[str, ...]
    results: str
    run: FinishedRun | None = None


def results_of_run(directory: Path) -> str:
    """How the names of the files begin that results on a run's model go into."""
    return f"{directory}/"


def results_of_file(path: Path, dataset: str) -> str:
    """The same for a model file, on the images of a data set."""
    return f"{path.parent / path.stem}-{dataset}-"


def of_run(directory: Path, *, data_dir: str | None = None, download: bool = False) -> Subject:
    """The model of a finished run, on the test images of that run.

    Raises:
        RunError, DataError, ModelError: see `finished.load_run`.
    """
    run = load_run(directory, data_dir=data_dir, download=download)
    return Subject(
        name=directory.name,
        model=run.model,
        x=run.data.x_test,
        y=run.data.y_test,
        description=run.data.describe(),
        notes=(),
        results=results_of_run(directory),
        run=run,
    )


def of_file(
    path: Path, dataset: str, *, data_dir: str | None = None, download: bool = False
) -> Subject:
    """A model from a .keras file, on the test images of a data set.

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
    found = data.load(dataset, data_dir=data_dir, download=download)
    x = _shaped(path, model, found, notes)
    _check_classes(path, model, found)
    accuracy = metrics.accuracy(model, x, found.y_test)
    if accuracy * found.num_classes < _NEAR_CHANCE:
        notes.append(
            f"accuracy without faults or attack is {accuracy:.2%}, hardly above chance: images are "
            "given with pixels in [0, 1]; was the model trained on such ones, and on these classes?"
        )
    return Subject(
        name=path.name,
        model=model,
        x=x,
        y=found.y_test,
        description=found.describe(),
        notes=tuple(notes),
        results=results_of_file(path, dataset),
    )


def _shaped(path: Path, model: keras.Model, found: data.Dataset, notes: list[str]) -> np.ndarray:
    """The test images as the model takes them."""
    wanted, given = model.input_shape, found.x_test.shape[1:]
    if not isinstance(wanted, tuple) or not isinstance(model.output_shape, tuple):
        raise ModelError(f"model={str(path)!r} must have one input and one output")
    wanted = wanted[1:]
    if len(wanted) == len(given) and all(
        size in (None, there) for size, there in zip(wanted, given, strict=True)
    ):
        return found.x_test
    if None not in wanted and np.prod(wanted) == np.prod(given) and len(wanted) < len(given):
        notes.append(f"images are reshaped from {given} to {wanted}")
        return found.x_test.reshape(-1, *wanted)
    raise ArgumentError(
        f"model={str(path)!r} takes inputs of shape {wanted}, dataset={found.name!r} has images of "
        f"shape {given}"
    )


def _check_classes(path: Path, model: keras.Model, found: data.Dataset) -> None:
    shape = model.output_shape
    classes = max(2, shape[-1] or 0)
    if len(shape) != 2 or classes != found.num_classes:
        raise ArgumentError(
            f"model={str(path)!r} has outputs of shape {shape[1:]}, dataset={found.name!r} has "
            f"{found.num_classes} classes"
        )
