"""Workers that are processes of this machine."""

import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from ft_tf import checks
from ft_tf._compat import set_threads
from ft_tf.executors.tasks import Pool, Task, perform

_SPAWN = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
_NOT_BEGUN, _BEGUN = math.nan, -1.0  # shared by a worker in place of a share


@dataclasses.dataclass(frozen=True)
class LocalProcesses:
    """An executor: worker processes on this machine, each with its own threads.

    Workers import the program's main module, as all processes that multiprocessing spawns: a script
    needs its `if __name__ == "__main__":`.
    """

    workers: checks.Positive  # processes
    threads: checks.Positive  # of one operation, in each; results depend on it in the last bits
    __post_init__ = checks.check_fields

    def open(self, place: Path) -> Pool:
        """Returns a pool; its workers see `place`, since this process does."""
        del place
        return _LocalPool(self.workers, self.threads)


class _LocalPool:
    """Worker processes, each in a process pool of one.

    A ProcessPoolExecutor breaks as a whole when one of its processes dies. In pools of one, the
    other tasks go on, and it is known which task the dead worker had.
    """

    def __init__(self, size: int, threads: int) -> None:
        self.size = size
        self._threads = threads
        self._workers: list[_Worker] = []
        self._busy: dict[futures.Future, tuple[int, _Worker]] = {}

    def submit(self, number: int, task: Task, *, again: bool) -> futures.Future:
        busy = [worker for _, worker in self._busy.values()]
        worker = next((worker for worker in self._workers if worker not in busy), None)
        if worker is None:
            worker = _Worker(self._threads)
            self._workers.append(worker)  # before its process starts: `close` must know it
        future = worker.begin(task, again=again)
        self._busy[future] = (number, worker)
        return future

    def shares(self) -> dict[int, float | None]:
        said = {number: worker.share.value for number, worker in self._busy.values()}
        return {n: None if x == _BEGUN else x for n, x in said.items() if not math.isnan(x)}

    def loss(self, ended: futures.Future) -> str | None:
        _, worker = self._busy.pop(ended)
        if not isinstance(ended.exception(), BrokenProcessPool):
            return None
        self._workers.remove(worker)
        return worker.end()

    def close(self) -> None:
        while self._workers:
            self._workers.pop().end()


class _Worker(futures.ProcessPoolExecutor):
    """A process, which starts with its first task."""

    def __init__(self, threads: int) -> None:
        self.share = _SPAWN.Value("d", _NOT_BEGUN, lock=False)
        super().__init__(1, mp_context=_SPAWN, initializer=_start, initargs=(threads, self.share))

    def begin(self, task: Task, *, again: bool) -> futures.Future:
        self.share.value = _NOT_BEGUN
        # A process that starts with SIGINT blocked never gets Ctrl-C, which a terminal sends to
        # all: this process ends it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.submit(_work, task, again=again)
        except BrokenProcessPool as error:  # it died while it was idle
            future: futures.Future = futures.Future()
            future.set_exception(error)
            return future
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self) -> str:
        """Kills the process unless it is dead, waits for its end, and says how it ended."""
        processes = list((self._processes or {}).values())  # kill_workers() in Python 3.14
        for process in processes:
            process.kill()
        self.shutdown()
        code = processes[0].exitcode if processes else None
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


_share: Any = None  # of a worker's task; set in workers only


def _start(threads: int, share: Any) -> None:
    """Prepares a worker process."""
    global _share
    _share = share
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # Several processes share a GPU only if none takes all of its memory at once.
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    set_threads(threads)


def _end_with_parent() -> None:
    """Ends a worker, which would wait for ever, when the process that started it is gone."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(0)


def _work(task: Task, *, again: bool) -> Any:
    _report(_BEGUN)
    return perform(task, _report, again=again)


def _report(share: float) -> None:
    _share.value = share
