"""The Dataset that every run starts from: four arrays, where they came from, and their hash."""

import dataclasses
import hashlib

import numpy as np

from ft_tf.checks import check_choice, check_type
from ft_tf.data.validation import as_array, check_labels, check_pixels, check_same_length
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
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """Training examples and their labels."""
        return self.x_train, self.y_train

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """Test examples and their labels."""
        return self.x_test, self.y_test

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
    for key, values in (("x_train", x_train), ("x_test", x_test)):
        dtype = as_array(values).dtype
        if dtype.kind not in "fiub":
            raise ArgumentError(f"{key} of dtype {dtype} must be an array of numbers")
    images = {"x_train": _as_float32(x_train), "x_test": _as_float32(x_test)}
    labels = {"y_train": as_array(y_train), "y_test": as_array(y_test)}
    if kind == "images":
        check_pixels(**images)
    for key, values in images.items():
        if kind == "points" and (values.ndim != 2 or not np.isfinite(values).all()):
            raise ArgumentError(f"{key}.shape={values.shape} must be [n, d], all values finite")
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise ArgumentError(
            f"x_train.shape={images['x_train'].shape} and x_test.shape={images['x_test'].shape} "
            "must agree after the first dimension"
        )
    for split in ("train", "test"):
        x, y = f"x_{split}", f"y_{split}"
        check_same_length(**{x: images[x], y: labels[y]})
    for key, values in labels.items():
        check_labels(MOST_CLASSES, **{key: values})
    arrays = {**images, **{key: values.astype(np.int64) for key, values in labels.items()}}
    for values in arrays.values():
        values.setflags(write=False)
    return Dataset(
        name=name, **arrays, source=source, fingerprint=fingerprint(**arrays), notes=tuple(notes)
    )


def _as_float32(values: np.ndarray) -> np.ndarray:
    """A float32 array that nobody else holds; 8-bit values are scaled to [0, 1]."""
    values = as_array(values)
    if values.dtype == np.uint8:
        return np.divide(values, np.float32(255), dtype=np.float32)
    return values.astype(np.float32)
