"""The IDX files in which Fashion-MNIST is published, plain or gzip-compressed."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ft_tf.data.files import refuse_labels
from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError

_UINT8 = 0x08
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads one IDX file of unsigned bytes; a name that ends in .gz is decompressed.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the values.

    Args:
        path: The file.
        shape: What its header has to say; checked before anything is read, so that a corrupt
            header cannot ask for memory.

    Returns:
        uint8, of that shape.

    Raises:
        DataError: the file is missing, truncated, corrupt or of another type or shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _read_stream(stream, path, shape)
    except EOFError:
        raise DataError(f"{path}: truncated gzip file: get it again") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read_stream(stream: BinaryIO, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    header = stream.read(4 + 4 * len(shape))
    magic = bytes((0, 0, _UINT8, len(shape)))
    if header[:4] != magic:
        raise DataError(
            f"{path}: not an IDX file of unsigned bytes with {len(shape)} dimensions "
            f"(begins with {header[:4].hex() or 'nothing'}, expected {magic.hex()})"
        )
    if len(header) < 4 + 4 * len(shape):
        raise DataError(f"{path}: truncated in its header: get it again")
    found = struct.unpack(f">{len(shape)}I", header[4:])
    if found != tuple(shape):
        raise DataError(f"{path}: holds an array of shape {found}, expected {tuple(shape)}")
    size = math.prod(shape)
    data = stream.read(size + 1)
    if len(data) != size:
        problem = "truncated" if len(data) < size else "longer than its header says"
        raise DataError(f"{path}: {problem} (expected {size} bytes of data): get it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_idx_directory(directory: Path, spec: ImageSpec) -> dict[str, np.ndarray]:
    """Reads the four files of Fashion-MNIST (or another set published like it).

    Args:
        directory: Holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same for t10k,
            each plain or with .gz.
        spec: The shape, row counts and classes that the files must have.

    Returns:
        x_train, x_test: uint8 [n, h, w, c]; y_train, y_test: uint8 [n].

    Raises:
        DataError: a file is missing, corrupt or not what `spec` says.
    """
    arrays = {}
    for split, (images, labels) in _FILES.items():
        n = spec.counts[split]
        height, width, _ = spec.shape
        arrays[f"x_{split}"] = read_idx(_find(directory, images), (n, height, width))[..., None]
        label_file = _find(directory, labels)
        arrays[f"y_{split}"] = read_idx(label_file, (n,))
        refuse_labels(arrays[f"y_{split}"], spec, label_file)
    return arrays


def _find(directory: Path, name: str) -> Path:
    for candidate in (directory / f"{name}.gz", directory / name):
        if candidate.is_file():
            return candidate
    raise DataError(f"{directory}: holds neither {name} nor {name}.gz")
