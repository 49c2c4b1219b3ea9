"""Membership inference, and how much of it a run's own privacy guarantee allows."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ft_tf.privacy.membership import allowed_true_positive_rate
from ft_tf.records import Record
from ft_tf.report.groups import Group
from ft_tf.report.measures import band, common, deviation, mean_of, trained_groups
from ft_tf.report.privacy import worst

MEMBERSHIP_COLUMNS = (
    "data",
    "run",
    "rows",
    "replicates",
    "advantage",
    "advantage_sd",
    "advantage_of_correctness",
    "advantage_of_mean_loss",
    "resolved",
    "true_positive_rate",
    "true_positive_low",
    "true_positive_high",
    "band",
    "false_positive_rate",
    "members",
    "others",
    "epsilon",
    "epsilon_replace_one",
    "delta",
    "allowed",
    "allowed_replace_one",
    "records",
)
ONE_SPLIT = "training images alone"
_ADVANTAGES = ("advantage", "advantage_of_correctness", "advantage_of_mean_loss")


def membership_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The loss-threshold attack on each group of runs, and for DP runs what their epsilon allows.

    True positives are left out, and `resolved` is false, where a record from before log-odds has
    none: more of its test images than may be taken for members had a loss of exactly 0.

    `allowed` follows from the epsilon that the run claims. That epsilon adds or removes an example,
    while the attack compares a training image with one that it might have been replaced by:
    `allowed_replace_one` is the bound that the experiment as it is run has to obey, on average
    over the draw of the data and of the run.
    """
    lines = []
    for group, rows in trained_groups(records):
        found = [r["membership"] for r in group.finished if r.get("membership")]
        if not found:
            continue
        resolved = all(map(_is_resolved, found))
        lines.append(
            {
                **common(group, rows),
                "replicates": len(found),
                **{key: mean_of(entry.get(key) for entry in found) for key in _ADVANTAGES},
                "advantage_sd": deviation([entry["advantage"] for entry in found]),
                "resolved": resolved,
                **(_true_positives(found) if resolved else {}),
                **{key: found[0][key] for key in ("false_positive_rate", "members", "others")},
                **_allowed(group, found[0]["false_positive_rate"]),
            }
        )
    return pd.DataFrame(lines, columns=list(MEMBERSHIP_COLUMNS))


def _is_resolved(entry: dict[str, Any]) -> bool:
    return "scale" in entry or entry["true_positive_rate"] > 0


def _true_positives(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rates = [entry["true_positive_rate"] for entry in found]
    over = "both splits" if "scale" in found[0] else ONE_SPLIT
    low, high, unit = band(rates, found[0]["true_positive_interval"], own_unit=over)
    return {
        "true_positive_rate": statistics.fmean(rates),
        "true_positive_low": low,
        "true_positive_high": high,
        "band": unit,
    }


def _allowed(group: Group, false_positive_rate: float) -> dict[str, Any]:
    """Of the group's runs the one with the largest epsilon counts."""
    stated = worst(group)
    if not stated.get("private", bool(stated)):
        return {}
    epsilons = {"": stated.get("epsilon_claimed"), "_replace_one": None}
    if stated.get("sampling") == "poisson":
        epsilons["_replace_one"] = stated.get("epsilon_replace_one")
    cells: dict[str, Any] = {"delta": stated.get("delta")}
    for kind, epsilon in epsilons.items():
        cells[f"epsilon{kind}"] = epsilon
        if epsilon is not None:
            cells[f"allowed{kind}"] = allowed_true_positive_rate(
                epsilon=epsilon, delta=stated["delta"], false_positive_rate=false_positive_rate
            )
    return cells
