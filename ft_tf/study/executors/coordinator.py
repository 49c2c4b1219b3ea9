"""Gives tasks to the workers of a pool, and gives them again when a worker dies."""

import collections
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ft_tf.errors import RunError
from ft_tf.study.executors.work import Task

ATTEMPTS = 3
"""How often a task is begun at most: what kills its worker every time does so by itself."""

_SILENCE = 30.0


class Worker(Protocol):
    """A process that does one task at a time."""

    def begin(self, task: Task, *, again: bool) -> None:
        """Hands a task over; `again` where a lost worker had begun it."""


class Pool(Protocol):
    """Where workers come from.

    Attributes:
        size: how many are wanted.
    """

    size: int

    def add(self) -> None:
        """Starts a worker; it says "ready" when it can take a task."""

    def receive(self) -> list[tuple[Worker, str, Any]]:
        """What workers say, waiting a second for it: ("ready", None), ("share", x), ("result", r).

        ("error", e) where a task raised; ("lost", why) where the worker is no more.
        """

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to a task.

    Attributes:
        kind: "begun"; "share" of it is done; "done"; "lost": its worker died and it will be given
            again; "given up": that was once too often; "waiting": no worker is there yet.
        task: its number, -1 for "waiting".
        value: the share, the result, or in words why the worker was lost.
    """

    kind: str
    task: int
    value: Any = None

    def notice(self, name: str) -> str | None:
        """What a user wants to be told of the event of a task of that name, where it is unusual."""
        if self.kind == "lost":
            return f"{name}: its worker was lost ({self.value}); another one goes on with it"
        if self.kind == "waiting":
            return "no worker has started yet: waiting for free processors in the cluster"
        return None


def run_tasks(pool: Pool, tasks: Sequence[Task]) -> Iterator[Event]:
    """Does all tasks, in order as workers come free; the events end when every task is through.

    Leaving the iteration early, by an exception too, ends the workers and whatever they do.

    Raises:
        RunError: workers die before they can take a task.
        Exception: what a task raised; it ends the others.
    """
    try:
        yield from _Coordinator(pool, tasks).events()
    finally:
        pool.close()


class _Coordinator:
    def __init__(self, pool: Pool, tasks: Sequence[Task]) -> None:
        self._pool = pool
        self._tasks = tasks
        self._waiting = collections.deque(range(len(tasks)))
        self._begun: collections.Counter[int] = collections.Counter()
        self._in_work: dict[Worker, int] = {}
        self._idle: list[Worker] = []
        self._unfinished = len(tasks)
        self._starting = 0
        self._stillborn = 0

    def events(self) -> Iterator[Event]:
        started, anyone_came = time.monotonic(), False
        for _ in range(min(self._pool.size, len(self._tasks))):
            self._add()
        while self._unfinished:
            for worker, kind, value in self._pool.receive():
                anyone_came = anyone_came or kind == "ready"
                yield from self._heard(worker, kind, value)
            if not anyone_came and time.monotonic() - started > _SILENCE:
                anyone_came = True
                yield Event("waiting", -1)

    def _heard(self, worker: Worker, kind: str, value: Any) -> Iterator[Event]:
        if kind == "error":
            raise value
        if kind == "share":
            if worker in self._in_work:
                yield Event("share", self._in_work[worker], value)
            return
        if kind == "lost":
            yield from self._lost(worker, value)
        elif kind == "ready":
            self._starting -= 1
            self._stillborn = 0
            self._idle.append(worker)
        elif kind == "result":
            self._unfinished -= 1
            self._idle.append(worker)
            yield Event("done", self._in_work.pop(worker), value)
        while self._waiting and self._idle:
            yield self._give(self._idle.pop())
        # One new worker for each task that nobody is there for.
        while self._starting < min(len(self._waiting), self._pool.size - len(self._in_work)):
            self._add()

    def _add(self) -> None:
        self._pool.add()
        self._starting += 1

    def _give(self, worker: Worker) -> Event:
        task = self._waiting.popleft()
        again = self._begun[task] > 0
        self._begun[task] += 1
        self._in_work[worker] = task
        worker.begin(self._tasks[task], again=again)
        return Event("begun", task)

    def _lost(self, worker: Worker, reason: str) -> Iterator[Event]:
        if worker in self._idle:
            self._idle.remove(worker)
        elif worker in self._in_work:
            task = self._in_work.pop(worker)
            if self._begun[task] < ATTEMPTS:
                self._waiting.appendleft(task)
                yield Event("lost", task, reason)
            else:
                self._unfinished -= 1
                yield Event("given up", task, reason)
        else:
            self._starting -= 1
            self._stillborn += 1
            if self._stillborn >= ATTEMPTS:
                raise RunError(f"workers die before they can begin: {reason}")
