"""The CIFAR-10 batches as published: the binary version, and the Python one, not unpickled."""

import dataclasses
import math
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf.data.files import first_line, refuse_labels
from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError
from ft_tf.untrusted import check_regular

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
    """Reads a batch of the Python version, by what its pickle says: nothing in it is called.

    Returns:
        Images uint8 [count, h, w, c] and labels uint8 [count].

    Raises:
        DataError: as `read_binary_batch`, and for a pickle that holds more than such a batch.
    """
    pixels = int(np.prod(spec.shape))
    try:
        check_regular(path)
        if path.stat().st_size > 2 * count * (pixels + 100) + 10_000:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, too many")
        batch = _parse_pickle(path.read_bytes(), most=10 * count + 1000)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a corrupt pickle can raise nearly anything
        raise DataError(
            f"{path}: not a CIFAR-10 batch ({first_line(error)[:200]}): take the binary version"
        ) from None
    data, labels = _batch_arrays(batch, (count, pixels))
    if data is None or labels.shape != (count,):
        raise DataError(
            f"{path}: not a CIFAR-10 batch of {count} images with {pixels} bytes each and as many "
            "labels: take the binary version"
        )
    refuse_labels(labels, spec, path)
    return _planes_to_images(data, spec), labels.astype(np.uint8)


_NAMES = frozenset({
    "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray",
    "numpy dtype", "_codecs encode",
})  # fmt: skip
"""What the pickle of an array of bytes names: module and name."""


@dataclasses.dataclass(eq=False)
class _Call:
    """A call that a pickle asks for, which is recorded and not made."""

    function: str
    arguments: tuple
    state: Any = None


def _parse_pickle(content: bytes, most: int) -> Any:
    """Returns what a pickle of lists, dicts, tuples, integers, texts and arrays describes.

    Neither NumPy nor Python's unpickler sees it: an array's `__setstate__` makes pointers of any
    bytes, and a key of nested tuples takes exponential time. Each call becomes a `_Call`, each text
    bytes, and no other key is allowed.

    Args:
        content: The pickle, of protocol 2, 3 or 4.
        most: Instructions that it may consist of.

    Raises:
        Exception: it is damaged, or holds anything else.
    """
    stack: list[Any] = []  # texts on it are bytes: a str is a name of `_NAMES`
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def take(start: int) -> list[Any]:
        taken, stack[start:] = stack[start:], []
        return taken

    for number, (opcode, value, _) in enumerate(pickletools.genops(content)):
        if number > most:
            raise ValueError(f"it has more than {most:,} instructions")
        name = opcode.name
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINBYTES" | "SHORT_BINBYTES":
                stack.append(value)
            case "BINSTRING" | "SHORT_BINSTRING" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(value.encode("latin-1"))  # as which `genops` reads bytes of Python 2
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_LIST" | "EMPTY_DICT":
                stack.append([] if name == "EMPTY_LIST" else {})
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(take(marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(take(-int(name[-1]))))
            case "APPEND" | "APPENDS":
                items = take(-1 if name == "APPEND" else marks.pop())
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = take(-2 if name == "SETITEM" else marks.pop())
                if not all(isinstance(key, bytes) for key in items[::2]):
                    raise ValueError("it has a key that is no text, which is refused")
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if name == "MEMOIZE" else value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "GLOBAL" | "STACK_GLOBAL":
                named = value or b" ".join(take(-2)).decode()
                if named not in _NAMES:
                    raise ValueError(f"it asks for {named[:80]!r}, which is refused")
                stack.append(named)
            case "REDUCE":
                function, arguments = take(-2)
                if function == "_codecs encode":  # bytes, in protocol 2 of Python 3
                    stack.append(arguments[0])
                else:
                    stack.append(_Call(function, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _:
                raise ValueError(f"it holds the instruction {name}, which is refused")
    return stack.pop()


def _batch_arrays(batch: Any, shape: tuple[int, int]) -> tuple[np.ndarray | None, np.ndarray]:
    """The arrays `data` and `labels` of a batch; (None, empty) when they are not such arrays."""
    nothing = None, np.empty(0, np.int64)
    if not isinstance(batch, dict):
        return nothing
    labels = batch.get(b"labels")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        return nothing
    labels = np.array([min(max(label, -1), 256) for label in labels], np.int64)
    match batch.get(b"data"):
        case _Call(_, _, (_, found, _Call("numpy dtype", (b"u1", *_)), by_column, bytes(content))):
            if found == shape and len(content) == math.prod(shape):
                order = "F" if by_column else "C"
                return np.frombuffer(content, np.uint8).reshape(shape, order=order), labels
    return nothing


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
