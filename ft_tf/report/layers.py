"""Faults in one layer at a time, beside faults in the whole model."""

import collections
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from ft_tf.records import Record
from ft_tf.report.groups import Group
from ft_tf.report.measures import band, common, mean_of, trained_groups

WHOLE_MODEL = "whole model"
LAYER_COLUMNS = (
    "data",
    "run",
    "rows",
    "replicates",
    "architecture",
    "target",
    "layer",
    "sites",
    "share_of_sites",
    "rate",
    "clean_accuracy",
    "accuracy",
    "low",
    "high",
    "band",
    "drop",
    "records",
)


def layer_names(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the lines of one run's "layer_faults", the same for all runs of an architecture.

    Keras numbers layers through a whole process: dense_7 is the first Dense layer of its model as
    well as dense.

    >>> layer_names([{"layer": "whole model"}, {"layer": "dense_7"}, {"layer": "dense_8"}])
    ['whole model', 'dense 1', 'dense 2']
    """
    made: collections.Counter[str] = collections.Counter()
    names = []
    for entry in entries:
        kind = re.sub(r"_\d+$", "", entry["layer"]).replace("2d", "")
        made[kind] += 1
        is_one_of_several = kind in ("dense", "conv")
        names.append(f"{kind} {made[kind]}" if is_one_of_several else kind)
    return names


def targets_with_layers(group: Group) -> list[str]:
    """Fault targets for which every run of the group has the same layers."""
    found = []
    for target in ("weights", "units"):
        names = [layer_names(_entries(record, target)) for record in group.finished]
        if names[0] and all(other == names[0] for other in names):
            found.append(target)
    return found


def _entries(record: Record, target: str) -> list[dict[str, Any]]:
    return (record.get("layer_faults") or {}).get(target) or []


def layer_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A line per group, target and layer, the whole model first: means over seeds, with 95%.

    Of one seed the interval is the campaign's own, over fault sets. share_of_sites is the layer's
    share of all fault sites: uniform faults in the whole model mostly hit the largest layer.
    """
    lines = []
    for group, rows in trained_groups(records):
        for target in targets_with_layers(group):
            entries = [_entries(record, target) for record in group.finished]
            for place, name in enumerate(layer_names(entries[0])):
                lines.append(
                    {
                        **common(group, rows),
                        "architecture": group.config["architecture"],
                        "target": target,
                        "layer": name,
                        **_measured([run[place] for run in entries], entries[0][0]["sites"]),
                    }
                )
    return pd.DataFrame(lines, columns=list(LAYER_COLUMNS))


def _measured(entries: Sequence[dict[str, Any]], all_sites: int) -> dict[str, Any]:
    values = [entry["accuracy"] for entry in entries]
    own = entries[0].get("low"), entries[0].get("high")
    low, high, unit = band(values, own, own_unit="fault sets")
    return {
        "sites": entries[0]["sites"],
        "share_of_sites": entries[0]["sites"] / all_sites,
        "rate": entries[0].get("rate"),
        **{
            key: mean_of(entry[key] for entry in entries)
            for key in ("clean_accuracy", "accuracy", "drop")
        },
        "low": low,
        "high": high,
        "band": unit,
    }
