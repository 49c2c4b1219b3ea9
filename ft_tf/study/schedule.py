"""A study is a list of independent jobs; this runs them one by one and says where it is."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from ft_tf.records import Record


@dataclasses.dataclass(frozen=True)
class Job:
    """One entry of a study.

    Attributes:
        name: what the user sees.
        cost: expected work in any unit common to all jobs; it only shapes the time left.
        is_done: whether a record is there already.
        execute: does the work; is given a function to call with the finished share in [0, 1].
    """

    name: str
    cost: float
    is_done: Callable[[], bool]
    execute: Callable[[Callable[[float], None]], Record]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Prints "run k of n, elapsed, left": one line that moves on a terminal, lines elsewhere.

    The time left is the remaining cost at the speed seen so far in this process; jobs that were
    done before do not count.
    """

    def __init__(self, jobs: Sequence[Job], *, stream: TextIO = sys.stdout) -> None:
        self._jobs = jobs
        self._stream = stream
        self._started = time.monotonic()
        self._pending_cost = sum(job.cost for job in jobs if not job.is_done())
        self._finished_cost = 0.0
        self._width = 0

    def begin(self, index: int) -> None:
        """Says which job starts."""
        self._show(index, 0.0)
        if not self._stream.isatty():
            self._write(self._line(index, 0.0) + "\n")

    def update(self, index: int, share: float) -> None:
        """Moves the line on a terminal."""
        self._show(index, share)

    def finish(self, index: int, outcome: str, *, was_done: bool) -> None:
        """Leaves one line for a finished job."""
        if not was_done:
            self._finished_cost += self._jobs[index].cost
        self._write(self._erase() + f"{self._place(index)} {self._jobs[index].name}: {outcome}\n")

    def _place(self, index: int) -> str:
        return f"[run {index + 1} of {len(self._jobs)}]"

    def _line(self, index: int, share: float) -> str:
        elapsed = time.monotonic() - self._started
        done = self._finished_cost + share * self._jobs[index].cost
        left = "?"
        if done > 0 and elapsed > 1:
            left = _clock(elapsed * max(self._pending_cost - done, 0.0) / done)
        return (
            f"{self._place(index)} {self._jobs[index].name}  {share:4.0%}  "
            f"elapsed {_clock(elapsed)}  left about {left}"
        )

    def _show(self, index: int, share: float) -> None:
        if not self._stream.isatty():
            return
        # A line that wraps cannot be erased by going back to its start.
        line = self._line(index, share)[: shutil.get_terminal_size().columns - 1]
        self._write(self._erase() + line)
        self._width = len(line)

    def _erase(self) -> str:
        return "\r" + " " * self._width + "\r" if self._width else ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        if text.endswith("\n"):
            self._width = 0


def execute(jobs: Sequence[Job], *, stream: TextIO = sys.stdout) -> list[Record]:
    """Runs the jobs in order and returns their records; a failed training does not stop the rest.

    Interrupted (Ctrl-C), it stops where it is; the same jobs given again go on from there.
    """
    progress = Progress(jobs, stream=stream)
    found = []
    for index, job in enumerate(jobs):
        was_done = job.is_done()
        if not was_done:
            progress.begin(index)
        record = job.execute(lambda share, index=index: progress.update(index, share))
        progress.finish(index, _outcome(record, was_done=was_done), was_done=was_done)
        found.append(record)
    return found


def _outcome(record: Record, *, was_done: bool) -> str:
    before = " (done before)" if was_done else ""
    if record["status"] == "failed":
        failure = record["failure"]
        return f"FAILED at epoch {failure['epoch']}: {failure['reason']}{before}"
    if record["kind"] == "circles":
        return f"{record['replicates']} replicates{before}"
    accuracy = record["accuracy"]
    return f"train {accuracy['train']:.2%}, test {accuracy['test']:.2%}{before}"
