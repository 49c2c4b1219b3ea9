"""Reading (and, when asked, downloading) a data set in a TensorFlow Datasets directory.

The directory's description is read here and not by TFDS, which imports the Python classes that it
names. The records are decoded in batches, several times faster than by TFDS's general pipeline.
"""

import contextlib
import dataclasses
import importlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging

from ft_tf._compat import VERBOSE, tf
from ft_tf.checks import shown
from ft_tf.data.dataset import MOST_CLASSES
from ft_tf.data.files import MAX_BYTES, first_line, refuse_labels
from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError, DataNotFoundError, StackError
from ft_tf.untrusted import check_regular, parse_json

_JSON_SIZE = 1 << 24
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_CONNECTORS = {
    f"tensorflow_datasets.core.features.{name}": kind
    for name, kind in {
        "features_dict.FeaturesDict": "featuresDict",
        "image_feature.Image": "image",
        "class_label_feature.ClassLabel": "classLabel",
        "text_feature.Text": "text",
    }.items()
}
"""What features.json may name, and the key under which it keeps that feature's options."""
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
    """
    info = _json(directory / "dataset_info.json")
    encoding = _check_features(directory / "features.json", spec)
    arrays = {}
    jpeg = encoding == "jpeg"
    files = _record_files(directory, info, spec)
    for split, count in spec.counts.items():
        x = np.empty((count, *spec.shape), np.uint8)
        y = np.empty(count, np.int64)
        start = 0
        for path, length in files[split]:
            stop = start + length
            jpeg |= _read_file(path, spec, x[start:stop], y[start:stop])
            start = stop
        arrays[f"x_{split}"], arrays[f"y_{split}"] = x, y
    return TfdsArrays(arrays, directory.name, _notes(info.get("description"), jpeg))


def spec_of(directory: Path, name: str) -> ImageSpec:
    """Returns what a prepared directory says that it holds, for a data set that is not known here.

    Raises:
        DataError: no images of one size with labels, or no test split.
    """
    path, features = directory / "features.json", dict(_features(directory / "features.json"))
    image, label = (features.get(key, ("", {}))[1] for key in ("image", "label"))
    try:
        shape = image["shape"]
        shape = tuple(map(int, shape["dimensions"] if isinstance(shape, dict) else shape))
        classes = int(label["numClasses"] if "numClasses" in label else label["num_classes"])
    except (KeyError, TypeError, ValueError, OverflowError):  # of an infinity
        raise DataError(f"{path}: must have an Image `image` and a ClassLabel `label`") from None
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(f"{path}: images must have one size: write them to a folder, a class each")
    lengths = _shard_lengths(directory, _json(directory / "dataset_info.json"))
    test, train = (sum(lengths.get(split, [])) for split in ("test", "train"))
    if not test:
        raise DataError(f"{directory}: has no split `test`")
    if (test + train) * math.prod(shape) > MAX_BYTES or not 0 < classes <= MOST_CLASSES:
        raise DataError(f"{directory}: more than {MAX_BYTES} bytes or {MOST_CLASSES} classes")
    return ImageSpec(name, shape, train, test, tuple(map(str, range(classes))), homepage="")


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


def _json(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        if path.stat().st_size > _JSON_SIZE:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, too many")
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no JSON object: prepare the data set again")
    return found


def _record_files(
    directory: Path, info: dict[str, Any], spec: ImageSpec
) -> dict[str, list[tuple[Path, int]]]:
    """The record files of each split, all in `directory`, with their numbers of examples."""
    lengths = _shard_lengths(directory, info)
    files = {}
    for split, count in spec.counts.items():
        shards = lengths.get(split, [])
        if sum(shards) != count or min(shards, default=0) < 0 or len(shards) > count:
            held = sum(shards) if split in lengths else "no"
            raise DataError(f"{directory}: holds {held} {split} examples, {spec.name} has {count}")
        files[split] = [
            (
                directory / f"{spec.name}-{split}.tfrecord-{number:05d}-of-{len(shards):05d}",
                length,
            )
            for number, length in enumerate(shards)
        ]
    return files


def _shard_lengths(directory: Path, info: dict[str, Any]) -> dict[str, list[int]]:
    path = directory / "dataset_info.json"
    if info.get("fileFormat", "tfrecord") != "tfrecord":
        raise DataError(f"{path}: file format {shown(info['fileFormat'])} must be tfrecord")
    try:
        lengths = {
            split["name"]: [int(length) for length in split["shardLengths"]]
            for split in info["splits"]
        }
        templates = {split.get("filepathTemplate", _TEMPLATE) for split in info["splits"]}
        if any(abs(length) > MAX_BYTES for shards in lengths.values() for length in shards):
            raise ValueError(f"a shard of more than {MAX_BYTES} examples")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{path}: not a TFDS data set that this version reads ({first_line(error)})"
        ) from None
    if templates - {_TEMPLATE}:
        raise DataError(f"{path}: file names must follow {_TEMPLATE}: prepare the data set again")
    return lengths


def _check_features(path: Path, spec: ImageSpec) -> str | None:
    """Refuses features other than the data set's; returns how the images say to be encoded."""
    features = dict(_features(path))
    kind, image = features.get("image", ("", {}))
    if kind != "image" or features.get("label", ("", {}))[0] != "classLabel":
        raise DataError(f"{path}: must have an Image `image` and a ClassLabel `label`")
    shape = image.get("shape")
    sizes = shape.get("dimensions") if isinstance(shape, dict) else shape
    sizes = tuple(map(str, sizes)) if isinstance(sizes, list) else ()
    dtype = image.get("dtype", "uint8")
    if sizes != tuple(map(str, spec.shape)) or dtype != "uint8":
        raise DataError(
            f"{path}: images of shape ({', '.join(sizes)[:100]}) and dtype={shown(dtype)}, "
            f"{spec.name} has uint8 of shape {spec.shape}"
        )
    return image.get("encodingFormat", image.get("encoding_format"))


def _features(path: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """The name, kind and options of each feature; older files write type and content.

    A class that the file names is compared with those of TFDS, and never imported.
    """
    try:
        kind, found = _feature(_json(path), path)
        if kind != "featuresDict":
            return
        for name, described in found.get("features", found).items():
            yield name, _feature(described, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a TFDS data set that this version reads ({first_line(error)})"
        ) from None


def _feature(described: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    older = "type" in described
    name = described["type"] if older else described.get("pythonClassName")
    if name not in _CONNECTORS:
        raise DataError(
            f"{path}: names the class {shown(name)}; of features, only images, labels and texts of "
            "TFDS are read: prepare the data set again"
        )
    kind = _CONNECTORS[name]
    options = described["content" if older else kind]
    if not isinstance(options, dict):
        raise TypeError(f"{kind} is {options!r}")
    return kind, options


def _notes(description: Any, jpeg: bool) -> tuple[str, ...]:
    """A note when the pixels went through JPEG, by their encoding or by the set's own account."""
    if jpeg or re.search(r"\bjpe?g\b", str(description), re.IGNORECASE):
        return ("images decoded from a JPEG re-encoding of the originals: pixels are lossy",)
    return ()


def _read_file(path: Path, spec: ImageSpec, x: np.ndarray, y: np.ndarray) -> bool:
    """Fills `x` and `y` with all the examples of one TFRecord file; whether any is a JPEG."""
    start, jpeg = 0, False
    _check_lengths(path, most=4 * math.prod(spec.shape) + 4096)
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


def _check_lengths(path: Path, most: int) -> None:
    """Refuses a record that is longer than its file or `most`: TensorFlow ends the process there.

    The bound also limits what a compressed image can unpack to.
    """
    try:
        check_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            position = 0
            while position < size:
                file.seek(position)
                header = file.read(8)
                length = int.from_bytes(header, "little")
                position += length + 16  # the length, two checksums, the record
                if position > size or length > most or len(header) < 8:
                    raise DataError(
                        f"{path}: missing, truncated or corrupt TFRecord file (a record of "
                        f"{length:,} bytes)"
                    )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


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
