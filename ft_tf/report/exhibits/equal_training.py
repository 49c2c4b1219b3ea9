"""Generalization errors of TRADES and natural training at equal training accuracy.

A short adversarial training has a small gap because it has learned less, not because it overfits
less.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from ft_tf.effects.runs import Trained
from ft_tf.report.display_names import NATURAL, TRADES, parts_of
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import mean_of
from ft_tf.report.table import count, number, number_3, points, text
from ft_tf.report.tidy import Study, finished

NATURAL_TABLES = {"table_4": "table_4", "table_5": "table_5", "table_6": "table_4"}
"""Table of robust runs -> table with the natural runs that they are compared to."""


class EqualTraining(Exhibit):
    """A line per TRADES group and natural group."""

    name, order = "equal_training", 50
    title = "Gaps at equal training accuracy: TRADES and natural training"
    columns = (
        Column("run", "robust run", format=text),
        Column("train", "train", "robust"),
        Column("generalization_error", "gap", "robust"),
        Column("natural_generalization_error", "gap, at its end", "natural", priority=1),
        Column("natural_generalization_error_there", "gap, at that train", "natural"),
        Column("natural_epoch", "after epochs", "natural", number_3, 2),
        Column("difference_there", "there", "difference", points),
        Column("best_epoch", "epoch", "best checkpoint", number, 2),
        Column("best_test", "test", "best checkpoint", priority=2),
        Column("best_robust", "attacked", "best checkpoint", priority=2),
        Column("replicates", "n", format=count),
    )
    details = (
        *Exhibit.details,
        Column("epochs", "epochs", format=count),
        Column("test", "test accuracy after the last"),
        Column("beside", "natural", format=text),
        Column("best_attack", "checkpoint attacked by", format=text),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        for row, group, natural in robust_pairs(study):
            train, error = group.mean("train"), group.mean("generalization_error")
            reached = (Trained(record).where_trained_to(100 * train) for record in natural.finished)
            there = [(epoch, gap / 100) for epoch, gap in filter(None, reached)]
            natural_error = mean_of(gap for _, gap in there)
            best = [record.best_checkpoint for record in group.finished if record.best_checkpoint]
            yield {
                "data": group.data,
                "run": group.run,
                "beside": natural.run,
                "rows": row,
                "replicates": len(group.samples),
                "epochs": group.config.get("epochs"),
                "train": train,
                "test": group.mean("test"),
                "generalization_error": error,
                "natural_generalization_error": natural.mean("generalization_error"),
                "natural_epoch": mean_of(epoch for epoch, _ in there),
                "natural_generalization_error_there": natural_error,
                "difference_there": None if natural_error is None else error - natural_error,
                "best_epoch": mean_of(entry.epoch for entry in best),
                "best_attack": ", ".join(sorted({f"PGD-{entry.attack_steps}" for entry in best})),
                "best_test": mean_of(entry.test_accuracy for entry in best),
                "best_robust": mean_of(entry.robust_accuracy for entry in best),
                "records": f"{group.names} {natural.names}",
            }


def robust_pairs(study: Study) -> list[tuple[str, Group, Group]]:
    """(row, TRADES group, natural group) on the same data with the same architecture."""
    found = {}
    for row, groups in study.by_row.items():
        exhibit, architecture, algorithm, _ = parts_of(row)
        if exhibit not in NATURAL_TABLES or not algorithm.startswith(TRADES):
            continue
        others = study.by_row.get(f"{NATURAL_TABLES[exhibit]}/{architecture}/{NATURAL}", ())
        for pair in itertools.product(finished(groups), finished(others)):
            if pair[0].setting == pair[1].setting:
                found.setdefault((pair[0].key, pair[1].key), (row, *pair))
    return list(found.values())


register(EqualTraining())
