"""Fault tolerance, robustness, privacy and accuracy of every group of runs next to each other."""

import collections
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import mean_of
from ft_tf.report.table import count, number, number_3, text
from ft_tf.report.tidy import Study

_FIGURES = (
    "train", "test", "generalization_error", "weights_normalized_auc", "units_normalized_auc",
    "robust", "epsilon",
)  # fmt: skip
_FAMILIES = {"fitted": "DP-SGD, fitted", "other": "ablations and controls"}
_X = {"test": "test accuracy, %", "robust": "accuracy under attack, %"}


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
        Column("attacked", "n", "attacked", lambda n: count(n or None), 2),
        Column("epsilon", "epsilon", "claimed", number_3),
        Column("replicates", "n", format=count),
    )

    details = (
        *Exhibit.details,
        Column("attacks", "lowest of", format=text),
        Column("attack_images", "attacked test images, the first", format=count),
        Column("attack_epsilon", "attack epsilon", format=number),
        Column("attack_warnings", "WARNING", format=text),
    )

    def frame(self, study: Study) -> pd.DataFrame:
        lines = []
        for group, _, runs in study.each(study.finished_runs):
            attacked = strongest(study, group)
            first = attacked.iloc[0].to_dict() if len(attacked) else {}
            epsilon = runs["epsilon"].max()
            lines.append(
                {
                    **group.cells,
                    **{name: mean_of(runs[name].dropna()) for name in _FIGURES[:-2]},
                    "robust": mean_of(attacked["robust"]),
                    "epsilon": epsilon,
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
        return [Plot("tradeoff", self.title, lambda: draw_tradeoff(study))]


def draw_tradeoff(study: Study) -> Figure:
    """A column of panels per architecture: test accuracy across, then accuracy under attack.

    Up: normalized accuracy under weight faults. Colours are families of algorithms.
    """
    frame = TradeoffRuns().frame(study)
    frame = frame[frame["weights_normalized_auc"].notna()]
    if not len(frame):
        raise RunError("no trade-off figure: no finished run has fault curves")
    families = {group.key: display_names.family(group) for group in study.trained}
    by_record = {record.name: families[g.key] for g in study.trained for record in g.finished}
    frame = frame.assign(family=frame["record"].map(by_record))
    names = [name for name in study.architectures if (frame["architecture"] == name).any()]
    title = "Fault tolerance, robustness and accuracy: one point per run above chance"
    figure, axes = plot_styles.panels(len(_X), len(names), title=title, width=3.2, share_y="col")
    for (x, label), panels in zip(_X.items(), axes, strict=True):
        for panel, architecture in zip(panels, names, strict=True):
            mine = frame[(frame["architecture"] == architecture) & frame[x].notna()]
            for family, lines in mine.groupby("family"):
                panel.scatter(
                    100 * lines[x].astype(float),
                    100 * lines["weights_normalized_auc"].astype(float),
                    color=plot_styles.FAMILIES[family][0],
                    marker=plot_styles.MARKERS[family][0],
                    s=22,
                    label=_FAMILIES.get(family, display_names.algorithm(family)),
                )
            panel.set_title(display_names.describe_architecture(architecture))
            panel.set_xlabel(label)
        panels[0].set_ylabel("normalized accuracy\nunder weight faults, %")
    plot_styles.legend_below(figure, [panel for row in axes for panel in row], columns=6)
    return figure


register(Tradeoff())
register(TradeoffRuns())
