"""Fault tolerance at equal accuracy: DP runs and natural training stopped at their accuracy."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ft_tf.records import Run
from ft_tf.report.exhibits import Column, Exhibit, register
from ft_tf.report.matched import PrivateRow, are_equal, by_seed, paired, private_rows
from ft_tf.report.measures import accuracy_at, normalized_auc
from ft_tf.report.table import count, signed_plus_minus, text
from ft_tf.report.tidy import TARGETS, Study

RATES = (0.1, 0.5, 0.9)
_PARTS = {"private": "first", "stopped": "second", "difference": "difference",
          "low": "low", "high": "high"}  # fmt: skip


def _measures(target: str) -> dict[str, Callable[[Run], float | None]]:
    def at(rate: float) -> Callable[[Run], float | None]:
        return lambda run: accuracy_at(run, target, rate)

    return {
        "test": lambda run: run.accuracy.test,
        **{f"at_{round(100 * rate)}": at(rate) for rate in RATES},
        "normalized_auc": lambda run: normalized_auc(run, target),
    }


def _columns(measure: str, group: str, priority: int) -> tuple[Column, ...]:
    difference = tuple(f"{measure}_{part}" for part in ("difference", "low", "high"))
    return (
        Column(f"{measure}_private", "DP", group, priority=priority),
        Column(f"{measure}_stopped", "natural", group, priority=priority),
        Column(difference, "difference", group, signed_plus_minus, min(priority, 1)),
    )


def _not_equal(first: float, second: float) -> str:
    return "" if are_equal(first, second) else "test accuracies differ by more than a point"


class EqualAccuracy(Exhibit):
    """A line per DP row and fault target, paired by seed."""

    name, order = "equal_accuracy", 70
    title = "Fault tolerance at equal accuracy: DP and natural training stopped at its level"
    columns = (
        Column("run", "DP run", format=text),
        Column("target", "stuck at 0", format=text),
        *_columns("test", "no faults", 0),
        *_columns("at_10", "10% faults", 4),
        *_columns("at_50", "50% faults", 2),
        *_columns("at_90", "90% faults", 3),
        Column("replicates", "n", format=count),
    )

    details = (
        *Exhibit.details,
        Column("beside", "natural", format=text),
        Column("normalized_auc_private", "normalized accuracy under faults, DP"),
        Column("normalized_auc_stopped", "normalized accuracy under faults, natural"),
        Column(("test_private", "test_stopped"), "NOT EQUAL", format=_not_equal),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        lines = [_line(entry, t) for entry in private_rows(study) if entry.stopped for t in TARGETS]
        return pd.DataFrame([line for line in lines if line])


def _line(entry: PrivateRow, target: str) -> dict[str, Any]:
    """A line of the table; {} where nothing was measured of both."""
    measures = _measures(target)
    pairs = {name: by_seed(entry.private, entry.stopped, m) for name, m in measures.items()}
    if not pairs["test"] or not any(pairs[name] for name in measures if name != "test"):
        return {}
    cells = {}
    for name, values in pairs.items():
        found = paired(values) if values else None
        cells |= {f"{name}_{part}": getattr(found, source, None) for part, source in _PARTS.items()}
    return {
        "data": entry.private.data,
        "run": entry.private.run,
        "beside": entry.stopped.run,
        "rows": entry.row,
        "target": target,
        "replicates": len(pairs["test"]),
        **cells,
        "records": f"{entry.private.names} {entry.stopped.names}",
    }


register(EqualAccuracy())
