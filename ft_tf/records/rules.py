"""Rules for the fields of a record: checks of one value, and of values that belong together.

A check returns what is wrong with a value, or None; `parsing` puts the field's path before it.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from ft_tf.records.parsing import reader

Problems = Iterator[tuple[str, str]]
"""Pairs of a path below an object and what is wrong there."""

_ROUNDING = 1e-9
_ROUNDING_FLOAT32 = 1e-6


@dataclasses.dataclass(frozen=True)
class Range:
    """Check: a number in [low, high], to the rounding of sums in float32."""

    low: float
    high: float = math.inf

    def __call__(self, value: float) -> str | None:
        """Returns what is wrong."""
        if self.low - _ROUNDING_FLOAT32 <= value <= self.high + _ROUNDING_FLOAT32:
            return None
        if self.high == math.inf:
            return f"must be at least {self.low:g}"
        return f"must lie in [{self.low:g}, {self.high:g}]"


@dataclasses.dataclass(frozen=True)
class Matches:
    """Check: an object with the fields of a dataclass, which is made and thrown away."""

    cls: type

    def __call__(self, value: dict[str, Any]) -> None:
        """Raises parsing.Invalid, with the field's path."""
        reader(self.cls)(value)


def ascending(values: Sequence[float]) -> str | None:
    """Check: at least one number, each above the one before."""
    if values and all(first < second for first, second in itertools.pairwise(values)):
        return None
    return "must be one or more numbers in ascending order"


def ordered(values: Sequence[float]) -> str | None:
    """Check: the lower end of an interval, then the upper one."""
    return None if values[0] <= values[1] else "must have the lower end first"


def quantile(key: str) -> str | None:
    """Check: a number in [0, 1] as text."""
    try:
        return Range(0, 1)(float(key))
    except ValueError:
        return "must be a number as text"


def directory_name(value: str) -> str | None:
    """Check: text that names a directory, and means nothing else in a path."""
    is_plain = value.isprintable() and not {"/", "\\"} & {*value} and value == value.strip()
    if is_plain and value not in ("", ".", "..") and len(value.encode()) <= 255:
        return None
    return "must be usable as the name of a directory"


def row_id(value: str) -> str | None:
    """Check: the id of a row; one of the paper's tables names its network and algorithm too."""
    if value.startswith("table_") and not all((*value.split("/"), "", "")[:3]):
        return "must be TABLE/NETWORK/ALGORITHM, such as table_5/fmnist_dnn/trades"
    return None


def hexadecimal(value: str) -> str | None:
    """Check: hexadecimal digits alone."""
    return None if re.fullmatch(r"[0-9a-f]*", value) else "must be of hexadecimal digits"


def lengths(item: Any, *names: str) -> Problems:
    """Lists that run in parallel have the length of the first."""
    size = len(getattr(item, names[0]))
    for name in names[1:]:
        found = len(getattr(item, name))
        if found != size:
            yield name, f"must have {size} entries, as {names[0]} has, not {found}"


def ends(low: Sequence[float], high: Sequence[float]) -> Problems:
    """No lower end lies above its upper end."""
    for index, (lower, upper) in enumerate(zip(low, high, strict=True)):
        if lower > upper:
            yield f"low[{index}]", f"must not lie above high[{index}]"


def difference(name: str, found: float, first: float, second: float, formula: str) -> Problems:
    """A stored difference is that of the stored values, to rounding."""
    if abs(found - (first - second)) > _ROUNDING:
        yield name, f"must be {formula}"


Target = Literal["weights", "units"]
Fraction = Annotated[float, Range(0, 1)]
Change = Annotated[float, Range(-1, 1)]
Amount = Annotated[float, Range(0)]
Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Interval = Annotated[tuple[Fraction, Fraction], ordered]
Quantile = Annotated[str, quantile]
