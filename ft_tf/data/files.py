"""What the readers of data files share: where TFDS keeps things, and how errors read."""

import os
import re
from pathlib import Path

import numpy as np

from ft_tf.data.specs import ImageSpec
from ft_tf.errors import DataError

MAX_BYTES = 8 * 2**30
"""Largest sum of the sizes of a user's arrays that is read."""


def tfds_root(data_dir: str | os.PathLike | None) -> Path:
    """`data_dir`, or TFDS's own default: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(data_dir).expanduser()


def find_tfds_version(root: Path, name: str) -> Path | None:
    """The directory root/name/version with the highest version that was fully prepared."""
    found = [
        path.parent
        for path in (root / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    return max(found, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def refuse_labels(labels: np.ndarray, spec: ImageSpec, path: Path) -> None:
    """Raises DataError, naming the file, when a label is outside the data set's classes."""
    if labels.size and not 0 <= labels.min() <= labels.max() < len(spec.class_names):
        raise DataError(
            f"{path}: labels range over {labels.min()}..{labels.max()}, "
            f"{spec.name} has 0..{len(spec.class_names) - 1}"
        )


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
