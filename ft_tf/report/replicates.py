"""Statistics over replicates, and when replicates allow a judgement: three or more, not all equal.

Accuracies are counts over a finite test set. Replicates that all agree, as those of a small test
set often do by chance, show that the spread is below the resolution of the set, not that it is 0:
Student's t would divide by zero and call any difference certain.

Two replicates leave one difference to estimate the spread from: by chance it is below a tenth of
the true one in 8 of 100 cases (of three in 1), and a count rounds it to 0 or to one step. From
three on no further floor is needed: n values on a grid that are not all equal have a deviation of
at least step / sqrt(n), for up to a dozen more than the step / sqrt(12) of rounding itself.
"""

import statistics
from collections.abc import Iterable, Sequence

from ft_tf import intervals

LEVEL = 0.95
LEAST = 3
"""Replicates that an ordering, a prediction or an interval over seeds needs."""
EQUAL = "all replicates equal: no spread to judge by"
FEW = f"fewer than {LEAST} replicates"


def why_not(*sides: Sequence[float]) -> str:
    """Returns why these samples allow no judgement, "" where they do.

    One side with a spread is enough: the other may be a single value, or a constant.

    >>> why_not([0.1, 0.2, 0.4]), why_not([0.1, 0.1, 0.1]), why_not([0.1, 0.2], [0.3])
    ('', 'all replicates equal: no spread to judge by', 'fewer than 3 replicates')
    """
    varying = [side for side in sides if len(side) and intervals.has_spread(side)]
    if max(map(len, varying), default=0) >= LEAST:
        return ""
    return FEW if varying or max(map(len, sides)) < 2 else EQUAL


def mean_ends(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Returns the 95% interval of the mean over training seeds; Nones where `why_not` says why."""
    if why_not(values):
        return None, None
    found = intervals.mean(values, level=LEVEL, unit="training seed")
    return found.low, found.high


def band(
    values: Sequence[float], single: Sequence[float | None] | None, *, single_unit: str
) -> dict[str, float | str | None]:
    """Returns the 95% interval of a measure in [0, 1] as the cells "low", "high" and "band".

    The ends are cut to [0, 1]; "band" is what they are over. Of one training seed they are those on
    its record, `single`, over `single_unit`, and say nothing about another seed. None for several
    seeds that are too few or equal.
    """
    (low, high), unit = mean_ends(values), "training seeds"
    if len(values) < 2:
        (low, high), unit = single or (None, None), f"{single_unit}, one model"
    elif low is None:
        unit += f": none, {why_not(values)}"
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (low, high))
    return {"low": low, "high": high, "band": unit}


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None for none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None
