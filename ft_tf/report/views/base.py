"""What a table for people is made of: columns, cells as text, details in words."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

Line = Mapping[str, Any]
NOTHING = "-"
RAN, FAILED, MISSING = "ran", "failed", "missing"


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a view.

    Attributes:
        header: its name.
        group: what it and its neighbours have in common, such as "paper".
        priority: 0 is always shown; of the others the greatest goes first where room is scarce.
        is_number: aligned to the right.
    """

    header: str
    group: str = ""
    priority: int = 0
    is_number: bool = True


@dataclasses.dataclass(frozen=True)
class View:
    """A table ready to be printed.

    Attributes:
        title: heading.
        columns: the first is the row's name.
        rows: cells as text.
        details: for each row what was run and reduced, in words; "" where there is nothing to say.
        states: for each row RAN, FAILED or MISSING.
        notes: sentences below the table.
        records: for each row the names of the records behind it; () where none are known.
        detail_name: heading of the details where they make a column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    details: tuple[str, ...]
    states: tuple[str, ...]
    notes: tuple[str, ...] = ()
    records: tuple[tuple[str, ...], ...] = ()
    detail_name: str = "what was run"


Cells = tuple[tuple[Column, Callable[[Line], str]], ...]


def is_missing(value: Any) -> bool:
    """Whether a cell of a frame holds nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def percent(value: Any, *, signed: bool = False) -> str:
    """A fraction in percent with two decimals.

    >>> percent(0.0869), percent(-0.0012, signed=True), percent(None)
    ('8.69', '-0.12', '-')
    """
    if is_missing(value):
        return NOTHING
    return f"{100 * value:+.2f}" if signed else f"{100 * value:.2f}"


def percent_interval(low: Any, high: Any) -> str:
    """An interval of fractions in percent."""
    if is_missing(low) or is_missing(high):
        return NOTHING
    return f"[{percent(low)}, {percent(high)}]"


def plus_minus(value: Any, low: Any, high: Any, *, signed: bool = False) -> str:
    """A fraction in percent with the reach of its interval, if that is known.

    Of an interval that was cut at 0 or 1 the longer side counts.

    >>> plus_minus(0.5, 0.45, 0.55), plus_minus(0.5, None, None)
    ('50.00 ±5.00', '50.00')
    """
    if is_missing(value) or is_missing(low) or is_missing(high):
        return percent(value, signed=signed)
    return f"{percent(value, signed=signed)} ±{percent(max(high - value, value - low))}"


def figure(value: Any, digits: int = 4) -> str:
    """A number with so many significant digits.

    >>> figure(0.0123456), figure(2298765.0), figure(None)
    ('0.01235', '2.299e+06', '-')
    """
    return NOTHING if is_missing(value) else f"{value:.{digits}g}"


def count(value: Any) -> str:
    """A whole number."""
    return NOTHING if is_missing(value) else f"{int(value):,}"


def words(value: Any) -> str:
    """A text cell."""
    return "" if is_missing(value) else str(value)


def _state(line: Line) -> str:
    if words(line.get("failures")):
        return FAILED
    return MISSING if line.get("replicates") == 0 else RAN


def make_view(
    frame: pd.DataFrame,
    columns: Cells,
    *,
    title: str,
    detail: Callable[[Line], str],
    notes: tuple[str, ...],
    detail_name: str = "what was run",
) -> View:
    """A view of a frame.

    Args:
        frame: a line per row; its column "records", if any, holds names with blanks between.
        columns: each with the function that makes its cells from a line.
        title: heading.
        detail: what was run and reduced, in words.
        notes: sentences below the table.
        detail_name: heading of the details where they make a column.
    """
    lines = frame.to_dict("records")
    return View(
        title=title,
        columns=tuple(column for column, _ in columns),
        rows=tuple(tuple(cell(line) for _, cell in columns) for line in lines),
        details=tuple(detail(line) for line in lines),
        states=tuple(_state(line) for line in lines),
        notes=notes,
        records=tuple(tuple(words(line.get("records")).split()) for line in lines),
        detail_name=detail_name,
    )
