"""Fault tolerance, robustness, privacy and accuracy of every group of runs next to each other."""

import collections
from collections.abc import Sequence

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
    radii = collections.Counter(found.drop_duplicates(["record", "epsilon"])["epsilon"])
    radius = max(radii, key=lambda candidate: (radii[candidate], candidate))
    found = found[found["epsilon"] == radius]
    found = found[found["images"] == found["images"].max()]
    kinds = [
        set(zip(own["attack"], own["steps"], strict=True)) for _, own in found.groupby("record")
    ]
    shared = set.intersection(*kinds)
    counted = shared or set.union(*kinds)
    found = found[[kind in counted for kind in zip(found["attack"], found["steps"], strict=True)]]
    robust = found.groupby("record", sort=False)["robust_accuracy"].min()
    return pd.DataFrame({"record": robust.index, "robust": robust.to_numpy()}).assign(
        attacks=", ".join(
            f"{name} of {steps} step{'s' * (steps != 1)}" for name, steps in sorted(counted)
        ),
        attack_epsilon=radius,
        attack_images=found["images"].iloc[0],
        attack_warnings="; ".join(
            dict.fromkeys(warning for warnings in found["warnings"] for warning in warnings)
        ),
    )


class TradeoffRuns(Exhibit):
    """The trade-off run by run; only as CSV.

    `robust` is the accuracy under the strongest of the attacks on the run's group, see `strongest`;
    `epsilon` is the one that the run claims, missing where there is no finite one.
    """

    name = "tradeoff_runs"

    def frame(self, study: Study) -> pd.DataFrame:
        attacked = [strongest(study, group) for group in study.trained]
        columns = ["data", "dataset", "architecture", "kind", "run", "seed", *_FIGURES, "attacks",
                   "attack_epsilon", "attack_images", "private", "record"]  # fmt: skip
        if not attacked:
            return pd.DataFrame(columns=columns)
        found = study.finished_runs.merge(pd.concat(attacked), on="record", how="left")
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

    def frame(self, study: Study) -> pd.DataFrame:
        lines = []
        for group, _, runs in study.each(study.finished_runs):
            attacked = strongest(study, group)
            first = attacked.iloc[0].to_dict() if len(attacked) else {}
            lines.append(
                {
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
            )
        return pd.DataFrame(lines)

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
    rows = -(-len(shown) // columns)
    figure, axes = plot_styles.panels(rows, columns, title=title)
    panels = [panel for row in axes for panel in row]
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel, (name, groups) in zip(panels, shown.items(), strict=False):
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
