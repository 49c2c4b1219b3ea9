"""The Dataset that every run starts from: four arrays, where they came from, and their hash."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from ft_tf.checks import check_choice, check_type
from ft_tf.errors import ArgumentError

SAMPLE_PREFIX = "embedded-sample:"
"""Every source that is a part of a data set, not the data set, begins with this."""

MOST_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory. The arrays are read-only, so that the fingerprint stays true.

    Attributes:
        name: "fashion_mnist", "cifar10", "circles", or the user's own name.
        x_train: float32 [n, h, w, c] in [0, 1] for images, float32 [n, 2] for circles.
        y_train: int64 [n], labels from 0.
        x_test: As x_train.
        y_test: As y_train.
        source: What served the data, the same on every machine: "tfds:fashion_mnist:3.0.1",
            "debian:dataset-fashion-mnist", "embedded-sample:fashion_mnist:6000+1000",
            "sklearn.make_circles:...".
        fingerprint: SHA-256 (hex) of the four arrays, see `fingerprint`. It depends on the order
            of the rows, as training does.
        notes: What a reader of any result on this data has to know.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """The highest label in either split, plus one."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    @property
    def is_sample(self) -> bool:
        """Whether this is a sample of the data set rather than the data set."""
        return self.source.startswith(SAMPLE_PREFIX)

    def describe(self) -> str:
        """One line to print: name, sizes, source, the fingerprint's start, notes."""
        line = (
            f"{self.name}: {len(self.x_train)} training + {len(self.x_test)} test examples "
            f"from {self.source}, sha256 {self.fingerprint[:12]}"
        )
        return "; ".join((line, *self.notes))


def fingerprint(**arrays: np.ndarray) -> str:
    """SHA-256 over the names, types, shapes and bytes (little-endian, C order) of arrays.

    >>> fingerprint(x=np.arange(3, dtype=np.int64))[:12]
    'b6c7db064a9f'
    """
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        digest.update(f"{name}|{values.dtype.str}|{values.shape}|".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def from_arrays(
    name: str,
    *,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    source: str,
    notes: tuple[str, ...] = (),
    kind: str = "images",
) -> Dataset:
    """Makes a Dataset of arrays that are already in memory, after checking them.

    8-bit images are divided by 255; labels become int64. Training and test examples must have
    the same shape, and there must be at least two classes.

    Args:
        name: The data set's name.
        x_train: uint8 or floating [n, h, w, c] for kind "images"; finite [n, d] for "points".
        y_train: Integers [n], from 0.
        x_test: As x_train.
        y_test: As y_train.
        source: Where the arrays come from, in words that hold on every machine (no path).
        notes: What a reader of the results has to know.
        kind: "images" or "points".

    Raises:
        ArgumentError: a shape, type or value that cannot be used.
    """
    check_choice(("images", "points"), kind=kind)
    check_type(str, name=name, source=source)
    if not (0 < len(name) <= 100 and name.isprintable() and "/" not in name):
        raise ArgumentError(f"name={name!r} must be 1 to 100 characters as in a file's name")
    images = {
        "x_train": _inputs(x_train, "x_train", kind),
        "x_test": _inputs(x_test, "x_test", kind),
    }
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise ArgumentError(
            f"x_train.shape={images['x_train'].shape} and x_test.shape={images['x_test'].shape} "
            "must agree after the first dimension"
        )
    labels = {
        "y_train": _labels(y_train, "y_train", len(images["x_train"])),
        "y_test": _labels(y_test, "y_test", len(images["x_test"])),
    }
    arrays = {**images, **labels}
    for values in arrays.values():
        values.setflags(write=False)
    return Dataset(
        name=name, **arrays, source=source, fingerprint=fingerprint(**arrays), notes=tuple(notes)
    )


def _as_array(values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # rows of different shapes
        return np.asarray(values, object)


def _inputs(values: Any, name: str, kind: str) -> np.ndarray:
    """Returns checked inputs as float32 that nobody else holds; bytes are scaled to [0, 1]."""
    values = _as_array(values)
    if values.dtype.kind not in "fiub":
        raise ArgumentError(f"{name} of dtype {values.dtype} must be an array of numbers")
    if values.dtype == np.uint8:
        values = np.divide(values, np.float32(255), dtype=np.float32)
    else:
        values = values.astype(np.float32)
    if kind == "points":
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ArgumentError(f"{name}.shape={values.shape} must be [n, d], all values finite")
    elif values.ndim != 4:
        raise ArgumentError(f"{name}.shape={values.shape} must be [n, h, w, c]")
    # A NaN fails both comparisons, hence the form "not inside" rather than "outside".
    elif values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ArgumentError(
            f"{name} ranges over [{values.min():g}, {values.max():g}], pixels must lie in [0, 1]: "
            "divide 8-bit images by 255, and undo any normalisation"
        )
    return values


def _labels(values: Any, name: str, examples: int) -> np.ndarray:
    """Returns checked labels as int64."""
    values = _as_array(values)
    if values.ndim != 1:
        raise ArgumentError(f"{name}.shape={values.shape} must be [n]: one label per example")
    if not 0 < len(values) == examples:
        raise ArgumentError(
            f"{name.replace('y', 'x', 1)} has {examples} rows, {name} has {len(values)} rows: they "
            "must be as many, and at least 1"
        )
    if values.dtype.kind not in "iu":
        raise ArgumentError(f"{name}.dtype={values.dtype} must be an integer type")
    wrong = np.flatnonzero((values < 0) | (values >= MOST_CLASSES))
    if wrong.size:
        row = int(wrong[0])
        raise ArgumentError(f"{name}[{row}]={values[row]} must be a label in 0..{MOST_CLASSES - 1}")
    return values.astype(np.int64)
