"""Workers that run tasks of a Ray cluster, on one machine or on many."""

import contextlib
import dataclasses
import os
import platform
import secrets
import signal
import threading
import time
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import ft_tf
from ft_tf import checks, records
from ft_tf._compat import package_versions, set_threads
from ft_tf.errors import ArgumentError, RunError, StackError
from ft_tf.executors.tasks import Pool, Task, perform

_SHARE_SECONDS = 1.0
_VISIBLE_SECONDS = 10.0  # a network file system may show a new file with delay
_STORE_BYTES = 100 << 20  # configurations and records are small


def require_ray() -> ModuleType:
    """Returns the module ray.

    Raises:
        StackError: it cannot be imported.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray

        with contextlib.suppress(ModuleNotFoundError):
            import pyarrow  # noqa: F401 (Ray does where it is installed, in workers too)
    except ImportError as error:
        raise StackError(
            f"executor='ray' needs Ray, which cannot be imported ({error}): "
            "pip install 'ft_tf[ray]'"
        ) from None
    return ray


@dataclasses.dataclass(frozen=True)
class RayCluster:
    """An executor: tasks of a Ray cluster, each with its own threads.

    Every node needs ft_tf installed, in the versions of this process, and the directories that runs
    are read from and written to on a file system that all nodes share.
    """

    threads: checks.Positive  # of one operation, in each task; as many processors are asked of Ray
    workers: checks.Positive | None = None  # tasks at a time; None for as many as have processors
    # HOST:PORT or "auto"; None takes what RAY_ADDRESS says, or starts Ray on this machine
    address: str | None = None
    __post_init__ = checks.check_fields

    def open(self, place: Path) -> Pool:
        """Connects to the cluster.

        Args:
            place: a file, or a directory to write in, that every worker must see as this process.

        Raises:
            StackError: Ray is not installed, or there is no cluster at the address.
            ArgumentError: no node has as many processors as one worker asks for.
        """
        ray = require_ray()
        with contextlib.ExitStack() as ending:
            if not ray.is_initialized():
                self._connect(ray)
                ending.callback(ray.shutdown)
            pool = _RayPool(ray, self, place)
            pool.ending = ending.pop_all()
        return pool

    def _connect(self, ray: ModuleType) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {"address": address}
        if not address:
            processors = max(len(os.sched_getaffinity(0)), self.threads * (self.workers or 1))
            options = {"address": "local", "num_cpus": processors, "include_dashboard": False}
            options["object_store_memory"] = _STORE_BYTES
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**options, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StackError(f"ray_address={address!r} cannot be used: {reason}") from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put in its own


class _RayPool:
    """Ray tasks; an actor collects their shares. `ending` is closed with the pool."""

    def __init__(self, ray: ModuleType, cluster: RayCluster, place: Path) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fitting = sum(int(node.get("CPU", 0)) // cluster.threads for node in nodes)
        if not fitting:
            raise ArgumentError(
                f"threads={cluster.threads} is more than the processors of any node of the cluster"
            )
        self.size = cluster.workers or fitting
        self._ray, self.ending = ray, contextlib.ExitStack()
        self._conditions = Conditions(cluster.threads, place)
        self._shares = ray.remote(_Shares).options(num_cpus=0, max_restarts=-1).remote()
        # Ray's own retries would not wait for the lock of the lost worker, nor be counted.
        self._run = ray.remote(_run).options(
            num_cpus=cluster.threads, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._tasks: dict[futures.Future, Any] = {}

    def submit(self, number: int, task: Task, *, again: bool) -> futures.Future:
        reference = self._run.remote(self._conditions, self._shares, number, task, again=again)
        future = reference.future()
        self._tasks[future] = reference
        return future

    def shares(self) -> dict[int, float | None]:
        with contextlib.suppress(self._ray.exceptions.RayError):  # the actor is being restarted
            return self._ray.get(self._shares.all.remote(), timeout=_SHARE_SECONDS)
        return {}

    def loss(self, ended: futures.Future) -> str | None:
        reference, error = self._tasks.pop(ended), ended.exception()
        if isinstance(error, self._ray.exceptions.RayTaskError):
            raise error.cause from None
        if not isinstance(error, self._ray.exceptions.RayError):
            return None
        self._cancel(reference)  # it may be out of reach only: its run gets a new writer
        return str(error).strip().partition("\n")[0] or type(error).__name__

    def _cancel(self, reference: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        for reference in self._tasks.values():
            self._cancel(reference)
        self._ray.kill(self._shares)
        self.ending.close()


class _Shares(dict[int, float | None]):
    """The actor: shares by number of the task, None for one that has begun only."""

    def put(self, number: int, share: float | None) -> None:
        self[number] = share

    def all(self) -> dict[int, float | None]:
        return dict(self)


def _run(conditions: "Conditions", shares: Any, number: int, task: Task, *, again: bool) -> Any:
    """Runs a task in a worker of the cluster."""
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _SHARE_SECONDS:
            last = time.monotonic()
            shares.put.remote(number, share)

    conditions.check()
    shares.put.remote(number, None)
    return perform(task, report, again=again)


class Conditions:
    """What must hold in a worker: it sees the same file and has the same packages.

    `place` is the file, or a directory, in which a file .witness is put to be seen.
    """

    def __init__(self, threads: int, place: Path) -> None:
        self._threads, self._versions = threads, versions()
        self._file = place.absolute()
        if place.is_dir():
            self._file /= ".witness"
            if not self._file.exists():
                records.write_text(self._file, secrets.token_hex(8))
        self._content = self._file.read_bytes()

    def check(self) -> None:
        """Checks a worker, and sets its threads.

        Raises:
            RunError: the file is not there, or is another one.
            StackError: packages have other versions; the message has all.
        """
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while not self._is_seen():
            if time.monotonic() > deadline:
                raise RunError(
                    f"output_dir={str(self._file.parent)!r} is not there, or is another one, on "
                    f"{platform.node()}: runs must be on a file system that all nodes share"
                )
            time.sleep(0.2)
        here = versions()
        different = [
            f"{name} {here[name]} instead of {version}"
            for name, version in self._versions.items()
            if here[name] != version
        ]
        if different:
            raise StackError(
                f"the worker {platform.node()} has {', '.join(different)}: results would differ; "
                "install the same packages on every node"
            )
        set_threads(self._threads)

    def _is_seen(self) -> bool:
        with contextlib.suppress(OSError):
            return self._file.read_bytes() == self._content
        return False


def versions() -> dict[str, str | None]:
    """Versions of ft_tf and of the packages that results depend on."""
    return {"ft_tf": ft_tf.__version__, **package_versions()}
