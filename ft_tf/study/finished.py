"""A finished run, brought back: its record, its model, and the data that it was trained on."""

import dataclasses
from pathlib import Path

from ft_tf import models, records
from ft_tf._compat import keras
from ft_tf.data import Dataset, load
from ft_tf.errors import DataError, RunError
from ft_tf.study import config as configs
from ft_tf.study import directory as runs
from ft_tf.study.config import RunConfig
from ft_tf.study.execution import limited


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run whose record says "finished".

    Attributes:
        directory: where it lives.
        record: its record.
        config: its configuration.
        model: the trained classifier, float32.
        data: the data set, cut as in the run.
    """

    directory: Path
    record: records.Run
    config: RunConfig
    model: keras.Model
    data: Dataset


def load_run(
    directory: Path, *, data_dir: str | None = None, download: bool = False
) -> FinishedRun:
    """Loads a finished run.

    Raises:
        RunError: there is no record, or no model beside it, or the run failed.
        DataError: the data here are not those of the run.
        ModelError: the model file is damaged.
    """
    record = records.load(directory)
    if not isinstance(record, records.Run) or record.status != "finished":
        raise RunError(f"run={str(directory)!r} is no finished training: there is no model to test")
    config = configs.from_dict(record.config)
    if not (directory / runs.MODEL).exists():
        raise RunError(
            f"run={str(directory)!r} has a record but no {runs.MODEL} (committed records come "
            "without weights): train it again, with experiments.reproduce or experiments.train"
        )
    model = models.load(directory / runs.MODEL)
    data = load(config.dataset, data_dir=data_dir, download=download)
    if data.fingerprint != record.data.fingerprint:
        raise DataError(
            f"run={str(directory)!r} was trained on {record.data.source}, but "
            f"{data.source} was found: give the --data_dir of the run"
        )
    return FinishedRun(directory, record, config, model, limited(data, config))
