"""What a fault campaign found, as lines for a terminal: the headline first, then tables."""

import math

import numpy as np
import pandas as pd

from experiments import _terminal
from ft_tf import intervals
from ft_tf.faults import CurveFigures, curve_figures, holds_up_to, summarize

_LEGEND = (
    "epsilon_ft: how far faults move an output, at the median image and the 95% quantile: total "
    "variation of its probabilities; largest change of a logit over half the clean margin (the "
    "prediction cannot change below 1)"
)


def headline(frame: pd.DataFrame, sites: str) -> str:
    """The rate at which half of the accuracy above chance is lost, or why there is none.

    Args:
        frame: rows of `faults.sweep`, of one target.
        sites: what is faulty, such as "faulty units".
    """
    means = frame.groupby("rate")["accuracy"].mean()
    highest = means.index[-1]
    if highest == 0:
        return f"accuracy {means.iloc[0]:.2%} without faults, the only rate"
    if 0.0 not in means.index:
        return (
            f"accuracy {means.iloc[-1]:.2%} at {_rate(highest)} {sites}; what is lost is not "
            "known without rate 0"
        )
    classes = frame.attrs["classes"]
    figures, chance = _figures(frame), f"above chance ({_rate(1 / classes)})"
    if means.iloc[0] <= 1 / classes:
        return f"no accuracy {chance} to lose: {means.iloc[0]:.2%} without faults"
    if figures.half_rate is None:
        return (
            f"half of the accuracy {chance} is not lost up to {_rate(highest)} {sites}, the "
            f"highest rate tested: {means.iloc[0]:.2%} without faults, {means.iloc[-1]:.2%} there"
        )
    right = max(1, int(np.searchsorted(means.index, figures.half_rate)))
    return (
        f"half of the accuracy {chance} is lost at {_rate(figures.half_rate)} {sites}"
        f"{_rate_span(figures.half_rate_interval, highest)}, interpolated between "
        f"{_rate(means.index[right - 1])} and {_rate(means.index[right])}"
    )


def curve_lines(frame: pd.DataFrame) -> list[str]:
    """Further figures of the curve; which there are not, and why. None without rate 0."""
    if 0.0 not in set(frame["rate"]):
        return []
    figures, lines = _figures(frame), []
    if figures.levels is not None:
        low, high = figures.rates
        lines.append(
            f"from {low:.0%} to {high:.0%} faults: {figures.levels[0]:.2%} to "
            f"{figures.levels[1]:.2%}, drop {figures.drop:.2%}{_of(figures.drop_interval)}"
        )
    if figures.area is not None:
        lines.append(
            f"area above chance, share of that without faults: {figures.area:.3f}"
            f"{_of(figures.area_interval, '.3f')}"
        )
    else:
        lines.append(
            "no area above chance: that takes a rate above 0, and an accuracy without faults that "
            f"is above {figures.chance:.2%}"
        )
    return lines


def summary_lines(summary: pd.DataFrame) -> list[str]:
    """A table with a row per rate, and how the intervals were made."""
    rows = [("rate", "faults", "trials", "accuracy", "95% interval", "changed", "")]
    for row in summary.itertuples():
        late = "" if row.reached in (None, True) else "NOT REACHED"
        rows.append(
            (
                f"{row.rate:g}",
                f"{row.faults:,.0f}",
                f"{row.trials}",
                f"{row.accuracy:.2%}",
                _span(row.low, row.high),
                f"{row.sdc_rate:.2%}",
                late,
            )
        )
    lines = _terminal.aligned(rows)
    if any(row[-1] for row in rows):
        lines.append("NOT REACHED: --trials ended the rate before its interval was short enough")
    if (summary["non_finite"] > 0).any():
        worst = summary.loc[summary["non_finite"].idxmax()]
        lines.append(
            f"outputs that are not finite count as wrong: up to {worst['non_finite']:.2%}, at rate "
            f"{worst['rate']:g}"
        )
    return [*lines, _methods_line(summary, "intervals over trials")]


def measure_lines(summary: pd.DataFrame) -> list[str]:
    """A table of the further measures, and what they mean."""
    names = ("total_variation", "logit_change")
    rows = [("rate", "retention", "not finite", "variation 50%", "95%", "of margin 50%", "95%")]
    for row in summary.itertuples():
        moved = [f"{getattr(row, f'{name}_{q}'):.3g}" for name in names for q in (50, 95)]
        rows.append((f"{row.rate:g}", f"{row.retention:.2%}", f"{row.non_finite:.2%}", *moved))
    return [*_terminal.aligned(rows), _LEGEND]


def trials_line(frame: pd.DataFrame) -> str | None:
    """How many trials an interval of +-1 point takes at every rate; None after a stop rule."""
    count = int(frame.groupby("rate")["trial"].count().min())
    if frame.attrs.get("stop_rule") or count < 2:
        return None
    table = summarize(frame).set_index("rate")["trials_to_1_point"].astype(int)
    worst, needed = table.idxmax(), table.max()
    if needed <= count:
        return f"+-1 point at every rate: {count} trials are enough"
    return (
        f"+-1 point at every rate takes about {needed:,} trials (rate {worst:g} the most): "
        f"--trials={needed}, or --half_width=1 --trials={2 * needed} stops each rate by itself"
    )


def settings_line(attrs: dict[str, object]) -> str:
    """The fault model, where it stores values, and how faults and images were drawn."""
    parts = [f"fault {attrs['fault']}"]
    if attrs["storage"]:
        parts.append(f"storage {attrs['storage']}, bits {attrs['bits']}")
    if attrs["quantization_step"]:
        parts.append(f"quantization step {attrs['quantization_step']}")
    parts.append(f"allocation {attrs['allocation']}")
    if attrs["persistence"] != "permanent":
        parts.append(f"drawn for each {attrs['persistence']}")
    parts.append(f"{attrs['images_per_trial']} of {attrs['images']} images per trial")
    return "; ".join(parts)


def with_settings(summary: pd.DataFrame, attrs: dict[str, object]) -> pd.DataFrame:
    """The summary with the campaign's settings as further columns: a file that explains itself."""
    names = ("fault", "storage", "bits", "quantization_step", "allocation", "persistence",
             "images_per_trial")  # fmt: skip
    return summary.assign(**{name: attrs[name] for name in names})


def layer_lines(table: pd.DataFrame, *, target: str, rate: float, setting: str) -> list[str]:
    """Every layer, the one that faults hurt most first, and the whole model."""
    is_whole = table["layer"] == "whole model"
    layers = table[~is_whole].sort_values("drop", ascending=False, kind="stable")
    rows = [(f"{target} of", "sites", "lost", "accuracy", "95% interval")]
    rows += [
        (
            row.layer,
            f"{row.sites:,}",
            f"{row.drop:.2%}",
            f"{row.accuracy:.2%}",
            _span(row.low, row.high),
        )
        for row in pd.concat([layers, table[is_whole]]).itertuples()
    ]
    return [
        f"layer by layer at rate {rate:g} ({setting}), most damaging first:",
        *_terminal.aligned(rows, left=1),
    ]


def prediction_lines(comparison: pd.DataFrame, *, images: int, trials: int) -> list[str]:
    """The first-order prediction, the measurement, and where the prediction stops to hold."""
    lines = [
        f"change of the logits, first-order prediction and {trials} trials on {images} images "
        "(root mean squares):"
    ]
    rows = [("rate", "", "predicted", "measured", "+-", "apart", "allowed", "")]
    for row in comparison.itertuples():
        for kind in ("mean", "sd"):
            values = [getattr(row, f"{kind}_{name}") for name in ("predicted", "measured")]
            reach = [getattr(row, f"{kind}_{name}") for name in ("noise", "distance", "allowed")]
            rate, verdict = (f"{row.rate:g}", "") if kind == "mean" else ("", _holds(row.holds))
            numbers = [f"{value:.4g}" for value in values] + [f"{value:.2g}" for value in reach]
            rows.append((rate, kind, *numbers, verdict))
    lines += [f"  {line}" for line in _terminal.aligned(rows)]
    lines.append(
        "  a prediction holds where mean and sd are apart by no more than "
        f"{comparison.attrs['tolerance']:.0%} of the measured one and 2 of its standard errors "
        "(+-): these trials do not refute it. Means are compared logit by logit."
    )
    limit = holds_up_to(comparison)
    lowest = comparison["rate"].min()
    if not comparison["holds"].any():
        return [*lines, f"  it holds at none of these rates, {lowest:g} included"]
    if limit is None:
        held = ", ".join(f"{rate:g}" for rate in comparison["rate"][comparison["holds"]])
        return [
            *lines,
            f"  it holds at {held} only; at {lowest:g} it does not, or these trials have too few "
            "faults to tell",
        ]
    beyond = comparison["rate"][comparison["rate"] > limit]
    stops = f", not at {beyond.min():g}" if len(beyond) else ", the highest of these"
    return [*lines, f"  it holds up to rate {limit:g}{stops}"]


def protection_lines(table: pd.DataFrame) -> list[str]:
    """What protections cost and keep: a table of costs, and one for each rate with faults."""
    costs = [("protection", "memory", "time", "clean", "in each inference")]
    costs += [
        (
            row.protection,
            f"{row.memory:+.3g}%",
            f"x {row.time_ratio:.2f}",
            f"{row.clean_accuracy:.2%}",
            row.arithmetic,
        )
        for row in table.drop_duplicates("protection").itertuples()
    ]
    lines = _terminal.aligned(costs, left=1)
    for rate, group in table[table["rate"] > 0].groupby("rate"):
        rows = [(f"rate {rate:g}", "accuracy", "95% interval", "lost", "recovered")]
        rows += [
            (
                row.protection,
                f"{row.accuracy:.2%}",
                _span(row.low, row.high),
                f"{row.lost:.2%}",
                "-" if math.isnan(row.recovered) else f"{row.recovered:.0%}",
            )
            for row in group.itertuples()
        ]
        lines += ["", *_terminal.aligned(rows, left=1)]
    return lines


def difference_lines(table: pd.DataFrame) -> list[str]:
    """The paired difference at each rate."""
    rows = [(f"{table['target'].iloc[0]}", "difference", "95% interval", "pairs")]
    rows += [
        (
            f"{row.rate:g}",
            f"{row.difference:+.2%}",
            _span(row.low, row.high, least=-1, form="+.2%"),
            f"{row.trials}",
        )
        for row in table.itertuples()
    ]
    return [*_terminal.aligned(rows), _methods_line(table, "intervals")]


def over_seeds_lines(frames: list[pd.DataFrame]) -> list[str]:
    """The mean accuracy over runs that differ in their seed, at each rate."""
    rows, methods = [(frames[0]["target"].iloc[0], "accuracy", "95% interval")], {}
    for rate in sorted(set(frames[0]["rate"])):
        accuracies = [frame.loc[frame["rate"] == rate, "accuracy"].tolist() for frame in frames]
        found = intervals.over_seeds(accuracies)
        mean = f"{(found.low + found.high) / 2:.2%}"
        rows.append((f"{rate:g}", mean, _span(found.low, found.high)))
        methods[f"{found.method}, {found.unit}"] = None
    return [*_terminal.aligned(rows), f"95% intervals: {'; '.join(methods)}"]


def _holds(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _figures(frame: pd.DataFrame) -> CurveFigures:
    return curve_figures(frame, classes=frame.attrs["classes"])


def _methods_line(table: pd.DataFrame, name: str) -> str:
    """How the intervals of a table were made, those that there are."""
    methods = dict.fromkeys(table["method"][table["high"] < math.inf])
    if not methods:
        return f"no {name}: one trial does not show a spread"
    return f"{table['level'].iloc[0]:.0%} {name}: {'; '.join(methods)}"


def _rate(rate: float) -> str:
    """A rate in percent with two significant digits, without an exponent."""
    return f"{float(f'{100 * rate:.2g}'):.12g}%"


def _rate_span(interval: intervals.Interval | None, highest: float) -> str:
    if interval is None:
        return ""
    high = f"above {_rate(highest)}" if interval.high == math.inf else _rate(interval.high)
    return f" [{_rate(interval.low)}, {high}]"


def _span(low: float, high: float, *, least: float = 0.0, form: str = ".2%") -> str:
    """An interval, as far as the quantity, `least` to 1, can lie in it."""
    if high == math.inf:
        return "[one trial: none]"
    return f"[{max(low, least):{form}}, {min(high, 1.0):{form}}]"


def _of(interval: intervals.Interval | None, form: str = ".2%") -> str:
    return "" if interval is None else f" [{interval.low:{form}}, {interval.high:{form}}]"
