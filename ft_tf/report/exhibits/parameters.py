"""The trained parameters (Figure 2): equation 10, histograms, and their change under rescaling."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ft_tf.errors import RunError
from ft_tf.records import ParameterSpread
from ft_tf.report import display_names, paper, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import deviation, mean_of
from ft_tf.report.table import count, number, number_2, text
from ft_tf.report.tidy import Study

_MIN_DENSITY = 1e-5
_FORMS = {"standard_deviation": "standard deviation", "equation_10": "equation 10 as printed"}


class Parameters(Exhibit):
    """Standard deviation of all parameters, and equation 10 as printed, per group of runs."""

    name, order = "figure_2", 18
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

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        printed, others = study.printed_measures("figure_2")
        for group, _, runs in study.each(study.finished_runs.dropna(subset="standard_deviation")):
            row = printed.get(group.key)
            yield {
                **group.cells,
                "replicates": len(runs),
                "standard_deviation": mean_of(runs["standard_deviation"]),
                "standard_deviation_sd": deviation(runs["standard_deviation"].tolist()),
                "equation_10": mean_of(runs["equation_10"]),
                "paper_standard_deviation": row.measure if row else None,
                "paper_note": row.note if row else "",
                "records": group.names,
            }
        for row, line in others:
            yield {**line, "paper_standard_deviation": row.measure, "paper_note": row.note}

    def plots(self, study: Study) -> Sequence[Plot]:
        rescaling = "Both forms of equation 10 under a rescaling that changes no prediction"
        histograms = "Histograms of the trained parameters (as the paper's Figure 2)"
        return [
            *per_architecture(study, "parameters", histograms, draw_histograms),
            *per_architecture(study, "rescaling", rescaling, draw_rescaling),
        ]


def _spreads(group: Group) -> list[ParameterSpread]:
    return [record.parameters for record in group.finished if record.parameters]


def draw_histograms(study: Study, architecture: str) -> Figure:
    """Histograms of all trained parameters on a log axis.

    Of several seeds the first is drawn; the legend has both forms of equation 10, means over seeds.
    """
    groups = study.main_groups(architecture)
    groups = [group for group in groups if any(sum(s.bin_counts) for s in _spreads(group))]
    if not groups:
        raise RunError(f"no parameter histograms for {architecture}: no finished run has one")
    looks = plot_styles.looks(groups)
    where = display_names.describe_architecture(architecture)
    title = f"{where}: trained parameters\nstandard deviation / equation 10 as printed"
    figure, ((axes,),) = plot_styles.panels(1, 1, title=title, height=3.4, width=5.0)
    for group in groups:
        spreads, look = _spreads(group), looks[group.key]
        first = next(spread for spread in spreads if sum(spread.bin_counts))
        counts, edges = np.array(first.bin_counts, np.float64), np.array(first.bin_edges)
        forms = [mean_of(getattr(spread, form) for spread in spreads) for form in _FORMS]
        name = f"{look.name}: {forms[0]:.3g} / {forms[1]:.3g}"
        style = {"color": look.color, "linestyle": look.line, "linewidth": 1.3, "label": name}
        axes.stairs(counts / counts.sum() / np.diff(edges), edges, **style)
    axes.set(yscale="log", xlabel="parameter value", ylabel="share of parameters per bin width")
    axes.set_ylim(bottom=_MIN_DENSITY)
    plot_styles.legend_below(figure, [axes], columns=2)
    return figure


def draw_rescaling(study: Study, architecture: str) -> Figure:
    """Both forms of equation 10 after one ReLU layer times 2^k and the next divided by it.

    Not a logit differs along a line, with faults or without. Dotted: the paper's two figures. Of
    several seeds the first that measured it.
    """
    groups = study.main_groups(architecture)
    found = {group: [s.rescaled for s in _spreads(group) if s.rescaled] for group in groups}
    drawn = {group: entries[0] for group, entries in found.items() if entries}
    if not drawn:
        raise RunError(f"no rescaling figure for {architecture}: no finished run measured it")
    looks = plot_styles.looks(list(drawn))
    changed = sum(e.changed_logits + e.changed_logits_under_faults for e in drawn.values())
    title = (
        f"{display_names.describe_architecture(architecture)}: one ReLU layer times 2^k, the next "
        f"divided by it\nlogits that change, with and without faults: {changed}"
    )
    figure, (axes,) = plot_styles.panels(1, 2, title=title)
    for panel, (form, name) in zip(axes, _FORMS.items(), strict=True):
        for group, entry in drawn.items():
            look = looks[group.key]
            style = {"color": look.color, "marker": look.marker, "label": look.name}
            panel.plot(entry.powers, getattr(entry, form), **style)
        panel.set(yscale="log", xlabel="power of two, k", title=name)
        for row in paper.rows("figure_2"):
            if row.dataset == display_names.dataset_of(architecture):
                _draw_paper(panel, row)
    axes[0].set_ylabel("over all parameters")
    plot_styles.label_lines(axes[-1])
    return figure


def _draw_paper(axes: Axes, row: paper.PaperRow) -> None:
    axes.axhline(row.measure, color=plot_styles.GRAY, linestyle=":", linewidth=1.0)
    axes.annotate(
        f"paper's {display_names.algorithm(row.algorithm)}", (1.0, row.measure),
        xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
    )  # fmt: skip


register(Parameters())
