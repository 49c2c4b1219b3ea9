"""Fault tolerance, robustness, privacy and accuracy of every group of runs next to each other."""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.display_names import NATURAL
from ft_tf.report.exhibits import Column, Exhibit, Plot, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import mean_of
from ft_tf.report.table import count, epsilon, radius, text
from ft_tf.report.tidy import Study

_FIGURES = (
    "train", "test", "generalization_error", "weights_normalized_auc", "units_normalized_auc",
    "robust", "epsilon",
)  # fmt: skip


def strongest(study: Study, group: Group) -> pd.DataFrame:
    """Returns the lowest accuracy of each run over the l_inf attacks at one radius, same images.

    The radius is the one that most runs were attacked at, the largest of several; there, those
    attacks count that saw most images: the lowest of all numbers would be that of the fewest images
    as often as that of the strongest attack. Where the runs share attacks, only these count: a run
    that was attacked more often than the others does not look weaker for it.

    Returns:
        A line per attacked run: record, robust, and, the same for all, attacks, attack_epsilon,
        attack_images and attack_warnings.
    """
    found = study.attacks
    found = found[(found["group"] == group.key) & (found["distance"] == "l_inf")]
    if not len(found):
        return pd.DataFrame(columns=["record", "robust"])
    radius = found.drop_duplicates(["record", "epsilon"])["epsilon"].mode().max()
    found = found[found["epsilon"] == radius]
    found = found[found["images"] == found["images"].max()]
    runs_of_kind = found.groupby(["attack", "steps"], dropna=False)["record"].transform("nunique")
    shared = found[runs_of_kind == found["record"].nunique()]
    found = shared if len(shared) else found
    robust = found.groupby("record", sort=False)["robust_accuracy"].min()
    kinds = found[["attack", "steps"]].drop_duplicates().sort_values(["attack", "steps"])
    return (
        robust.rename("robust")
        .reset_index()
        .assign(
            attacks=", ".join(
                f"{name} of {n} step{'s' * (n != 1)}" for name, n in kinds.to_numpy()
            ),
            attack_epsilon=radius,
            attack_images=found["images"].iloc[0],
            attack_warnings="; ".join(found["warnings"].explode().dropna().unique()),
        )
    )


class TradeoffRuns(Exhibit):
    """The trade-off run by run; only as CSV.

    `robust` is the accuracy under the strongest of the attacks on the run's group, see `strongest`;
    `epsilon` is the one that the run claims, missing where there is no finite one.
    """

    name = "tradeoff_runs"

    def frame(self, study: Study) -> pd.DataFrame:
        columns = ["data", "dataset", "architecture", "kind", "run", "seed", *_FIGURES, "attacks",
                   "attack_epsilon", "attack_images", "private", "record"]  # fmt: skip
        found = study.finished_runs
        if study.trained:
            attacked = pd.concat([strongest(study, group) for group in study.trained])
            found = found.merge(attacked, on="record", how="left")
        return found.reindex(columns=columns)


class Tradeoff(Exhibit):
    """A line per group: means over seeds; epsilon is the largest of the group's."""

    name, order = "tradeoff", 30
    title = "Fault tolerance, robustness, privacy and accuracy"
    columns = (
        Column("run", "run", format=text),
        Column("test", "test", "accuracy"),
        Column("generalization_error", "gap"),
        Column("weights_normalized_auc", "weights", "normalized"),
        Column("units_normalized_auc", "units", "normalized", priority=1),
        Column("robust", "accuracy", "attacked"),
        Column("attack_epsilon", "radius", "attacked", radius, 1),
        Column("attacked", "n", "attacked", lambda n: count(n or None), 2),
        Column("epsilon", "epsilon", "claimed", epsilon),
        Column("replicates", "n", format=count),
    )
    details = (
        *Exhibit.details,
        Column("attacks", "lowest of", format=text),
        Column("attack_images", "attacked test images, the first", format=count),
        Column("attack_warnings", "WARNING", format=text),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        for group, _, runs in study.each(study.finished_runs):
            attacked = strongest(study, group)
            first = attacked.iloc[0].to_dict() if len(attacked) else {}
            yield {
                **group.cells,
                **{name: mean_of(runs[name].dropna()) for name in _FIGURES[:-2]},
                "robust": mean_of(attacked["robust"]),
                "epsilon": runs["epsilon"].max(),
                "attacked": len(attacked),
                "attacks": first.get("attacks", ""),
                **{name: first.get(name) for name in ("attack_epsilon", "attack_images")},
                "attack_warnings": first.get("attack_warnings", ""),
                "private": runs["private"].iloc[0],
                "records": group.names,
            }

    def plots(self, study: Study) -> Sequence[Plot]:
        caption = "Normalized accuracy under weight faults by test accuracy; arrows from natural"
        return [Plot("tradeoff", caption, lambda: draw_tradeoff(study))]


def draw_tradeoff(study: Study) -> Figure:
    """A panel per network: means over seeds, with an arrow from natural training to each setting.

    Across: test accuracy. Up: normalized accuracy under weight faults.
    """
    runs = study.finished_runs
    axes_names = ["test", "weights_normalized_auc"]
    if not len(runs) or runs[axes_names[1]].isna().all():
        raise RunError("no trade-off figure: no finished run has fault curves")
    means = 100 * runs.groupby("group")[axes_names].mean().astype(float).dropna()
    shown = {
        name: [group for group in study.main_groups(name) if group.key in means.index]
        for name in study.architectures
    }
    shown = {name: groups for name, groups in shown.items() if groups}
    if not shown:
        raise RunError("no trade-off figure: all runs with fault curves are ablations")
    title = "Fault tolerance against accuracy: arrows from natural training"
    columns = min(2, len(shown))
    figure, axes = plot_styles.panels(math.ceil(len(shown) / columns), columns, title=title)
    for panel in axes[-1][len(shown) % columns or columns :]:
        panel.set_axis_off()
    for panel, (name, groups) in zip(itertools.chain(*axes), shown.items(), strict=False):
        looks = plot_styles.looks(groups)
        points = [(looks[group.key], means.loc[group.key]) for group in groups]
        start = next((point for look, point in points if look.name == NATURAL), None)
        for look, point in points:
            panel.plot(*point, look.marker, color=look.color, markersize=6)
            if start is not None and look.name != NATURAL:
                arrow = {"arrowstyle": "->", "color": look.color, "linewidth": 0.9}
                panel.annotate("", tuple(point), tuple(start), arrowprops=arrow)
        plot_styles.label_points(panel, [(look.name, look.color, *xy) for look, xy in points])
        panel.set_title(display_names.describe_architecture(name))
        panel.set(xlabel="test accuracy, %", ylabel="normalized accuracy\nunder weight faults, %")
    return figure


register(Tradeoff())
register(TradeoffRuns())
