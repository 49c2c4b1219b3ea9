"""How every figure looks, and how it becomes a small PNG that is the same on each run."""

import io
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ft_tf.report import paper
from ft_tf.report.figures.looks import FAMILIES
from ft_tf.report.groups import OTHER

COLORS = 255
"""Of a figure's palette: lines, bands and points keep their colours to the bit, at a third of the
bytes."""
_LOOKS = [int(color[1:], 16) for family in FAMILIES.values() for color in family]

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
}
_NOT_STYLE = ("interactive", "toolbar", "timezone", "webagg.port", "tk.window_focus")


def render(draw: Callable[[], Figure]) -> bytes:
    """Draws under the report's own style, whatever the user's matplotlibrc says, and gives a PNG.

    The file carries no metadata; its colours are cut to a palette.
    """
    style = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context({key: style[key] for key in style if key not in _NOT_STYLE}):
        figure = draw()
        FigureCanvasAgg(figure)
        full = io.BytesIO()
        figure.savefig(full, format="png", metadata={"Software": None})
    small = io.BytesIO()
    _with_palette(Image.open(full)).save(small, format="PNG", optimize=True)
    return small.getvalue()


def _with_palette(image: Image.Image) -> Image.Image:
    """The image in its most frequent colours; each rarer one, an edge's, becomes the nearest.

    Colours of looks stay however rare they are: one point may be all that a run has.
    """
    pixels = np.asarray(image.convert("RGB"), np.uint32)
    codes = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    found, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    order = found[np.argsort(counts, kind="stable")[::-1]]
    is_look = np.isin(order, _LOOKS)
    kept = order[is_look | (np.cumsum(~is_look) <= COLORS - is_look.sum())]
    channels = [
        np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=1).astype(np.int64)
        for codes in (found, kept)
    ]
    nearest = np.concatenate(
        [
            ((part[:, None, :] - channels[1]) ** 2).sum(axis=2).argmin(axis=1)
            for part in np.array_split(channels[0], -(-len(found) // 2000))
        ]
    )
    indexed = Image.fromarray(nearest[place].reshape(codes.shape).astype(np.uint8))
    indexed.putpalette(channels[1].astype(np.uint8).tobytes())
    return indexed


def panels(
    rows: int,
    columns: int,
    *,
    title: str,
    height: float = 3.0,
    width: float = 4.4,
    share_y: bool | str = False,
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a title and rows x columns panels, each with its own tick labels."""
    figure = Figure(figsize=(width * columns + 0.4, height * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)  # measures text, for legends that fit
    figure.suptitle(title, fontsize=10, fontweight="bold")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    for panel in axes.ravel():
        panel.tick_params(labelleft=True)  # sharing would hide it
    return figure, axes.tolist()


def title_of(exhibit: str, text: str) -> str:
    """Title of a figure that belongs to an exhibit, or to the runs beside the paper's rows."""
    if exhibit == OTHER:
        return f"{text}\nRuns beside the paper's rows"
    known = paper.EXHIBITS[exhibit]
    return f"{text}\n{known.title}: {known.caption}"


def legend_below(
    figure: Figure, axes: Sequence[Axes], *, columns: int = 3, title: str = ""
) -> None:
    """One legend for all panels, below them, each name once; in fewer columns if it is too wide."""
    handles = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    for count in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=count,
            title=title or None,
            title_fontsize=8.0,
        )
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def legend_beside(axes: Axes) -> None:
    """A legend to the right of a panel."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.03))
