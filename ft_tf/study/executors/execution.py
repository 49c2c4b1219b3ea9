"""A study's jobs on several workers: the same records as one by one, the same display."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TextIO

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.study.executors.coordinator import Event, Pool, run_tasks
from ft_tf.study.schedule import Job, Progress, outcome


class Executor(Protocol):
    """What can open a pool of workers: `LocalProcesses`, `RayCluster`."""

    def open(self, must_see: Sequence[Path] = ()) -> Pool:
        """Gets workers ready to be added.

        Args:
            must_see: directories that every worker must see as this process does.
        """


def execute(
    jobs: Sequence[Job], executor: Executor, *, output_dir: Path, stream: TextIO = sys.stdout
) -> list[Record]:
    """Runs jobs on an executor's workers and returns their records in the order of the jobs.

    A run whose worker dies is given again and goes on from its checkpoint; one that kills its
    worker every time is left out, and named when the others are done. A failed training does not
    stop the rest. Interrupted, or after an error, the workers end at once; the same jobs given
    again go on from there.

    Args:
        jobs: each with a name of its own; one whose name came before waits for it and finds its
            record.
        executor: where workers come from.
        output_dir: the directory that all of them write below.
        stream: where progress is shown.

    Raises:
        RunError: a run cannot be written or is in use, or killed its workers.
        FtTfError: what one of the jobs cannot be done with.
    """
    progress = Progress(jobs, stream=stream)
    found: dict[int, Record] = {}
    names = [job.name for job in jobs]
    for index, job in enumerate(jobs):
        if job.is_done():  # checked against its configuration, before any worker starts
            found[index] = _read(job, index, progress)
    todo = [i for i, name in enumerate(names) if i not in found and names.index(name) == i]
    lost: list[str] = []
    if todo:
        output_dir.mkdir(parents=True, exist_ok=True)
        pool = executor.open(must_see=[output_dir])
        with contextlib.closing(run_tasks(pool, [jobs[i].execute for i in todo])) as events:
            for event in events:
                index = todo[event.task]
                _show(event, index, jobs[index], progress)
                if event.kind == "done":
                    found[index] = event.value
                elif event.kind == "given up":
                    lost.append(f"{jobs[index].name} ({event.value})")
    if lost:
        raise RunError(
            f"{', '.join(lost)}: killed each worker that began it; was there memory enough? All "
            "other runs are done; the same command goes on from here"
        )
    for index, job in enumerate(jobs):
        if index not in found:
            found[index] = _read(job, index, progress)
    return [found[index] for index in range(len(jobs))]


def _read(job: Job, index: int, progress: Progress) -> Record:
    record = job.execute(lambda share: None)
    progress.finish(index, outcome(record, was_done=True), was_done=True)
    return record


def _show(event: Event, index: int, job: Job, progress: Progress) -> None:
    notice = event.notice(job.name)
    if notice:
        progress.note(notice)
    elif event.kind == "begun":
        progress.begin(index)
    elif event.kind == "share":
        progress.update(index, event.value)
    elif event.kind == "done":
        progress.finish(index, outcome(event.value, was_done=False), was_done=False)
