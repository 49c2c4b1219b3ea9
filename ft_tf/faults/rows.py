"""The rows of a campaign: which there are, when enough are there, and the table that they make."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ft_tf import intervals
from ft_tf.checks import check_fraction, check_non_negative_integer, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults.measures import COLUMNS as MEASURES

COLUMNS = ("target", "rate", "trial", "seed", "faults", *MEASURES)

Row = dict[str, Any]


def distinct_rates(rates: Sequence[float]) -> list[float]:
    """The rates in order, each once.

    Raises:
        ArgumentError: there is none, or one is not in [0, 1].
    """
    for rate in rates:
        check_fraction(rate=rate)
    if not len(rates):
        raise ArgumentError("rates=[] must have at least one rate")
    return sorted({float(rate) for rate in rates})


def trial_numbers(trials: int | Iterable[int]) -> list[int]:
    """The numbers of a campaign's trials: 0 to trials - 1, or those given.

    Raises:
        ArgumentError: a number below 0 or one that is given twice.
    """
    if isinstance(trials, Iterable):
        numbers = [int(number) for number in trials]
        for number in numbers:
            check_non_negative_integer(trial=number)
        if len(set(numbers)) != len(numbers):
            raise ArgumentError(f"trials={numbers} must not repeat a number")
        return numbers
    check_positive_integer(trials=trials)
    return list(range(trials))


class StopRule:
    """Ends a campaign after the first trial when every rate's interval is short enough.

    The intervals are `intervals.BettingInterval`, which may be looked at after every trial. Rows
    must come in the order of the trials, whole trials at a time, rates rising.

    Args:
        rates: of the campaign, in order.
        half_width: of the accuracy's interval; None never stops.
        level: coverage of the intervals.
    """

    def __init__(self, rates: list[float], *, half_width: float | None, level: float) -> None:
        self._last = rates[-1]
        self._running = {} if half_width is None else {
            rate: intervals.BettingInterval(level=level, half_width=half_width) for rate in rates
        }  # fmt: skip

    def stops_after(self, row: Row) -> bool:
        """Takes the next row, and says whether it is the last that is needed."""
        if not self._running:
            return False
        self._running[row["rate"]].add(row["accuracy"])
        return row["rate"] == self._last and all(one.settled for one in self._running.values())


def frame_of(rows: list[Row], facts: dict[str, Any]) -> pd.DataFrame:
    """The table of a campaign: sorted by rate and trial, with the campaign's facts as `attrs`."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.sort_values(["rate", "trial"], ignore_index=True)
    frame.attrs.update(facts)
    return frame
