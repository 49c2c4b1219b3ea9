"""The real sample of Fashion-MNIST that comes with the package, and how it was drawn.

It lets everything run on a fresh machine without a download. It is not the data set: its source
says so on every record. Fashion-MNIST is (c) 2017 Zalando SE, MIT licence: see
LICENSE-fashion-mnist beside this file.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from ft_tf.data.dataset import SAMPLE_PREFIX, Dataset, from_arrays
from ft_tf.data.specs import FASHION_MNIST
from ft_tf.errors import ArgumentError, DataError
from ft_tf.untrusted import read_npz

SAMPLE_PATH = Path(__file__).with_name("fashion_mnist_sample.npz")
PER_CLASS = {"train": 600, "test": 100}
_ROWS = {split: n * len(FASHION_MNIST.class_names) for split, n in PER_CLASS.items()}
SAMPLE_SOURCE = f"{SAMPLE_PREFIX}fashion_mnist:{_ROWS['train']}+{_ROWS['test']}"
_SELECTION_KEY = b"ft_tf sample 1|"


def read_sample(path: Path = SAMPLE_PATH) -> Dataset:
    """Loads the embedded sample: 6,000 training and 1,000 test images, 600 and 100 per class.

    Raises:
        DataError: the file is missing or corrupt.
    """
    try:
        arrays = read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the embedded sample is unreadable ({error}): reinstall") from None
    for split, rows in _ROWS.items():
        if arrays[f"x_{split}"].shape != (rows, *FASHION_MNIST.shape):
            raise DataError(f"{path}: the embedded sample has a wrong shape: reinstall")
    return from_arrays(
        FASHION_MNIST.name,
        **arrays,
        source=SAMPLE_SOURCE,
        notes=("a stratified SAMPLE of Fashion-MNIST, not the data set",),
    )


def write_sample(dataset: Dataset, path: Path) -> None:
    """Draws the sample from the full data set and writes it, the same file for any row order.

    In each class of each split the images are ranked by the SHA-256 of a fixed key followed by
    the image's bytes, and the first 600 (100) are taken; the same rank orders the rows of the
    file. So the choice depends on the images alone, not on how a source orders them. An image that
    occurs twice, or in both splits, is taken at most once (training first).

    Args:
        dataset: The full Fashion-MNIST, from any source.
        path: The .npz file to write, uint8 images and labels.

    Raises:
        ArgumentError: `dataset` is not the full Fashion-MNIST.
    """
    counts = {"train": len(dataset.x_train), "test": len(dataset.x_test)}
    if dataset.name != FASHION_MNIST.name or counts != FASHION_MNIST.counts:
        raise ArgumentError(f"dataset={dataset.describe()!r} must be the full Fashion-MNIST")
    taken: set[bytes] = set()
    arrays = {}
    for split, per_class in PER_CLASS.items():
        images = np.rint(getattr(dataset, f"x_{split}") * 255).astype(np.uint8)
        labels = getattr(dataset, f"y_{split}")
        rows = _select(images, labels, per_class, taken)
        arrays[f"x_{split}"] = images[rows]
        arrays[f"y_{split}"] = labels[rows].astype(np.uint8)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as stream:
        np.savez_compressed(stream, **arrays)
    os.replace(stream.name, path)


def _select(images: np.ndarray, labels: np.ndarray, per_class: int, taken: set[bytes]) -> list[int]:
    """Row numbers of the sample, in rank order; adds the ranks of the chosen to `taken`."""
    ranks = [hashlib.sha256(_SELECTION_KEY + image.tobytes()).digest() for image in images]
    room = dict.fromkeys(range(len(FASHION_MNIST.class_names)), per_class)
    chosen = []
    for row in sorted(range(len(images)), key=ranks.__getitem__):
        label = int(labels[row])
        if room[label] and ranks[row] not in taken:
            room[label] -= 1
            taken.add(ranks[row])
            chosen.append(row)
    return chosen
