"""The plot of a fault campaign: accuracy against fault rate."""

import itertools
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

_COSTS = {"memory": "memory added, % of weight bits", "time_ratio": "time of a pass, ratio"}
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


def save_heat_map(path: Path, table: pd.DataFrame, title: str) -> None:
    """Draws failure rates of layers (rows) and bits (columns, the highest on the left).

    Args:
        path: of the PNG file.
        table: of `faults.FailureRate`; strata without a trial stay grey.
        title: above the plot.
    """
    layers = list(dict.fromkeys(table["layer"]))
    named = table.assign(bit=table["bit"].fillna(-1).astype(int), rate=100 * table["rate"])
    grid = named.pivot(index="layer", columns="bit", values="rate").loc[layers].iloc[:, ::-1]
    size = (2.2 + 0.28 * max(8, grid.shape[1]), 1.6 + 0.32 * len(layers))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    image = axes.imshow(grid.to_numpy(float), cmap="magma_r", vmin=0, aspect="auto")
    columns = ["any" if bit < 0 else f"{bit}" for bit in grid.columns]
    axes.set_xticks(range(len(columns)), columns, fontsize=7)
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    axes.set_xlabel("bit; grey: none tried" if grid.isna().any(axis=None) else "bit")
    axes.set_title(textwrap.fill(title, int(11 * size[0])), fontsize=8)
    figure.colorbar(image, ax=axes, label="failure rate, %")
    figure.savefig(path, dpi=150)


def save_protections(path: Path, table: pd.DataFrame, title: str) -> None:
    """Draws what protections keep against what they cost, and joins those that no other beats.

    Args:
        path: of the PNG file.
        table: from `faults.compare_protections`, at one rate.
        title: above the plots.
    """
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    for axes, (cost, label) in zip(figure.subplots(1, 2, sharey=True), _COSTS.items(), strict=True):
        markers = itertools.cycle("osD^v<>P")
        for row in table.itertuples():
            accuracy, low, high = (100 * v for v in (row.accuracy, row.low, row.high))
            where = (getattr(row, cost), accuracy)
            errors = [[accuracy - max(low, 0.0)], [min(high, 100.0) - accuracy]]
            axes.errorbar(
                *where, yerr=errors, marker=next(markers), capsize=2, linewidth=1, linestyle="",
                label=row.protection,
            )  # fmt: skip
        order = table.sort_values([cost, "accuracy"], ascending=[True, False])
        best = order[order["accuracy"] > order["accuracy"].cummax().shift(fill_value=-1.0)]
        axes.step(best[cost], 100 * best["accuracy"], where="post", color="0.6", linewidth=1)
        axes.set_xlabel(label)
        if cost == "memory":
            axes.set_xscale("symlog", linthresh=0.01)
            axes.set_xlim(left=-0.002)
    figure.axes[0].set_ylabel("test accuracy under faults, %")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(textwrap.fill(title, 100), fontsize=9)
    figure.savefig(path, dpi=150)
