"""The runs of a study as jobs, with what they are expected to cost."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from ft_tf import architectures, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.records import Record
from ft_tf.study import datasets
from ft_tf.study.config import RunConfig
from ft_tf.study.datasets import DatasetRef
from ft_tf.study.execution import directory_of, run
from ft_tf.study.schedule import Job


def cost(config: RunConfig, *, examples: int) -> float:
    """Expected work of a training, in millions of multiply-adds of forward passes."""
    passes = config.algorithm.passes(classes=datasets.get(config.dataset).classes)
    return architectures.get(config.architecture).cost * passes * config.epochs * examples


class _Share(keras.callbacks.Callback):
    """Reports the finished share of a training: what was done before it, then after every step."""

    def __init__(self, epochs: int, report: Callable[[float], None]) -> None:
        super().__init__()
        self._epochs = epochs
        self._report = report
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch
        self._report(epoch / self._epochs)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        steps = self.params.get("steps") or batch + 1
        self._report((self._epoch + (batch + 1) / steps) / self._epochs)


@dataclasses.dataclass(frozen=True)
class _Training:
    config: RunConfig
    data: DatasetRef
    output_dir: Path

    def __call__(self, report: Callable[[float], None]) -> Record:
        share = _Share(self.config.epochs, report)
        return run(self.config, self.data.get(), self.output_dir, callbacks=[share])


def training_job(
    config: RunConfig, data: Dataset, output_dir: Path, *, data_dir: str | None = None
) -> Job:
    """A training and its evaluation as a job.

    Args:
        config: of the run.
        data: the data set that it names.
        output_dir: the run's own directory is made below it.
        data_dir: where the data set was found; another process that does the job loads it there.
    """
    directory = directory_of(config, data, output_dir)
    return Job(
        name=directory.name,
        cost=cost(config, examples=config.train_limit or len(data.x_train)),
        is_done=(directory / records.FILE_NAME).exists,
        execute=_Training(config, DatasetRef(data, data_dir), output_dir.absolute()),
    )
