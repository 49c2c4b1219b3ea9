"""Faults in one layer at a time, next to faults in the whole model."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.effects_runs import chance
from ft_tf.report.exhibits import (
    Column,
    Exhibit,
    Plot,
    Study,
    count,
    number,
    percent,
    register,
    text,
)  # fmt: skip
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import band, mean_of
from ft_tf.report.table import NOTHING, Line, Table, make_table, plus_minus
from ft_tf.report.tidy import TARGETS


def layer_frame(study: Study, architecture: str) -> pd.DataFrame:
    """A line per group, target and layer, the whole model first: means over seeds, with 95%.

    Of one seed the interval is the campaign's, over fault sets. share_of_sites is the layer's
    share of all fault sites. Groups whose runs do not all have the same layers are left out.
    """
    lines = []
    for group, (target,), found in study.each(study.layers, "target"):
        names = [tuple(run["layer"]) for _, run in found.groupby("record", sort=False)]
        is_whole = len(names) == len(group.finished) and len(set(names)) == 1
        if group.config["architecture"] != architecture or not is_whole:
            continue
        for layer, entries in found.groupby("layer", sort=False):
            first = entries.iloc[0]
            means = {name: mean_of(entries[name]) for name in ("clean_accuracy", "accuracy")}
            ends = first["low"], first["high"]
            lines.append(
                {
                    **group.cells,
                    "architecture": architecture,
                    "target": target,
                    "layer": layer,
                    **first[["sites", "share_of_sites", "rate"]],
                    **means,
                    **band(entries["accuracy"].tolist(), ends, single_unit="fault sets"),
                    "drop": mean_of(entries["drop"]),
                    "records": group.names,
                }
            )
    return pd.DataFrame(lines)


def _rate(rate: float) -> str:
    return number(100 * rate)


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
    """Layers of one architecture: a row per run and target, a column per layer."""

    kind, order = "layers", 20
    details = (
        *Exhibit.details,
        Column("rate", "% of each layer's sites", format=_rate),
        Column("clean_accuracy", "without faults"),
        Column("layers", "sites", format=_shares),
    )

    def __init__(self, architecture: str = "") -> None:
        self.name, self.architecture = f"layers_{architecture}", architecture
        where = display_names.describe_architecture(architecture)
        self.title = f"Layers of {where}: faults in one at a time"

    def parts(self, study: Study) -> Sequence[Exhibit]:
        return [Layers(name) for name in study.architectures if len(layer_frame(study, name))]

    def frame(self, study: Study) -> pd.DataFrame:
        return layer_frame(study, self.architecture)

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
                for place, layer in enumerate(dict.fromkeys(frame["layer"]))
            ),
            Column("replicates", "n", format=count),
        )
        notes = self.notes(frame)
        return make_table(pd.DataFrame(rows), columns, self.title, self.details, notes)

    def plots(self, study: Study) -> Sequence[Plot]:
        return [Plot(self.name, self.title, lambda: draw_layers(study, self.architecture))]


def draw_layers(study: Study, architecture: str) -> Figure:
    """Accuracy with faults in one layer at a time, the whole model first; a dash is no faults."""
    groups = {group.names: group for group in study.main_groups(architecture)}
    frame = layer_frame(study, architecture)
    frame = frame[frame["records"].isin(groups)]
    if not len(frame):
        raise RunError(f"no layer figure for {architecture}: no finished run measured its layers")
    found = plot_styles.looks([groups[names] for names in dict.fromkeys(frame["records"])])
    looks = {names: found[groups[names].key] for names in dict.fromkeys(frame["records"])}
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
    names = list(dict.fromkeys(frame["layer"]))
    runs = list(dict.fromkeys(frame["records"]))
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
    shares = 100 * frame.groupby("layer")["share_of_sites"].first()
    rounded = {
        name: f"{share:.0f}" if share >= 1 else f"{share:.1g}" for name, share in shares.items()
    }
    axes.set_xticks(
        np.arange(len(names)),
        [f"{name}\n{rounded[name]}%".replace("whole model", "all") for name in names],
        fontsize=8,
    )
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)


register(Layers())
