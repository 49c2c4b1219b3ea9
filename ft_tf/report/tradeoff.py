"""Fault tolerance, robustness, privacy and accuracy side by side, run by run."""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.fault_measures import kept
from ft_tf.report.groups import STOPPED, Group, parts_of
from ft_tf.report.measures import data_of, mean_of, trained_groups
from ft_tf.report.partners import CONTROLS
from ft_tf.report.strongest import strongest

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
    "attack_images",
    "private",
    "record",
)
GROUP_COLUMNS = (
    "data", "run", "rows", "replicates", *FIGURES, "attacked", "attacks", "attack_epsilon",
    "attack_images", "attack_warnings", "private", "records",
)  # fmt: skip

NOT_PRIVATE = "no guarantee"
FITTED = ", fitted"
"""How the kind of a fitted group ends."""


def run_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A line per finished run: what the trade-off figure shows.

    weights_kept and units_kept are shares of the accuracy above chance, averaged over 0 to 90%
    faults; robust is the accuracy under the strongest of the attacks on the run's group (see
    `strongest`); epsilon is the one that the run claims, missing where there is no finite one
    ("private" says so).
    """
    lines = []
    for group, _ in trained_groups(records):
        attacked = strongest(group)
        for record in group.finished:
            is_attacked = record["name"] in attacked.accuracies
            lines.append(
                {
                    "data": f"{record['data'].get('name')}, {data_of(group)}",
                    "dataset": record["config"]["dataset"],
                    "architecture": record["config"]["architecture"],
                    "kind": kind_of(group),
                    "run": labels.of_run(group),
                    "seed": record["config"]["seed"],
                    **_figures(record),
                    "robust": attacked.accuracies.get(record["name"]),
                    "attacks": attacked.attacks if is_attacked else "",
                    "attack_epsilon": attacked.epsilon if is_attacked else None,
                    "attack_images": attacked.images if is_attacked else None,
                    "record": record["name"],
                }
            )
    return pd.DataFrame(lines, columns=list(RUN_COLUMNS))


def group_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The same, a line per group with means over seeds; epsilon is the largest of the group's.

    robust is the mean over the `attacked` seeds that underwent the same attacks.
    """
    lines = []
    for group, rows in trained_groups(records):
        runs, attacked = [_figures(record) for record in group.finished], strongest(group)
        lines.append(
            {
                "data": f"{group.any_record['data'].get('name')}, {data_of(group)}",
                "run": labels.of_run(group),
                "rows": rows,
                "replicates": len(runs),
                **{name: mean_of(run.get(name) for run in runs) for name in FIGURES},
                "epsilon": _largest(run["epsilon"] for run in runs),
                "robust": mean_of(attacked.accuracies.values()),
                "attacked": len(attacked.accuracies),
                "attacks": attacked.attacks,
                "attack_epsilon": attacked.epsilon,
                "attack_images": attacked.images,
                "attack_warnings": attacked.warnings,
                "private": runs[0]["private"],
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
    return {
        "train": accuracy["train"],
        "test": accuracy["test"],
        "gap": accuracy["generalization_error"],
        "weights_kept": kept(record, "weights"),
        "units_kept": kept(record, "units"),
        "epsilon": epsilon if epsilon is not None and math.isfinite(epsilon) else None,
        "private": "DP" if epsilon is not None else NOT_PRIVATE,
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
    if group.config.get("augment"):
        name += " with crops and flips"
    if options["name"] == "dpsgd":
        fitted = FITTED if group.is_fitted else ""
        return f"{name}, noise multiplier {options['noise_multiplier']:g}{fitted}"
    if options["name"] == "trades":
        if options.get("normalized_example"):
            return labels.algorithm("trades_normalized_example")
        return f"{name}, epsilon {labels.radius(options['epsilon'])}, beta {options['beta']:g}"
    return name
