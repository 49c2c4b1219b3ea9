"""What was measured beside accuracy: the spread of parameters (Figure 2), attacks."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels, paper, spread
from ft_tf.report.groups import Group, groups_by_row
from ft_tf.report.tables import data_of, find_groups

PARAMETER_COLUMNS = (
    "data",
    "run",
    "rows",
    "replicates",
    "standard_deviation",
    "standard_deviation_sd",
    "equation_10",
    "paper_standard_deviation",
    "paper_note",
    "records",
)
ROBUSTNESS_COLUMNS = (
    "data",
    "run",
    "rows",
    "replicates",
    "attack",
    "distance",
    "epsilon",
    "steps",
    "images",
    "clean_accuracy",
    "robust_accuracy",
    "robust_low",
    "robust_high",
    "band",
    "train_clean_accuracy",
    "train_robust_accuracy",
    "robust_generalization_error",
    "warnings",
    "records",
)
_ACCURACIES = (
    "clean_accuracy",
    "robust_accuracy",
    "train_clean_accuracy",
    "train_robust_accuracy",
    "robust_generalization_error",
)


def trained_groups(records: Iterable[Record]) -> list[tuple[Group, str]]:
    """Groups of finished runs, each once, with all the rows that it serves, in a fixed order."""
    rows: dict[str, list[str]] = {}
    groups: dict[str, Group] = {}
    for row, found in groups_by_row(records).items():
        for group in found:
            if group.finished and group.any_record["kind"] == "run":
                groups.setdefault(group.key, group)
                rows.setdefault(group.key, []).append(row)
    order = {row.id: index for index, row in enumerate(paper.all_rows())}

    def place(key: str) -> tuple[int, str, str]:
        first = min(rows[key], key=lambda row: order.get(row, len(order)))
        return order.get(first, len(order)), first, key

    return [(groups[key], " ".join(rows[key])) for key in sorted(groups, key=place)]


def common(group: Group, rows: str) -> dict[str, Any]:
    """Cells that say what a line is about."""
    return {
        "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
        "run": labels.of_run(group),
        "rows": rows,
        "replicates": len(group.finished),
        "records": group.names,
    }


def paper_measures(records: Sequence[Record], exhibit: str) -> dict[str, list[paper.PaperRow]]:
    """Key of a group -> rows of a figure whose printed number stands beside it."""
    grouped = groups_by_row(records)
    found: dict[str, list[paper.PaperRow]] = {}
    for row in paper.rows(exhibit):
        for group in find_groups(grouped, row):
            found.setdefault(group.key, []).append(row)
    return found


def not_run(printed: Mapping[str, Sequence[paper.PaperRow]], exhibit: str) -> list[dict[str, Any]]:
    """A line for each printed number that no run of ours stands beside."""
    beside = {row.id for rows in printed.values() for row in rows}
    return [
        {
            "data": row.dataset,
            "run": f"not run: {labels.of_paper_row(row)}",
            "rows": row.id,
            "replicates": 0,
        }
        for row in paper.rows(exhibit)
        if row.id not in beside
    ]


def parameter_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Standard deviation of all parameters, and equation 10 as printed, per group of runs.

    The paper's number of Figure 2 stands beside the runs that it can belong to.
    """
    records = list(records)
    printed = paper_measures(records, "figure_2")
    lines = []
    for group, rows in trained_groups(records):
        found = [r["parameters"] for r in group.finished if r["parameters"]]
        if not found:
            continue
        deviations = [entry["standard_deviation"] for entry in found]
        beside = printed.get(group.key, [])
        lines.append(
            {
                **common(group, rows),
                "replicates": len(found),
                "standard_deviation": statistics.fmean(deviations),
                "standard_deviation_sd": deviation(deviations),
                "equation_10": statistics.fmean(entry["equation_10"] for entry in found),
                "paper_standard_deviation": beside[0].measure if beside else None,
                "paper_note": beside[0].note if beside else "",
            }
        )
    for line in not_run(printed, "figure_2"):
        row = paper.row(line["rows"])
        lines.append({**line, "paper_standard_deviation": row.measure, "paper_note": row.note})
    return pd.DataFrame(lines, columns=list(PARAMETER_COLUMNS))


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def robustness_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Accuracy under attack, per group and attack, with the attack's own warnings."""
    lines = []
    for group, rows in trained_groups(records):
        for (attack, distance, epsilon, steps, images), entries in _attacks(group).items():
            values = [entry["robust_accuracy"] for entry in entries]
            low, high, unit = band(values, entries[0].get("robust_interval"), own_unit="images")
            lines.append(
                {
                    **common(group, rows),
                    "replicates": len(entries),
                    "attack": attack,
                    "distance": distance,
                    "epsilon": epsilon,
                    "steps": steps,
                    "images": images,
                    **{key: mean_of(entry.get(key) for entry in entries) for key in _ACCURACIES},
                    "robust_low": low,
                    "robust_high": high,
                    "band": unit,
                    "warnings": "; ".join(
                        dict.fromkeys(
                            text for entry in entries for text in entry.get("warnings") or []
                        )
                    ),
                }
            )
    return pd.DataFrame(lines, columns=list(ROBUSTNESS_COLUMNS))


def _attacks(group: Group) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Entries by kind of attack, one per run: of a repeated attack the one that did more harm."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in group.finished:
        worst: dict[tuple[Any, ...], dict[str, Any]] = {}
        for entry in record["robustness"]:
            distance = (entry.get("parameters") or {}).get("distance", "l_inf")
            kind = (entry["attack"], distance, *map(entry.get, ("epsilon", "steps", "images")))
            known = worst.setdefault(kind, entry)
            if entry["robust_accuracy"] < known["robust_accuracy"]:
                worst[kind] = entry
        for kind, entry in worst.items():
            found.setdefault(kind, []).append(entry)
    return found


def band(
    values: Sequence[float], own: Sequence[float | None] | None, *, own_unit: str
) -> tuple[float | None, float | None, str]:
    """95% interval of a measure in [0, 1]: over seeds, or of one model the run's own.

    Args:
        values: one per training seed.
        own: (low, high) on the record of the only seed.
        own_unit: what that interval is over.

    Returns:
        Low and high, cut to [0, 1], and what they are over; None for seeds that are too few or
        all agree. One model's interval says nothing about another seed.
    """
    interval = spread.mean_interval(values)
    if interval is not None:
        low, high, unit = interval.low, interval.high, "training seeds"
    elif len(values) > 1:
        low, high, unit = None, None, f"training seeds: none, {spread.why_not(values)}"
    else:
        (low, high), unit = own or (None, None), f"{own_unit}, one model"
    cut = (None if end is None else min(max(end, 0.0), 1.0) for end in (low, high))
    return *cut, unit


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there; None for none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None
