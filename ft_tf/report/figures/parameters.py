"""The trained parameters: histograms, as the paper's Figure 2, and what rescaling does to them."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import Record
from ft_tf.report import labels, paper
from ft_tf.report.figures.looks import Look, by_architecture, looks, of_architecture, of_exhibit
from ft_tf.report.figures.style import legend_below, panels, title_of
from ft_tf.report.groups import Group

_MIN_DENSITY = 1e-5
FORMS = {"standard_deviation": "standard deviation", "equation_10": "equation 10 as printed"}


def parameters(records: Sequence[Record], exhibit: str) -> Figure:
    """Histograms of all trained parameters on a log axis, with both forms of equation 10.

    Of several seeds the first is drawn; the legend's figures are means over all of them.
    """
    drawn = [group for group in of_exhibit(records, exhibit) if _first_spread(group) is not None]
    if not drawn:
        raise RunError(f"no parameter histograms for {exhibit}: no finished run has a histogram")
    shown, found = by_architecture(drawn), looks(drawn)
    columns = min(len(shown), 2)
    rows = math.ceil(len(shown) / columns)
    title = title_of(exhibit, "Trained parameters: standard deviation / equation 10 as printed")
    figure, axes = panels(rows, columns, title=title, height=4.3, width=4.8)
    flat = [panel for row in axes for panel in row]
    for panel, (architecture, groups) in zip(flat, shown.items(), strict=False):
        for group in groups:
            _draw_histogram(panel, group, found[group.key])
        panel.set_yscale("log")
        panel.set_ylim(bottom=_MIN_DENSITY)
        panel.set_title(labels.architecture(architecture))
        panel.set_xlabel("parameter value")
        panel.set_ylabel("share of parameters per bin width")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1)
    for spare in flat[len(shown) :]:
        spare.set_axis_off()
    return figure


def _first_spread(group: Group) -> dict[str, list[float]] | None:
    for record in group.finished:
        spread = record["parameters"]
        if spread and spread.get("bin_counts") and sum(spread["bin_counts"]):
            return spread
    return None


def _draw_histogram(axes: Axes, group: Group, look: Look) -> None:
    spread = _first_spread(group)
    counts = np.asarray(spread["bin_counts"], np.float64)
    edges = np.asarray(spread["bin_edges"], np.float64)
    figures = [
        statistics.fmean(r["parameters"][form] for r in group.finished if r["parameters"])
        for form in FORMS
    ]
    axes.stairs(
        counts / counts.sum() / np.diff(edges),
        edges,
        color=look.color,
        linestyle=look.style,
        linewidth=1.3,
        label=f"{look.name}: {figures[0]:.3g} / {figures[1]:.3g}",
    )


def rescaling(records: Sequence[Record], architecture: str) -> Figure:
    """Both forms of equation 10 after one ReLU layer times 2^k and the next divided by it.

    Not a logit differs along a line, with faults or without. Dotted: the paper's two figures.
    """
    drawn = [g for g in of_architecture(records, architecture) if _rescaled(g) is not None]
    if not drawn:
        raise RunError(f"no rescaling figure for {architecture}: no finished run measured it")
    found = looks(drawn)
    changed = sum(
        _rescaled(g)["changed_logits"] + _rescaled(g)["changed_logits_under_faults"] for g in drawn
    )
    title = (
        f"{labels.in_words(architecture)}: one ReLU layer times 2^k, the next divided by it\n"
        f"logits that change, with and without faults: {changed}"
    )
    figure, (axes,) = panels(1, 2, title=title, height=3.2)
    for panel, (form, name) in zip(axes, FORMS.items(), strict=True):
        for group in drawn:
            entry, look = _rescaled(group), found[group.key]
            panel.plot(
                entry["powers"],
                entry[form],
                color=look.color,
                marker=look.marker,
                label=look.name,
            )
        panel.set_yscale("log")
        panel.set_xlabel("k")
        panel.set_title(name)
        _draw_papers(panel, architecture)
    axes[0].set_ylabel("over all parameters")
    legend_below(figure, axes)
    return figure


def _rescaled(group: Group) -> dict | None:
    """Of several seeds the first that measured it."""
    for record in group.finished:
        if record["parameters"] and record["parameters"].get("rescaled"):
            return record["parameters"]["rescaled"]
    return None


def _draw_papers(axes: Axes, architecture: str) -> None:
    dataset = {"CIFAR-10": "cifar10", "Fashion-MNIST": "fashion_mnist"}.get(
        labels.dataset(architecture)
    )
    for row in paper.rows("figure_2"):
        if row.dataset == dataset:
            axes.axhline(row.measure, color="#888888", linestyle=":", linewidth=1.0)
            axes.annotate(
                f"paper's {labels.algorithm(row.algorithm)}",
                (1.0, row.measure),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color="#555555",
            )
