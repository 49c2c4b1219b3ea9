"""Shows how far tasks are: a bar on a terminal, lines elsewhere."""

import io
import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from tqdm import tqdm

_ON_TERMINAL = "{percentage:3.0f}%|{bar:10}| {elapsed}, about {remaining} left  {desc}"
_IN_LOG = "{desc}  elapsed {elapsed}  left about {remaining}"
_SECONDS_BETWEEN_LINES = 300.0  # of a log, where no bar can move


class Progress:
    """A bar of tqdm on a terminal, lines elsewhere.

    A log gets a line for each finished task and each that resumes, and one every five minutes.

    The bar measures cost. What was done before does not count, be it whole tasks or the beginning
    of one, so that the time left is the remaining cost at the speed seen since the first one began.
    Several tasks may be in work at once: the bar names the one that was heard of last.

    Args:
        names: of the tasks, for the user.
        costs: their expected work, in any unit.
        pending: numbers of those that are not done yet.
        stream: where it is shown.
    """

    def __init__(
        self,
        names: Sequence[str],
        costs: Sequence[float],
        pending: Iterable[int],
        *,
        stream: TextIO = sys.stdout,
    ) -> None:
        self._names, self._costs, self._pending = names, costs, list(pending)
        self._stream = stream
        self._before: dict[int, float] = {}
        self._shares: dict[int, float] = {}
        self._written = time.monotonic()
        self._moves = stream.isatty()
        self._bar = tqdm(
            bar_format=_ON_TERMINAL if self._moves else _IN_LOG,
            file=stream if self._moves else io.StringIO(),
            delay=0 if self._moves else math.inf,
            smoothing=0,  # the mean speed: tasks differ
            miniters=0,
            dynamic_ncols=True,
            leave=False,
        )

    def hear(self, index: int, share: float | None) -> None:
        """Takes the share of a task in work, None before it is known.

        The first share is what was done before the task began here.
        """
        begins = index not in self._shares
        resumes = bool(share) and index not in self._before
        if begins:
            self._written = time.monotonic()
            if not self._cost_done():
                self._bar.reset()  # what was waited for until now tells nothing of the speed
        if share is not None:
            self._before.setdefault(index, share)
        self._shares[index] = self._shares.get(index, 0.0) if share is None else share
        self._bar.total = sum(
            (1.0 - self._before.get(pending, 0.0)) * self._costs[pending]
            for pending in self._pending
        )
        said = f"{self._name(index)} {self._shares[index]:4.0%}"
        self._bar.set_description_str(said, refresh=False)
        self._bar.update(self._cost_done() - self._bar.n)
        if self._moves and begins:
            self._bar.refresh()
        is_due = time.monotonic() - self._written >= _SECONDS_BETWEEN_LINES
        if not self._moves and (resumes or is_due):
            self._written = time.monotonic()
            self.note(str(self._bar))

    def finish(self, index: int, outcome: str, *, was_done: bool = False) -> None:
        """Leaves a line for a finished task; one without any share counts as done before."""
        if not was_done:
            self._before.setdefault(index, 1.0)
            self._shares[index] = 1.0
        self.note(f"{self._name(index)}: {outcome}{' (done before)' * was_done}")

    def note(self, text: str) -> None:
        """Leaves a line."""
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()

    def _name(self, index: int) -> str:
        return f"[run {index + 1} of {len(self._names)}] {self._names[index]}"

    def _cost_done(self) -> float:
        return sum(
            max(self._shares[index] - before, 0.0) * self._costs[index]
            for index, before in self._before.items()
        )
