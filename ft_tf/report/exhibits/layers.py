"""Faults in one layer at a time, next to faults in the whole model."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.effects.runs import chance
from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, count, number, percent, register, text
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import band, mean_of
from ft_tf.report.table import NOTHING, Line, Table, make_table, plus_minus
from ft_tf.report.tidy import TARGETS, Study


def _cell(line: Line | float | None) -> str:
    if not isinstance(line, dict):
        return NOTHING
    return plus_minus(line["accuracy"], line["low"], line["high"])


def _shares(layers: dict[str, Line]) -> str:
    return ", ".join(
        f"{name} {count(cell['sites'])} ({percent(cell['share_of_sites'])}%)"
        for name, cell in layers.items()
    )


class Layers(Exhibit):
    """Layers of one architecture: a row per run and target, a column per layer.

    The frame has a line per group, target and layer, the whole model first: means over seeds, with
    95%. Of one seed the interval is the campaign's, over fault sets. share_of_sites is the layer's
    share of all fault sites. Groups whose runs do not all have the same layers are left out.
    """

    kind, order = "layers", 20
    details = (
        *Exhibit.details,
        Column("rate", "% of each layer's sites", format=lambda rate: number(100 * rate)),
        Column("clean_accuracy", "without faults"),
        Column("layers", "sites", format=_shares),
    )

    def __init__(self, architecture: str = "") -> None:
        self.name = f"layers_{display_names.slug(architecture)}"
        self.architecture = architecture
        where = display_names.describe_architecture(architecture)
        self.title = f"Layers of {where}: faults in one at a time"

    def parts(self, study: Study) -> Sequence[Exhibit]:
        return [part for part in map(Layers, study.architectures) if len(part.frame(study))]

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        for group, (target,), found in study.each(study.layers, "target"):
            names = [tuple(run["layer"]) for _, run in found.groupby("record", sort=False)]
            is_whole = len(names) == len(group.finished) and len(set(names)) == 1
            if group.config["architecture"] != self.architecture or not is_whole:
                continue
            for layer, entries in found.groupby("layer", sort=False):
                first = entries.iloc[0]
                ends = first["low"], first["high"]
                yield {
                    **group.cells,
                    "architecture": self.architecture,
                    "target": target,
                    "layer": layer,
                    **first[["sites", "share_of_sites", "rate"]],
                    "clean_accuracy": mean_of(entries["clean_accuracy"]),
                    "accuracy": mean_of(entries["accuracy"]),
                    **band(entries["accuracy"].tolist(), ends, single_unit="fault sets"),
                    "drop": mean_of(entries["drop"]),
                    "records": group.names,
                }

    def table(self, study: Study) -> Table:
        frame = self.frame(study)
        rows = []
        for _, lines in frame.groupby(["records", "target"], sort=False):
            cells = {line["layer"]: line for line in lines.to_dict("records")}
            rows.append({**next(iter(cells.values())), **cells, "layers": cells})
        columns = (
            Column("run", "run", format=text),
            Column("target", "stuck at 0", format=text),
            *(
                Column(layer, layer, "faults in", _cell, place)
                for place, layer in enumerate(frame["layer"].unique())
            ),
            Column("replicates", "n", format=count),
        )
        notes = self.notes(frame)
        return make_table(pd.DataFrame(rows), columns, self.title, self.details, notes)

    def plots(self, study: Study) -> Sequence[Plot]:
        return [Plot(self.name, self.title, lambda: draw_layers(study, self))]


def draw_layers(study: Study, layers: Layers) -> Figure:
    """Accuracy with faults in one layer at a time, the whole model first; a dash is no faults."""
    architecture, frame = layers.architecture, layers.frame(study)
    groups = {group.names: group for group in study.main_groups(architecture)}
    frame = frame[frame["records"].isin(groups)]
    if not len(frame):
        raise RunError(f"no layer figure for {architecture}: no finished run measured its layers")
    drawn = {names: groups[names] for names in frame["records"].unique()}
    found = plot_styles.looks(list(drawn.values()))
    looks = {names: found[group.key] for names, group in drawn.items()}
    targets = [target for target in TARGETS if (frame["target"] == target).any()]
    rate = 100 * float(frame["rate"].iloc[0])
    where = display_names.describe_architecture(architecture)
    title = f"{where}: {rate:g}% of one layer's sites stuck at 0"
    figure, axes = plot_styles.panels(len(targets), 1, title=title, height=2.3, width=6.9)
    guess = chance(next(iter(groups.values())).records[0])
    for (panel,), target in zip(axes, targets, strict=True):
        _draw_bars(panel, frame[frame["target"] == target], looks)
        plot_styles.draw_chance(panel, guess)
        panel.set(
            title=f"{target}; dashes: without faults",
            xlabel="layer, and its share of the sites",
            ylabel="test accuracy, %",
        )
    plot_styles.legend_below(figure, [row[0] for row in axes])
    return figure


def _draw_bars(axes: Axes, frame: pd.DataFrame, looks: dict[str, Look]) -> None:
    names, runs = frame["layer"].unique(), frame["records"].unique()
    width = 0.84 / len(runs)
    for place, run in enumerate(runs):
        lines = frame[frame["records"] == run].set_index("layer").reindex(names)
        where = np.arange(len(names)) + (place - (len(runs) - 1) / 2) * width
        columns = ["accuracy", "low", "high", "clean_accuracy"]
        values, low, high, clean = (100 * lines[columns].astype(float)).to_numpy().T
        reach = np.maximum([values - low, high - values], 0)
        look = looks[run]
        axes.bar(where, values, width * 0.92, color=look.color, label=look.name)
        axes.errorbar(where, values, reach, fmt="none", ecolor="#444444", elinewidth=0.8)
        axes.hlines(clean, where - width / 2, where + width / 2, color=look.color, linewidth=1.2)
    shares = 100 * frame.groupby("layer", sort=False)["share_of_sites"].first()
    rounded = shares.map(lambda share: f"{share:.0f}" if share >= 1 else f"{share:.1g}")
    ticks = [f"{name}\n{share}%".replace("whole model", "all") for name, share in rounded.items()]
    axes.set_xticks(np.arange(len(names)), ticks, fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)


register(Layers())
