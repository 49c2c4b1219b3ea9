"""Faults in one layer at a time, next to faults in the whole model."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import band, mean_of
from ft_tf.report.table import (
    NOTHING,
    Line,
    Table,
    count,
    make_table,
    number,
    percent,
    plus_minus,
    text,
)
from ft_tf.report.tidy import TARGETS, Study


def layer_frame(study: Study, architecture: str) -> pd.DataFrame:
    """A line per group, target and layer, the whole model first: means over seeds, with 95%.

    Of one seed the interval is the campaign's, over fault sets. share_of_sites is the layer's
    share of all fault sites. Groups whose runs do not all have the same layers are left out.
    """
    lines = []
    for group in study.trained:
        if group.config["architecture"] != architecture:
            continue
        for target in TARGETS:
            found = study.layers
            found = found[(found["group"] == group.key) & (found["target"] == target)]
            names = [tuple(run["layer"]) for _, run in found.groupby("record", sort=False)]
            if len(names) == len(group.finished) and len(set(names)) == 1:
                for layer, entries in found.groupby("layer", sort=False):
                    lines.append(_line(group, target, str(layer), entries))
    return pd.DataFrame(lines)


def _line(group: Group, target: str, layer: str, entries: pd.DataFrame) -> dict[str, object]:
    first = entries.iloc[0]
    means = {
        name: mean_of(entries[name].tolist()) for name in ("clean_accuracy", "accuracy", "drop")
    }
    ends = (first["low"], first["high"])
    return {
        **group.cells,
        "architecture": group.config["architecture"],
        "target": target,
        "layer": layer,
        "sites": first["sites"],
        "share_of_sites": first["share_of_sites"],
        "rate": first["rate"],
        "clean_accuracy": means["clean_accuracy"],
        "accuracy": means["accuracy"],
        **band(entries["accuracy"].tolist(), ends, single_unit="fault sets"),
        "drop": means["drop"],
        "records": group.names,
    }


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

    name, order = "layers", 20

    def __init__(self, architecture: str = "") -> None:
        self.architecture = architecture
        if architecture:
            self.name = f"layers_{architecture}"
            where = display_names.describe_architecture(architecture)
            self.title = f"Layers of {where}: faults in one at a time"

    note = (
        "Percent, on test images; ± is the half width of the 95% interval, over training seeds "
        "where n exceeds 1, else over fault sets of the one model. Each layer has the same share of "
        "its sites stuck at 0. Uniform faults in the whole model mostly hit the layer with most "
        "sites."
    )
    details = (
        *Exhibit.details,
        Column("rate", "% of each layer's sites", format=_rate),
        Column("clean_accuracy", "without faults"),
        Column("layers", "sites", format=_shares),
    )

    def parts(self, study: Study) -> Sequence[Exhibit]:
        """An exhibit for each architecture whose runs measured single layers."""
        frames = {name: layer_frame(study, name) for name in study.architectures}
        return [Layers(name) for name, frame in frames.items() if len(frame)]

    def frame(self, study: Study) -> pd.DataFrame:
        """See `layer_frame`."""
        return layer_frame(study, self.architecture)

    def table(self, study: Study) -> Table:
        """The lines of one run and target as one row."""
        frame = self.frame(study)
        rows = []
        for _, lines in frame.groupby(["records", "target"], sort=False):
            cells = {line["layer"]: line for line in lines.to_dict("records")}
            rows.append({**next(iter(cells.values())), **cells, "layers": cells})
        columns = (
            Column("run", "run", format=text),
            Column("target", "stuck at 0", format=text),
            *(
                Column(layer, layer, "accuracy with faults in", _cell, place)
                for place, layer in enumerate(dict.fromkeys(frame["layer"]))
            ),
            Column("replicates", "n", format=count),
        )
        return make_table(
            pd.DataFrame(rows), columns, title=self.title, details=self.details, notes=[self.note]
        )

    def plots(self, study: Study) -> Sequence[Plot]:
        """Bars for each layer and run."""
        return [Plot(self.name, self.title, lambda: draw_layers(study, self.architecture))]


def draw_layers(study: Study, architecture: str) -> Figure:
    """Accuracy with faults in one layer at a time, the whole model first; a dash is no faults."""
    groups = {group.names: group for group in study.main_groups(architecture)}
    frame = layer_frame(study, architecture)
    frame = frame[frame["records"].isin(groups)] if len(frame) else frame
    if not len(frame):
        raise RunError(f"no layer figure for {architecture}: no finished run measured its layers")
    looks = plot_styles.looks([groups[names] for names in dict.fromkeys(frame["records"])])
    targets = [target for target in TARGETS if (frame["target"] == target).any()]
    rate = 100 * float(frame["rate"].iloc[0])
    where = display_names.describe_architecture(architecture)
    title = f"{where}: {rate:g}% of one layer's sites stuck at 0"
    figure, axes = plot_styles.panels(len(targets), 1, title=title, height=2.7, width=9.6)
    for (panel,), target in zip(axes, targets, strict=True):
        mine = frame[frame["target"] == target]
        _draw_bars(panel, mine, lambda name: looks[groups[name].key])
        panel.set_title(f"{target}; dashes: without faults")
        panel.set_xlabel("layer, and its share of the sites")
        panel.set_ylabel("test accuracy, %")
    plot_styles.legend_below(figure, [row[0] for row in axes])
    return figure


def _draw_bars(axes: Axes, frame: pd.DataFrame, look_of: Callable[[str], Look]) -> None:
    names = list(dict.fromkeys(frame["layer"]))
    runs = list(dict.fromkeys(frame["records"]))
    width = 0.84 / len(runs)
    for place, run in enumerate(runs):
        lines = frame[frame["records"] == run].set_index("layer").reindex(names)
        where = np.arange(len(names)) + (place - (len(runs) - 1) / 2) * width
        values = 100 * lines["accuracy"].astype(float)
        low, high = (100 * lines[end].astype(float) for end in ("low", "high"))
        reach = [(values - low).clip(lower=0), (high - values).clip(lower=0)]
        look = look_of(run)
        axes.bar(where, values, width * 0.92, color=look.color, label=look.name)
        axes.errorbar(where, values, reach, fmt="none", ecolor="#444444", elinewidth=0.8)
        clean = 100 * lines["clean_accuracy"].astype(float)
        axes.hlines(clean, where - width / 2, where + width / 2, color=look.color, linewidth=1.2)
    shares = 100 * frame.groupby("layer")["share_of_sites"].first()
    ticks = [f"{name}\n{_round(shares[name])}%" for name in names]
    axes.set_xticks(np.arange(len(names)), ticks, fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)


def _round(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 1 else f"{percent:.1g}"


register(Layers())
