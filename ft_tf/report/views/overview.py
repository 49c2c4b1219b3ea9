"""Fault tolerance, robustness, privacy and accuracy of every group of runs in one table."""

import pandas as pd

from ft_tf.report.views.base import (
    NOTHING,
    Cells,
    Column,
    Line,
    View,
    count,
    figure,
    is_missing,
    make_view,
    percent,
    words,
)

_TRADEOFF: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("test", "accuracy"), lambda line: percent(line["test"])),
    (Column("gap"), lambda line: percent(line["gap"])),
    (Column("weights", "kept under faulty"), lambda line: percent(line["weights_kept"])),
    (Column("units", "kept under faulty", 1), lambda line: percent(line["units_kept"])),
    (Column("accuracy", "attacked"), lambda line: percent(line["robust"])),
    (Column("n", "attacked", 2), lambda line: count(line["attacked"] or None)),
    (Column("epsilon", "claimed"), lambda line: _epsilon(line)),
    (Column("n"), lambda line: count(line["replicates"])),
)


def _epsilon(line: Line) -> str:
    return NOTHING if is_missing(line["epsilon"]) else figure(line["epsilon"], 3)


def tradeoff(frame: pd.DataFrame) -> View:
    """View of `tradeoff.group_frame`, of all of it or of one data set."""
    return make_view(
        frame,
        _TRADEOFF,
        title="Fault tolerance, robustness, privacy and accuracy side by side",
        detail=_detail,
        notes=(
            "Percent; means over n seeds. Kept is the share of the accuracy above chance that is "
            "left under faults, averaged over 0 to 90% faults. Attacked is the accuracy under the "
            "strongest attack on record, on the most images that were attacked at one radius; its "
            "n counts the seeds that were attacked so. The claimed epsilon is the smallest that "
            "holds (by privacy loss distributions; were the batches shuffled ones, the unamplified "
            "epsilon); the own epsilon of the accuracy tables is that of the paper's accountant. A "
            "run without one has no privacy guarantee.",
        ),
    )


def _detail(line: Line) -> str:
    parts = [words(line["data"]), f"rows: {line['rows']}"]
    if words(line["attacks"]):
        parts.append(
            f"attacked on the first {count(line['attack_images'])} test images at epsilon "
            f"{figure(line['attack_epsilon'])}, the lowest of: {line['attacks']}"
        )
    if words(line["attack_warnings"]):
        parts.append(f"WARNING: {line['attack_warnings']}")
    return "; ".join(parts)
