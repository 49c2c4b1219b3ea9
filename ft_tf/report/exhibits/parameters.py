"""The trained parameters (Figure 2): equation 10, histograms, and their change under rescaling."""

import statistics
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import ParameterSpread, Rescaled
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import deviation
from ft_tf.report.table import count, number, number_2, text
from ft_tf.report.tidy import Study

_MIN_DENSITY = 1e-5
_FORMS = {"standard_deviation": "standard deviation", "equation_10": "equation 10 as printed"}


class Parameters(Exhibit):
    """Standard deviation of all parameters, and equation 10 as printed, per group of runs."""

    name, order, is_long = "figure_2", 18, False
    title = "Spread of the trained parameters (the paper's Figure 2)"
    columns = (
        Column("run", "run", format=text),
        Column("paper_standard_deviation", "deviation", "paper", number),
        Column("standard_deviation", "deviation", "ours", number),
        Column("standard_deviation_sd", "over seeds", "spread", number_2, 2),
        Column("equation_10", "as printed", "equation 10", number),
        Column("replicates", "n", format=count),
    )

    details = (*Exhibit.details, Column("paper_note", "the paper's note", format=text))
    note = (
        "The standard deviation of all parameters, and equation 10 as printed, which has no square "
        "inside the sum. Neither survives a rescaling of layers that changes no prediction."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """Means over seeds; the paper's number is with the runs that it can belong to."""
        printed = study.printed_measures("figure_2")
        runs = study.runs[study.runs["status"].eq("finished")].dropna(subset="standard_deviation")
        lines = []
        for group, _, mine in study.each(runs):
            deviations = mine["standard_deviation"].tolist()
            row = printed.get(group.key)
            lines.append(
                {
                    **group.cells,
                    "replicates": len(mine),
                    "standard_deviation": statistics.fmean(deviations),
                    "standard_deviation_sd": deviation(deviations),
                    "equation_10": statistics.fmean(mine["equation_10"]),
                    "paper_standard_deviation": row.measure if row else None,
                    "paper_note": row.note if row else "",
                    "records": group.names,
                }
            )
        for row, line in study.not_run("figure_2"):
            measure = {"paper_standard_deviation": row.measure, "paper_note": row.note}
            lines.append({**line, **measure})
        return pd.DataFrame(lines)

    def plots(self, study: Study) -> Sequence[Plot]:
        """Histograms and rescaling, a figure for each architecture."""
        rescaling = "Equation 10 under a rescaling that changes no prediction"
        histograms = "Trained parameters (as the paper's Figure 2)"
        return [
            *per_architecture(study, "parameters", histograms, draw_histograms),
            *per_architecture(study, "rescaling", rescaling, draw_rescaling),
        ]


def _histogram(group: Group) -> ParameterSpread | None:
    """Of several seeds the first with a histogram."""
    found = (record.parameters for record in group.finished)
    return next((spread for spread in found if spread and sum(spread.bin_counts or ())), None)


def draw_histograms(study: Study, architecture: str) -> Figure:
    """Histograms of all trained parameters on a log axis, the legend with both forms of equation 10.

    Of several seeds the first is drawn; the legend's figures are means over all of them.
    """
    groups = [group for group in study.main_groups(architecture) if _histogram(group)]
    if not groups:
        raise RunError(f"no parameter histograms for {architecture}: no finished run has one")
    looks = plot_styles.looks(groups)
    where = display_names.describe_architecture(architecture)
    title = f"{where}: trained parameters\nstandard deviation / equation 10 as printed"
    figure, ((axes,),) = plot_styles.panels(1, 1, title=title, height=4.3, width=6.4)
    for group in groups:
        _draw_histogram(axes, group, looks[group.key])
    axes.set_yscale("log")
    axes.set_ylim(bottom=_MIN_DENSITY)
    axes.set_xlabel("parameter value")
    axes.set_ylabel("share of parameters per bin width")
    plot_styles.legend_below(figure, [axes], columns=2)
    return figure


def _draw_histogram(axes: Axes, group: Group, look: Look) -> None:
    spread = _histogram(group)
    counts = np.asarray(spread.bin_counts, np.float64)
    edges = np.asarray(spread.bin_edges, np.float64)
    deviation, printed = (
        statistics.fmean(getattr(r.parameters, form) for r in group.finished if r.parameters)
        for form in _FORMS
    )
    axes.stairs(
        counts / counts.sum() / np.diff(edges),
        edges,
        color=look.color,
        linestyle=look.line,
        linewidth=1.3,
        label=f"{look.name}: {deviation:.3g} / {printed:.3g}",
    )


def _rescaled(group: Group) -> Rescaled | None:
    """Of several seeds the first that measured it."""
    found = (record.parameters for record in group.finished if record.parameters)
    return next((spread.rescaled for spread in found if spread.rescaled), None)


def draw_rescaling(study: Study, architecture: str) -> Figure:
    """Both forms of equation 10 after one ReLU layer times 2^k and the next divided by it.

    Not a logit differs along a line, with faults or without. Dotted: the paper's two figures.
    """
    groups = study.main_groups(architecture)
    drawn = {group.key: entry for group in groups if (entry := _rescaled(group)) is not None}
    if not drawn:
        raise RunError(f"no rescaling figure for {architecture}: no finished run measured it")
    looks = plot_styles.looks([group for group in groups if group.key in drawn])
    changed = sum(
        entry.changed_logits + entry.changed_logits_under_faults for entry in drawn.values()
    )
    title = (
        f"{display_names.describe_architecture(architecture)}: one ReLU layer times 2^k, the next "
        f"divided by it\nlogits that change, with and without faults: {changed}"
    )
    figure, (axes,) = plot_styles.panels(1, 2, title=title, height=3.2)
    for panel, (form, name) in zip(axes, _FORMS.items(), strict=True):
        for key, entry in drawn.items():
            look = looks[key]
            panel.plot(
                entry.powers,
                getattr(entry, form),
                color=look.color,
                marker=look.marker,
                label=look.name,
            )
        panel.set_yscale("log")
        panel.set_xlabel("k")
        panel.set_title(name)
        _draw_paper(panel, display_names.dataset_of(architecture))
    axes[0].set_ylabel("over all parameters")
    plot_styles.legend_below(figure, axes)
    return figure


def _draw_paper(axes: Axes, dataset: str) -> None:
    for row in paper.rows("figure_2"):
        if row.dataset == dataset:
            axes.axhline(row.measure, color="#888888", linestyle=":", linewidth=1.0)
            axes.annotate(
                f"paper's {display_names.algorithm(row.algorithm)}",
                (1.0, row.measure),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color="#555555",
            )


register(Parameters())
