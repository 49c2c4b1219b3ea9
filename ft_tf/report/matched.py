"""Matched runs for a comparison, and tests of a figure between two groups.

A DP row is matched with natural training stopped at its accuracy, with its clipping alone and with
its noise alone; a TRADES row with natural training at equal training accuracy. Intervals and
p-values are left out where the replicates allow none, see `ft_tf.report.replicates`.
"""

import dataclasses
import statistics
import warnings
from collections.abc import Sequence

from scipy import stats

from ft_tf import intervals
from ft_tf.records import Run
from ft_tf.report.display_names import (
    CLIP_ONLY,
    NATURAL,
    NOISE_ONLY,
    PRIVATE,
    STOPPED,
    TIKHONOV,
    TRADES,
    parts_of,
)
from ft_tf.report.groups import Group
from ft_tf.report.replicates import FEW, LEAST, LEVEL, why_not
from ft_tf.report.tidy import Study, finished

NATURAL_TABLES = {"table_4": "table_4", "table_5": "table_5", "table_6": "table_4"}
"""Table of robust runs -> table with the natural runs that they are compared to."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One figure of two groups; interval and p-value are None where the replicates allow none."""

    first: float  # mean of the first group
    second: float  # mean of the second group
    difference: float  # first minus second
    low: float | None  # lower end of the 95% interval of the difference
    high: float | None  # upper end
    p_value: float | None  # two-sided
    counts: tuple[int, int]  # replicates on both sides; of a paired comparison the pairs
    method: str  # name of the test
    why_undecided: str = ""  # why there is no p-value


def unpaired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compares independent replicates by Welch's t, from `LEAST` on both sides on."""
    means = statistics.fmean(first), statistics.fmean(second)
    found = intervals.welch(first, second, level=LEVEL, unit="training seed")
    counts = len(first), len(second)
    reason = FEW if min(counts) < LEAST else why_not(first, second)
    difference, method = means[0] - means[1], found.method
    if reason:
        return Comparison(*means, difference, None, None, None, counts, method, reason)
    with warnings.catch_warnings():  # one of the sides may be constant
        warnings.simplefilter("ignore", RuntimeWarning)
        p_value = float(stats.ttest_ind(first, second, equal_var=False).pvalue)
    return Comparison(*means, difference, found.low, found.high, p_value, counts, method)


def paired(pairs: Sequence[tuple[float, float]], *, unit: str = "training seed") -> Comparison:
    """Compares values that share a seed or a replicate: Student's t of their differences."""
    differences = [a - b for a, b in pairs]
    means = statistics.fmean(a for a, _ in pairs), statistics.fmean(b for _, b in pairs)
    difference, counts = statistics.fmean(differences), (len(pairs), len(pairs))
    method, reason = f"Student t, paired by {unit}", why_not(differences)
    if reason:
        return Comparison(*means, difference, None, None, None, counts, method, reason)
    found = intervals.mean(differences, level=LEVEL, unit=unit)
    p_value = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Comparison(*means, difference, found.low, found.high, p_value, counts, method)


def match(study: Study, row: str, group: Group, algorithm: str) -> Group | None:
    """Returns the runs of another row of the same table on the same data and architecture.

    `algorithm` ends the other row's id, such as "natural" or "natural_stopped/2.97".
    """
    exhibit, architecture, *_ = parts_of(row)
    for candidate in finished(study.by_row.get(f"{exhibit}/{architecture}/{algorithm}", ())):
        if candidate.setting == group.setting:
            return candidate
    return None


@dataclasses.dataclass(frozen=True)
class PrivateRow:
    """A DP row of the paper as it was run, with its matched groups; None where one was not run."""

    row: str  # its id
    private: Group  # its runs
    stopped: Group | None  # natural runs stopped at its test accuracy, seed by seed
    noise_only: Group | None  # the same noise without clipping
    clip_only: Group | None  # clipped gradients without noise
    natural: Group | None  # the natural row of the same table
    tikhonov: Group | None  # the Tikhonov row of the same table

    @property
    def noise_multiplier(self) -> float:
        """Noise multiplier of the private runs."""
        return self.private.config["algorithm"]["noise_multiplier"]


def private_rows(study: Study) -> list[PrivateRow]:
    """Every finished DP row, one entry per architecture and data that it ran on; none fitted."""
    found = []
    for row, groups in study.by_row.items():
        exhibit, _, algorithm, value = parts_of(row)
        if not exhibit.startswith("table") or algorithm != PRIVATE or not value:
            continue
        for group in finished(groups):
            if not group.is_fitted:
                names = (
                    f"{STOPPED}/{value}",
                    f"{NOISE_ONLY}/{value}",
                    CLIP_ONLY,
                    NATURAL,
                    TIKHONOV,
                )
                matches = (match(study, row, group, name) for name in names)
                found.append(PrivateRow(row, group, *matches))
    return found


def robust_pairs(study: Study, beside: str = NATURAL) -> list[tuple[str, Group, Group]]:
    """(row, TRADES group, group it is compared to) on the same data with the same architecture.

    The other group is of the algorithm `beside`, "natural" or "tikhonov".
    """
    found, seen = [], set()
    for row, groups in study.by_row.items():
        exhibit, architecture, algorithm, _ = parts_of(row)
        if exhibit not in NATURAL_TABLES or not algorithm.startswith(TRADES):
            continue
        others = study.by_row.get(f"{NATURAL_TABLES[exhibit]}/{architecture}/{beside}", ())
        for group in finished(groups):
            for other in finished(others):
                if other.setting == group.setting and (group.key, other.key) not in seen:
                    seen.add((group.key, other.key))
                    found.append((row, group, other))
    return found


def error_at(record: Run, train: float) -> tuple[float, float] | None:
    """Returns a run's generalization error where its training accuracy first reaches a level.

    Epoch and error are interpolated linearly between the epoch that ends below the level and the
    next: the error after the first epoch above it belongs to a model that has learned more.

    Returns:
        (epoch, generalization error); None where the level is never reached, or lies below the
        first epoch, or where the run's accuracies were not measured after each epoch.
    """
    columns = [
        record.history.get(name) or [] for name in ("epoch", "train_accuracy", "test_accuracy")
    ]
    measured = [point for point in zip(*columns, strict=False) if None not in point]
    above = next((i for i, (_, reached, _) in enumerate(measured) if reached >= train), None)
    if above is None:
        return None
    epoch, reached, test = measured[above]
    if reached == train:
        return float(epoch), reached - test
    if above == 0:
        return None
    before = measured[above - 1]
    share = (train - before[1]) / (reached - before[1])
    error_before, error = before[1] - before[2], reached - test
    return before[0] + share * (epoch - before[0]), error_before + share * (error - error_before)
