"""Fault tolerance, robustness, privacy and accuracy side by side, run by run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.fault_measures import kept
from ft_tf.report.groups import STOPPED, Group, parts_of
from ft_tf.report.measures import data_of, mean_of, trained_groups
from ft_tf.report.partners import CONTROLS

FIGURES = ("train", "test", "gap", "weights_kept", "units_kept", "robust", "epsilon")
RUN_COLUMNS = (
    "data",
    "dataset",
    "architecture",
    "kind",
    "run",
    "seed",
    *FIGURES,
    "attacks",
    "attack_epsilon",
    "private",
    "record",
)
GROUP_COLUMNS = ("data", "run", "rows", "replicates", *FIGURES, "attacks", "attack_epsilon",
                 "private", "records")  # fmt: skip

NOT_PRIVATE = "no guarantee"


def run_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A line per finished run: what the trade-off figure shows.

    weights_kept and units_kept are shares of the accuracy above chance, averaged over 0 to 90%
    faults; robust is the accuracy under the strongest of the run's attacks; epsilon is the one that
    the run claims, missing where there is no finite one ("private" says so).
    """
    lines = [
        {
            "data": f"{record['data'].get('name')}, {data_of(group)}",
            "dataset": record["config"]["dataset"],
            "architecture": record["config"]["architecture"],
            "kind": kind_of(group),
            "run": labels.of_run(group),
            "seed": record["config"]["seed"],
            **_figures(record),
            "record": record["name"],
        }
        for group, _ in trained_groups(records)
        for record in group.finished
    ]
    return pd.DataFrame(lines, columns=list(RUN_COLUMNS))


def group_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The same, a line per group with means over seeds; epsilon is the largest of the group's."""
    lines = []
    for group, rows in trained_groups(records):
        runs = [_figures(record) for record in group.finished]
        lines.append(
            {
                "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
                "run": labels.of_run(group),
                "rows": rows,
                "replicates": len(runs),
                **{name: mean_of(run[name] for run in runs) for name in FIGURES},
                "epsilon": _largest(run["epsilon"] for run in runs),
                **{name: runs[0][name] for name in ("attacks", "attack_epsilon", "private")},
                "records": group.names,
            }
        )
    return pd.DataFrame(lines, columns=list(GROUP_COLUMNS))


def _largest(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return max(found) if found else None


def _figures(record: Record) -> dict[str, Any]:
    accuracy, privacy = record["accuracy"], record.get("privacy") or {}
    epsilon = privacy.get("epsilon_claimed")
    strongest = _strongest(record["robustness"])
    return {
        "train": accuracy["train"],
        "test": accuracy["test"],
        "gap": accuracy["generalization_error"],
        "weights_kept": kept(record, "weights"),
        "units_kept": kept(record, "units"),
        **strongest,
        "epsilon": epsilon if epsilon is not None and math.isfinite(epsilon) else None,
        "private": "DP" if epsilon is not None else NOT_PRIVATE,
    }


def _strongest(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The lowest accuracy under attack, among the l_inf attacks at the largest radius."""
    entries = [e for e in entries if (e.get("parameters") or {}).get("distance") != "l_2"]
    if not entries:
        return {"robust": None, "attacks": "", "attack_epsilon": None}
    radius = max(entry["epsilon"] for entry in entries)
    at = [entry for entry in entries if entry["epsilon"] == radius]
    return {
        "robust": min(entry["robust_accuracy"] for entry in at),
        "attacks": "+".join(sorted({entry["attack"] for entry in at})),
        "attack_epsilon": radius,
    }


def kind_of(group: Group) -> str:
    """What the trade-off figure calls a group: its algorithm with the setting that matters."""
    algorithm = parts_of(group.row)[2]
    if algorithm == STOPPED:
        return "natural, stopped at the accuracy of a DP run"
    if algorithm in CONTROLS or algorithm in ("dpsgd_clip_only", "dpsgd_noise_only"):
        return labels.algorithm(algorithm)
    options = group.config["algorithm"]
    name = labels.algorithm(options["name"])
    if options["name"] == "dpsgd":
        return f"{name}, noise multiplier {options['noise_multiplier']:g}"
    if options["name"] == "trades":
        if options.get("normalized_example"):
            return labels.algorithm("trades_normalized_example")
        return f"{name}, epsilon {labels.radius(options['epsilon'])}, beta {options['beta']:g}"
    return name
