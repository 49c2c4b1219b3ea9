"""What faults did: curves, levels and drops (Figure 3), what is kept, epsilon_ft."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels, paper, spread
from ft_tf.report.groups import Group
from ft_tf.report.measures import (
    band,
    common,
    deviation,
    mean_of,
    not_run,
    paper_measures,
    trained_groups,
)

SHOWN_RATES = (0.0, 0.1, 0.5, 0.9)
CHANCE = 0.1
"""Accuracy of guessing: Fashion-MNIST and CIFAR-10 have ten classes of equal size."""
AT_CHANCE = 0.1
"""A model is at chance where less than this share of its accuracy above chance is left."""
_LAST_RATE = 0.9
_TARGET_ORDER = ("weights", "units")

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
    "kept",
    "seeds_at_chance",
    "paper_drop",
    "trials",
    "images",
    "records",
)
CURVE_COLUMNS = ("run", "rows", "target", "rate", "mean", "low", "high", "replicates", "band")
EPSILON_FT_COLUMNS = ("run", "rows", "target", "rate", "quantile", "total_variation", "half_margin")


def targets_of(group: Group) -> list[str]:
    """Fault targets that every run of the group has, "weights" and "units" first."""
    found = set.intersection(*(set(record["faults"]) for record in group.finished))
    order = {target: index for index, target in enumerate(_TARGET_ORDER)}
    return sorted(found, key=lambda target: (order.get(target, len(order)), target))


def accuracy_at(record: Record, target: str, rate: float) -> float | None:
    """Mean accuracy of one run at a fault rate; None where that was not measured."""
    campaign = record["faults"].get(target) or {"rates": []}
    for place, measured in enumerate(campaign["rates"]):
        if math.isclose(measured, rate, abs_tol=1e-9):
            return campaign["mean"][place]
    return None


def kept(record: Record, target: str) -> float | None:
    """Share of a run's accuracy above chance that it keeps, averaged over 0 to 90% faults.

    The area (trapezoids) under the curve of accuracy minus chance, over that without faults: 1 is
    a model that no fault harms, 0 one that is at chance from the first fault on. A model that falls
    to chance early has little, however small its drop from there to 90%. None where the rates do
    not reach from 0 to 90%, or where the model is at chance without faults.
    """
    campaign = record["faults"].get(target) or {"rates": [], "mean": []}
    points = sorted(zip(campaign["rates"], campaign["mean"], strict=True))
    rates = np.array([rate for rate, _ in points if rate <= _LAST_RATE + 1e-9])
    above = np.array([mean for rate, mean in points if rate <= _LAST_RATE + 1e-9]) - CHANCE
    if len(rates) < 2 or rates[0] > 0 or rates[-1] < _LAST_RATE - 1e-9 or above[0] <= CHANCE / 2:
        return None
    area = float((above[1:] + above[:-1]) @ np.diff(rates) / 2)
    return area / float(rates[-1] * above[0])


def at_chance(record: Record, target: str, rate: float = 0.5) -> bool:
    """Whether under so many faults less than a tenth of the accuracy above chance is left."""
    clean, faulty = (accuracy_at(record, target, where) for where in (0.0, rate))
    if clean is None or faulty is None:
        return False
    return faulty - CHANCE < AT_CHANCE * (clean - CHANCE)


def lost_curve(group: Group, target: str) -> pd.DataFrame:
    """Accuracy lost against fault rate: each trial's own images without faults are the reference.

    Of a record that does not have that, the reference is its accuracy on all test images. The band
    is over training seeds; of one seed it is over the campaign's trials.
    """
    lines = []
    for line in fault_curve(group, target).to_dict("records"):
        found = [_lost(record, target, line["rate"]) for record in group.finished]
        found = [entry for entry in found if entry is not None]
        if not found or not line["rate"]:
            continue
        lost = [mean for mean, _, _ in found]
        _, low, high = found[0]
        if len(found) > 1:
            interval = spread.mean_interval(lost)
            low, high = (interval.low, interval.high) if interval else (None, None)
        mean = statistics.fmean(lost)
        lines.append({"rate": line["rate"], "lost": mean, "low": low, "high": high})
    return pd.DataFrame(lines, columns=["rate", "lost", "low", "high"])


def _lost(
    record: Record, target: str, rate: float
) -> tuple[float, float | None, float | None] | None:
    """Mean and band over trials of what one run loses; None where it cannot be had."""
    campaign = record["faults"][target]
    index = campaign["rates"].index(rate)
    if paired := campaign.get("lost"):
        return tuple(paired[key][index] for key in ("mean", "low", "high"))
    clean = accuracy_at(record, target, 0.0)
    if clean is None:
        return None
    low, high = (_entry(campaign, end, index) for end in ("low", "high"))
    ends = (None if end is None else clean - end for end in (high, low))
    return (clean - campaign["mean"][index], *ends)


def shared_rates(group: Group, target: str) -> list[float]:
    """Fault rates that every run of a group has measured."""
    rates = (set(record["faults"][target]["rates"]) for record in group.finished)
    return sorted(set.intersection(*rates))


def fault_curve(group: Group, target: str) -> pd.DataFrame:
    """Accuracy against fault rate: the mean over training seeds, and a 95% band.

    Of several seeds the band is the Student-t interval of the mean over seeds (fault sets are
    averaged within a seed); of one seed it is the campaign's own interval over fault sets, which
    says nothing about another seed. Bands are cut to [0, 1].
    """
    campaigns = [record["faults"][target] for record in group.finished]
    lines = []
    for rate in shared_rates(group, target):
        at = [(campaign, campaign["rates"].index(rate)) for campaign in campaigns]
        means = [campaign["mean"][index] for campaign, index in at]
        campaign, index = at[0]
        own = _entry(campaign, "low", index), _entry(campaign, "high", index)
        low, high, unit = band(means, own, own_unit=f"{campaign.get('unit') or 'fault set'}s")
        lines.append(
            {
                "rate": rate,
                "mean": statistics.fmean(means),
                "low": low,
                "high": high,
                "replicates": len(means),
                "band": unit,
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


def seeds_at_chance(group: Group, target: str) -> int:
    """How many runs of a group are `at_chance` by 50% faults."""
    return sum(at_chance(record, target) for record in group.finished)


def drop_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Accuracy at 0, 10, 50 and 90% faults, the drop from 50 to 90% of Figure 3, what is kept.

    A drop is small as well for a model that is at chance by 50%: seeds_at_chance says of how many
    that holds, and `kept` does not reward it.
    """
    records = list(records)
    printed = paper_measures(records, "figure_3")
    lines = []
    for group, rows in trained_groups(records):
        for target in targets_of(group):
            beside = printed.get(group.key, []) if target == "weights" else []
            lines.append(
                {
                    **common(group, rows),
                    "target": target,
                    **_levels(group, target),
                    "paper_drop": beside[0].measure if beside else None,
                }
            )
    for line in not_run(printed, "figure_3"):
        measure = paper.row(line["rows"]).measure
        lines.append({**line, "target": "weights", "paper_drop": measure})
    return pd.DataFrame(lines, columns=list(DROP_COLUMNS))


def _levels(group: Group, target: str) -> dict[str, Any]:
    curve = fault_curve(group, target).set_index("rate")
    campaigns = [record["faults"][target] for record in group.finished]
    drops = [c["drop_50_to_90"]["drop"] for c in campaigns if c.get("drop_50_to_90")]
    interval = spread.mean_interval(drops)
    return {
        **{f"accuracy_at_{round(100 * rate)}": _at(curve, rate) for rate in SHOWN_RATES},
        "drop_50_to_90": mean_of(drops),
        "drop_sd": deviation(drops),
        "drop_low": None if interval is None else interval.low,
        "drop_high": None if interval is None else interval.high,
        "kept": mean_of(kept(record, target) for record in group.finished),
        "seeds_at_chance": seeds_at_chance(group, target),
        "trials": campaigns[0].get("trials"),
        "images": campaigns[0].get("images"),
    }


def _at(curve: pd.DataFrame, rate: float) -> float | None:
    for candidate in curve.index:
        if math.isclose(candidate, rate, abs_tol=1e-9):
            return float(curve.loc[candidate, "mean"])
    return None


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
