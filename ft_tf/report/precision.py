"""Runs that differ in one setting, seed by seed: is mixed_bfloat16 as good as float32?"""

import dataclasses
import json
import statistics
from collections.abc import Iterable

from ft_tf import intervals
from ft_tf.records import Record
from ft_tf.report.spread import LEVEL, why_not

MARGIN = 0.01
"""Differences of test accuracy within this count as none: one point."""
_SEEDS = ("seed", "noise_seed", "fault_seed")


@dataclasses.dataclass(frozen=True)
class PrecisionComparison:
    """Test accuracy of mixed_bfloat16 minus that of float32, of runs that are otherwise equal.

    Attributes:
        name: the runs' name without their seed.
        seeds: training seeds that both precisions have run.
        differences: one for each seed, as fractions.
        interval: Student-t interval of their mean; None where they have no spread to judge by.
    """

    name: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    interval: intervals.Interval | None

    @property
    def is_equivalent(self) -> bool:
        """Whether the interval lies within +-MARGIN."""
        found = self.interval
        return found is not None and max(-found.low, found.high) <= MARGIN

    def __str__(self) -> str:
        """One line, in points.

        >>> print(PrecisionComparison("d", (0,), (0.005,), None))
        d: mixed_bfloat16 minus float32, test accuracy: +0.50 points; fewer than 3 replicates
        """
        difference = 100 * statistics.fmean(self.differences)
        line = f"{self.name}: mixed_bfloat16 minus float32, test accuracy: {difference:+.2f} points"
        if self.interval is None:
            return f"{line}; {why_not(self.differences)}"
        verdict = "within" if self.is_equivalent else "not shown to be within"
        return (
            f"{line}, {self.interval.level:.0%} interval [{100 * self.interval.low:+.2f}, "
            f"{100 * self.interval.high:+.2f}] over {len(self.seeds)} paired seeds: {verdict} "
            f"+-{100 * MARGIN:g} point"
        )


def compare_precisions(records: Iterable[Record]) -> list[PrecisionComparison]:
    """Pairs finished runs on the same data that differ in nothing but precision, by seed.

    Args:
        records: any records; those without a partner are left out.

    Returns:
        One comparison for each setting that both precisions have run, by name.
    """
    found: dict[str, dict[str, dict[int, Record]]] = {}
    for record in sorted(records, key=lambda record: record["name"]):
        if record["kind"] == "run" and record["status"] == "finished":
            precisions = found.setdefault(_setting(record), {})
            by_seed = precisions.setdefault(record["config"].get("precision", "float32"), {})
            by_seed.setdefault(record["config"]["seed"], record)
    compared = [
        _compared(precisions["float32"], precisions["mixed_bfloat16"])
        for precisions in found.values()
        if {"float32", "mixed_bfloat16"} <= set(precisions)
    ]
    return sorted((one for one in compared if one), key=lambda one: one.name)


def _compared(plain: dict[int, Record], mixed: dict[int, Record]) -> PrecisionComparison | None:
    seeds = tuple(sorted(set(plain) & set(mixed)))
    if not seeds:
        return None
    differences = tuple(
        mixed[seed]["accuracy"]["test"] - plain[seed]["accuracy"]["test"] for seed in seeds
    )
    interval = None
    if not why_not(differences):
        interval = intervals.mean(differences, level=LEVEL, unit="training seed")
    name = plain[seeds[0]]["name"].removesuffix(f"-seed_{seeds[0]}")
    return PrecisionComparison(name, seeds, differences, interval)


def _setting(record: Record) -> str:
    """What both runs of a pair share, as text."""

    def stripped(fields: dict) -> dict:
        return {
            key: stripped(value) if isinstance(value, dict) else value
            for key, value in fields.items()
            if key not in _SEEDS
        }

    config = {key: v for key, v in stripped(record["config"]).items() if key != "precision"}
    return json.dumps([config, record["data"]["fingerprint"]], sort_keys=True)
