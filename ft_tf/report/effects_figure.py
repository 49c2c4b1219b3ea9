"""Panels of the page of claims: gaps, the premise, the noise walk, and forest plots."""

import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ft_tf.report.effects import Claim, Row

COLORS = {
    "natural": "#000000", "tikhonov": "#009E73", "trades": "#D55E00", "dpsgd": "#0072B2",
    "other": "#CC79A7",
}  # fmt: skip
_FAMILIES = {"natural": "natural", "tikhonov": "Tikhonov", "trades": "TRADES", "dpsgd": "DP-SGD"}
_MARKERS = "osD^vP"
_GRAY = "#666666"
_BAND = "#eeeeee"
_GAP_CLAIMS = {"dp_gap": "dpsgd", "robust_overfit": "trades"}
Named = Callable[[str], str]


def gap_panel(
    axes: Axes, claims: Iterable[Claim], *, name: Named = str, colors: Mapping[str, str] = COLORS
) -> None:
    """Gaps minus those of natural training, by network: at the end, and at equal learning.

    Args:
        axes: a panel.
        claims: what `effects.claims` gives.
        name: display name of a network.
        colors: color of each family.
    """
    lines = []
    for claim in (claim for claim in claims if claim.id in _GAP_CLAIMS):
        family = _GAP_CLAIMS[claim.id]
        for row in (row for row in claim.rows if row.role == "network"):
            context = [r for r in claim.rows if r.role == "context" and r.network == row.network]
            ends = [entry.estimate for entry in context]
            lines.append((f"{_FAMILIES[family]}, {name(row.network)}", family, row, ends))
    _zero_and_band(axes, 1.0)
    for place, (_, family, row, ends) in enumerate(lines):
        _point(axes, row, place, color=colors[family], marker="o")
        if ends:
            axes.plot(np.mean(ends), place, "o", color=colors[family], fillstyle="none")
    for text, fill in (("at equal learning", "full"), ("at the end of training", "none")):
        axes.plot([], [], "o", color=_GRAY, fillstyle=fill, label=text)
    axes.legend(loc="best")
    _name_lines(axes, [text for text, *_ in lines])
    axes.set(xlabel="gap minus that of natural training, points")


def premise_panel(
    axes: Axes,
    models: pd.DataFrame,
    claim: Claim,
    *,
    name: Named = str,
    colors: Mapping[str, str] = COLORS,
) -> None:
    """Points lost at 10% stuck-at-0 weights against the gap of every model; tau in the title.

    Args:
        axes: a panel.
        models: what `effects.premise` gives.
        claim: the premise.
        name: display name of a network.
        colors: color of each family.
    """
    networks = sorted(models["network"].unique())
    markers = dict(zip(networks, itertools.cycle(_MARKERS), strict=False))
    for (network, algorithm), mine in models.groupby(["network", "algorithm"]):
        color = colors.get(algorithm, colors["other"])
        axes.plot(mine["gap"], mine["lost"], markers[network], color=color, alpha=0.7)
    for algorithm in models["algorithm"].unique():
        color = colors.get(algorithm, colors["other"])
        axes.plot([], [], "s", color=color, label=_FAMILIES.get(algorithm, "other"))
    for network, marker in markers.items():
        axes.plot([], [], marker, color=_GRAY, fillstyle="none", label=name(network))
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="best", ncols=2)
    title = f"tau {claim.estimate:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}]"
    axes.set(xlabel="gap, points", ylabel="accuracy lost at 10% faults, points", title=title)


def walk_panel(axes: Axes, walk: pd.DataFrame, *, name: Named = str) -> None:
    """Accuracy at 10% stuck-at-0 weights against the noise walk, colored by epsilon.

    Args:
        axes: a panel.
        walk: what `effects.noise_walk` gives.
        name: display name of a network.
    """
    private = walk[(walk["walk"] > 0) & np.isfinite(walk["epsilon"]) & walk["lost"].notna()]
    drawn = None
    for (network, mine), marker in zip(
        private.groupby("network"), itertools.cycle(_MARKERS), strict=False
    ):
        drawn = axes.scatter(
            mine["walk"], mine["test"] - mine["lost"], c=mine["epsilon"], marker=marker,
            cmap="viridis", norm=LogNorm(private["epsilon"].min(), private["epsilon"].max()),
            label=name(str(network)),
        )  # fmt: skip
    if drawn is not None:
        axes.figure.colorbar(drawn, ax=axes, label="epsilon")
        axes.legend(loc="best")
    axes.set(xscale="log", xlabel="noise walk, lr sigma C / L sqrt(T)")
    axes.set(ylabel="accuracy at 10% faults, %")


def forest(axes: Axes, claim: Claim, *, name: Named = str, color: str = COLORS["dpsgd"]) -> None:
    """A claim by network and setting, then the mean over networks.

    Controls are gray. The thin line of the mean is the interval over networks like these.

    Args:
        axes: a panel.
        claim: one with an estimate.
        name: display name of a network.
        color: of settings that count.
    """
    rows = [row for row in claim.rows if row.role != "context"]
    _zero_and_band(axes, claim.smallest)
    for place, row in enumerate(rows):
        looks = {"network": (color, "D"), "counted": (color, "o"), "control": (_GRAY, "o")}
        chosen, marker = looks[row.role]
        _point(axes, row, place, color=chosen, marker=marker, is_full=row.role != "control")
    mean = Row("", "", "network", claim.estimate, claim.low, claim.high, claim.trainings)
    axes.hlines(len(rows), claim.low_networks, claim.high_networks, color="black", linewidth=0.7)
    _point(axes, mean, len(rows), color="black", marker="D")
    texts = [f"  {row.label}" if row.label else name(row.network) for row in rows]
    _name_lines(axes, [*texts, "mean over networks"])
    axes.set(xlabel=claim.measure, title=f"{claim.sentence}: {claim.word}")


def _zero_and_band(axes: Axes, smallest: float) -> None:
    axes.axvspan(-smallest, smallest, color=_BAND, zorder=0)
    axes.axvline(0, color=_GRAY, linewidth=0.9)


def _point(
    axes: Axes, row: Row, place: int, *, color: str, marker: str, is_full: bool = True
) -> None:
    if np.isfinite(row.low):
        axes.hlines(place, row.low, row.high, color=color, linewidth=1.8)
    style = "full" if is_full else "none"
    axes.plot(row.estimate, place, marker, color=color, fillstyle=style)


def _name_lines(axes: Axes, texts: list[str]) -> None:
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(len(texts) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
