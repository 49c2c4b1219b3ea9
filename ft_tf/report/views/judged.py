"""Orderings by gap, and gaps at equal training accuracy."""

import pandas as pd

from ft_tf.report.spread import LEAST
from ft_tf.report.views.base import (
    Cells,
    Column,
    View,
    count,
    figure,
    make_view,
    percent,
    words,
)

_ORDERINGS: Cells = (
    (
        Column("smaller gap < larger gap", is_number=False),
        lambda line: f"{line['smaller_in_paper']} < {line['larger_in_paper']}",
    ),
    (Column("paper", "difference"), lambda line: percent(line["paper_difference"], signed=True)),
    (Column("ours", "difference"), lambda line: percent(line["difference"], signed=True)),
    (Column("p (Holm)"), lambda line: figure(line["p_holm"], 2)),
    (Column("verdict", is_number=False), lambda line: line["verdict"]),
)


def orderings(frame: pd.DataFrame) -> View:
    """View of `verdict.ordering_frame`."""
    return make_view(
        frame,
        _ORDERINGS,
        title="The paper's orderings by gap",
        detail=lambda line: (
            f"{line['exhibit']}: {line['run_smaller']} against {line['run_larger']}; {line['test']}"
            + (f"; {line['remark']}" if words(line["remark"]) else "")
        ),
        notes=(
            "Points. p is two-sided, corrected by Holm's method for all pairs that have one. A "
            f"pair takes {LEAST} replicates or more on both sides.",
        ),
    )


_EQUAL_TRAINING: Cells = (
    (Column("robust run", is_number=False), lambda line: line["run"]),
    (Column("train", "robust"), lambda line: percent(line["train"])),
    (Column("gap", "robust"), lambda line: percent(line["gap"])),
    (Column("gap, at its end", "natural", 1), lambda line: percent(line["natural_gap"])),
    (Column("gap, at that train", "natural"), lambda line: percent(line["natural_gap_there"])),
    (Column("after epochs", "natural", 2), lambda line: figure(line["natural_epoch"], 3)),
    (Column("there", "difference"), lambda line: percent(line["difference_there"], signed=True)),
    (Column("epoch", "best checkpoint", 2), lambda line: figure(line["best_epoch"])),
    (Column("test", "best checkpoint", 2), lambda line: percent(line["best_test"])),
    (Column("attacked", "best checkpoint", 2), lambda line: percent(line["best_robust"])),
    (Column("n"), lambda line: count(line["replicates"])),
)


def equal_training(frame: pd.DataFrame) -> View:
    """View of `equal_training.equal_training_frame`."""
    return make_view(
        frame,
        _EQUAL_TRAINING,
        title="Gaps at equal training accuracy: TRADES beside natural training",
        detail=lambda line: (
            f"{line['data']}; rows: {line['rows']}; {count(line['epochs'])} epochs, last epoch: "
            f"test {percent(line['test'])}; natural: {line['beside']}"
            + (f"; checkpoint attacked by {line['best_attack']}" if line["best_attack"] else "")
        ),
        notes=(
            "Percent and points. A short adversarial training has a small gap because it has "
            "learned less: beside it stands the gap of natural training where its training "
            "accuracy first reached the robust run's, interpolated between two epochs. The best "
            "checkpoint is chosen by accuracy under attack on test images that no other figure "
            "here uses.",
        ),
    )
