"""A user's own images from one .npz file: arrays x_train, y_train, x_test, y_test."""

import os
from pathlib import Path

import numpy as np

from ft_tf.checks import check_path
from ft_tf.data.dataset import Dataset, from_arrays
from ft_tf.errors import ArgumentError, DataError
from ft_tf.untrusted import read_npz

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MAX_BYTES = 8 * 2**30
"""Largest sum of the arrays' sizes that is read."""


def load_npz(path: str | os.PathLike, *, name: str | None = None) -> Dataset:
    """Loads a data set from a .npz file, as numpy.savez writes it. Nothing in it is executed.

    Images are [n, h, w, c] or [n, h, w]: uint8 in 0..255, which are divided by 255, or floating
    in [0, 1]. Labels are integers [n]; every label from 0 to the highest one occurs in y_train.

    Args:
        path: of the file.
        name: of the data set; by default the file's name without its ending.

    Raises:
        DataError: the file cannot be read, or an array is missing.
        ArgumentError: an array's shape, type or values cannot be used.
    """
    check_path(data=path)
    path = Path(path)
    arrays = _read(path)
    for key in ("x_train", "x_test"):
        if arrays[key].ndim == 3:
            arrays[key] = arrays[key][..., np.newaxis]
        if arrays[key].dtype != np.uint8 and arrays[key].dtype.kind != "f":
            raise ArgumentError(
                f"data={str(path)!r}: {key}.dtype={arrays[key].dtype} must be uint8, with pixels "
                "in 0..255, or floating, with pixels in [0, 1]"
            )
    name = name or path.stem
    try:
        dataset = from_arrays(name, **arrays, source=f"npz:{name}")
    except ArgumentError as error:
        raise ArgumentError(f"data={str(path)!r}: {error}") from None
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.y_train)
    if missing.size:
        raise ArgumentError(
            f"data={str(path)!r}: y_train has no label {missing[0]}: labels must be "
            f"0..{dataset.num_classes - 1} without a gap"
        )
    if dataset.num_classes < 2:
        raise ArgumentError(f"data={str(path)!r}: y_train must have at least two classes")
    return dataset


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_npz(path, ARRAYS)
    except OSError as error:
        raise DataError(f"data={str(path)!r} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(
            f"data={str(path)!r} cannot be used ({error}): write it with numpy.savez, the arrays "
            f"named {', '.join(ARRAYS)}"
        ) from None
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES:
        raise DataError(f"data={str(path)!r} holds {size} bytes, more than {MAX_BYTES}")
    return arrays
