"""Reading (and, when asked, downloading) a data set in a TensorFlow Datasets directory.

TFDS describes the directory; the records are read and decoded here, in batches, which is several
times faster than its general pipeline and lets an error name the file.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from absl import logging

from ft_tf._compat import VERBOSE, tf
from ft_tf.data.files import first_line, refuse_labels
from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError, DataNotFoundError, StackError

_CHUNK = 64
"""Images decoded by one graph call, side by side: a loop in the graph costs more than it does."""


@dataclasses.dataclass(frozen=True)
class TfdsArrays:
    """What a TFDS directory holds: uint8 images, int64 labels, the version, and what to know."""

    arrays: dict[str, np.ndarray]
    version: str
    notes: tuple[str, ...]


def read(directory: Path, spec: ImageSpec) -> TfdsArrays:
    """Reads data_dir/name/version into memory, rows in the order of the files.

    Args:
        directory: data_dir/name/version, as `files.find_tfds_version` returns it.
        spec: The shape, row counts and classes that it must have.

    Returns:
        x_train, x_test: uint8 [n, h, w, c]; y_train, y_test: int64 [n].

    Raises:
        DataError: a file is missing, truncated, corrupt, or not what `spec` says.
        StackError: TensorFlow Datasets cannot be imported.
    """
    info = _builder_info(directory)
    encoding = _check_features(info.features, spec, directory)
    arrays = {}
    jpeg = encoding == "jpeg"
    for split, count in spec.counts.items():
        if split not in info.splits or info.splits[split].num_examples != count:
            held = info.splits[split].num_examples if split in info.splits else "no"
            raise DataError(f"{directory}: holds {held} {split} examples, {spec.name} has {count}")
        x = np.empty((count, *spec.shape), np.uint8)
        y = np.empty(count, np.int64)
        start = 0
        files = zip(info.splits[split].filepaths, info.splits[split].shard_lengths, strict=True)
        for path, length in files:
            stop = start + length
            jpeg |= _read_file(Path(path), spec, x[start:stop], y[start:stop])
            start = stop
        arrays[f"x_{split}"], arrays[f"y_{split}"] = x, y
    return TfdsArrays(arrays, directory.name, _notes(info.description, jpeg))


def download(name: str, data_dir: Path) -> Path:
    """Lets TFDS download and prepare a data set, and returns its directory.

    Raises:
        DataNotFoundError: it could not.
        StackError: TensorFlow Datasets cannot be imported.
    """
    tfds = import_tfds()
    try:
        builder = tfds.builder(name, data_dir=os.fspath(data_dir))
        builder.download_and_prepare()
    except Exception as error:  # TFDS, its HTTP client and the file system raise what they like
        raise DataNotFoundError(
            f"{name} cannot be downloaded to data_dir={os.fspath(data_dir)!r} "
            f"({first_line(error)}): get the files by hand and run experiments.prepare_data"
        ) from None
    return Path(builder.data_dir)


def import_tfds() -> ModuleType:
    """TensorFlow Datasets, its progress bars off.

    Raises:
        StackError: it cannot be imported.
    """
    try:
        tfds = importlib.import_module("tensorflow_datasets")
    except ImportError as error:
        raise StackError(
            f"TensorFlow Datasets cannot be imported ({error}): "
            "pip install tensorflow-datasets importlib_resources"
        ) from None
    tfds.disable_progress_bar()
    return tfds


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS's INFO and WARNING lines off the terminal, which absl binaries would show."""
    before = logging.get_verbosity()
    if not VERBOSE:
        logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _builder_info(directory: Path):  # noqa: ANN202 (TFDS's DatasetInfo, imported lazily)
    """What TFDS knows of the directory, from its files alone: it never asks the network."""
    tfds = import_tfds()
    for name in ("dataset_info.json", "features.json"):
        try:
            json.loads((directory / name).read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{directory / name}: cannot be read ({first_line(error)})") from None
    try:
        with quiet():
            info = tfds.builder_from_directory(os.fspath(directory)).info
    except Exception as error:  # valid JSON of another kind fails in many ways inside TFDS
        raise DataError(
            f"{directory}: not a TFDS data set that this version reads ({first_line(error)})"
        ) from None
    if info.file_format.value != "tfrecord":
        raise DataError(f"{directory}: file format {info.file_format.value!r} must be tfrecord")
    return info


def _check_features(features, spec: ImageSpec, directory: Path) -> str | None:  # noqa: ANN001
    """Refuses features other than the data set's; returns how the images say to be encoded."""
    kinds = import_tfds().features
    named = dict(features.items()) if isinstance(features, kinds.FeaturesDict) else {}
    image = named.get("image")
    if not isinstance(image, kinds.Image) or not isinstance(named.get("label"), kinds.ClassLabel):
        raise DataError(
            f"{directory / 'features.json'}: must have an Image `image` and a ClassLabel `label`"
        )
    if tuple(image.shape) != spec.shape or image.np_dtype != np.uint8:
        raise DataError(
            f"{directory / 'features.json'}: images of shape {tuple(image.shape)} and type "
            f"{np.dtype(image.np_dtype).name}, {spec.name} has uint8 of shape {spec.shape}"
        )
    return image.encoding_format


def _notes(description: str | None, jpeg: bool) -> tuple[str, ...]:
    """A note when the pixels went through JPEG, by their encoding or by the set's own account."""
    if jpeg or re.search(r"\bjpe?g\b", description or "", re.IGNORECASE):
        return ("images decoded from a JPEG re-encoding of the originals: pixels are lossy",)
    return ()


def _read_file(path: Path, spec: ImageSpec, x: np.ndarray, y: np.ndarray) -> bool:
    """Fills `x` and `y` with all the examples of one TFRecord file; whether any is a JPEG."""
    start, jpeg = 0, False
    try:
        for images, labels, batch_jpeg in _batches(path, spec):
            stop = start + len(labels)
            if stop > len(y):
                raise DataError(f"{path}: holds more than the {len(y)} examples it should")
            x[start:stop], y[start:stop] = images, labels
            start, jpeg = stop, jpeg or bool(batch_jpeg)
    except tf.errors.OpError as error:
        raise DataError(
            f"{path}: missing, truncated or corrupt TFRecord file ({first_line(error)[:120]})"
        ) from None
    if start != len(y):
        raise DataError(f"{path}: truncated: holds {start} examples, should hold {len(y)}")
    refuse_labels(y, spec, path)
    return jpeg


def _batches(path: Path, spec: ImageSpec) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def decode(records: "tf.Tensor") -> tuple:
        parsed = tf.io.parse_example(records, features)
        encoded = parsed["image"]
        n = tf.shape(encoded)[0]
        full = tf.concat([encoded, tf.repeat(encoded[-1:], _CHUNK - n)], axis=0)
        images = [
            tf.ensure_shape(tf.io.decode_png(image, channels=spec.shape[-1]), spec.shape)
            for image in tf.unstack(full, _CHUNK)
        ]
        jpeg = tf.reduce_any(tf.strings.substr(encoded, 0, 2) == b"\xff\xd8")
        return tf.stack(images)[:n], parsed["label"], jpeg

    records = tf.data.TFRecordDataset(os.fspath(path), buffer_size=1 << 20).batch(_CHUNK)
    decoded = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return decoded.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
