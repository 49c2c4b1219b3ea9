"""Accuracy under faults: the levels and drops of Figure 3, curves, and epsilon_ft (equation 1)."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ft_tf.effects.runs import Trained, chance, normalized_auc
from ft_tf.errors import RunError
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.replicates import deviation, mean_ends, mean_of
from ft_tf.report.table import count, interval, is_missing, text
from ft_tf.report.tidy import TARGETS, Study

_LOG_RATE = 0.05  # rates up to here are what the log axis is for
_MIN_LOG_RATES = 3


class FaultCurves(Exhibit):
    """The fault curves of all groups, a line per group, target and rate; only as CSV."""

    name = "fault_curves"

    def frame(self, study: Study) -> pd.DataFrame:
        columns = ["run", "rows", "target", "rate", "mean", "low", "high", "replicates", "band"]
        frames = [
            study.fault_curve(group, target).assign(run=group.run, rows=" ".join(group.rows))
            for group in study.trained
            for target in group.targets
        ]
        return pd.concat(frames or [pd.DataFrame()], ignore_index=True).reindex(columns=columns)


class EpsilonFt(Exhibit):
    """Quantiles over inputs of epsilon_ft (equation 1), averaged over seeds; only as CSV.

    total_variation: distance of the output distributions with and without faults, in [0, 1].
    half_margin: largest change of a logit over half the prediction's margin; below 1 no prediction
    changes.
    """

    name = "epsilon_ft"

    def frame(self, study: Study) -> pd.DataFrame:
        keys = ["key", "run", "rows", "target", "rate", "quantile"]
        lines = [
            (
                *(group.key, group.run, " ".join(group.rows), target, entry.rate, float(quantile)),
                entry.total_variation.get(quantile),
                entry.half_margin.get(quantile),
            )
            for group in study.trained
            for target in group.targets
            for record in group.finished
            for entry in record.faults[target].epsilon_ft
            for quantile in sorted({*entry.total_variation, *entry.half_margin}, key=float)
        ]
        frame = pd.DataFrame(lines, columns=[*keys, "total_variation", "half_margin"])
        frame[frame.columns[-2:]] = frame[frame.columns[-2:]].astype(float)
        return frame.groupby(keys, sort=False).mean().reset_index().drop(columns="key")


def _warning(lost: float, seeds: int) -> str:
    if is_missing(lost) or not lost:
        return ""
    where = f" in {count(lost)} of {count(seeds)} seeds" if lost < seeds else ""
    return f"AT CHANCE by 50% faults{where}: the drop says nothing"


class FaultTolerance(Exhibit):
    """Accuracy at 0, 10, 50 and 90% faults, the drop of Figure 3, and the normalized AUC."""

    name, order = "figure_3", 19
    title = "Accuracy under faults (the paper's Figure 3)"
    columns = (
        Column("run", "run", format=text),
        Column("target", "stuck at 0", format=text),
        Column("accuracy_at_0", "0%", "at faults"),
        Column("accuracy_at_10", "10%", "at faults", priority=1),
        Column("accuracy_at_50", "50%", "at faults"),
        Column("accuracy_at_90", "90%", "at faults"),
        Column("drop_50_to_90", "ours", "drop"),
        Column("paper_drop", "paper", "drop"),
        Column(("drop_low", "drop_high"), "of the drop", "95% interval", interval, 3),
        Column("normalized_auc", "AUC", "normalized", priority=2),
        Column("replicates", "n", format=count),
    )
    details = (
        *Exhibit.details,
        Column("trials", "fault sets per rate", format=count),
        Column("images", "images", format=count),
        Column(("seeds_at_chance", "replicates"), "", format=_warning),
    )

    def lines(self, study: Study) -> Iterable[dict[str, Any]]:
        printed, others = study.printed_measures("figure_3")
        for group in study.trained:
            for target in group.targets:
                row = printed.get(group.key) if target == "weights" else None
                yield _line(study, group, target, row.measure if row else None)
        for row, line in others:
            yield {**line, "target": "weights", "paper_drop": row.measure}

    def plots(self, study: Study) -> Sequence[Plot]:
        caption = "Accuracy by the share of weights and units stuck at 0 (as the paper's Figure 3)"
        return per_architecture(study, "faults", caption, draw_faults)


def _line(study: Study, group: Group, target: str, paper_drop: float | None) -> dict[str, Any]:
    accuracies = study.accuracies_at(group, target, (0, 10, 50, 90))
    campaigns = [record.faults[target] for record in group.finished]
    drops = [campaign.drop_50_to_90.drop for campaign in campaigns if campaign.drop_50_to_90]
    low, high = mean_ends(drops)
    return {
        **group.cells,
        "target": target,
        **{f"accuracy_at_{percent}": accuracy for percent, accuracy in accuracies.items()},
        "drop_50_to_90": mean_of(drops),
        "drop_sd": deviation(drops),
        "drop_low": low,
        "drop_high": high,
        "normalized_auc": mean_of(normalized_auc(record, target) for record in group.finished),
        "seeds_at_chance": sum(bool(Trained(r).is_at_chance(target)) for r in group.finished),
        "paper_drop": paper_drop,
        "trials": campaigns[0].trials,
        "images": campaigns[0].images,
        "records": group.names,
    }


def draw_faults(study: Study, architecture: str) -> Figure:
    """Accuracy on a linear axis of rates, and accuracy lost on a log axis below.

    Bands are 95%: over training seeds, or of a single seed over its fault sets. The log row is
    left out where no run has enough low rates.
    """
    curves = {
        (group, target): curve
        for group in study.main_groups(architecture)
        for target in group.targets
        if len(curve := study.fault_curve(group, target)) > 1
    }
    if not curves:
        raise RunError(f"no fault curves for {architecture}: no finished run has two fault rates")
    looks = plot_styles.looks(list(dict.fromkeys(group for group, _ in curves)))
    is_log = any(len(low_rates(curve)) for curve in curves.values())
    title = f"{display_names.describe_architecture(architecture)}: stuck-at-0 faults, bands of 95%"
    figure, axes = plot_styles.panels(1 + is_log, 2, title=title, share_y="row")
    for (group, target), curve in curves.items():
        look, place = looks[group.key], TARGETS.index(target)
        plot_styles.draw_curve(axes[0][place], curve, "mean", look)
        if is_log and len(low := low_rates(curve)):
            plot_styles.draw_curve(axes[1][place], low, "lost", look)
    guess = chance(next(iter(curves))[0].records[0])
    for panel, target in zip(axes[0], TARGETS, strict=True):
        plot_styles.finish_fault_panel(panel, target, guess)
    plot_styles.label_lines(axes[0][1])
    if is_log:
        for panel, target in zip(axes[1], TARGETS, strict=True):
            if panel.lines:
                _finish_log_panel(panel, target)
        empty, last = sorted(axes[1], key=lambda panel: bool(panel.lines))
        if not empty.lines:  # the other one takes the whole row
            empty.remove()
            last.set_subplotspec(last.get_gridspec()[1, :])
        plot_styles.label_lines(last)
    return figure


def low_rates(curve: pd.DataFrame) -> pd.DataFrame:
    """The part of a curve that a log axis shows; empty where it is too short.

    A rate below one over the number of sites has no faulty site: a point that shows "nothing lost"
    there is no measurement.
    """
    is_low = (curve["rate"] > 0) & (curve["rate"] <= _LOG_RATE) & (curve["faults"] >= 1)
    low = curve[is_low & curve["lost"].notna()]
    return low if len(low) >= _MIN_LOG_RATES else low.iloc[:0]


def _finish_log_panel(axes: Axes, target: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color=plot_styles.GRAY, linewidth=0.8)
    axes.set(
        title=f"{target}: low rates",
        xlabel=f"share of {target} stuck at 0, %",
        ylabel="test accuracy lost, points",
    )


for _exhibit in (FaultTolerance(), FaultCurves(), EpsilonFt()):
    register(_exhibit)
