"""When replicates can be judged by at all: three of them at least, and not all equal.

Accuracies are counts over a finite test set. Replicates that all agree, as those of a small test
set often do by chance, show that the spread is below what the set resolves, not that it is nothing:
Student's t would divide by zero and call any difference certain.

Two replicates leave one difference to know the spread from: by chance it is below a tenth of the
true one in 8 of 100 cases (of three in 1), and a count rounds it to nothing or to one step. From
three on no further floor is needed: n values on a grid that are not all equal have a deviation of
at least step / sqrt(n), for up to a dozen more than the step / sqrt(12) of rounding itself.
"""

from collections.abc import Sequence

from ft_tf import intervals
from ft_tf.intervals import Interval

LEVEL = 0.95
LEAST = 3
"""Replicates that a verdict, an ordering, a prediction or an interval over seeds takes."""
EQUAL = "all replicates equal: no spread to judge by"
FEW = f"fewer than {LEAST} replicates"


def why_not(*sides: Sequence[float]) -> str:
    """Why these samples allow no judgement, "" where they do.

    One side with a spread is enough: the other may be a single value, or a constant.

    >>> why_not([0.1, 0.2, 0.4]), why_not([0.1, 0.1, 0.1]), why_not([0.1, 0.2], [0.3])
    ('', 'all replicates equal: no spread to judge by', 'fewer than 3 replicates')
    """
    varying = [side for side in sides if intervals.has_spread(side)]
    if max(map(len, varying), default=0) >= LEAST:
        return ""
    return FEW if varying or max(map(len, sides)) < 2 else EQUAL


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95% interval of the mean over training seeds; None where `why_not` says so."""
    if why_not(values):
        return None
    return intervals.mean(values, level=LEVEL, unit="training seed")
