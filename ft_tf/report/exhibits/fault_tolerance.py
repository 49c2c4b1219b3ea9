"""Accuracy under faults: the levels and drops of Figure 3, curves, and epsilon_ft (equation 1)."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ft_tf.errors import RunError
from ft_tf.records import Run
from ft_tf.report import display_names, plot_styles
from ft_tf.report.exhibits import Column, Exhibit, Plot, per_architecture, register
from ft_tf.report.groups import Group
from ft_tf.report.plot_styles import Look
from ft_tf.report.replicates import band, deviation, mean_interval, mean_of
from ft_tf.report.table import count, interval, text
from ft_tf.report.tidy import TARGETS, Study, accuracy_at, chance, normalized_auc

SHOWN_RATES = (0.0, 0.1, 0.5, 0.9)
AT_CHANCE = 0.1
"""A model is at chance where less than this share of its accuracy above chance is left."""
_LOG_RATE = 0.05  # rates up to here are what the log axis is for
_MIN_LOG_RATES = 3


def targets_of(group: Group) -> list[str]:
    """Fault targets that every run of the group has, "weights" and "units" first."""
    found = set.intersection(*(set(record.faults) for record in group.finished))
    known = [target for target in TARGETS if target in found]
    return known + sorted(found - set(known))


def is_at_chance(record: Run, target: str, rate: float = 0.5) -> bool:
    """Whether at a fault rate less than a tenth of the accuracy above chance is left."""
    clean, faulty = (accuracy_at(record, target, where) for where in (0.0, rate))
    guess = chance(record.config["dataset"])
    if clean is None or faulty is None or guess is None:
        return False
    return faulty - guess < AT_CHANCE * (clean - guess)


def fault_curve(study: Study, group: Group, target: str) -> pd.DataFrame:
    """Returns accuracy and accuracy lost against fault rate, with 95% bands.

    Of several seeds the band is the Student-t interval of the mean over seeds (fault sets are
    averaged within a seed); of one seed it is the campaign's interval over fault sets, which says
    nothing about another seed. Bands of accuracies are cut to [0, 1].
    """
    lines = study.campaigns
    lines = lines[(lines["group"] == group.key) & (lines["target"] == target)]
    curve = []
    for rate, at in lines.groupby("rate", sort=True):
        if len(at) < len(group.finished):
            continue  # not every run has measured this rate
        first, means = at.iloc[0], at["mean"].tolist()
        unit = f"{first['unit'] or 'fault set'}s"
        lost = [value for value in at["lost"] if pd.notna(value)]
        ends = first["lost_low"], first["lost_high"]
        if len(lost) > 1:
            found = mean_interval(lost)
            ends = (found.low, found.high) if found else (None, None)
        curve.append(
            {
                "rate": rate,
                "mean": statistics.fmean(means),
                "replicates": len(means),
                **band(means, (first["low"], first["high"]), single_unit=unit),
                "faults": first["faults"],
                "lost": mean_of(lost),
                "lost_low": ends[0],
                "lost_high": ends[1],
            }
        )
    return pd.DataFrame(curve, columns=None if curve else ["rate", "mean", "low", "high"])


class FaultCurves(Exhibit):
    """The fault curves of all groups, a line per group, target and rate; only as CSV."""

    name = "fault_curves"

    def frame(self, study: Study) -> pd.DataFrame:
        """All curves."""
        columns = ["run", "rows", "target", "rate", "mean", "low", "high", "replicates", "band"]
        frames = [
            fault_curve(study, group, target).assign(**group.cells | {"target": target})
            for group in study.trained
            for target in targets_of(group)
        ]
        frames = [frame[columns] for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


class EpsilonFt(Exhibit):
    """Quantiles over inputs of epsilon_ft (equation 1), averaged over seeds; only as CSV."""

    name = "epsilon_ft"

    def frame(self, study: Study) -> pd.DataFrame:
        """A line per group, target, rate and quantile."""
        lines = [
            {
                "run": group.run,
                "rows": " ".join(group.rows),
                "target": target,
                "rate": entry.rate,
                "quantile": float(quantile),
                "measure": measure,
                "value": value,
            }
            for group in study.trained
            for target in targets_of(group)
            for record in group.finished
            for entry in record.faults[target].epsilon_ft or ()
            for measure in ("total_variation", "half_margin")
            for quantile, value in (getattr(entry, measure) or {}).items()
            if value is not None
        ]
        keys = ["run", "rows", "target", "rate", "quantile"]
        measures = ["total_variation", "half_margin"]
        if not lines:
            return pd.DataFrame(columns=[*keys, *measures])
        frame = pd.DataFrame(lines)
        order = list(dict.fromkeys(zip(frame["run"], frame["rows"], frame["target"], strict=True)))
        found = frame.pivot_table("value", keys, "measure", sort=True).reset_index()
        place = [order.index(key) for key in zip(*(found[key] for key in keys[:3]), strict=True)]
        return found.iloc[pd.Series(place).argsort(kind="stable")].reset_index()[[*keys, *measures]]


def _at_chance(lost: float, seeds: int) -> str:
    if is_missing(lost) or not lost:
        return ""
    where = f" in {count(lost)} of {count(seeds)} seeds" if lost < seeds else ""
    return f"AT CHANCE by 50% faults{where}: the drop says nothing"


class FaultTolerance(Exhibit):
    """Accuracy at 0, 10, 50 and 90% faults, the drop of Figure 3, and the normalized AUC."""

    name, order, is_long = "figure_3", 19, False
    title = "Accuracy under faults (the paper's Figure 3)"
    columns = (
        Column("run", "run", format=text),
        Column("target", "stuck at 0", format=text),
        Column("accuracy_at_0", "0%", "accuracy at faults of"),
        Column("accuracy_at_10", "10%", "accuracy at faults of", priority=1),
        Column("accuracy_at_50", "50%", "accuracy at faults of"),
        Column("accuracy_at_90", "90%", "accuracy at faults of"),
        Column("drop_50_to_90", "ours", "drop 50 to 90%"),
        Column("paper_drop", "paper", "drop 50 to 90%"),
        Column(("drop_low", "drop_high"), "of the drop", "95% interval", interval, 3),
        Column("normalized_auc", "under faults", "normalized accuracy", priority=2),
        Column("replicates", "n", format=count),
    )

    details = (
        *Exhibit.details,
        Column("trials", "fault sets per rate", format=count),
        Column("images", "images", format=count),
        Column(("seeds_at_chance", "replicates"), "", format=_at_chance),
    )
    note = (
        "Percent. A drop is small as well for a model that is at chance by 50% faults: such rows "
        "are marked below, and a small drop of theirs is no tolerance. Normalized accuracy under "
        "faults is the share of the accuracy above chance that is left, averaged over 0 to 90% "
        "faults. Without faults the whole test set counts, with faults the images of each fault "
        "set. The paper's two drops are printed without a data set or a fault count; they are next "
        "to the weights rows of the same algorithm."
    )

    def frame(self, study: Study) -> pd.DataFrame:
        """A line per group and target; the paper's drops are with the weights."""
        printed = study.printed_measures("figure_3")
        lines = []
        for group in study.trained:
            for target in targets_of(group):
                row = printed.get(group.key) if target == "weights" else None
                lines.append(
                    {
                        **group.cells,
                        "target": target,
                        **_levels(study, group, target),
                        "paper_drop": row.measure if row else None,
                        **_campaign(group, target),
                        "records": group.names,
                    }
                )
        for row, line in study.not_run("figure_3"):
            lines.append({**line, "target": "weights", "paper_drop": row.measure})
        return pd.DataFrame(lines)

    def plots(self, study: Study) -> Sequence[Plot]:
        """A figure for each architecture."""
        caption = "Accuracy under faults (as the paper's Figure 3)"
        return per_architecture(study, "faults", caption, draw_faults)


def _levels(study: Study, group: Group, target: str) -> dict[str, Any]:
    curve = fault_curve(study, group, target)
    drops = [record.faults[target].drop_50_to_90 for record in group.finished]
    drops = [drop.drop for drop in drops if drop]
    found = mean_interval(drops)
    return {
        **{f"accuracy_at_{round(100 * rate)}": _at(curve, rate) for rate in SHOWN_RATES},
        "drop_50_to_90": mean_of(drops),
        "drop_sd": deviation(drops),
        "drop_low": found.low if found else None,
        "drop_high": found.high if found else None,
        "normalized_auc": mean_of(normalized_auc(record, target) for record in group.finished),
        "seeds_at_chance": sum(is_at_chance(record, target) for record in group.finished),
    }


def _campaign(group: Group, target: str) -> dict[str, Any]:
    campaign = group.finished[0].faults[target]
    return {"trials": campaign.trials, "images": campaign.images}


def _at(curve: pd.DataFrame, rate: float) -> float | None:
    for candidate, mean in zip(curve["rate"], curve["mean"], strict=True):
        if math.isclose(candidate, rate, abs_tol=1e-9):
            return float(mean)
    return None


def draw_faults(study: Study, architecture: str) -> Figure:
    """Every algorithm: accuracy on a linear axis of rates, accuracy lost on a log axis below.

    Bands are 95%: over training seeds, or of a single seed over its fault sets. The log row is
    left out where no run has enough low rates.
    """
    curves = {
        (group, target): curve
        for group in study.main_groups(architecture)
        for target in targets_of(group)
        if target in TARGETS and len(curve := fault_curve(study, group, target)) > 1
    }
    if not curves:
        raise RunError(f"no fault curves for {architecture}: no finished run has two fault rates")
    groups = list(dict.fromkeys(group for group, _ in curves))
    looks = plot_styles.looks(groups)
    is_log = any(len(low_rates(curve)) for curve in curves.values())
    title = f"{display_names.describe_architecture(architecture)}: stuck-at-0 faults, bands of 95%"
    figure, axes = plot_styles.panels(
        1 + is_log, 2, title=title, height=3.3, width=5.0, share_y="row"
    )
    for place, target in enumerate(TARGETS):
        for group in groups:
            if (group, target) in curves:
                look, curve = looks[group.key], curves[group, target]
                label = f"{look.name}, n={len(group.finished)}"
                plot_styles.draw_fault_curve(axes[0][place], curve, look, label=label)
                if is_log:
                    _draw_lost(axes[1][place], low_rates(curve), look, label)
        guess = chance(groups[0].config["dataset"])
        plot_styles.finish_fault_panel(axes[0][place], target, guess)
        if is_log:
            _finish_log_panel(axes[1][place], target)
    plot_styles.legend_below(figure, [panel for row in axes for panel in row])
    return figure


def low_rates(curve: pd.DataFrame) -> pd.DataFrame:
    """The part of a curve that a log axis shows; empty where it is too short.

    A rate below one over the number of sites has no faulty site: a point that shows "nothing lost"
    there is no measurement.
    """
    is_low = (curve["rate"] > 0) & (curve["rate"] <= _LOG_RATE) & (curve["faults"] > 0)
    low = curve[is_low & curve["lost"].notna()]
    return low if len(low) >= _MIN_LOG_RATES else low.iloc[:0]


def _draw_lost(axes: Axes, low: pd.DataFrame, look: Look, label: str) -> None:
    if not len(low):
        return
    rates = low["rate"].astype(float)
    axes.plot(
        rates,
        100 * low["lost"].astype(float),
        label=label,
        color=look.color,
        marker=look.marker,
        linestyle=look.line,
    )
    plot_styles.draw_band(axes, rates, low["lost_low"], low["lost_high"], look.color)


def _finish_log_panel(axes: Axes, target: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    plot_styles.draw_zero(axes)
    axes.set_title(f"{target}: low rates")
    axes.set_xlabel(f"share of {target} stuck at 0")
    axes.set_ylabel("test accuracy lost, points")


for _exhibit in (FaultTolerance(), FaultCurves(), EpsilonFt()):
    register(_exhibit)
