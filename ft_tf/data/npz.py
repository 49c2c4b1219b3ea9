"""A user's own images from one .npz file: arrays x_train, y_train, x_test, y_test."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ft_tf.data.dataset import Dataset, from_arrays
from ft_tf.errors import ArgumentError, DataError

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
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(f"data={str(path)!r} holds {size} bytes, more than {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as found:
            missing = [key for key in ARRAYS if key not in found]
            if missing:
                raise DataError(
                    f"data={str(path)!r} has no array {missing[0]}: it must hold "
                    f"{', '.join(ARRAYS)}"
                )
            return {key: found[key] for key in ARRAYS}
    except OSError as error:
        raise DataError(f"data={str(path)!r} cannot be read: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"data={str(path)!r} is no .npz file of plain arrays ({reason}): write it with "
            "numpy.savez"
        ) from None
