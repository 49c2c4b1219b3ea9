"""What every kind of worker does with a task: does it, says how far it is, and never raises."""

import pickle
import time
import traceback
from collections.abc import Callable
from typing import Any

from ft_tf.errors import FtTfError, InUseError, RunError

Task = Callable[[Callable[[float], None]], Any]
"""task(report) -> result; it pickles, and calls report with its finished share in [0, 1]."""

PATIENCE = 120.0
"""Seconds that a task given again waits for what its lost worker may hold still, such as a lock."""

_PAUSE = 0.5
_REPORT_SECONDS = 0.2


def perform(
    task: Task, report: Callable[[float], None], *, again: bool
) -> tuple[str, BaseException | Any]:
    """("result", what the task gave), or ("error", the exception that it ended with).

    Args:
        task: what to do.
        report: takes the finished share.
        again: whether a lost worker had begun this task.
    """
    deadline = time.monotonic() + (PATIENCE if again else 0.0)
    while True:
        try:
            return "result", task(report)
        except InUseError as error:
            if time.monotonic() >= deadline:
                return "error", error
            time.sleep(_PAUSE)
        except Exception as error:
            return "error", portable(error)


def portable(error: Exception) -> Exception:
    """The exception in a form that reaches another process, its traceback told in a note."""
    if isinstance(error, FtTfError):
        return error  # its one line is all there is to say
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in a worker:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"a worker failed: {trace}")
    return error


def seldom(report: Callable[[float], None]) -> Callable[[float], None]:
    """`report`, called a few times a second at most."""
    last = -_REPORT_SECONDS

    def throttled(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            report(share)

    return throttled
