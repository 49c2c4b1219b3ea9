"""What was measured beside accuracy: parameters (Figure 2), faults (Figure 3), attacks."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf import intervals
from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.groups import Group, groups_by_row
from ft_tf.report.tables import LEVEL, data_of, find_groups

SHOWN_RATES = (0.0, 0.1, 0.5, 0.9)
_TARGET_ORDER = ("weights", "units")

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
)
DROP_COLUMNS = (
    "data",
    "run",
    "rows",
    "replicates",
    "target",
    *(f"accuracy_at_{round(100 * rate)}" for rate in SHOWN_RATES),
    "drop_50_to_90",
    "drop_sd",
    "drop_low",
    "drop_high",
    "paper_drop",
    "trials",
    "images",
)
CURVE_COLUMNS = ("run", "rows", "target", "rate", "mean", "low", "high", "replicates", "band")
EPSILON_FT_COLUMNS = ("run", "rows", "target", "rate", "quantile", "total_variation", "half_margin")
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


def _common(group: Group, rows: str) -> dict[str, Any]:
    return {
        "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
        "run": labels.of_run(group),
        "rows": rows,
        "replicates": len(group.finished),
    }


def _paper_measures(records: Sequence[Record], exhibit: str) -> dict[str, list[paper.PaperRow]]:
    """Key of a group -> rows of a figure whose printed number stands beside it."""
    grouped = groups_by_row(records)
    found: dict[str, list[paper.PaperRow]] = {}
    for row in paper.rows(exhibit):
        for group in find_groups(grouped, row):
            found.setdefault(group.key, []).append(row)
    return found


def _not_run(printed: Mapping[str, Sequence[paper.PaperRow]], exhibit: str) -> list[dict[str, Any]]:
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
    printed = _paper_measures(records, "figure_2")
    lines = []
    for group, rows in trained_groups(records):
        spreads = [r["parameters"] for r in group.finished if r["parameters"]]
        if not spreads:
            continue
        deviations = [spread["standard_deviation"] for spread in spreads]
        beside = printed.get(group.key, [])
        lines.append(
            {
                **_common(group, rows),
                "replicates": len(spreads),
                "standard_deviation": statistics.fmean(deviations),
                "standard_deviation_sd": _deviation(deviations),
                "equation_10": statistics.fmean(spread["equation_10"] for spread in spreads),
                "paper_standard_deviation": beside[0].measure if beside else None,
                "paper_note": beside[0].note if beside else "",
            }
        )
    for line in _not_run(printed, "figure_2"):
        row = paper.row(line["rows"])
        lines.append({**line, "paper_standard_deviation": row.measure, "paper_note": row.note})
    return pd.DataFrame(lines, columns=list(PARAMETER_COLUMNS))


def targets_of(group: Group) -> list[str]:
    """Fault targets that every run of the group has, "weights" and "units" first."""
    found = set.intersection(*(set(record["faults"]) for record in group.finished))
    order = {target: index for index, target in enumerate(_TARGET_ORDER)}
    return sorted(found, key=lambda target: (order.get(target, len(order)), target))


def fault_curve(group: Group, target: str) -> pd.DataFrame:
    """Accuracy against fault rate: the mean over training seeds, and a 95% band.

    Of several seeds the band is the Student-t interval of the mean over seeds (fault sets are
    averaged within a seed); of one seed it is the campaign's own interval over fault sets, which
    says nothing about another seed. Bands are cut to [0, 1].
    """
    campaigns = [record["faults"][target] for record in group.finished]
    shared = set.intersection(*(set(campaign["rates"]) for campaign in campaigns))
    lines = []
    for rate in sorted(shared):
        at = [(campaign, campaign["rates"].index(rate)) for campaign in campaigns]
        means = [campaign["mean"][index] for campaign, index in at]
        if len(means) > 1:
            interval = intervals.mean(means, level=LEVEL, unit="training seed")
            low, high, band = interval.low, interval.high, "training seeds"
        else:
            campaign, index = at[0]
            low, high = _entry(campaign, "low", index), _entry(campaign, "high", index)
            band = f"{campaign.get('unit') or 'fault set'}s of one model"
        lines.append(
            {
                "rate": rate,
                "mean": statistics.fmean(means),
                "low": None if low is None else max(low, 0.0),
                "high": None if high is None else min(high, 1.0),
                "replicates": len(means),
                "band": band,
            }
        )
    return pd.DataFrame(lines, columns=["rate", "mean", "low", "high", "replicates", "band"])


def _entry(campaign: Mapping[str, Any], key: str, index: int) -> float | None:
    values = campaign.get(key) or []
    return values[index] if index < len(values) else None


def curve_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The fault curves of all groups, a line per group, target and rate."""
    frames = [
        fault_curve(group, target).assign(run=labels.of_run(group), rows=rows, target=target)
        for group, rows in trained_groups(records)
        for target in targets_of(group)
    ]
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    return pd.concat(frames, ignore_index=True)[list(CURVE_COLUMNS)]


def drop_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Accuracy at 0, 10, 50 and 90% faults, and the drop from 50 to 90% of Figure 3.

    A drop is small as well for a model that is at chance by 50%: the levels stand beside it.
    """
    records = list(records)
    printed = _paper_measures(records, "figure_3")
    lines = []
    for group, rows in trained_groups(records):
        for target in targets_of(group):
            curve = fault_curve(group, target).set_index("rate")
            campaigns = [record["faults"][target] for record in group.finished]
            drops = [c["drop_50_to_90"]["drop"] for c in campaigns if c.get("drop_50_to_90")]
            spread = (
                intervals.mean(drops, level=LEVEL, unit="training seed") if len(drops) > 1 else None
            )
            beside = printed.get(group.key, []) if target == "weights" else []
            lines.append(
                {
                    **_common(group, rows),
                    "target": target,
                    **{
                        f"accuracy_at_{round(100 * rate)}": _at(curve, rate) for rate in SHOWN_RATES
                    },
                    "drop_50_to_90": statistics.fmean(drops) if drops else None,
                    "drop_sd": _deviation(drops),
                    "drop_low": None if spread is None else spread.low,
                    "drop_high": None if spread is None else spread.high,
                    "paper_drop": beside[0].measure if beside else None,
                    "trials": campaigns[0].get("trials"),
                    "images": campaigns[0].get("images"),
                }
            )
    for line in _not_run(printed, "figure_3"):
        measure = paper.row(line["rows"]).measure
        lines.append({**line, "target": "weights", "paper_drop": measure})
    return pd.DataFrame(lines, columns=list(DROP_COLUMNS))


def _at(curve: pd.DataFrame, rate: float) -> float | None:
    for candidate in curve.index:
        if math.isclose(candidate, rate, abs_tol=1e-9):
            return float(curve.loc[candidate, "mean"])
    return None


def _deviation(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def epsilon_ft_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Quantiles over inputs of epsilon_ft (equation 1), averaged over seeds."""
    lines = []
    for group, rows in trained_groups(records):
        for target in targets_of(group):
            lines += _epsilon_ft_lines(group, rows, target)
    return pd.DataFrame(lines, columns=list(EPSILON_FT_COLUMNS))


def _epsilon_ft_lines(group: Group, rows: str, target: str) -> list[dict[str, Any]]:
    found: dict[tuple[float, float], dict[str, list[float]]] = {}
    for record in group.finished:
        for entry in record["faults"][target].get("epsilon_ft") or []:
            for measure in ("total_variation", "half_margin"):
                for quantile, value in (entry.get(measure) or {}).items():
                    if value is not None:
                        place = found.setdefault((entry["rate"], float(quantile)), {})
                        place.setdefault(measure, []).append(value)
    return [
        {
            "run": labels.of_run(group),
            "rows": rows,
            "target": target,
            "rate": rate,
            "quantile": quantile,
            **{measure: statistics.fmean(values) for measure, values in measures.items()},
        }
        for (rate, quantile), measures in sorted(found.items())
    ]


def robustness_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Accuracy under attack, per group and attack, with the attack's own warnings."""
    lines = []
    for group, rows in trained_groups(records):
        for (attack, distance, epsilon, steps, images), entries in _attacks(group).items():
            low, high, band = _robust_band(entries)
            lines.append(
                {
                    **_common(group, rows),
                    "replicates": len(entries),
                    "attack": attack,
                    "distance": distance,
                    "epsilon": epsilon,
                    "steps": steps,
                    "images": images,
                    **{key: _mean(entry.get(key) for entry in entries) for key in _ACCURACIES},
                    "robust_low": low,
                    "robust_high": high,
                    "band": band,
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


def _robust_band(entries: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None, str]:
    if len(entries) == 1:
        low, high = entries[0].get("robust_interval") or (None, None)
        return low, high, "images, one model"
    values = [entry["robust_accuracy"] for entry in entries]
    interval = intervals.mean(values, level=LEVEL, unit="training seed")
    return max(interval.low, 0.0), min(interval.high, 1.0), "training seeds"


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None
