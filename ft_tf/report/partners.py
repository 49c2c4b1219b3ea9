"""Runs that belong beside one another: a DP row and what tells its parts and its accuracy apart."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.comparison import Comparison, Measure, by_seed, paired, test_accuracy
from ft_tf.report.fault_measures import accuracy_at, kept
from ft_tf.report.groups import STOPPED, Group, breakdowns_of, groups_by_row, parts_of
from ft_tf.report.measures import data_of, deviation, mean_of

TARGETS = ("weights", "units")
RATES = (0.1, 0.5, 0.9)
CONTROLS = ("natural_dropout", "natural_fault_aware", "jacobian_penalty")
"""Rows of ours beside the natural one: trained for fault tolerance, or Bishop's penalty."""

EQUAL_COLUMNS = (
    "data",
    "run",
    "beside",
    "rows",
    "target",
    "replicates",
    *(
        f"{measure}_{part}"
        for measure in ("test", *(f"at_{round(100 * rate)}" for rate in RATES), "kept")
        for part in ("private", "stopped", "difference", "low", "high")
    ),
    "records",
)
ARM_COLUMNS = (
    "data",
    "exhibit",
    "architecture",
    "part",
    "run",
    "row",
    "replicates",
    "train",
    "test",
    "gap",
    "test_sd",
    "gap_sd",
    "breakdowns",
    *(f"{target}_{round(100 * rate)}" for target in TARGETS for rate in RATES),
    *(f"{target}_kept" for target in TARGETS),
    "records",
)


_EQUAL = 0.01
_ROUNDING = 1e-9


def are_equal(first: float, second: float) -> bool:
    """Whether two test accuracies differ by at most a point, which comparisons call equal.

    >>> are_equal(0.6997, 0.7097), are_equal(0.6996, 0.7097)  # floats: 0.6997 + 0.01 < 0.7097
    (True, False)
    """
    return abs(first - second) <= _EQUAL + _ROUNDING


@dataclasses.dataclass(frozen=True)
class PrivateRow:
    """A DP row of the paper as it was run, with the groups that belong beside it.

    Attributes:
        row: its id.
        private: its runs.
        stopped: natural runs stopped at its test accuracy, seed by seed; None if not run.
        noise_only: the same noise on gradients that nobody clipped.
        clip_only: clipped gradients without noise.
        natural: the natural row of the same table.
        tikhonov: the Tikhonov row of the same table.
    """

    row: str
    private: Group
    stopped: Group | None
    noise_only: Group | None
    clip_only: Group | None
    natural: Group | None
    tikhonov: Group | None


def private_rows(records: Iterable[Record]) -> list[PrivateRow]:
    """Every finished DP row, one entry per architecture and data that it ran on; none fitted."""
    grouped = groups_by_row(records)
    found = []
    for row, groups in grouped.items():
        exhibit, _, algorithm, value = parts_of(row)
        if not exhibit.startswith("table") or algorithm != "dpsgd" or not value:
            continue
        for group in finished(groups):
            if group.is_fitted:
                continue
            beside = _Beside(grouped, row, group)
            found.append(
                PrivateRow(
                    row=row,
                    private=group,
                    stopped=beside.find(f"{STOPPED}/{value}"),
                    noise_only=beside.find(f"dpsgd_noise_only/{value}"),
                    clip_only=beside.find("dpsgd_clip_only"),
                    natural=beside.find("natural"),
                    tikhonov=beside.find("tikhonov"),
                )
            )
    return found


def finished(groups: Iterable[Group]) -> list[Group]:
    """The groups with at least one finished run."""
    return [group for group in groups if group.finished]


@dataclasses.dataclass(frozen=True)
class _Beside:
    """Looks for runs of the same table on the same data with the same architecture."""

    grouped: Mapping[str, Sequence[Group]]
    row: str
    group: Group

    def find(self, algorithm: str) -> Group | None:
        stem = "/".join(self.row.split("/")[:2])
        for candidate in finished(self.grouped.get(f"{stem}/{algorithm}", ())):
            if candidate.setting == self.group.setting:
                return candidate
        return None


def equal_accuracy_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Each DP row beside natural training stopped at its test accuracy, paired by seed.

    Per target the accuracies at 10, 50 and 90% faults and the share that is kept over all rates,
    each with the mean difference, DP minus natural, and its 95% interval over seeds.
    """
    lines = []
    for entry in private_rows(records):
        if entry.stopped is None:
            continue
        for target in TARGETS:
            measures = _measures(target)
            found = {name: _compared(entry, measure) for name, measure in measures.items()}
            if found["test"] is None or all(found[n] is None for n in measures if n != "test"):
                continue
            lines.append(
                {
                    "data": f"{entry.private.any_record['data'].get('name')}, "
                    f"{data_of(entry.private)}",
                    "run": labels.of_run(entry.private),
                    "beside": labels.of_run(entry.stopped),
                    "rows": entry.row,
                    "target": target,
                    "replicates": found["test"].counts[0],
                    **_cells(found),
                    "records": f"{entry.private.names} {entry.stopped.names}",
                }
            )
    return pd.DataFrame(lines, columns=list(EQUAL_COLUMNS))


def _measures(target: str) -> dict[str, Measure]:
    def at(rate: float) -> Measure:
        return lambda record: accuracy_at(record, target, rate)

    return {
        "test": test_accuracy,
        **{f"at_{round(100 * rate)}": at(rate) for rate in RATES},
        "kept": lambda record: kept(record, target),
    }


def _compared(entry: PrivateRow, measure: Measure) -> Comparison | None:
    pairs = by_seed(entry.private, entry.stopped, measure)
    return paired(pairs) if pairs else None


def _cells(found: Mapping[str, Comparison | None]) -> dict[str, Any]:
    cells = {}
    for name, comparison in found.items():
        if comparison is not None:
            cells |= {
                f"{name}_private": comparison.first,
                f"{name}_stopped": comparison.second,
                f"{name}_difference": comparison.difference,
                f"{name}_low": comparison.low,
                f"{name}_high": comparison.high,
            }
    return cells


def arms_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Clipping alone and noise alone beside each DP row, and positive controls for faults.

    A block per table, architecture and data: what is there once (natural, Tikhonov, the controls,
    clipping alone), then for each DP row the row itself, its noise alone, and natural training
    stopped at its accuracy. Blocks without any arm are left out.
    """
    records = list(records)
    grouped = groups_by_row(records)
    blocks: dict[tuple[str, ...], list[PrivateRow]] = {}
    for entry in private_rows(records):
        exhibit = parts_of(entry.row)[0]
        blocks.setdefault((exhibit, *entry.private.setting), []).append(entry)
    lines = []
    for (exhibit, *_), entries in blocks.items():
        first = entries[0]
        beside = _Beside(grouped, first.row, first.private)
        once = {
            "natural": first.natural,
            "Tikhonov": first.tikhonov,
            **{name: beside.find(name) for name in CONTROLS},
            "clipping alone": first.clip_only,
        }
        block = [(part, group) for part, group in once.items() if group is not None]
        for entry in _from_most_noise(entries):
            sigma = entry.private.config["algorithm"]["noise_multiplier"]
            block.append((f"DP-SGD, noise multiplier {sigma:g}", entry.private))
            block += [("its noise alone", entry.noise_only)] if entry.noise_only else []
            block += [("natural, stopped at its accuracy", entry.stopped)] if entry.stopped else []
        if len(block) > len(entries) + bool(first.natural) + bool(first.tikhonov):
            lines += [_arm_line(exhibit, part, group) for part, group in block]
    return pd.DataFrame(lines, columns=list(ARM_COLUMNS))


def _from_most_noise(entries: Iterable[PrivateRow]) -> list[PrivateRow]:
    return sorted(entries, key=lambda entry: -entry.private.config["algorithm"]["noise_multiplier"])


_PARTS = {
    "natural_dropout": "control: dropout",
    "natural_fault_aware": "control: faults in training",
    "jacobian_penalty": "control: Jacobian penalty",
}


def _arm_line(exhibit: str, part: str, group: Group) -> dict[str, Any]:
    samples = group.samples
    return {
        "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
        "exhibit": exhibit,
        "architecture": group.config["architecture"],
        "part": _PARTS.get(part, part),
        "run": labels.of_run(group),
        "row": group.row,
        "replicates": len(samples),
        **{name: mean_of(getattr(samples, name)) for name in ("train", "test", "gap")},
        "test_sd": deviation(samples.test),
        "gap_sd": deviation(samples.gap),
        "breakdowns": breakdowns_of(group),
        **{
            f"{target}_{round(100 * rate)}": mean_of(
                accuracy_at(record, target, rate) for record in group.finished
            )
            for target in TARGETS
            for rate in RATES
        },
        **{
            f"{target}_kept": mean_of(kept(record, target) for record in group.finished)
            for target in TARGETS
        },
        "records": group.names,
    }
