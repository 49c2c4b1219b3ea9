"""The data sets that runs are configured with: each is one object; `register` adds further ones.

Importing this brings no TensorFlow.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ft_tf import checks, data
from ft_tf.data import Dataset
from ft_tf.errors import ArgumentError, DataError


@dataclasses.dataclass(frozen=True)
class DataSource:
    """A data set by name, and what is known of it before it is loaded."""

    name: str  # in configurations, flags and names of runs
    label: str  # display name
    shape: tuple[int, ...]  # height, width and channels of an image
    classes: int  # number of classes
    architecture: str  # trained where no other is asked for
    # gives the `Dataset`; called with data_dir, download and source if `is_published`
    loader: Callable[..., Dataset]
    class_names: tuple[str, ...] = ()  # of the labels 0, 1, ...
    may_augment: bool = False  # whether random crops and flips keep an image's class
    is_published: bool = False  # whether `data.load` finds it by name, in a data_dir or by download

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 1 / self.classes

    def load(
        self, *, data_dir: str | None = None, download: bool = False, source: str | None = None
    ) -> Dataset:
        """Loads it; the arguments are those of `ft_tf.data.load` and matter to published ones.

        Raises:
            DataError: it is not there, or is not what was registered.
        """
        where = {"data_dir": data_dir, "download": download, "source": source}
        found = self.loader(**where) if self.is_published else self.loader()
        shape, classes = found.x_train.shape[1:], found.num_classes
        if found.name != self.name:
            raise DataError(
                f"dataset={self.name!r}: its loader gives a data set of name={found.name!r}; use "
                "one name in both"
            )
        if shape != self.shape or classes > self.classes:
            raise DataError(
                f"dataset={self.name!r} was registered with images of shape {self.shape} in "
                f"{self.classes} classes, but its loader gives {found.name!r} with shape {shape} "
                f"in {classes}"
            )
        return found


_SOURCES: dict[str, DataSource] = {}


def register(source: DataSource) -> DataSource:
    """Registers a data set, so that runs and binaries know it by name; replaces an earlier one.

    Worker processes see it if its loader is a function at the top of a module that they import.

    Raises:
        ArgumentError: the name cannot be a part of a directory's, or is that of a published one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.]*", source.name):
        raise ArgumentError(f"dataset={source.name!r} must be of letters, digits, '_' and '.'")
    checks.check_positive_integer(classes=source.classes)
    known = _SOURCES.get(source.name)
    if known is not None and known.is_published and not source.is_published:
        raise ArgumentError(f"dataset={source.name!r} is the name of a published data set")
    _SOURCES[source.name] = source
    return source


def register_own(data: str | os.PathLike, *, name: str | None = None, **options: Any) -> DataSource:
    """Registers a user's own data under `name`, by default that of the file, say.

    `data` and the further options are those of `ft_tf.data.load_own`.

    Raises:
        DataError, ArgumentError: the data cannot be used.
    """
    checks.check_path(data=data)
    place = os.path.abspath(data) if os.path.exists(data) else os.fspath(data)
    name = name or re.sub(r"[^A-Za-z0-9_.]", "_", Path(place).stem)
    loader = functools.partial(_own, place, name, **options)
    found = loader()
    shape = found.x_train.shape[1:]
    fits = [known.architecture for known in _SOURCES.values() if known.shape == shape]
    return register(DataSource(name, name, shape, found.num_classes, (*fits, "dnn")[0], loader))


@functools.lru_cache(maxsize=1)
def _own(place: str, name: str, **options: Any) -> Dataset:
    return data.load_own(place, name=name, **options)


def names() -> tuple[str, ...]:
    """Names of all registered data sets."""
    return tuple(_SOURCES)


def get(name: str) -> DataSource:
    """Returns the data set called `name`.

    Raises:
        ArgumentError: it is not registered.
    """
    checks.check_choice(_SOURCES, dataset=name)
    return _SOURCES[name]


def _register_published(name: str, label: str, architecture: str, *, may_augment: bool) -> None:
    spec = data.IMAGE_SPECS[name]
    register(
        DataSource(
            name, label, spec.shape, len(spec.class_names), architecture,
            loader=functools.partial(data.load, name), class_names=spec.class_names,
            may_augment=may_augment, is_published=True,
        )
    )  # fmt: skip


_register_published("fashion_mnist", "Fashion-MNIST", "fmnist_dnn", may_augment=False)
_register_published("cifar10", "CIFAR-10", "cifar10_cnn", may_augment=True)


class DatasetRef:
    """A data set that travels between processes as its description, and is loaded where it arrives.

    `dataset` is what `get` gives in this process, and `data_dir` where `data.load` found it.
    """

    def __init__(self, dataset: Dataset, data_dir: str | None) -> None:
        self._dataset: Dataset | None = dataset
        place = None if data_dir is None else os.path.abspath(data_dir)
        self._description = (get(dataset.name), place, dataset.source, dataset.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        """The description alone."""
        return {"_dataset": None, "_description": self._description}

    def get(self) -> Dataset:
        """Returns the data set, which is loaded once in each process.

        Raises:
            DataError: what is found here is not the data set of the process that sent this.
        """
        if self._dataset is None:
            source, *where = self._description
            register(source)
            self._dataset = _loaded(source.name, *where)
        return self._dataset


@functools.cache  # by name: sources of two tasks are not equal where their loaders are partial
def _loaded(name: str, data_dir: str | None, place: str, fingerprint: str) -> Dataset:
    dataset = get(name).load(data_dir=data_dir, source=place)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"dataset={name!r} from {place} has sha256 {dataset.fingerprint[:12]} in a "
            f"worker, but {fingerprint[:12]} where the study was started: all must see the same "
            "files"
        )
    return dataset
