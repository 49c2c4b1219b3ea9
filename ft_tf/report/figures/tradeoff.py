"""Fault tolerance against accuracy and robustness, one point per run; privacy by colour."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import labels
from ft_tf.report.figures.looks import FAMILIES
from ft_tf.report.figures.style import panels
from ft_tf.report.tradeoff import FITTED, run_frame

_SHAPES = ("o", "^", "s", "D", "v", "P")
_X = {"test": "test accuracy, %", "robust": "accuracy under attack, %"}
_DATASETS = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def tradeoff(records: Sequence[Record], subject: str = "all") -> Figure:
    """A row of panels per data set: test accuracy, then accuracy under attack, across.

    Up: the share of the accuracy above chance that weight faults leave, averaged over 0 to 90%.
    Colours are algorithms, of DP runs darker with a smaller epsilon, which the legend gives;
    hollow points are kinds beyond the colours of their algorithm; shapes are architectures.
    """
    frame = run_frame(records)
    frame = frame[frame["weights_kept"].notna()]
    if not len(frame):
        raise RunError(f"no trade-off figure for {subject}: no finished run has fault curves")
    datasets = [name for name in _DATASETS if (frame["dataset"] == name).any()]
    colors = kind_colors(frame)
    shapes = dict(zip(dict.fromkeys(frame["architecture"]), _SHAPES * 3, strict=False))
    figure, axes = panels(
        len(datasets),
        2,
        title="Fault tolerance, robustness, privacy, accuracy: one point per run above chance",
        height=4.1,
        width=4.6,
        share_y="row",
    )
    for panel_row, dataset in zip(axes, datasets, strict=True):
        mine = frame[frame["dataset"] == dataset]
        for panel, x in zip(panel_row, _X, strict=True):
            _draw(panel, mine[mine[x].notna()], x, colors, shapes)
            panel.set_title(_DATASETS[dataset])
    _legend(figure, frame, colors, shapes)
    return figure


def kind_colors(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colours of each kind, inside and at the rim.

    A family gives out its colours with a white rim first, then as a rim around white, then as a
    rim around grey, before a pair comes again. The DP kinds come from the smallest epsilon,
    the darkest, on.
    """
    found: dict[str, tuple[str, str]] = {}
    order = frame.sort_values("epsilon", kind="stable", na_position="first")
    for kind in dict.fromkeys(order["kind"]):
        family = _family(kind)
        known = sum(_family(other) == family for other in found)
        turn, place = divmod(known, len(FAMILIES[family]))
        color = FAMILIES[family][place]
        found[kind] = ((color, "white"), ("white", color), ("#DDDDDD", color))[turn % 3]
    return {kind: found[kind] for kind in dict.fromkeys(frame["kind"])}


def _family(kind: str) -> str:
    if kind.endswith(FITTED):
        return "fitted"
    starts = {
        "natural, stopped": "other",
        "natural": "natural",
        "Tikhonov": "tikhonov",
        "TRADES": "trades",
        "DP-SGD": "dpsgd",
    }
    return next((family for start, family in starts.items() if kind.startswith(start)), "other")


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
            100 * lines["weights_kept"].astype(float),
            marker=shapes[architecture],
            **_point(colors[kind]),
        )
    axes.set_xlabel(_X[x])
    axes.set_ylabel("accuracy above chance kept\nunder weight faults of 0 to 90%, %")


def _point(color: tuple[str, str]) -> dict[str, Any]:
    inside, rim = color
    width = 0.4 if rim == "white" else 1.0
    return {"facecolors": inside, "edgecolors": rim, "s": 26, "linewidths": width}


def _legend(
    figure: Figure,
    frame: pd.DataFrame,
    colors: dict[str, tuple[str, str]],
    shapes: dict[str, str],
) -> None:
    axes = figure.axes[0]
    handles = [
        axes.scatter([], [], marker="o", label=_with_epsilon(frame, kind), **_point(color))
        for kind, color in colors.items()
    ]
    handles += [
        axes.scatter([], [], color="#555555", marker=shape, s=26, label=labels.in_words(name))
        for name, shape in shapes.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _with_epsilon(frame: pd.DataFrame, kind: str) -> str:
    """A DP kind with the epsilon, or the range of epsilons, that its runs claim."""
    epsilons = frame.loc[frame["kind"] == kind, "epsilon"].dropna()
    if not len(epsilons) or not kind.startswith("DP-SGD"):
        return kind
    low, high = f"{epsilons.min():.3g}", f"{epsilons.max():.3g}"
    return f"{kind}: epsilon {low}" + (f" to {high}" if low != high else "")
