"""Which rows of the paper's tables our runs replicate (experiments/RULE.md)."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf.records import Circles, Record
from ft_tf.report import paper
from ft_tf.report.effects_runs import trained

REPLICATED, NOT_REPLICATED = "replicated", "not replicated"
NOT_ATTEMPTED = "not attempted"
TOLERANCES = {"train": 2.0, "test": 2.0, "gap": 1.0}
"""Differences in points that count as agreement whatever the prediction interval."""
LEAST = 3
"""Trainings that a prediction interval takes."""
_PRINTED = {"train": "train", "test": "test", "gap": "generalization_error"}
_Variant = tuple[dict[str, Sequence[float]], list[str]]
COLUMNS = (
    "row", "exhibit", "dataset", "word",
    *(f"{name}{part}" for name in TOLERANCES for part in ("_paper", "", "_difference", "_allowed")),
    "trainings", "variants", "records",
)  # fmt: skip
BY_DATA_COLUMNS = (
    "dataset", "value", "rows", "replicated", "mean_absolute_error", "correlation",
)  # fmt: skip


def agreement(records: Iterable[Record]) -> pd.DataFrame:
    """A line per row of the paper's tables: replicated, not replicated, or not attempted.

    All three of training accuracy, test accuracy and gap must lie within `*_allowed` of the
    paper's: the half-width of our prediction interval for one more training, or the tolerance,
    whichever is larger. Of several variants of a row the nearest is shown.
    """
    variants = _variants(list(records))
    lines = []
    for row in (row for table in paper.TABLES for row in paper.rows(table)):
        printed = {name: 100 * getattr(row, field) for name, field in _PRINTED.items()}
        found = [_compared(printed, *variant) for variant in variants[row.id]]
        nearest = min(found, key=_farthest, default={"trainings": 0, "records": ""})
        word = NOT_ATTEMPTED
        if found:
            word = REPLICATED if _farthest(nearest) <= 1 else NOT_REPLICATED
        line = {"row": row.id, "exhibit": row.exhibit, "dataset": row.dataset, "word": word}
        line |= {f"{name}_paper": value for name, value in printed.items()}
        lines.append({**line, **nearest, "variants": len(found)})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _compared(
    printed: dict[str, float], values: dict[str, Sequence[float]], names: list[str]
) -> dict[str, Any]:
    """Our means of one variant, their differences from the paper's, and how large those may be."""
    cells: dict[str, Any] = {"trainings": len(values["gap"]), "records": " ".join(names)}
    for name, mine in values.items():
        cells[name] = statistics.fmean(mine)
        cells[f"{name}_difference"] = cells[name] - printed[name]
        enough = len(mine) >= LEAST
        half = intervals.prediction(mine, unit="training").half_width if enough else 0.0
        cells[f"{name}_allowed"] = max(half, TOLERANCES[name])
    return cells


def _farthest(cells: dict[str, Any]) -> float:
    """Largest difference, as a share of what is allowed."""
    return max(abs(cells[f"{n}_difference"]) / cells[f"{n}_allowed"] for n in TOLERANCES)


def _variants(records: Sequence[Record]) -> dict[str, list[_Variant]]:
    """Settings that were run for each row: values in points, and names of records."""
    settings = defaultdict(list)
    for run in trained(records):
        for row in run.record.rows if run.counts else ():
            settings[row, run.network, run.setting].append(run)
    found = defaultdict(list)
    for (row, *_), runs in sorted(settings.items(), key=lambda item: item[0]):
        values = {name: [getattr(run, name) for run in runs] for name in TOLERANCES}
        found[row].append((values, [run.record.name for run in runs]))
    for record in records:
        if isinstance(record, Circles) and record.form == "fixed_data":
            for row, result in record.results.items():
                train, test = 100 * np.array(result.train), 100 * np.array(result.test)
                values = {"train": train, "test": test, "gap": train - test}
                found[row].append((values, [record.name]))
    return found


def agreement_by_data(agreement: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute error in points and Pearson's correlation over rows, by data set and value.

    Args:
        agreement: what `agreement` gives; rows that were not attempted are left out.
    """
    attempted = agreement[agreement["word"] != NOT_ATTEMPTED]
    lines = []
    for dataset, rows in attempted.groupby("dataset"):
        for name in TOLERANCES:
            printed, ours = rows[f"{name}_paper"].astype(float), rows[name].astype(float)
            varies = len(rows) > 2 and printed.nunique() > 1 and ours.nunique() > 1
            replicated = int((rows["word"] == REPLICATED).sum())
            error = float((ours - printed).abs().mean())
            correlation = float(printed.corr(ours)) if varies else math.nan
            lines.append((dataset, name, len(rows), replicated, error, correlation))
    return pd.DataFrame(lines, columns=list(BY_DATA_COLUMNS))
