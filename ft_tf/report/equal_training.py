"""Gaps at equal training accuracy: a short adversarial training is not read as less overfitting."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.groups import Group, groups_by_row, parts_of
from ft_tf.report.measures import data_of, mean_of
from ft_tf.report.partners import finished

NATURAL_TABLES = {
    "table_4": ("table_4",),
    "table_5": ("table_5",),
    "table_6": ("table_4",),
}
"""Where the natural runs stand to which a table's robust runs are compared."""

COLUMNS = (
    "data",
    "run",
    "beside",
    "rows",
    "replicates",
    "epochs",
    "train",
    "test",
    "gap",
    "natural_gap",
    "natural_epoch",
    "natural_gap_there",
    "difference_there",
    "best_epoch",
    "best_attack",
    "best_test",
    "best_robust",
    "records",
)


def robust_pairs(
    records: Iterable[Record], beside: str = "natural"
) -> list[tuple[str, Group, Group]]:
    """(row, robust group, group it is compared to) on the same data with the same architecture.

    Args:
        records: any records.
        beside: "natural" or "tikhonov".
    """
    grouped = groups_by_row(records)
    found, seen = [], set()
    for row, groups in grouped.items():
        exhibit, architecture, algorithm, _ = parts_of(row)
        if exhibit not in NATURAL_TABLES or not algorithm.startswith("trades"):
            continue
        for group in finished(groups):
            for table in NATURAL_TABLES[exhibit]:
                for other in finished(grouped.get(f"{table}/{architecture}/{beside}", ())):
                    if other.setting == group.setting and (group.key, other.key) not in seen:
                        seen.add((group.key, other.key))
                        found.append((row, group, other))
    return found


def gap_at(record: Record, train_accuracy: float) -> tuple[float, float] | None:
    """A run's gap where its training accuracy first reaches a level.

    Epoch and gap are interpolated linearly between the epoch that ends below the level and the
    next: that after the first epoch above it belongs to a model that has learned more.

    Returns:
        (epoch, gap); None where the level is never reached, or lies below the first epoch, or
        where the run's accuracies were not measured after each epoch.
    """
    history = record["history"]
    columns = [history.get(name) or [] for name in ("epoch", "train_accuracy", "test_accuracy")]
    measured = [point for point in zip(*columns, strict=False) if None not in point]
    above = next((i for i, (_, train, _) in enumerate(measured) if train >= train_accuracy), None)
    if above is None:
        return None
    epoch, train, test = measured[above]
    if train == train_accuracy:
        return float(epoch), train - test
    if above == 0:
        return None
    before = measured[above - 1]
    share = (train_accuracy - before[1]) / (train - before[1])
    gap_before, gap = before[1] - before[2], train - test
    return before[0] + share * (epoch - before[0]), gap_before + share * (gap - gap_before)


def equal_training_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Each TRADES group's gap beside the natural one's, at the end and at equal training accuracy.

    natural_gap_there is the mean over natural seeds of `gap_at` the mean final training accuracy
    of the TRADES runs. best_* describe the checkpoint
    with the best robust accuracy on test images that the reported figures do not use.
    """
    return pd.DataFrame(
        [_line(*pair) for pair in robust_pairs(records)],
        columns=list(COLUMNS),
    )


def _line(row: str, group: Group, natural: Group) -> dict[str, Any]:
    samples = group.samples
    train, gap = statistics.fmean(samples.train), statistics.fmean(samples.gap)
    there = [gap_at(record, train) for record in natural.finished]
    reached = [entry for entry in there if entry is not None]
    natural_gap = mean_of(entry[1] for entry in reached)
    best = [record.get("best_checkpoint") or {} for record in group.finished]
    return {
        "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
        "run": labels.of_run(group),
        "beside": labels.of_run(natural),
        "rows": row,
        "replicates": len(samples),
        "epochs": group.config.get("epochs"),
        "train": train,
        "test": statistics.fmean(samples.test),
        "gap": gap,
        "natural_gap": statistics.fmean(natural.samples.gap),
        "natural_epoch": mean_of(entry[0] for entry in reached),
        "natural_gap_there": natural_gap,
        "difference_there": None if natural_gap is None else gap - natural_gap,
        **_best(best),
        "records": f"{group.names} {natural.names}",
    }


def _best(best: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "best_epoch": mean_of(entry.get("epoch") for entry in best),
        "best_attack": ", ".join(
            sorted({f"PGD-{entry['attack_steps']}" for entry in best if "attack_steps" in entry})
        ),
        "best_test": mean_of(entry.get("test_accuracy") for entry in best),
        "best_robust": mean_of(entry.get("robust_accuracy") for entry in best),
    }
