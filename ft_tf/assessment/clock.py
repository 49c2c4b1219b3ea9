"""The time that an assessment may take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Shares out a budget, and keeps what each measurement took of it.

    Args:
        budget: seconds there are.
        seconds: spent before, by measurement.
        show: called as time passes, with the seconds spent and the measurement in work.
        now: gives the time in seconds.
    """

    def __init__(
        self,
        budget: float,
        seconds: dict[str, float],
        show: Callable[[float, str], None],
        now: Callable[[], float],
    ) -> None:
        self.budget, self.seconds, self.now = budget, dict(seconds), now
        self._show = show
        self._begun, self._name = 0.0, ""

    @property
    def left(self) -> float:
        """Seconds that are left between two measurements."""
        return max(0.0, self.budget - sum(self.seconds.values()))

    def tick(self) -> float:
        """Shows that time has passed; returns the time."""
        now = self.now()
        self._show(sum(self.seconds.values()) + now - self._begun, self._name)
        return now

    @contextmanager
    def charged(self, name: str) -> Iterator[float]:
        """Within the block time is charged to a measurement; gives the time at its beginning."""
        self._name, self._begun = name, self.now()
        try:
            yield self._begun
        finally:
            took = self.tick() - self._begun
            self.seconds[name] = self.seconds.get(name, 0.0) + took
