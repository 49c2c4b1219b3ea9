"""A user's own data: a .npz file, a folder of images, a TFDS data set, or a Python function."""

import dataclasses
import importlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf.checks import check_path
from ft_tf.data.dataset import Dataset, from_arrays
from ft_tf.data.files import MAX_BYTES, find_tfds_version, first_line, tfds_root
from ft_tf.data.specs import IMAGE_SPECS
from ft_tf.errors import ArgumentError, DataError, DataNotFoundError
from ft_tf.untrusted import read_npz

TEST, TRAIN = ("x_test", "y_test"), ("x_train", "y_train")
FORMS = "a .npz file, a folder of images, tfds:NAME or MODULE:FUNCTION"
_FUNCTION = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


@dataclasses.dataclass(frozen=True, eq=False)
class OwnData:
    """The arrays that a user names.

    Attributes:
        name: of the data set.
        source: where they come from, without a path.
        arrays: x_test and y_test; x_train and y_train if there are training examples.
        classes: of a folder, names in the order of their labels.
        notes: what the user has to know.
    """

    name: str
    source: str
    arrays: dict[str, Any]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def check_classes(self, outputs: int) -> None:
        """Raises DataError unless a model of so many classes can mean the classes of a folder."""
        if self.classes and len(self.classes) != outputs:
            raise DataError(
                f"data={self.name!r} has {len(self.classes)} folders of classes, the model "
                f"{outputs} classes; {self.order}"
            )

    @property
    def order(self) -> str:
        """Which labels the classes of a folder have, as a text."""
        more = ", ..." if len(self.classes) > 20 else ""
        return f"labels from 0 on are {', '.join(self.classes[:20])}{more}"


def read(
    data: str | os.PathLike,
    *,
    shape: tuple[int | None, ...] | None = None,
    data_dir: str | os.PathLike | None = None,
    download: bool = False,
) -> OwnData:
    """Reads the arrays that a user names; images of bytes become float32 in [0, 1].

    Args:
        data: a .npz file with the arrays x_test and y_test, and perhaps x_train and y_train; a
            folder with one folder of images per class, perhaps below test/ and train/; "tfds:NAME",
            a prepared data set of TensorFlow Datasets; or "MODULE:FUNCTION", which is imported and
            called, and returns x_test, y_test or x_test, y_test, x_train, y_train.
        shape: of a model's inputs, for images of a folder: their colours are those, and if all
            sizes differ from it they are resized.
        data_dir: TFDS directory.
        download: whether TFDS may download.

    Raises:
        DataError: they cannot be read.
    """
    check_path(data=data)
    text = os.fspath(data)
    if text.startswith("tfds:"):
        found = _tfds(text, data_dir, download)
    elif os.path.isdir(text):
        from ft_tf.data import image_folder  # brings TensorFlow, which the other forms do not need

        name = Path(text).resolve().name or "images"
        try:
            found = OwnData(name, f"folder:{name}", *image_folder.read(Path(text), shape))
        except OSError as error:
            raise DataError(f"data={text!r} cannot be read ({error})") from None
    elif _FUNCTION.fullmatch(text) and not os.path.exists(text):
        found = OwnData(text, f"function:{text}", _returned(text))
    else:
        found = OwnData(Path(text).stem, f"npz:{Path(text).stem}", _stored(text))
    size = sum(getattr(array, "nbytes", 0) for array in found.arrays.values())
    if size > MAX_BYTES:
        raise DataError(f"data={text!r} holds {size} bytes, more than {MAX_BYTES}")
    for key, array in found.arrays.items():
        if key[0] == "x" and getattr(array, "dtype", None) == np.uint8 and array.ndim > 2:
            found.arrays[key] = np.divide(array, np.float32(255), dtype=np.float32)
    return found


def load_own(data: str | os.PathLike, *, name: str | None = None, **options: Any) -> Dataset:
    """Loads a user's own images for training and testing.

    Images are [n, h, w, c] or [n, h, w]: uint8 in 0..255, which are divided by 255, or floating
    in [0, 1]. Labels are integers [n]; every label from 0 to the highest one occurs in y_train.

    Args:
        data: as `read` takes it; of files nothing is executed.
        name: of the data set; by default the file's name without its ending.
        **options: further ones of `read`.

    Raises:
        DataError: the data cannot be read, or an array is missing.
        ArgumentError: an array's shape, type or values cannot be used.
    """
    found = read(data, **options)
    where, arrays = f"data={os.fspath(data)!r}", dict(found.arrays)
    if missing := [key for key in TRAIN if key not in arrays]:
        raise DataError(f"{where} holds no array {missing[0]!r}: training data are needed too")
    for key in ("x_train", "x_test"):
        arrays[key] = np.asarray(arrays[key])
        if arrays[key].ndim == 3:
            arrays[key] = arrays[key][..., np.newaxis]
        if arrays[key].dtype != np.uint8 and arrays[key].dtype.kind != "f":
            raise ArgumentError(
                f"{where}: {key}.dtype={arrays[key].dtype} must be uint8, with pixels "
                "in 0..255, or floating, with pixels in [0, 1]"
            )
    source = found.source if name is None else f"{found.source.partition(':')[0]}:{name}"
    name = name or found.name
    try:
        dataset = from_arrays(name, **arrays, source=source, notes=found.notes)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error}") from None
    missing = np.setdiff1d(np.arange(dataset.num_classes), dataset.y_train)
    if missing.size:
        raise ArgumentError(
            f"{where}: y_train has no label {missing[0]}: labels must be "
            f"0..{dataset.num_classes - 1} without a gap"
        )
    if dataset.num_classes < 2:
        raise ArgumentError(f"{where}: y_train must have at least two classes")
    return dataset


def _stored(text: str) -> dict[str, np.ndarray]:
    try:
        return read_npz(text, TEST, optional=TRAIN)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"data={text!r} cannot be read ({reason}): name {FORMS}") from None
    except ValueError as error:
        raise DataError(
            f"data={text!r} cannot be used ({error}): write it with numpy.savez, the arrays "
            f"named {', '.join((*TRAIN, *TEST))}"
        ) from None


def _tfds(text: str, data_dir: str | os.PathLike | None, download: bool) -> OwnData:
    from ft_tf.data import tfds_source

    name, root = text.removeprefix("tfds:"), tfds_root(data_dir)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ArgumentError(f"data={text!r} must be tfds: and the name of a data set of TFDS")
    directory = find_tfds_version(root, name)
    if directory is None:
        if not download:
            raise DataNotFoundError(
                f"data={text!r} is not in {root} (no {name}/VERSION/dataset_info.json): give the "
                "--data_dir that holds it, or --download"
            )
        directory = tfds_source.download(name, root)
    spec = IMAGE_SPECS.get(name) or tfds_source.spec_of(directory, name)
    stored = tfds_source.read(directory, spec)
    arrays = {key: array for key, array in stored.arrays.items() if len(array)}
    return OwnData(text, f"{text}:{stored.version}", arrays, notes=stored.notes)


def _returned(text: str) -> dict[str, Any]:
    """The arrays that a user's function gives."""
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)()
    except Exception as error:  # a user's module may raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"data={text!r} cannot be called ({reason}): name {FORMS}") from None
    if not isinstance(found, tuple | list) or len(found) not in (2, 4):
        raise DataError(
            f"data={text!r} must return x_test, y_test or x_test, y_test, x_train, y_train"
        )
    return dict(zip((*TEST, *TRAIN), found, strict=False))
