"""What was measured beside accuracy: parameters, faults, attacks, single layers."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ft_tf.report import labels
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
    percent_interval,
    plus_minus,
    words,
)

_PARAMETERS: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("deviation", "paper"), lambda line: figure(line["paper_standard_deviation"])),
    (Column("deviation", "ours"), lambda line: figure(line["standard_deviation"])),
    (Column("over seeds", "spread", 2), lambda line: figure(line["standard_deviation_sd"], 2)),
    (Column("as printed", "equation 10"), lambda line: figure(line["equation_10"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def parameters(frame: pd.DataFrame) -> View:
    """View of `measures.parameter_frame` (Figure 2)."""
    return make_view(
        frame,
        _PARAMETERS,
        title="Spread of the trained parameters (the paper's Figure 2)",
        detail=lambda line: _of_rows(line, line["paper_note"]),
        notes=(
            "The standard deviation of all parameters, and equation 10 as printed, which has no "
            "square inside the sum. Neither survives a rescaling of layers that changes no "
            "prediction.",
        ),
    )


def _of_rows(line: Line, note: str = "") -> str:
    parts = [words(line["data"]), f"rows: {line['rows']}", f"note: {note}" if note else ""]
    return "; ".join(filter(None, parts))


_DROPS: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("stuck at 0", is_number=False), lambda line: line["target"]),
    (Column("0%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_0"])),
    (Column("10%", "accuracy at faults of", 1), lambda line: percent(line["accuracy_at_10"])),
    (Column("50%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_50"])),
    (Column("90%", "accuracy at faults of"), lambda line: percent(line["accuracy_at_90"])),
    (Column("ours", "drop 50 to 90%"), lambda line: percent(line["drop_50_to_90"])),
    (Column("paper", "drop 50 to 90%"), lambda line: percent(line["paper_drop"])),
    (
        Column("of the drop", "95% interval", 3),
        lambda line: percent_interval(line["drop_low"], line["drop_high"]),
    ),
    (Column("over 0 to 90%", "kept", 2), lambda line: percent(line["kept"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def drops(frame: pd.DataFrame) -> View:
    """View of `fault_measures.drop_frame` (Figure 3)."""
    return make_view(
        frame,
        _DROPS,
        title="Accuracy under faults (the paper's Figure 3)",
        detail=_drop_detail,
        notes=(
            "Percent. A drop is small as well for a model that is at chance by 50% faults: such "
            "rows say so below, and a small drop of theirs is no tolerance. Kept is the share of "
            "the accuracy above chance that is left, averaged over 0 to 90% faults. Without faults "
            "the whole test set counts, with faults the images of each fault set. The paper's "
            "two drops are printed without a data set or a fault count; they stand beside the "
            "weights rows of the same algorithm.",
        ),
    )


def _drop_detail(line: Line) -> str:
    if not line["replicates"]:
        return _of_rows(line)
    trials, images = count(line["trials"]), count(line["images"])
    lost, seeds = line["seeds_at_chance"], line["replicates"]
    where = f" in {count(lost)} of {count(seeds)} seeds" if lost < seeds else ""
    chance = f"; AT CHANCE by 50% faults{where}: the drop says nothing" if lost else ""
    return f"{_of_rows(line)}; {trials} fault sets per rate on {images} images{chance}"


_ROBUSTNESS: Cells = (
    (Column("run", is_number=False), lambda line: line["run"]),
    (Column("attack", is_number=False), lambda line: line["attack"]),
    (Column("norm", is_number=False), lambda line: line["distance"]),
    (Column("epsilon"), lambda line: figure(line["epsilon"])),
    (Column("steps", "", 2), lambda line: count(line["steps"])),
    (Column("images", "", 3), lambda line: count(line["images"])),
    (Column("clean", "accuracy"), lambda line: percent(line["clean_accuracy"])),
    (Column("attacked", "accuracy"), lambda line: percent(line["robust_accuracy"])),
    (
        Column("natural", "gap", 2),
        lambda line: percent(_minus(line["train_clean_accuracy"], line["clean_accuracy"])),
    ),
    (Column("robust", "gap", 2), lambda line: percent(line["robust_generalization_error"])),
    (
        Column("of attacked", "95% interval", 1),
        lambda line: percent_interval(line["robust_low"], line["robust_high"]),
    ),
    (Column("n"), lambda line: count(line["replicates"])),
)


def _minus(first: Any, second: Any) -> float | None:
    return None if is_missing(first) or is_missing(second) else first - second


def robustness(frame: pd.DataFrame) -> View:
    """View of `measures.robustness_frame`."""
    return make_view(
        frame,
        _ROBUSTNESS,
        title="Accuracy under attack",
        detail=lambda line: "; ".join(
            filter(
                None,
                (
                    _of_rows(line),
                    f"interval over {line['band']}",
                    words(line["warnings"]) and f"WARNING: {line['warnings']}",
                ),
            )
        ),
        notes=(
            "Percent, on test images. An attack gives an upper bound of the true robustness. Gaps "
            "are training minus test accuracy on the attacked images.",
        ),
    )


def layers(frame: pd.DataFrame, *, architecture: str) -> View:
    """View of the lines of `layers.layer_frame` for one architecture: a row per run and target."""
    mine = frame[frame["architecture"] == architecture]
    names = list(dict.fromkeys(mine["layer"]))
    rows = []
    for (_, target), lines in mine.groupby(["records", "target"], sort=False):
        cells = {line["layer"]: line for line in lines.to_dict("records")}
        rows.append({**next(iter(cells.values())), "target": target, "cells": cells})
    columns: Cells = (
        (Column("run", is_number=False), lambda line: line["run"]),
        (Column("stuck at 0", is_number=False), lambda line: line["target"]),
        *((Column(name, "accuracy with faults in", place), _layer_cell(name))
          for place, name in enumerate(names)),
        (Column("n"), lambda line: count(line["replicates"])),
    )  # fmt: skip
    return make_view(
        pd.DataFrame(rows, columns=[*mine.columns, "cells"]),
        columns,
        title=f"Layers of {labels.in_words(architecture)}: faults in one at a time",
        detail=_layer_detail,
        notes=(
            "Percent, on test images; ± is the reach of the 95% interval, over training seeds "
            "where n exceeds 1, else over fault sets of the one model. Each layer has the same "
            "share of its own sites stuck at 0. Uniform faults in the whole model mostly hit the "
            "layer with most sites.",
        ),
    )


def _layer_cell(name: str) -> Callable[[Line], str]:
    def cell(line: Line) -> str:
        found = line["cells"].get(name)
        if found is None:
            return NOTHING
        return plus_minus(found["accuracy"], found["low"], found["high"])

    return cell


def _layer_detail(line: Line) -> str:
    shares = ", ".join(
        f"{name} {count(cell['sites'])} ({percent(cell['share_of_sites'])}%)"
        for name, cell in line["cells"].items()
    )
    return (
        f"{_of_rows(line)}; {figure(100 * line['rate'])}% of each layer's sites; without faults "
        f"{percent(line['clean_accuracy'])}; sites: {shares}"
    )
