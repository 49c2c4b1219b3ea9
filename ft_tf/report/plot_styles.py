"""How figures look: one look per algorithm and setting everywhere, files that are equal each time.

Colours go by the family of the algorithm and start from Okabe and Ito's, which the colour-blind
can tell apart: natural black, Tikhonov green, TRADES orange, DP-SGD blue, darker with more noise.
Markers and line styles repeat what colours say, for print without colour.
"""

import collections
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import cKDTree

from ft_tf.report import display_names
from ft_tf.report.groups import Group

FAMILIES = {
    "natural": ("#000000", "#7A7A7A"),
    "tikhonov": ("#009E73",),
    "trades": ("#D55E00", "#E69F00", "#F0B27A"),
    "dpsgd": ("#0072B2", "#08306B", "#56B4E9", "#A6CEE3"),
    "other": ("#CC79A7", "#8C6D1F", "#882255"),
}
"""Shades of each family, its own colour first."""
_SHADES = {"trades": ((6, 0), (3, 1), (0, 2)), "dpsgd": ((3, 1), (0.8, 0), (0.2, 2), (0, 3))}
"""(least strength, shade) of a family: one setting has one colour in every figure."""
MARKERS = {"natural": "oPX", "tikhonov": "sH", "trades": "^v<>", "dpsgd": "Ddph", "other": "*XPvs"}
LINES = ("-", "--", "-.", ":")
PAPER, OURS = FAMILIES["trades"][0], FAMILIES["dpsgd"][0]
GRAY = "#666666"
_LABEL_SIZE = 7.5  # of names at lines and points

FORMATS = ("png", "pdf", "svg")
COLORS = 127
"""Of a PNG's palette: lines, bands and points keep their exact colours, at a third of the bytes."""
_KEPT_COLORS = [int(color[1:], 16) for family in FAMILIES.values() for color in family]
_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.0,
    "savefig.dpi": 120,
    "svg.hashsalt": "ft_tf",
}
_NOT_STYLE = ("interactive", "toolbar", "timezone", "webagg.port", "tk.window_focus")
_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}


@dataclasses.dataclass(frozen=True)
class Look:
    """How a group is drawn: its name in the legend, color, marker and line style."""

    name: str
    color: str
    marker: str
    line: str = "-"


def looks(groups: Sequence[Group]) -> dict[str, Look]:
    """Returns key of each group -> its look; groups with equal names look alike.

    The colour follows from the family and the strength of noise or attack alone, so that it is the
    same in every figure; settings that share it differ by marker and line style.
    """
    names = display_names.short_names(groups)
    places: dict[str, dict[str, int]] = collections.defaultdict(dict)
    found = {}
    for group in groups:
        family, name = display_names.family(group), names[group.key]
        color = FAMILIES[family][_shade(family, group)]
        place = places[color].setdefault(name, len(places[color]))
        marker = MARKERS[family][place % len(MARKERS[family])]
        found[group.key] = Look(name, color, marker, LINES[place % len(LINES)])
    return found


def _shade(family: str, group: Group) -> int:
    options = group.config.get("algorithm") or {}
    strength = 255 * options.get("epsilon", 0.0) + (options.get("noise_multiplier") or 0.0)
    weakest = int(bool(group.config.get("augment"))) if family == "natural" else 0
    shades = (shade for least, shade in _SHADES.get(family, ()) if strength >= least - 1e-9)
    return next(shades, weakest)


def panels(
    rows: int,
    columns: int,
    *,
    title: str,
    height: float = 2.6,
    width: float = 3.4,
    share_y: bool | str = False,
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a title and rows x columns panels, each with its own tick labels."""
    figure = Figure(figsize=(width * columns + 0.4, height * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)  # measures text, for legends that fit
    if title:
        figure.suptitle(title, fontsize=10, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for panel in axes.ravel():
        panel.tick_params(labelleft=True)  # sharing would hide it
    return figure, axes.tolist()


def draw_curve(
    axes: Axes, curve: pd.DataFrame, y: str, look: Look, *, has_band: bool = True
) -> None:
    """Draws `y`, "mean" or "lost", of `Study.fault_curve` against the fault rate, in percent.

    Rates below one faulty site are no measurement, and not drawn.
    """
    curve = curve[(curve["rate"] == 0) | (curve["faults"] >= 1)]
    prefix = "" if y == "mean" else f"{y}_"
    columns = ["rate", y, f"{prefix}low", f"{prefix}high"]
    rates, values, low, high = (100 * curve[columns].astype(float)).to_numpy().T
    style = {"color": look.color, "marker": look.marker, "linestyle": look.line}
    axes.plot(rates, values, label=look.name, **style)
    if has_band and np.isfinite(low).any():
        axes.fill_between(rates, low, high, color=look.color, alpha=0.12, linewidth=0)


def finish_fault_panel(axes: Axes, target: str, chance: float | None) -> None:
    """Title, axis names and, where it is known, a line at the chance level of fault curves."""
    axes.set(title=target, xlabel=f"share of {target} stuck at 0, %", ylabel="test accuracy, %")
    draw_chance(axes, chance)


def draw_chance(axes: Axes, chance: float | None) -> None:
    """A dotted line at the accuracy of guessing, where that is known."""
    if chance is not None:
        axes.axhline(100 * chance, color=GRAY, linestyle=":", linewidth=0.9, label="chance")


def label_lines(axes: Axes) -> None:
    """Writes the name of each line to the right, in its colour, without overlaps.

    Names are at the lines' ends. Where all lines end together they are at the lines' mean heights,
    in the order of the curves.
    """
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for line in axes.lines:
        values = np.asarray(line.get_xydata())
        values = values[np.isfinite(values).all(axis=1)]
        if not line.get_label().startswith("_") and len(values):
            height = to_axes.transform(values)[:, 1]
            ends.append([height[-1], height.mean(), line, values[-1]])
    step = 1.3 * _LABEL_SIZE / 72 / (axes.get_position().height * axes.figure.get_figheight())
    heights = [end[0] for end in ends]
    is_together = len(ends) > 2 and max(heights) - min(heights) < 0.8 * len(ends) * step
    ends.sort(key=lambda end: end[:2][::-1] if is_together else end[:2])
    place = -np.inf
    for index, (last, mean, line, end) in enumerate(ends):
        room = max(1.05, len(ends) * step) - (len(ends) - 1 - index) * step  # for higher ones
        place = max(place + step, min(mean if is_together else last, room))
        color = line.get_color()
        arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "relpos": (0, 0.5)}
        axes.annotate(
            line.get_label(), end, (1.04, place), textcoords="axes fraction", fontsize=_LABEL_SIZE,
            color=color, va="center", annotation_clip=False,
            arrowprops=None if is_together else arrow,
        )  # fmt: skip


def label_points(axes: Axes, points: Sequence[tuple[str, str, float, float]]) -> None:
    """Writes the name of each point (name, color, x, y) to the right of the panel, as of lines."""
    for name, color, x, y in points:
        axes.plot([x], [y], "", color=color, label=name)
    label_lines(axes)


def legend_below(figure: Figure, axes: Iterable[Axes], *, columns: int = 3) -> None:
    """One legend for all panels, below them, each name once; in fewer columns if it is too wide."""
    handles = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    names, place = list(handles), "outside lower center"
    for count in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(handles.values(), names, loc=place, ncols=count)
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def render(draw: Callable[[], Figure], formats: Sequence[str] = ("png",)) -> dict[str, bytes]:
    """Returns the figure that `draw` makes as format -> content of a file.

    The report's style is used, whatever the user's matplotlibrc says. The same figure gives the
    same bytes: files carry no metadata. The colours of a PNG are cut to a palette.
    """
    style = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    found = {}
    with matplotlib.rc_context({key: style[key] for key in style if key not in _NOT_STYLE}):
        figure = draw()
        for name in formats:
            FigureCanvasAgg(figure)
            file = io.BytesIO()
            figure.savefig(file, format=name, metadata=_METADATA[name])
            found[name] = _small_png(file) if name == "png" else file.getvalue()
    return found


def _small_png(file: io.BytesIO) -> bytes:
    """The image in its most frequent colours; each rarer one, an edge's, becomes the nearest.

    Colours of looks stay however rare they are: one point may be all that a run has.
    """
    pixels = np.asarray(Image.open(file).convert("RGB"), np.int64)
    codes, place, counts = np.unique(
        pixels @ [1 << 16, 1 << 8, 1], return_inverse=True, return_counts=True
    )
    colors = np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=1)
    order = np.lexsort((-counts, ~np.isin(codes, _KEPT_COLORS)))
    kept = colors[order[:COLORS]]
    nearest = cKDTree(kept).query(colors)[1]
    indexed = Image.fromarray(nearest[place].reshape(pixels.shape[:2]).astype(np.uint8))
    indexed.putpalette(kept.astype(np.uint8).tobytes())
    small = io.BytesIO()
    indexed.save(small, format="PNG", optimize=True)
    return small.getvalue()
