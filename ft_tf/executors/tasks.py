"""Runs tasks on the workers of a pool; a task whose worker dies is submitted again."""

import collections
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, Protocol

from ft_tf.errors import FtTfError, InUseError, RunError

Task = Callable[[Callable[[float], None]], Any]
"""task(report) -> result; it pickles, and calls report with its finished share in [0, 1]."""

ATTEMPTS = 3
"""How often a task is submitted at most: one that kills every worker must come to an end."""

PATIENCE = 120.0
"""Seconds that a resubmitted task waits for what its lost worker may still hold, such as a lock."""

_PAUSE = 0.5
_POLL_SECONDS = 0.3
_SILENCE = 60.0


class Pool(Protocol):
    """Workers that run up to `size` tasks at once."""

    size: int

    def submit(self, number: int, task: Task, *, again: bool) -> futures.Future:
        """Starts a task; `again` where it was submitted before and its worker was lost."""

    def shares(self) -> dict[int, float | None]:
        """Finished shares by number of the tasks that have begun; None before the first report."""

    def loss(self, ended: futures.Future) -> str | None:
        """Why the worker of an ended task is gone; None if it is not."""

    def close(self) -> None:
        """Ends all workers at once, whatever they do."""


def run_tasks(
    pool: Pool,
    tasks: Sequence[Task],
    *,
    names: Sequence[str],
    report: Callable[[int, float | None], None] = lambda number, share: None,
    note: Callable[[str], None] = lambda text: None,
    keep_going: bool = False,
) -> Iterator[tuple[int, Any]]:
    """Runs all tasks, in order as workers become free, and yields (number, result) as they end.

    Leaving the iteration early, by an exception too, ends the workers and whatever they do.

    Args:
        pool: of workers; it is closed at the end.
        tasks: to run.
        names: of the tasks, for the user.
        report: takes the number of a task and its finished share, None before it is known.
        note: takes a line for the user, such as on a lost worker.
        keep_going: whether the others are still done when a task has lost `ATTEMPTS` workers.

    Raises:
        RunError: a task has lost `ATTEMPTS` workers.
        Exception: raised by a task; it ends the others.
    """
    waiting = collections.deque(range(len(tasks)))
    in_work: dict[futures.Future, int] = {}
    losses: collections.Counter[int] = collections.Counter()
    given_up: list[str] = []
    has_begun = is_told = False  # any task; that none has
    started = time.monotonic()
    try:
        # Where no worker can start at all, the first task speaks for the others.
        while (waiting or in_work) and not (given_up and not (keep_going and has_begun)):
            while waiting and len(in_work) < pool.size:
                task = waiting.popleft()
                in_work[pool.submit(task, tasks[task], again=losses[task] > 0)] = task
            ended = futures.wait(in_work, _POLL_SECONDS, return_when=futures.FIRST_COMPLETED).done
            shares = pool.shares()
            for task in in_work.values():
                if task in shares:
                    has_begun = True
                    report(task, shares[task])
            for future in ended:
                task = in_work.pop(future)
                reason = pool.loss(future)
                if reason is None:
                    has_begun = True
                    yield task, future.result()
                    continue
                losses[task] += 1
                if losses[task] == ATTEMPTS:
                    given_up.append(f"{names[task]} ({reason})")
                else:
                    waiting.appendleft(task)
                    note(f"{names[task]}: its worker was lost ({reason}); another one goes on")
            if not (has_begun or is_told) and time.monotonic() - started > _SILENCE:
                is_told = True
                note("no worker has started yet: waiting for free processors")
    finally:
        pool.close()
    if given_up:
        rest = ". The others are done; the same command goes on from here" if keep_going else ""
        raise RunError(
            f"{', '.join(given_up)}: lost {ATTEMPTS} workers; was there memory enough?{rest}"
        )


def perform(task: Task, report: Callable[[float], None], *, again: bool) -> Any:
    """Returns the result of a task in a worker; what it raises can be pickled."""
    deadline = time.monotonic() + (PATIENCE if again else 0.0)
    while True:
        try:
            return task(report)
        except InUseError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)
        except FtTfError:
            raise
        except Exception:  # many exceptions do not survive pickling, and their tracebacks never do
            raise RuntimeError(f"in a worker:\n{traceback.format_exc()}") from None
