"""Accuracy under faults: curves as the paper's Figure 3, low rates, arms, single layers."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import fault_measures, labels
from ft_tf.report.figures.looks import Look, looks, of_architecture
from ft_tf.report.figures.style import legend_below, panels
from ft_tf.report.groups import Group
from ft_tf.report.layers import layer_frame

TARGETS = ("weights", "units")
_LOG_RATE = 0.05  # rates up to here are what the log axis is for
_MIN_LOG_RATES = 3


def faults(records: Sequence[Record], architecture: str) -> Figure:
    """Every algorithm: accuracy on a linear axis of rates, accuracy lost on a log axis below.

    Bands are 95%: over training seeds, or of a single seed over its fault sets. The log row is
    left out where no run has enough low rates.
    """
    groups = [g for g in of_architecture(records, architecture) if _linear_targets(g)]
    if not groups:
        raise RunError(f"no fault curves for {architecture}: no finished run has two fault rates")
    found = looks(groups)
    is_log = any(len(low_rates(group, target)) for group in groups for target in TARGETS)
    figure, axes = panels(
        1 + is_log,
        2,
        title=f"{labels.in_words(architecture)}: stuck-at-0 faults, bands of 95%",
        height=3.3,
        width=5.0,
        share_y="row",
    )
    for place, target in enumerate(TARGETS):
        drawn = [group for group in groups if target in _linear_targets(group)]
        for group in drawn:
            draw_curve(axes[0][place], group, target, found[group.key])
        name_axes(axes[0][place], target)
        if is_log:
            for group in drawn:
                _draw_lost(axes[1][place], group, target, found[group.key])
            _name_log_axes(axes[1][place], target)
    legend_below(figure, [panel for row in axes for panel in row])
    return figure


def _linear_targets(group: Group) -> list[str]:
    return [
        target
        for target in fault_measures.targets_of(group)
        if target in TARGETS and len(fault_measures.shared_rates(group, target)) > 1
    ]


def low_rates(group: Group, target: str) -> pd.DataFrame:
    """The part of a group's curve that a log axis shows; empty where it is too short."""
    if target not in fault_measures.targets_of(group):
        return pd.DataFrame()
    lost = fault_measures.lost_curve(group, target)
    low = lost[lost["rate"] <= _LOG_RATE]
    return low if len(low) >= _MIN_LOG_RATES else low.iloc[:0]


def draw_curve(axes: Axes, group: Group, target: str, look: Look, *, has_band: bool = True) -> None:
    """A group's accuracy against the share of faulty sites, in percent."""
    curve = fault_measures.fault_curve(group, target)
    rates = 100 * curve["rate"].astype(float)
    axes.plot(
        rates,
        100 * curve["mean"].astype(float),
        label=f"{look.name}, n={len(group.finished)}",
        color=look.color,
        marker=look.marker,
        linestyle=look.style,
    )
    if has_band:
        _band(axes, rates, curve["low"], curve["high"], look)


def _band(axes: Axes, rates: pd.Series, low: pd.Series, high: pd.Series, look: Look) -> None:
    low, high = 100 * low.astype(float), 100 * high.astype(float)
    if low.notna().any():
        axes.fill_between(rates, low, high, color=look.color, alpha=0.12, linewidth=0)


def name_axes(axes: Axes, target: str) -> None:
    """Title and axis names of a panel with a linear axis."""
    axes.set_title(target)
    axes.set_xlabel(f"share of {target} stuck at 0, %")
    axes.set_ylabel("test accuracy, %")


def _draw_lost(axes: Axes, group: Group, target: str, look: Look) -> None:
    lost = low_rates(group, target)
    if not len(lost):
        return
    axes.plot(
        lost["rate"].astype(float),
        100 * lost["lost"].astype(float),
        label=f"{look.name}, n={len(group.finished)}",
        color=look.color,
        marker=look.marker,
        linestyle=look.style,
    )
    _band(axes, lost["rate"].astype(float), lost["low"], lost["high"], look)


def _name_log_axes(axes: Axes, target: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color="#666666", linewidth=0.8)
    axes.set_title(f"{target}: low rates")
    axes.set_xlabel(f"share of {target} stuck at 0")
    axes.set_ylabel("test accuracy lost, points")


def layers(records: Sequence[Record], architecture: str) -> Figure:
    """Accuracy with faults in one layer at a time, the whole model first; a dash is no faults."""
    groups = of_architecture(records, architecture)
    keys = {group.names: group.key for group in groups}
    frame = layer_frame(records)
    frame = frame[frame["records"].isin(keys)]
    if not len(frame):
        raise RunError(f"no layer figure for {architecture}: no finished run measured its layers")
    found = looks([group for group in groups if group.names in set(frame["records"])])
    targets = [target for target in TARGETS if (frame["target"] == target).any()]
    rate = 100 * float(frame["rate"].iloc[0])
    figure, axes = panels(
        len(targets),
        1,
        title=f"{labels.in_words(architecture)}: {rate:g}% of one layer's sites stuck at 0",
        height=2.7,
        width=9.6,
    )
    for (panel,), target in zip(axes, targets, strict=True):
        mine = frame[frame["target"] == target]
        _draw_bars(panel, mine, lambda name: found[keys[name]])
        panel.set_title(f"{target}; dashes: without faults")
        panel.set_xlabel("layer, and its share of the sites")
        panel.set_ylabel("test accuracy, %")
    legend_below(figure, [row[0] for row in axes])
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
    axes.set_xticks(np.arange(len(names)), _ticks(frame, names), fontsize=8)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)


def _ticks(frame: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Each layer's name, and below it its share of the sites."""
    shares = frame.groupby("layer")["share_of_sites"].first()
    return [f"{name}\n{_rounded(100 * shares[name])}%" for name in names]


def _rounded(percent: float) -> str:
    return f"{percent:.0f}" if percent >= 1 else f"{percent:.1g}"
