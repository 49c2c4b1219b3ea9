"""What a campaign has found, as lines for a terminal."""

import math

import pandas as pd

from ft_tf import intervals
from ft_tf.faults.prediction import holds_up_to
from ft_tf.faults.summary import CurveFigures

_LEGEND = (
    "epsilon_ft: how far faults move an output, at the median image and the 95% quantile: total "
    "variation of its probabilities; largest change of a logit over half the clean margin (the "
    "prediction cannot change below 1)"
)


def summary_lines(summary: pd.DataFrame) -> list[str]:
    """Two lines per target and rate, then what they mean and how the intervals were made."""
    lines = []
    for row in summary.itertuples():
        reached = "" if row.reached in (None, True) else ", NOT REACHED: +- more than asked"
        lines += [
            f"{row.target} {row.rate:8.4g}: accuracy {row.accuracy:7.2%}  "
            f"{_span(row.low, row.high)}  {row.faults:.0f} faults, {row.trials} trials{reached}",
            f"    predictions changed {row.sdc_rate:.2%}, retention {row.retention:.2%}, not "
            f"finite {row.non_finite:.2%}; epsilon_ft (50%, 95%): total variation "
            f"{row.total_variation_50:.3g}, {row.total_variation_95:.3g}, of half the margin "
            f"{row.logit_change_50:.3g}, {row.logit_change_95:.3g}",
        ]
    return [*lines, _LEGEND, _methods_line(summary, "intervals over trials")]


def settings_line(attrs: dict[str, object]) -> str:
    """The fault model, where it stores values, and how faults and images were drawn."""
    parts = [f"fault {attrs['fault']}"]
    if attrs["storage"]:
        parts.append(f"storage {attrs['storage']}, bits {attrs['bits']}")
    if attrs["quantization_step"]:
        parts.append(f"quantization step {attrs['quantization_step']}")
    parts.append(f"allocation {attrs['allocation']}")
    parts.append(f"{attrs['images_per_trial']} of {attrs['images']} images per trial")
    return "; ".join(parts)


def with_settings(summary: pd.DataFrame, attrs: dict[str, object]) -> pd.DataFrame:
    """The summary with the campaign's settings as further columns: a file that explains itself."""
    names = ("fault", "storage", "bits", "quantization_step", "allocation", "images_per_trial")
    return summary.assign(**{name: attrs[name] for name in names})


def curve_lines(figures: CurveFigures) -> list[str]:
    """The headline figures of a curve; which there are not, and why."""
    lines = []
    if figures.levels is not None:
        low, high = figures.rates
        lines.append(
            f"from {low:.0%} to {high:.0%} faults: {figures.levels[0]:.2%} to "
            f"{figures.levels[1]:.2%}, drop {figures.drop:.2%}{_of(figures.drop_interval)}"
        )
    if figures.half_rate is not None:
        lines.append(f"half of the accuracy above chance is gone at rate {figures.half_rate:.3g}")
    if figures.area is not None:
        lines.append(
            f"area above chance, share of that without faults: {figures.area:.3f}"
            f"{_of(figures.area_interval, '.3f')}"
        )
    else:
        lines.append(
            "no area above chance: that takes a rate beside 0, and an accuracy without faults that "
            f"is above {figures.chance:.2%}"
        )
    return lines


def layer_lines(table: pd.DataFrame, *, target: str, rate: float, setting: str) -> list[str]:
    """The layer that faults hurt most as headline, then every layer."""
    layers = table[table["layer"] != "whole model"]
    worst = layers.loc[layers["accuracy"].idxmin()]
    whole = table[table["layer"] == "whole model"].iloc[0]
    lines = [
        f"layer by layer at rate {rate:g} ({setting}): faults in {target} of {worst['layer']} "
        f"hurt most, accuracy left {worst['accuracy']:.2%}; in those of the whole model "
        f"{whole['accuracy']:.2%}"
    ]
    return lines + [
        f"  {target} of {row.layer}: accuracy {row.accuracy:.2%}  {_span(row.low, row.high)}  "
        f"{row.sites} sites"
        for row in table.itertuples()
    ]


def prediction_lines(comparison: pd.DataFrame, *, images: int, trials: int) -> list[str]:
    """The first-order prediction beside the measurement, and where it stops to hold."""
    lines = [
        f"change of the logits, first-order prediction beside {trials} trials on {images} images "
        "(root mean squares):"
    ]
    for row in comparison.itertuples():
        lines.append(
            f"  rate {row.rate:8.4g}: mean {row.mean_predicted:.4g} predicted, "
            f"{row.mean_measured:.4g} +- {row.mean_noise:.2g} measured, {row.mean_distance:.2g} "
            f"apart of {row.mean_allowed:.2g} allowed; sd {row.sd_predicted:.4g} predicted, "
            f"{row.sd_measured:.4g} +- {row.sd_noise:.2g} measured, {row.sd_distance:.2g} apart of "
            f"{row.sd_allowed:.2g} allowed{'' if row.holds else '  does not hold'}"
        )
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


def difference_lines(table: pd.DataFrame) -> list[str]:
    """The paired difference at each rate."""
    lines = [
        f"{row.target} {row.rate:8.4g}: difference {row.difference:+.2%}  "
        f"{_span(row.low, row.high, least=-1, form='+.2%')}  {row.trials} pairs"
        for row in table.itertuples()
    ]
    return [*lines, _methods_line(table, "intervals")]


def _methods_line(table: pd.DataFrame, name: str) -> str:
    """How the intervals of a table were made, those that there are."""
    methods = dict.fromkeys(table["method"][table["high"] < math.inf])
    if not methods:
        return f"no {name}: one trial does not show a spread"
    return f"{table['level'].iloc[0]:.0%} {name}: {'; '.join(methods)}"


def _span(low: float, high: float, *, least: float = 0.0, form: str = ".2%") -> str:
    """An interval, as far as the quantity, `least` to 1, can lie in it."""
    if high == math.inf:
        return "[no interval: one trial]"
    return f"[{max(low, least):{form}}, {min(high, 1.0):{form}}]"


def _of(interval: intervals.Interval | None, form: str = ".2%") -> str:
    return "" if interval is None else f" [{interval.low:{form}}, {interval.high:{form}}]"
