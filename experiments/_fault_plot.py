"""The plot of a fault campaign: accuracy against fault rate."""

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

_SMALL = 0.02
"""A lowest rate below this takes a logarithmic axis."""


def save(path: Path, summary: pd.DataFrame, title: str, *, chance: float) -> None:
    """Draws the mean with its interval, the level of chance and the middle between.

    Args:
        path: of the PNG file.
        summary: from `faults.summarize`, of one target.
        title: above the plot.
        chance: accuracy of guessing.
    """
    rates, accuracy = summary["rate"], 100 * summary["accuracy"]
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.subplots()
    low, high = (100 * summary[name].clip(0, 1) for name in ("low", "high"))
    axes.fill_between(rates, low, high, alpha=0.25, linewidth=0)
    axes.plot(rates, accuracy, marker="o", markersize=4)
    levels = {f"chance, {chance:.0%}": 100 * chance}
    if rates.iloc[0] == 0:
        levels["half of the accuracy above chance"] = (accuracy.iloc[0] + 100 * chance) / 2
    for name, level in levels.items():
        axes.axhline(level, color="0.5", linestyle=":", linewidth=1)
        axes.annotate(
            name, (0, level), xycoords=("axes fraction", "data"), xytext=(4, 2),
            textcoords="offset points", ha="left", fontsize=8, color="0.35",
        )  # fmt: skip
    positive = rates[rates > 0]
    if len(positive) and positive.min() < _SMALL:
        axes.set_xscale("symlog", linthresh=positive.min(), linscale=0.5)
        axes.set_xlim(left=0)
    axes.set_ylim(0, 100)
    axes.set_xlabel("fault rate")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(textwrap.fill(title, 72), fontsize=9)
    figure.savefig(path, dpi=150)
