"""Each row's gap, the paper's and ours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report.figures.looks import FAMILIES
from ft_tf.report.figures.style import panels, title_of
from ft_tf.report.tables import accuracy_frame

PAPER, OURS = FAMILIES["trades"][0], FAMILIES["dpsgd"][1]
_TICK_LENGTH = 46


def gaps(records: Sequence[Record], exhibit: str) -> Figure:
    """The paper's gap as a cross, ours as a dot with its 95% prediction interval."""
    frame = accuracy_frame(records, exhibit)
    frame = frame[frame["gap"].notna()]
    if not len(frame):
        raise RunError(f"no gap figure for {exhibit}: no finished run of its rows is on record")
    figure, ((axes,),) = panels(1, 1, title=title_of(exhibit, "Generalization error"))
    figure.set_size_inches(8.0, 1.7 + 0.4 * len(frame))
    places = np.arange(len(frame))[::-1]
    for place, line in zip(places, frame.to_dict("records"), strict=True):
        _whisker(axes, place, line)
    axes.scatter(
        100 * frame["paper_gap"].astype(float),
        places,
        marker="x",
        s=42,
        color=PAPER,
        linewidths=1.8,
        label="paper",
        zorder=3,
    )
    axes.scatter(100 * frame["gap"].astype(float), places, s=28, color=OURS, label="ours", zorder=4)
    axes.set_yticks(places, [_tick(line) for line in frame.to_dict("records")], fontsize=8)
    axes.set_ylim(-0.7, len(frame) - 0.3)
    axes.axvline(0, color="#666666", linewidth=0.8)
    axes.set_xlabel("train minus test accuracy, points\nbars: 95% prediction interval")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def _whisker(axes: Axes, place: float, line: dict[str, Any]) -> None:
    low, high = line["gap_prediction_low"], line["gap_prediction_high"]
    if pd.notna(low):
        axes.plot([100 * low, 100 * high], [place, place], color=OURS, linewidth=2.2)


def _tick(line: dict[str, Any]) -> str:
    """The row, and below it what tells our run from it, of a DP run its own epsilon."""
    parts = [line["variant"][:_TICK_LENGTH]] if line["variant"] else []
    if isinstance(line["epsilon_accounting"], str):
        own = "none" if pd.isna(line["epsilon"]) else f"{line['epsilon']:.4g}"
        parts.append(f"ours: epsilon {own}")
    parts += ["fitted"] if line["fitted"] else []
    below = f"\n{', '.join(parts)}" if parts else ""
    return f"{line['paper_row']}, n={line['replicates']}{below}"
