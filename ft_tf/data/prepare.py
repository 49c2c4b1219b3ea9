"""Local IDX or CIFAR-10 files to a TFDS directory, without any network.

What is written is what TFDS's own builder would have prepared, under its name and version, with
one difference: the rows keep the order of the files, where TFDS shuffles them by a hash. So the
prepared directory and the files it was made from have the same fingerprint.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ft_tf._compat import tf
from ft_tf.checks import check_choice
from ft_tf.data import tfds_source
from ft_tf.data.cifar import read_cifar_directory
from ft_tf.data.files import first_line, tfds_root
from ft_tf.data.idx import read_idx_directory
from ft_tf.data.specs import CIFAR10, IMAGE_SPECS, ImageSpec
from ft_tf.errors import DataError


def prepare(
    name: str,
    *,
    source_dir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    spec: ImageSpec | None = None,
) -> Path:
    """Turns local files into a directory that `tfds.load(name, data_dir=..., ...)` reads.

    The source is read and checked before anything is written. The work is done beside the target,
    read back, compared with the source, and renamed at the end: an interrupted call leaves no
    target.

    Args:
        name: "fashion_mnist" (IDX files, .gz or plain) or "cifar10" (binary batches, or the
            Python version, which is not unpickled).
        source_dir: The directory that holds the files.
        data_dir: The TFDS data directory to write to; TFDS's own default when None.
        spec: What the files must be; by default the official data set.

    Returns:
        The directory data_dir/name/version that was made.

    Raises:
        ArgumentError: an unknown name.
        DataError: a source file is missing or bad; the target exists or cannot be written.
        StackError: TensorFlow Datasets cannot be imported.
    """
    check_choice(tuple(IMAGE_SPECS), dataset=name)
    spec = spec or IMAGE_SPECS[name]
    source = Path(source_dir).expanduser()
    if not source.is_dir():
        raise DataError(f"from={os.fspath(source_dir)!r} is not a directory")
    tfds = tfds_source.import_tfds()
    version = str(tfds.builder_cls(name).VERSION)
    target = tfds_root(data_dir) / name / version
    if target.exists():
        raise DataError(f"{target} exists and is never overwritten: remove it, or choose another")

    read = read_cifar_directory if name == CIFAR10.name else read_idx_directory
    arrays = read(source, spec)
    try:
        with (
            tfds_source.quiet(),
            _new_parents(target),
            tempfile.TemporaryDirectory(dir=target.parent, prefix="incomplete.") as temporary,
        ):
            work = Path(temporary) / version
            work.mkdir()
            _write(work, arrays, spec)
            _verify(work, arrays, spec)
            os.rename(work, target)
    except (OSError, tf.errors.OpError) as error:
        shown = os.fspath(tfds_root(data_dir))
        raise DataError(f"data_dir={shown!r} cannot be written ({first_line(error)})") from None
    return target


@contextlib.contextmanager
def _new_parents(target: Path) -> Iterator[None]:
    """Makes the directories above `target`; when the block fails, none of them stays behind."""
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                parent.rmdir()
        raise


def _write(work: Path, arrays: dict[str, np.ndarray], spec: ImageSpec) -> None:
    """The record files and TFDS's description of them."""
    tfds = tfds_source.import_tfds()
    features = {
        "image": tfds.features.Image(shape=spec.shape, dtype=np.uint8, encoding_format="png"),
        "label": tfds.features.ClassLabel(names=list(spec.class_names)),
    }
    if spec.name == CIFAR10.name:
        features["id"] = tfds.features.Text()
    template = tfds.core.ShardedFileTemplate(
        data_dir=os.fspath(work),
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        dataset_name=spec.name,
        filetype_suffix="tfrecord",
    )
    split_infos = []
    for split, count in spec.counts.items():
        path = work / f"{spec.name}-{split}.tfrecord-00000-of-00001"
        num_bytes = _write_records(path, arrays[f"x_{split}"], arrays[f"y_{split}"], split, spec)
        split_infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[count],
                num_bytes=num_bytes,
                filename_template=template.replace(split=split),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=os.fspath(work),
        features=tfds.features.FeaturesDict(features),
        split_infos=split_infos,
        version=work.name,
        check_data=False,
        description=f"{spec.name}, prepared offline from the published files; rows in their order.",
        homepage=spec.homepage,
        supervised_keys=("image", "label"),
    )


def _write_records(
    path: Path, images: np.ndarray, labels: np.ndarray, split: str, spec: ImageSpec
) -> int:
    """Writes one record per example and returns the bytes of all of them."""
    num_bytes = 0
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            png = tf.io.encode_png(image).numpy()
            feature = {"image": _bytes_feature(png), "label": _int_feature(int(label))}
            if spec.name == CIFAR10.name:
                feature["id"] = _bytes_feature(f"{split}_{row:05d}".encode())
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            record = example.SerializeToString(deterministic=True)
            num_bytes += len(record)
            writer.write(record)
    return num_bytes


def _bytes_feature(value: bytes) -> "tf.train.Feature":
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int_feature(value: int) -> "tf.train.Feature":
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _verify(work: Path, arrays: dict[str, np.ndarray], spec: ImageSpec) -> None:
    """Reads back what was written: a full disk or a bad codec must not become a data set."""
    stored = tfds_source.read(work, spec).arrays
    for key, values in arrays.items():
        if not np.array_equal(stored[key], values):
            raise DataError(f"{work}: {key} read back differs from what was written")
