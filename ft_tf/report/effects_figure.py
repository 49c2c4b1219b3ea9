"""Panels of the page of claims: gaps, the premise, the noise walk, and forest plots."""

import itertools
import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from ft_tf.effects import Claim, Row
from ft_tf.effects.runs import PRIVACY
from ft_tf.report import display_names, plot_styles

COLORS = {name: shades[0] for name, shades in plot_styles.FAMILIES.items()}
_MARKERS = "^sXDovP*<>ph"
_GRAY = plot_styles.GRAY
_BAND = "#eeeeee"
_WIDTH = 48  # characters of a line below a panel
_EPSILONS = (
    ("up to 1", 0.0, 1.0, plot_styles.FAMILIES["dpsgd"][1]),
    ("1 to 10", 1.0, 10.0, plot_styles.FAMILIES["dpsgd"][0]),
    ("10 to 25", 10.0, PRIVACY, plot_styles.FAMILIES["dpsgd"][2]),
    ("above 25 (control)", PRIVACY, np.inf, plot_styles.FAMILIES["dpsgd"][3]),
)
_OF_CLAIM = {
    "dp_tolerance": "dpsgd", "dp_gap": "dpsgd", "theorem_1": "dpsgd", "more_epsilon": "trades",
    "robust_tolerance": "trades", "robust_overfit": "trades", "robust_faults": "trades",
}  # fmt: skip
_GAP_CLAIMS = ("dp_gap", "robust_overfit")


def draw_forest(claim: Claim) -> Figure:
    """A claim with an effect by network and setting, then the mean over networks.

    Controls are gray. The thin line of the mean is the interval over networks like these.
    """
    rows = [row for row in claim.rows if row.role != "context"]
    height = 0.5 + 0.19 * len(rows)
    figure, ((axes,),) = plot_styles.panels(1, 1, title="", height=height, width=6.5)
    color = COLORS[_OF_CLAIM.get(claim.id, "natural")]
    looks = {"network": (color, "D"), "counted": (color, "o"), "control": (_GRAY, "o")}
    _zero_and_band(axes, claim.smallest)
    for place, row in enumerate(rows):
        chosen, marker = looks[row.role]
        _point(axes, row, place, color=chosen, marker=marker)
    mean = Row("", "", "network", claim.estimate, claim.low, claim.high, claim.trainings)
    axes.hlines(len(rows), claim.low_networks, claim.high_networks, color="black", linewidth=0.7)
    _point(axes, mean, len(rows), color="black", marker="D")
    texts = [row.label or display_names.describe_architecture(row.network) for row in rows]
    _name_lines(axes, [*texts, "mean over networks"])
    for text, row in zip(axes.get_yticklabels(), rows, strict=False):
        text.set_fontweight("normal" if row.label else "bold")
    axes.set(xlabel=textwrap.fill(claim.measure, _WIDTH), title=f"{claim.sentence}: {claim.word}")
    return figure


def gap_panel(axes: Axes, claims: Iterable[Claim]) -> None:
    """Gaps minus those of natural training, by network: at the end, and at equal learning."""
    names: list[str] = []
    _zero_and_band(axes, 1.0)
    for claim in (claim for claim in claims if claim.id in _GAP_CLAIMS):
        family, context = _OF_CLAIM[claim.id], [r for r in claim.rows if r.role == "context"]
        for row in (row for row in claim.rows if row.role == "network"):
            _point(axes, row, len(names), color=COLORS[family], marker="o")
            ends = [at_end.estimate for at_end in context if at_end.network == row.network]
            if ends:
                axes.plot(np.mean(ends), len(names), "o", color=COLORS[family], fillstyle="none")
            names.append(f"{display_names.algorithm(family)}, {display_names.network(row.network)}")
    for text, fill in (("at equal learning", "full"), ("at the end of training", "none")):
        axes.plot([], [], "o", color=_GRAY, fillstyle=fill, label=text)
    _legend(axes, columns=1)
    _name_lines(axes, names)
    axes.set(xlabel="gap minus natural training's, points", title="gap differences")


def premise_panel(axes: Axes, models: pd.DataFrame, claim: Claim) -> None:
    """Points lost at 10% stuck-at-0 weights against the gap of the models in tau, its title."""
    models = models[models["network"].isin([row.network for row in claim.rows])]
    markers = _markers(models)
    for (network, algorithm), mine in models.groupby(["network", "algorithm"]):
        color = COLORS.get(algorithm, COLORS["other"])
        axes.plot(mine["gap"], mine["lost"], markers[network], color=color, alpha=0.7)
    for algorithm in (name for name in COLORS if (models["algorithm"] == name).any()):
        axes.plot([], [], "s", color=COLORS[algorithm], label=display_names.algorithm(algorithm))
    _name_networks(axes, markers)
    _legend(axes, columns=2)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    title = f"gap and faults: tau {claim.estimate:+.2f} [{claim.low:+.2f}, {claim.high:+.2f}]"
    axes.set(xlabel="gap, points", ylabel="accuracy lost at 10% faults, points", title=title)


def walk_panel(axes: Axes, walk: pd.DataFrame) -> None:
    """Accuracy at 10% stuck-at-0 weights against the noise walk, colored by epsilon."""
    walk = walk.astype({"walk": float, "epsilon": float})
    private = walk[(walk["walk"] > 0) & np.isfinite(walk["epsilon"]) & walk["lost"].notna()]
    markers = _markers(private)
    for text, least, most, color in _EPSILONS:
        mine = private[(private["epsilon"] > least) & (private["epsilon"] <= most)]
        for network, lines in mine.groupby("network"):
            style = {"marker": markers[network], "color": color, "s": 18}
            axes.scatter(lines["walk"], lines["test"] - lines["lost"], **style)
        if len(mine):
            axes.plot([], [], "s", color=color, label=f"epsilon {text}")
    _name_networks(axes, markers)
    for guess in sorted(set(private["chance"].dropna())):
        plot_styles.draw_chance(axes, guess / 100)
    _legend(axes, columns=2)
    axes.set(xscale="log", xlabel="noise walk, lr sigma C / L sqrt(T)", title="the noise of DP-SGD")
    axes.set(ylabel="accuracy at 10% faults, %")


def _markers(frame: pd.DataFrame) -> dict[str, str]:
    """The marker of each network of a frame: the same in every panel."""
    known = dict(zip(display_names.ARCHITECTURES, itertools.cycle(_MARKERS), strict=False))
    return {name: known.get(name, "o") for name in sorted(frame["network"].unique())}


def _name_networks(axes: Axes, markers: dict[str, str]) -> None:
    for network, marker in markers.items():
        name = display_names.network(network)
        axes.plot([], [], marker, color=_GRAY, fillstyle="none", label=name)


def _legend(axes: Axes, *, columns: int) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=columns, fontsize=7.5)


def _zero_and_band(axes: Axes, smallest: float) -> None:
    axes.axvspan(-smallest, smallest, color=_BAND, zorder=0)
    axes.axvline(0, color=_GRAY, linewidth=0.9)


def _point(axes: Axes, row: Row, place: int, *, color: str, marker: str) -> None:
    if np.isfinite(row.low):
        axes.hlines(place, row.low, row.high, color=color, linewidth=1.8)
    fill = "none" if row.role == "control" else "full"
    axes.plot(row.estimate, place, marker, color=color, fillstyle=fill)


def _name_lines(axes: Axes, texts: list[str]) -> None:
    axes.set_yticks(range(len(texts)), texts)
    axes.set_ylim(max(len(texts), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
