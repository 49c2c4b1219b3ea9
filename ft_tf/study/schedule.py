"""A study is a list of independent jobs; this runs them one by one and says where it is."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from ft_tf.records import Circles, Record


@dataclasses.dataclass(frozen=True)
class Job:
    """One entry of a study.

    Attributes:
        name: what the user sees.
        cost: expected work in any unit common to all jobs; it only shapes the time left.
        is_done: whether a record is there already.
        execute: does the work; is given a function to call with the finished share in [0, 1], at
            first with what was done before. To be done by a worker process it must pickle.
    """

    name: str
    cost: float
    is_done: Callable[[], bool]
    execute: Callable[[Callable[[float], None]], Record]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


_SECONDS_BETWEEN_LINES = 300.0
"""Where no line can move, such as in a log of a training that takes hours."""


class Progress:
    """Prints "run k of n, elapsed, left": one line that moves on a terminal, lines elsewhere.

    The time left is the remaining cost at the speed seen since the first job began here; what was
    done before does not count, be it whole jobs or the first epochs of one. Several jobs may be in
    work at once: the line then speaks of the one that was heard of last.
    """

    def __init__(self, jobs: Sequence[Job], *, stream: TextIO = sys.stdout) -> None:
        self._jobs = jobs
        self._stream = stream
        self._started = self._first_begun = time.monotonic()
        self._pending_cost = sum(job.cost for job in jobs if not job.is_done())
        self._finished_cost = 0.0
        self._shares: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self._written = self._started
        self._width = 0

    def begin(self, index: int) -> None:
        """Says which job starts."""
        if not self._shares and not self._finished_cost:
            self._first_begun = time.monotonic()
        self._shares[index] = 0.0
        self._show(index)

    def update(self, index: int, share: float) -> None:
        """Moves the line on a terminal; elsewhere leaves one now and then.

        What is heard of a job first is what was done before it began here.
        """
        self._count_before(index, share)
        self._shares[index] = share
        if self._stream.isatty() or time.monotonic() - self._written >= _SECONDS_BETWEEN_LINES:
            self._show(index)

    def _count_before(self, index: int, share: float) -> None:
        if index not in self._before:
            self._before[index] = share
            self._pending_cost -= share * self._jobs[index].cost

    def _show(self, index: int) -> None:
        self._written = time.monotonic()
        if not self._stream.isatty():
            self._write(self._line(index) + "\n")
            return
        # A line that wraps cannot be erased by going back to its start.
        line = self._line(index, room=shutil.get_terminal_size().columns - 1)
        self._write(self._erase() + line)
        self._width = len(line)

    def note(self, text: str) -> None:
        """Leaves one line of words."""
        self._write(self._erase() + f"{text}\n")

    def finish(self, index: int, outcome: str, *, was_done: bool) -> None:
        """Leaves one line for a finished job; one that was never heard of counts as done before."""
        if not was_done:
            self._count_before(index, 1.0)
            self._finished_cost += self._cost_here(index, 1.0)
        self._shares.pop(index, None)
        self.note(f"{self._place(index)} {self._jobs[index].name}: {outcome}")

    def _place(self, index: int) -> str:
        return f"[run {index + 1} of {len(self._jobs)}]"

    def _cost_here(self, index: int, share: float) -> float:
        return max(share - self._before.get(index, 0.0), 0.0) * self._jobs[index].cost

    def _line(self, index: int, *, room: int | None = None) -> str:
        elapsed = time.monotonic() - self._started
        started = sum(self._cost_here(job, share) for job, share in self._shares.items())
        done = self._finished_cost + started
        at_work = time.monotonic() - self._first_begun
        left = "?"
        if done > 0 and at_work > 1:
            left = _clock(at_work * max(self._pending_cost - done, 0.0) / done)
        name, place = self._jobs[index].name, self._place(index)
        rest = f"{self._shares[index]:4.0%}  elapsed {_clock(elapsed)}  left about {left}"
        if room is not None:
            space = max(0, room - len(f"{place}   {rest}"))
            name = name if len(name) <= space else name[: max(0, space - 3)] + "..."[:space]
        return f"{place} {name}  {rest}"[:room]

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
        progress.finish(index, outcome(record, was_done=was_done), was_done=was_done)
        found.append(record)
    return found


def outcome(record: Record, *, was_done: bool) -> str:
    """A record in a few words, for the line of a finished job."""
    before = " (done before)" if was_done else ""
    if record.failure is not None:
        return f"FAILED at epoch {record.failure.epoch}: {record.failure.reason}{before}"
    if isinstance(record, Circles):
        return f"{record.replicates} replicates{before}"
    return f"train {record.accuracy.train:.2%}, test {record.accuracy.test:.2%}{before}"
