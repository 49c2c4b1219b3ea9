"""A data set that travels between processes as its description, and is loaded where it arrives."""

import functools
import os
from typing import Any

from ft_tf.data import Dataset, load
from ft_tf.errors import DataError


class HeldData:
    """Holds a data set; pickled, it is a few strings, and `get` loads it once in each process.

    Args:
        dataset: what `get` gives in this process.
        data_dir: where `data.load` found it, or None as there.
    """

    def __init__(self, dataset: Dataset, data_dir: str | None) -> None:
        self._dataset: Dataset | None = dataset
        place = None if data_dir is None else os.path.abspath(data_dir)
        self._description = (dataset.name, place, dataset.source, dataset.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        """The description alone."""
        return {"_dataset": None, "_description": self._description}

    def get(self) -> Dataset:
        """The data set.

        Raises:
            DataError: what is found here is not the data set of the process that sent this.
        """
        if self._dataset is None:
            self._dataset = _loaded(*self._description)
        return self._dataset


@functools.cache
def _loaded(name: str, data_dir: str | None, source: str, fingerprint: str) -> Dataset:
    dataset = load(name, data_dir=data_dir, source=source)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"dataset={name!r} from {source} has sha256 {dataset.fingerprint[:12]} in a worker, "
            f"but {fingerprint[:12]} where the study was started: all must see the same files"
        )
    return dataset
