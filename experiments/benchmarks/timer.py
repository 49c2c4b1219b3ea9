"""The timer of all benchmarks: contenders take turns, and medians over the rounds are compared."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Measurements of one contender.

    Attributes:
        values: one for each round.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """Least value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Greatest value."""
        return max(self.values)

    def ratio_to(self, other: "Samples") -> dict[str, float]:
        """Returns the ratio of medians, and the range of the ratios within a round.

        >>> Samples((2.0, 3.0, 10.0)).ratio_to(Samples((1.0, 2.0, 4.0)))
        {'ratio': 1.5, 'ratio_low': 1.5, 'ratio_high': 2.5}
        """
        ratios = [a / b for a, b in zip(self.values, other.values, strict=True)]
        return {
            "ratio": self.median / other.median,
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }


def in_turn(contenders: Mapping[Key, Callable[[], float]], rounds: int) -> dict[Key, Samples]:
    """Measures every contender once in each round, A B A B.

    Whatever else the machine does then falls on all contenders alike.

    Args:
        contenders: functions that measure once and return the measurement.
        rounds: measurements of each contender.
    """
    values: dict[Key, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, measure in contenders.items():
            values[key].append(measure())
    return {key: Samples(tuple(found)) for key, found in values.items()}


def seconds(work: Callable[[], Any], *, units: int = 1, at_least: float = 0.0) -> float:
    """Returns the seconds that one unit of work takes.

    Args:
        work: does `units` units in each call.
        units: units in one call.
        at_least: seconds for which the call is repeated; one call by default.
    """
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < at_least:
        work()
        calls += 1
    return (time.perf_counter() - start) / (calls * units)
