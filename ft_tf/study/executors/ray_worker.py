"""The worker process of a Ray cluster: an actor around the same work as any worker's."""

from collections.abc import Sequence
from typing import Any

from ft_tf._compat import set_threads
from ft_tf.study.executors.visibility import Witness, check_versions
from ft_tf.study.executors.work import Task, perform, portable


class RayWorker:
    """Does one task at a time; `share` may be asked while it does.

    Args:
        threads: of one TensorFlow operation.
    """

    def __init__(self, threads: int) -> None:
        set_threads(threads)
        self._share: float | None = None

    def prepare(
        self, seen: Sequence[Witness], versions: dict[str, str | None]
    ) -> tuple[str, Exception | None]:
        """("ready", None), or ("error", why this node cannot take part)."""
        try:
            for witness in seen:
                witness.check()
            check_versions(versions)
        except Exception as error:
            return "error", portable(error)
        return "ready", None

    def perform(self, task: Task, *, again: bool) -> tuple[str, BaseException | Any]:
        """("result", what the task gave), or ("error", what it raised)."""
        self._share = None
        return perform(task, self._note, again=again)

    def _note(self, share: float) -> None:
        self._share = share

    def share(self) -> float | None:
        """How much of the task is done; None until it has said so."""
        return self._share
