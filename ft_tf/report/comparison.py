"""Two groups of runs compared by one figure: the difference, its interval, a p-value.

Interval and p-value are left out where the replicates allow none, for the reason that
`ft_tf.report.spread` gives.
"""

import dataclasses
import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from scipy import stats

from ft_tf import intervals
from ft_tf.records import Record
from ft_tf.report.groups import Group
from ft_tf.report.spread import FEW, LEAST, LEVEL, why_not

Measure = Callable[[Record], float | None]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One figure of two groups.

    Attributes:
        first: mean of the first group.
        second: mean of the second group.
        difference: first minus second.
        low: lower end of the 95% interval of the difference; None where there is no spread to
            hold it against.
        high: upper end.
        p_value: two-sided; None likewise.
        counts: replicates on both sides; of a paired comparison the pairs.
        method: the test, in words.
        why_undecided: why there is no p-value; "" where there is one.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    counts: tuple[int, int]
    method: str
    why_undecided: str = ""

    @property
    def is_decidable(self) -> bool:
        """Whether there is a spread to hold the difference against."""
        return self.p_value is not None


def unpaired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compares independent replicates by Welch's t; it takes `LEAST` of them on both sides."""
    interval = intervals.welch(first, second, level=LEVEL, unit="training seed")
    means = statistics.fmean(first), statistics.fmean(second)
    counts = len(first), len(second)
    reason = FEW if min(counts) < LEAST else why_not(first, second)
    if reason:
        return Comparison(
            *means, means[0] - means[1], None, None, None, counts, interval.method, reason
        )
    return Comparison(
        *means,
        means[0] - means[1],
        interval.low,
        interval.high,
        _p_of_unpaired(first, second),
        counts,
        interval.method,
    )


def _p_of_unpaired(first: Sequence[float], second: Sequence[float]) -> float:
    with warnings.catch_warnings():  # of two sides one may be constant
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ttest_ind(first, second, equal_var=False).pvalue)


def paired(pairs: Sequence[tuple[float, float]], *, unit: str = "training seed") -> Comparison:
    """Compares values that share a seed or a replicate: Student's t of their differences."""
    differences = [a - b for a, b in pairs]
    means = statistics.fmean(a for a, _ in pairs), statistics.fmean(b for _, b in pairs)
    difference, counts = statistics.fmean(differences), (len(pairs), len(pairs))
    method, reason = f"Student t, paired by {unit}", why_not(differences)
    if reason:
        return Comparison(*means, difference, None, None, None, counts, method, reason)
    interval = intervals.mean(differences, level=LEVEL, unit=unit)
    return Comparison(
        *means,
        difference,
        interval.low,
        interval.high,
        float(stats.ttest_1samp(differences, 0.0).pvalue),
        counts,
        method,
    )


def values(group: Group, measure: Measure) -> list[float]:
    """A figure of every run of a group that has it."""
    found = (measure(record) for record in group.finished)
    return [value for value in found if value is not None]


def by_seed(
    first: Group, second: Group, measure: Callable[[Record], T | None]
) -> list[tuple[T, T]]:
    """What is measured of both groups, for each training seed that both have run."""
    others = {record["config"]["seed"]: measure(record) for record in second.finished}
    pairs = []
    for record in first.finished:
        value, other = measure(record), others.get(record["config"]["seed"])
        if value is not None and other is not None:
            pairs.append((value, other))
    return pairs


def gap(record: Record) -> float | None:
    """Generalization error of a run."""
    return record["accuracy"]["generalization_error"]


def test_accuracy(record: Record) -> float | None:
    """Test accuracy of a run."""
    return record["accuracy"]["test"]
