"""The CIFAR-10 batches as published: the binary version, and the Python one without its dangers."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ft_tf.data.files import first_line, refuse_labels
from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError

_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCHES = ("test_batch",)


def read_cifar_directory(directory: Path, spec: ImageSpec) -> dict[str, np.ndarray]:
    """Reads the six batches of CIFAR-10.

    Args:
        directory: Holds data_batch_1.bin ... data_batch_5.bin and test_batch.bin, or the same
            files of the Python version (no ending), or the folder that either archive unpacks to.
        spec: The shape, row counts and classes that the files must have. Each batch must hold
            num_train / 5 (num_test) examples.

    Returns:
        x_train, x_test: uint8 [n, 32, 32, 3]; y_train, y_test: uint8 [n]; in the files' order.

    Raises:
        DataError: a file is missing, corrupt, not what `spec` says, or a pickle that asks for
            more than arrays.
    """
    folder, suffix = _find_batches(directory)
    read = read_binary_batch if suffix else read_python_batch
    arrays = {}
    for split, names in (("train", _TRAIN_BATCHES), ("test", _TEST_BATCHES)):
        count = spec.counts[split] // len(names)
        batches = [read(folder / f"{name}{suffix}", count, spec) for name in names]
        arrays[f"x_{split}"] = np.concatenate([images for images, _ in batches])
        arrays[f"y_{split}"] = np.concatenate([labels for _, labels in batches])
    return arrays


def read_binary_batch(path: Path, count: int, spec: ImageSpec) -> tuple[np.ndarray, np.ndarray]:
    """Reads `count` rows of one label byte and the pixels, plane by plane (red, green, blue).

    Returns:
        Images uint8 [count, h, w, c] and labels uint8 [count].

    Raises:
        DataError: the file is missing or unreadable, has another size, or a label out of range.
    """
    height, width, channels = spec.shape
    row_size = 1 + height * width * channels
    try:
        size = path.stat().st_size
        if size != count * row_size:
            problem = "truncated" if size < count * row_size else "too long"
            raise DataError(
                f"{path}: {problem}: {size} bytes, expected {count} rows of {row_size} bytes"
            )
        rows = np.fromfile(path, np.uint8).reshape(count, row_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    refuse_labels(rows[:, 0], spec, path)
    return _planes_to_images(rows[:, 1:], spec), rows[:, 0]


def read_python_batch(path: Path, count: int, spec: ImageSpec) -> tuple[np.ndarray, np.ndarray]:
    """Reads a batch of the Python version through an unpickler that knows NumPy arrays only.

    Returns:
        Images uint8 [count, h, w, c] and labels uint8 [count].

    Raises:
        DataError: as `read_binary_batch`, and for a pickle that names any other function or class.
    """
    pixels = int(np.prod(spec.shape))
    try:
        if path.stat().st_size > 2 * count * (pixels + 100) + 10_000:
            raise pickle.UnpicklingError(f"it has {path.stat().st_size:,} bytes, too many")
        content = path.read_bytes()
        _check_opcodes(content)
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a corrupt pickle can raise nearly anything
        raise DataError(
            f"{path}: not a CIFAR-10 batch ({first_line(error)}): take the binary version"
        ) from None
    data, labels = _batch_arrays(batch)
    if data is None or data.shape != (count, pixels) or labels.shape != (count,):
        raise DataError(
            f"{path}: not a CIFAR-10 batch of {count} images with {pixels} bytes each and as many "
            "labels: take the binary version"
        )
    refuse_labels(labels, spec, path)
    return _planes_to_images(data, spec), labels.astype(np.uint8)


def _check_opcodes(content: bytes) -> None:
    """Refuses memo numbers beyond the file's size: the unpickler makes a table up to the largest.

    Raises:
        UnpicklingError: there is such a number.
        ValueError: it is no pickle.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and int(argument) > len(content):
            raise pickle.UnpicklingError(f"it numbers an object {int(argument):,}")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickling calls what the file names, so only what an array of bytes needs may be named."""

    _ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns one of the four allowed names, and refuses all others."""
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return self._ALLOWED[module, name]


def _batch_arrays(batch: Any) -> tuple[np.ndarray | None, np.ndarray]:
    """The arrays `data` and `labels` of a batch; (None, empty) when they are not such arrays."""
    nothing = None, np.empty(0, np.int64)
    if not isinstance(batch, dict):
        return nothing
    data = batch.get(b"data", batch.get("data"))
    labels = batch.get(b"labels", batch.get("labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        return nothing
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        return nothing
    return data, np.array([min(max(label, -1), 256) for label in labels], np.int64)


def _planes_to_images(planes: np.ndarray, spec: ImageSpec) -> np.ndarray:
    height, width, channels = spec.shape
    images = planes.reshape(len(planes), channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def _find_batches(directory: Path) -> tuple[Path, str]:
    """The folder that holds the batches, and their ending: ".bin", or "" for pickles."""
    for subfolder, suffix in (
        ("", ".bin"), ("cifar-10-batches-bin", ".bin"), ("", ""), ("cifar-10-batches-py", ""),
    ):  # fmt: skip
        if (directory / subfolder / f"{_TRAIN_BATCHES[0]}{suffix}").is_file():
            return directory / subfolder, suffix
    hint = ": unpack the .tar.gz first" if list(directory.glob("*.tar.gz")) else ""
    raise DataError(f"{directory}: holds no data_batch_1.bin (CIFAR-10, binary version){hint}")
