"""A study is a list of independent jobs; `execute` runs them and shows how far they are."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TextIO

from ft_tf import architectures, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.executors import Executor, run_tasks
from ft_tf.executors.progress import Progress
from ft_tf.records import Circles, Record
from ft_tf.study import datasets
from ft_tf.study.config import RunConfig
from ft_tf.study.datasets import DatasetRef
from ft_tf.study.execution import directory_of, run


@dataclasses.dataclass(frozen=True)
class Job:
    """One entry of a study."""

    name: str  # for the user
    cost: float  # expected work in any unit common to all jobs; it only shapes the time left
    is_done: Callable[[], bool]  # whether a record is there already
    # Does the work; calls the function that it is given with the finished share in [0, 1], at first
    # with what was done before. To be done by a worker process it must pickle.
    execute: Callable[[Callable[[float], None]], Record]


def execute(
    jobs: Sequence[Job],
    *,
    executor: Executor | None = None,
    output_dir: Path = Path("."),
    stream: TextIO = sys.stdout,
) -> list[Record]:
    """Runs jobs and returns their records in the order of the jobs.

    A failed training does not stop the rest. Interrupted (Ctrl-C) or after an error it can be
    called again with the same jobs, which resume. On workers, a run whose worker dies is submitted
    again and resumes from its checkpoint; one that kills its worker every time is left out, and
    named when the others are done.

    Args:
        jobs: to run; one whose name came before finds the record of that one.
        executor: where workers come from; None runs the jobs in this process, one by one.
        output_dir: the directory that all workers write below.
        stream: where progress is shown.

    Raises:
        RunError: a run cannot be written or is in use, or killed its workers.
        FtTfError: as the jobs raise.
    """
    names, costs = [job.name for job in jobs], [job.cost for job in jobs]
    pending = [index for index, job in enumerate(jobs) if not job.is_done()]
    with closing(Progress(names, costs, pending, stream=stream)) as progress:
        found = {} if executor is None else _on_workers(jobs, executor, output_dir, progress)
        for index, job in enumerate(jobs):
            if index not in found:
                found[index] = _here(index, job, progress)
    return [found[index] for index in range(len(jobs))]


def _here(index: int, job: Job, progress: Progress) -> Record:
    was_done = job.is_done()
    if not was_done:
        progress.hear(index, None)
    record = job.execute(functools.partial(progress.hear, index))
    progress.finish(index, outcome(record), was_done=was_done)
    return record


def _on_workers(
    jobs: Sequence[Job], executor: Executor, output_dir: Path, progress: Progress
) -> dict[int, Record]:
    """Records by index of all jobs but those whose name came before."""
    # Those that are done are checked against their configurations before any worker starts.
    found = {i: _here(i, job, progress) for i, job in enumerate(jobs) if job.is_done()}
    names = [job.name for job in jobs]
    todo = [i for i, name in enumerate(names) if i not in found and names.index(name) == i]
    if not todo:
        return found
    output_dir.mkdir(parents=True, exist_ok=True)
    results = run_tasks(
        executor.open(output_dir),
        [jobs[i].execute for i in todo],
        names=[names[i] for i in todo],
        report=lambda number, share: progress.hear(todo[number], share),
        note=progress.note,
        keep_going=True,
    )
    with closing(results):
        for number, record in results:
            found[todo[number]] = record
            progress.finish(todo[number], outcome(record))
    return found


def outcome(record: Record) -> str:
    """A record in a few words, for the line of a finished job."""
    if record.failure is not None:
        return f"FAILED at epoch {record.failure.epoch}: {record.failure.reason}"
    if isinstance(record, Circles):
        return f"{record.replicates} replicates"
    return f"train {record.accuracy.train:.2%}, test {record.accuracy.test:.2%}"


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


def _run(
    config: RunConfig, data: DatasetRef, output_dir: Path, report: Callable[[float], None]
) -> Record:
    return run(config, data.get(), output_dir, callbacks=[_Share(config.epochs, report)])


def training_job(
    config: RunConfig, data: Dataset, output_dir: Path, *, data_dir: str | None = None
) -> Job:
    """A training and its evaluation as a job; the run's directory is made below `output_dir`.

    `data_dir` is where the data set was found; another process that does the job loads it there.
    """
    directory = directory_of(config, data, output_dir)
    passes = config.algorithm.passes(classes=datasets.get(config.dataset).classes)
    examples = config.epochs * (config.train_limit or len(data.x_train))
    return Job(
        name=directory.name,
        # in millions of multiply-adds of forward passes
        cost=architectures.get(config.architecture).cost * passes * examples,
        is_done=(directory / records.FILE_NAME).exists,
        execute=functools.partial(_run, config, DatasetRef(data, data_dir), output_dir.absolute()),
    )
