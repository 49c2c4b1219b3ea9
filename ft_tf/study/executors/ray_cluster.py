"""Workers that are Ray actors, on one machine or on many."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ft_tf import checks
from ft_tf.errors import ArgumentError, RunError, StackError
from ft_tf.study.executors.ray_worker import RayWorker
from ft_tf.study.executors.visibility import versions, witness
from ft_tf.study.executors.work import Task

_SHARE_SECONDS = 1.0
_STORE_BYTES = 100 << 20  # what travels are configurations and records
_TASK, _SHARE = "task", "share"


def require_ray() -> ModuleType:
    """The module ray.

    Raises:
        StackError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise StackError(
            f"executor='ray' needs Ray, which is not there ({error}): pip install 'ft_tf[ray]'"
        ) from None
    try:
        import pyarrow  # noqa: F401 (Ray does where it is installed, in workers too)
    except ModuleNotFoundError:
        pass
    except ImportError as error:
        raise StackError(
            f"executor='ray': Ray imports pyarrow, which fails ({error}): pip install 'ft_tf[ray]'"
        ) from None
    return ray


@dataclasses.dataclass(frozen=True)
class RayCluster:
    """An executor: actors of a Ray cluster, each with its own threads.

    Every node needs ft_tf installed, in the versions of this process, and the directories that runs
    are read from and written to on a file system that all nodes share.

    Attributes:
        threads: of one TensorFlow operation, in each actor; as many processors are asked of Ray.
        workers: actors; None for as many as the cluster has processors for.
        address: of the cluster, HOST:PORT or "auto"; None takes what RAY_ADDRESS says, or starts
            Ray on this machine.
    """

    threads: int
    workers: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        checks.check_positive_integer(threads=self.threads)
        if self.workers is not None:
            checks.check_positive_integer(workers=self.workers)

    def open(self, must_see: Sequence[Path] = ()) -> "RayPool":
        """Connects; actors are added one by one.

        Raises:
            StackError: Ray is not installed, or there is no cluster at the address.
            ArgumentError: no node has as many processors as one worker asks for.
        """
        ray = require_ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            return RayPool(ray, self, must_see, disconnects=ours)
        except BaseException:
            if ours:
                ray.shutdown()
            raise

    def _connect(self, ray: ModuleType) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = {"address": address}
        if not address:
            processors = len(os.sched_getaffinity(0))
            options = {
                "address": "local",
                "num_cpus": max(processors, self.threads * (self.workers or 1)),
                "object_store_memory": _STORE_BYTES,
                "include_dashboard": False,
            }
        try:
            ray.init(**options, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StackError(f"ray_address={address!r} cannot be used: {reason}") from None


class RayPool:
    """Actors, each of which does one task at a time and can be asked how far it is."""

    def __init__(
        self, ray: ModuleType, cluster: RayCluster, must_see: Sequence[Path], *, disconnects: bool
    ) -> None:
        self._ray = ray
        self._threads = cluster.threads
        self._disconnects = disconnects
        fitting = _fitting(ray, cluster.threads)
        if not fitting:
            raise ArgumentError(
                f"threads={cluster.threads} is more than the processors of any node of the cluster"
            )
        self.size = cluster.workers or fitting
        self._actors: set[_Actor] = set()
        self._answers: dict[Any, tuple[_Actor, str]] = {}
        self._witnesses = [witness(path) for path in must_see]
        self._versions = versions()

    def add(self) -> None:
        """Starts an actor where the cluster has room, or as soon as it has."""
        options = {
            "num_cpus": self._threads,
            "max_restarts": 0,  # a new actor is wanted only if there is a task for it
            "max_concurrency": 2,  # a task, and the question how far it is
            "scheduling_strategy": "SPREAD",
        }
        handle = self._ray.remote(RayWorker).options(**options).remote(self._threads)
        actor = _Actor(handle, self._answers)
        self._actors.add(actor)
        self._answers[handle.prepare.remote(self._witnesses, self._versions)] = (actor, _TASK)

    def receive(self) -> list[tuple["_Actor", str, Any]]:
        """What actors say, and which are lost."""
        for actor in self._actors:
            actor.ask()
        answers = list(self._answers)
        first, _ = self._ray.wait(answers, num_returns=1, timeout=1.0)
        if not first:
            return []
        finished, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0)
        heard = [self._heard(reference, *self._answers.pop(reference)) for reference in finished]
        return [said for said in heard if said is not None]

    def _heard(
        self, reference: Any, actor: "_Actor", kind: str
    ) -> tuple["_Actor", str, Any] | None:
        errors = self._ray.exceptions
        try:
            value = self._ray.get(reference)
        except errors.RayTaskError as error:  # actors return what tasks raise: this is Ray's
            return actor, "error", RunError(f"a worker failed: {error}")
        except errors.RayError as error:
            if kind == _SHARE or actor not in self._actors:
                return None
            self._actors.discard(actor)
            actor.end(self._ray)  # it may be out of reach only: nobody else may write its run
            return actor, "lost", _reason(error)
        if kind == _SHARE:
            actor.answered()
            return None if value is None else (actor, "share", value)
        actor.finished()
        return actor, *value

    def close(self) -> None:
        """Ends all actors, and the connection if this pool made it."""
        for actor in self._actors:
            actor.end(self._ray)
        self._actors.clear()
        self._answers.clear()
        for one in self._witnesses:
            one.forget()
        if self._disconnects:
            self._ray.shutdown()


class _Actor:
    def __init__(self, handle: Any, answers: dict[Any, tuple["_Actor", str]]) -> None:
        self._handle = handle
        self._answers = answers
        self._busy = False
        self._next_question = 0.0

    def begin(self, task: Task, *, again: bool) -> None:
        """Sends a task."""
        self._answers[self._handle.perform.remote(task, again=again)] = (self, _TASK)
        self._busy = True
        self._next_question = time.monotonic() + _SHARE_SECONDS

    def ask(self) -> None:
        """Asks how far the task is, from time to time, one question at a time."""
        if self._busy and time.monotonic() >= self._next_question:
            self._answers[self._handle.share.remote()] = (self, _SHARE)
            self._next_question = math.inf

    def answered(self) -> None:
        """Lets the next question come."""
        self._next_question = time.monotonic() + _SHARE_SECONDS

    def finished(self) -> None:
        """Ends the questions until there is another task."""
        self._busy = False

    def end(self, ray: ModuleType) -> None:
        """Kills the process."""
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(self._handle, no_restart=True)


def _fitting(ray: ModuleType, threads: int) -> int:
    """How many workers of so many threads the nodes have processors for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(resources.get("CPU", 0)) // threads for resources in nodes)


def _reason(error: Exception) -> str:
    """The line of Ray's explanation that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("The actor is dead because")]
    return (telling or lines[-1:] or [type(error).__name__])[0]
