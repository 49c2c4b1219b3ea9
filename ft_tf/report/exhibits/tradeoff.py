"""Fault tolerance, robustness, privacy and accuracy of every group of runs next to each other."""

import collections
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, count, register, text
from ft_tf.report.groups import Group
from ft_tf.report.replicates import mean_of
from ft_tf.report.table import Line, Table, make_table, number, number_3
from ft_tf.report.tidy import Study

_FIGURES = (
    "train", "test", "generalization_error", "weights_normalized_auc", "units_normalized_auc",
    "robust", "epsilon",
)  # fmt: skip
_SHAPES = ("o", "^", "s", "D", "v", "P")
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


def run_frame(study: Study) -> pd.DataFrame:
    """A line per finished run: what the trade-off figure shows.

    `robust` is the accuracy under the strongest of the attacks on the run's group, see `strongest`;
    `epsilon` is the one that the run claims, missing where there is no finite one.
    """
    attacked = pd.concat([strongest(study, group) for group in study.trained] or [pd.DataFrame()])
    runs = study.runs[study.runs["status"].eq("finished")]
    if not len(runs):
        return pd.DataFrame(columns=["dataset", "weights_normalized_auc"])
    found = runs.merge(attacked, on="record", how="left")
    columns = ["data", "dataset", "architecture", "kind", "run", "seed", *_FIGURES, "attacks",
               "attack_epsilon", "attack_images", "private", "record"]  # fmt: skip
    return found.reindex(columns=columns)


class TradeoffRuns(Exhibit):
    """The trade-off run by run; only as CSV."""

    name = "tradeoff_runs"

    def frame(self, study: Study) -> pd.DataFrame:
        """See `run_frame`."""
        return run_frame(study)


class Tradeoff(Exhibit):
    """A line per group: means over seeds; epsilon is the largest of the group's."""

    name, order = "tradeoff", 30
    title = "Fault tolerance, robustness, privacy and accuracy"
    columns = (
        Column("run", "run", format=text),
        Column("test", "test", "accuracy"),
        Column("generalization_error", "gap"),
        Column("weights_normalized_auc", "weights", "normalized accuracy under faulty"),
        Column("units_normalized_auc", "units", "normalized accuracy under faulty", priority=1),
        Column("robust", "accuracy", "attacked"),
        Column("attacked", "n", "attacked", lambda n: count(n or None), 2),
        Column("epsilon", "epsilon", "claimed", number_3),
        Column("replicates", "n", format=count),
    )

    def notes(self, study: Study) -> Sequence[str]:
        """Meaning of the columns."""
        return (
            "Percent; means over n seeds. Normalized accuracy under faults is the share of the "
            "accuracy above chance that is left, averaged over 0 to 90% faults. Attacked is the "
            "accuracy under the strongest attack on record, on the most images that were attacked "
            "at one radius; its n counts the seeds with these attacks. The claimed epsilon is the "
            "smallest that holds (by privacy loss distributions; for shuffled batches the "
            "unamplified epsilon); the own epsilon of the accuracy tables is that of the paper's "
            "accountant. A run without one has no privacy guarantee.",
        )

    def detail(self, line: Line) -> str:
        """Data, rows and attacks of a line."""
        parts = [line["data"], f"rows: {line['rows']}"]
        if text(line["attacks"]):
            parts.append(
                f"attacked on the first {count(line['attack_images'])} test images at epsilon "
                f"{number(line['attack_epsilon'])}, the lowest of: {line['attacks']}"
            )
        if text(line["attack_warnings"]):
            parts.append(f"WARNING: {line['attack_warnings']}")
        return "; ".join(parts)

    def frame(self, study: Study) -> pd.DataFrame:
        """Groups in the paper's order; robust is the mean over the `attacked` seeds."""
        lines = []
        for group, _, runs in study.each(study.runs[study.runs["status"].eq("finished")]):
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

    def of_dataset(self, study: Study, dataset: str) -> Table:
        """The lines of one data set."""
        frame = self.rows(study)
        if len(frame):
            frame = frame[frame["data"].str.startswith(f"{dataset}, ")]
        notes = self.notes(study) if len(frame) else ()
        return make_table(frame, self.columns, title=self.title, detail=self.detail, notes=notes)

    def plots(self, study: Study) -> Sequence[Plot]:
        """One figure for all runs."""
        return [Plot("tradeoff", self.title, lambda: draw_tradeoff(study))]


def draw_tradeoff(study: Study) -> Figure:
    """A row of panels per data set: test accuracy, then accuracy under attack, across.

    Up: normalized accuracy under weight faults. Colours are algorithms, of DP runs darker with a
    smaller epsilon, which the legend gives; hollow points are kinds beyond the colours of their
    algorithm; shapes are architectures.
    """
    frame = run_frame(study)
    frame = frame[frame["weights_normalized_auc"].notna()]
    if not len(frame):
        raise RunError("no trade-off figure: no finished run has fault curves")
    known = list(dict.fromkeys([*display_names.DATASETS, *frame["dataset"]]))
    datasets = [name for name in known if (frame["dataset"] == name).any()]
    colors = kind_colors(study, frame)
    shapes = dict(zip(dict.fromkeys(frame["architecture"]), _SHAPES * 9, strict=False))
    title = "Fault tolerance, robustness, privacy, accuracy: one point per run above chance"
    figure, axes = plot_styles.panels(
        len(datasets), 2, title=title, height=4.1, width=4.6, share_y="row"
    )
    for panel_row, dataset in zip(axes, datasets, strict=True):
        mine = frame[frame["dataset"] == dataset]
        for panel, x in zip(panel_row, _X, strict=True):
            _draw(panel, mine[mine[x].notna()], x, colors, shapes)
            panel.set_title(display_names.DATASETS.get(dataset, dataset))
    families = kind_families(study)
    names = {
        kind: _with_epsilon(frame, kind) if families[kind] in ("dpsgd", "fitted") else kind
        for kind in colors
    }
    handles = [
        axes[0][0].scatter([], [], marker="o", label=names[kind], **_point(color))
        for kind, color in colors.items()
    ]
    handles += [
        axes[0][0].scatter([], [], color="#555555", marker=shape, s=26,
                           label=display_names.describe_architecture(name))
        for name, shape in shapes.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def kind_families(study: Study) -> dict[str, str]:
    """Kind of runs -> family; the first group of a kind decides."""
    groups = reversed(study.trained)
    return {display_names.kind(group): display_names.family(group) for group in groups}


def kind_colors(study: Study, frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colours of each kind of runs, inside and at the rim.

    A family gives its colours with a white rim first, then as a rim around white, then as a rim
    around grey, before a pair comes again. The DP kinds start with the smallest epsilon, the
    darkest.
    """
    families = kind_families(study)
    places: collections.Counter[str] = collections.Counter()
    found: dict[str, tuple[str, str]] = {}
    order = frame.sort_values("epsilon", kind="stable", na_position="first")
    for kind in dict.fromkeys(order["kind"]):
        family = families[kind]
        turn, place = divmod(places[family], len(plot_styles.FAMILIES[family]))
        places[family] += 1
        color = plot_styles.FAMILIES[family][place]
        found[kind] = ((color, "white"), ("white", color), ("#DDDDDD", color))[turn % 3]
    return {kind: found[kind] for kind in dict.fromkeys(frame["kind"])}


def _draw(
    axes: Axes,
    frame: pd.DataFrame,
    x: str,
    colors: dict[str, tuple[str, str]],
    shapes: dict[str, str],
) -> None:
    for (kind, architecture), lines in frame.groupby(["kind", "architecture"], sort=False):
        axes.scatter(
            100 * lines[x].astype(float),
            100 * lines["weights_normalized_auc"].astype(float),
            marker=shapes[architecture],
            **_point(colors[kind]),
        )
    axes.set_xlabel(_X[x])
    axes.set_ylabel("normalized accuracy\nunder weight faults of 0 to 90%, %")


def _point(color: tuple[str, str]) -> dict[str, Any]:
    inside, rim = color
    width = 0.4 if rim == "white" else 1.0
    return {"facecolors": inside, "edgecolors": rim, "s": 26, "linewidths": width}


def _with_epsilon(frame: pd.DataFrame, kind: str) -> str:
    """A DP kind with the epsilon, or the range of epsilons, that its runs claim."""
    epsilons = frame.loc[frame["kind"] == kind, "epsilon"].dropna()
    if not len(epsilons):
        return kind
    low, high = f"{epsilons.min():.3g}", f"{epsilons.max():.3g}"
    return f"{kind}: epsilon {low}" + (f" to {high}" if low != high else "")


register(Tradeoff())
register(TradeoffRuns())
