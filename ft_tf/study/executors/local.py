"""Workers that are processes of this machine."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ft_tf import checks
from ft_tf.study.executors.work import Task

_ENTRY = "ft_tf.study.executors.local_worker"


@dataclasses.dataclass(frozen=True)
class LocalProcesses:
    """An executor: worker processes on this machine, each with its own threads.

    Attributes:
        workers: processes.
        threads: of one TensorFlow operation, in each process; results depend on it in the last
            bits, as without workers.
    """

    workers: int
    threads: int

    def __post_init__(self) -> None:
        checks.check_positive_integer(workers=self.workers, threads=self.threads)

    def open(self, must_see: Sequence[Path] = ()) -> "LocalPool":
        """Gets workers ready to be added; whatever this process sees, they see."""
        del must_see
        return LocalPool(self.workers, threads=self.threads)


class LocalPool:
    """Worker processes, each at the other end of a pipe.

    A worker whose pipe closes, because this process is no more, ends itself.
    """

    def __init__(self, size: int, *, threads: int) -> None:
        self.size = size
        self._threads = threads
        self._workers: dict[multiprocessing.connection.Connection, _LocalWorker] = {}

    def add(self) -> None:
        """Starts a process."""
        worker = _LocalWorker(self._threads)
        self._workers[worker.connection] = worker

    def receive(self) -> list[tuple["_LocalWorker", str, Any]]:
        """What the processes say, and which have died."""
        heard = []
        for connection in multiprocessing.connection.wait(list(self._workers), timeout=1.0):
            worker = self._workers[connection]
            try:
                heard.append((worker, *connection.recv()))
            except (EOFError, OSError):
                del self._workers[connection]
                heard.append((worker, "lost", worker.end()))
        return heard

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()


class _LocalWorker:
    def __init__(self, threads: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        with _interrupts_held():
            self._process = subprocess.Popen(
                [sys.executable, "-m", _ENTRY, str(theirs.fileno()), str(threads)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    # Several processes share a GPU only if none takes all of its memory at once.
                    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
                },
            )
        theirs.close()

    def begin(self, task: Task, *, again: bool) -> None:
        """Sends a task; that the process is dead comes out when it is listened to."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(pickle.dumps((task, again)))

    def end(self) -> str:
        """Ends the process, if it has not ended, and says how it did."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=5.0)
            return f"exit code {code}" if code >= 0 else f"signal {-code}"
        self._process.kill()
        self._process.wait()
        return "stopped"


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started within never gets Ctrl-C: this one does, and ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
