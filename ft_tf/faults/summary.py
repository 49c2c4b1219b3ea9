"""What a campaign says: a row of figures per fault rate, and headline figures of the curve."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.checks import (
    check_choice,
    check_columns,
    check_fraction,
    check_positive_integer,
    check_probability,
    check_range,
)
from ft_tf.errors import ArgumentError
from ft_tf.faults.campaign import sweep
from ft_tf.faults.measures import COLUMNS as MEASURES
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import make_plan
from ft_tf.faults.rows import (
    SMALLEST_HALF_WIDTH,
    STOP_METHODS,
    check_half_width,
    interval_of,
    interval_settings,
    trials_for,
)

METHODS = ("student", "band", *STOP_METHODS)


def summarize(
    frame: pd.DataFrame,
    *,
    level: float | None = None,
    method: str | None = None,
    half_width: float | None = None,
) -> pd.DataFrame:
    """Mean accuracy per target and rate with an interval over trials, and means of all measures.

    The intervals speak of further fault masks in this one model on these images: they say nothing
    about another training seed (see `intervals.over_seeds`).

    Args:
        frame: rows of `sweep`, of one model.
        level: nominal coverage; by default the confidence of its stop rule, or 0.95.
        method: "student": each rate for itself; "band": all rates of a target at once; "anytime" or
            "stein": for the frame of a campaign that `sweep(margin=..., method=...)` stopped.
            By default the one that holds for this frame: its stop rule's, or "student".
        half_width: the one that the campaign was stopped at; by default its own.

    Returns:
        Columns target, rate, trials, faults, accuracy, low, high, level, method, unit, the mean
        of each further measure that the frame has; trials_to_1_point: how many trials give the mean
        accuracy to +-1 point, None with a stop rule and for a single trial; reached: whether the
        stop rule's interval, at its own level, is as short as it was to make it (None without a
        stop rule).

    Raises:
        ArgumentError: the frame is empty or an argument is out of range.
    """
    check_columns(("target", "rate", "trial", "faults", "accuracy"), frame=frame)
    check_half_width(least=SMALLEST_HALF_WIDTH, half_width=half_width)
    rule = frame.attrs.get("stop_rule") or {}
    settings = interval_settings(frame, level=level, method=method, half_width=half_width)
    own = interval_settings(frame, half_width=half_width)
    level, method = settings["level"], settings["method"]
    check_choice(METHODS, method=method)
    if frame.empty:
        raise ArgumentError("frame has no rows: nothing to summarize")
    rows = []
    for target, curve in frame.groupby("target", sort=True):
        if method == "band":
            table = accuracy_table(curve).to_numpy(np.float64)
            band = iter(intervals.simultaneous(table, level=level, unit="trial"))
        for rate, group in curve.groupby("rate", sort=True):
            values = group.sort_values("trial")["accuracy"].tolist()
            interval = next(band) if method == "band" else interval_of(rate, values, **settings)
            stopped = interval if settings == own else interval_of(rate, values, **own)
            others = [name for name in MEASURES[1:] if name in group]
            rows.append(
                {
                    "target": target,
                    "rate": rate,
                    "trials": len(group),
                    "faults": float(group["faults"].mean()),
                    "accuracy": float(group["accuracy"].mean()),
                    "low": interval.low,
                    "high": interval.high,
                    "level": level,
                    "method": interval.method,
                    "unit": interval.unit,
                    **{name: float(group[name].mean()) for name in others},
                    "trials_to_1_point": None
                    if rule
                    else trials_for(rate, group["accuracy"].tolist(), half_width=0.01, level=level),
                    "reached": stopped.half_width <= own["half_width"] * (1 + 1e-9)
                    if rule
                    else None,
                }
            )
    return pd.DataFrame(rows)


def accuracy_table(frame: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """Accuracies (or another measure) of one target, a row per trial and a column per rate.

    Of a campaign that a stop rule has ended rate by rate, the trials that all rates have; the one
    at rate 0 stands for all.
    """
    check_columns(("target", "rate", "trial", measure), frame=frame)
    if frame["target"].nunique() != 1:
        raise ArgumentError(f"frame has targets {sorted(frame['target'].unique())}: give one")
    table = frame.pivot(index="trial", columns="rate", values=measure).sort_index()
    if frame.attrs.get("stop_rule"):
        if 0.0 in table:
            table[0.0] = table[0.0].ffill().bfill()
        table = table.dropna()
    if table.isna().any(axis=None) or table.empty:
        raise ArgumentError("frame lacks some rates of some trials: give whole trials")
    return table


@dataclasses.dataclass(frozen=True)
class CurveFigures:
    """Headline figures of one target's curve of accuracy against fault rate.

    Attributes:
        target: "weights", "units" or "both".
        rates: the two rates of the drop, (0.5, 0.9) as in the paper's Figure 3.
        levels: mean accuracy at these: a small drop may mean that the model was at chance before.
        drop: levels[0] - levels[1].
        drop_interval: of the drop, over trials, each trial paired with itself, as far as a drop can
            lie in it; None, as is that of the area, for a single trial, and where an "anytime" stop
            rule has ended the campaign.
        chance: accuracy of guessing, 1 / classes.
        half_rate: lowest rate, interpolated, at which half of the accuracy above chance is gone
            from the mean curve; None if it is never gone.
        half_rate_interval: the rates that the trials do not exclude as `half_rate`; its high is
            infinite where they do not exclude that half is left at the highest rate. None where
            half_rate is None or, as for the drop, trials give no interval.
        area: mean over rates from the lowest to the highest (trapezoid) of the accuracy above
            chance, as a share of that at the lowest rate; None where that is at chance.
        area_interval: of the area, over trials, as far as an area can lie in it.
    """

    target: str
    rates: tuple[float, float]
    levels: tuple[float, float] | None
    drop: float | None
    drop_interval: intervals.Interval | None
    chance: float
    half_rate: float | None
    half_rate_interval: intervals.Interval | None
    area: float | None
    area_interval: intervals.Interval | None


def curve_figures(
    frame: pd.DataFrame,
    *,
    classes: int,
    rates: tuple[float, float] = (0.5, 0.9),
    level: float | None = None,
) -> CurveFigures:
    """Headline figures of a campaign with one target.

    Args:
        frame: rows of `sweep`, with the same trials at every rate; rate 0 among them.
        classes: number of classes, for the level of chance.
        rates: between which the drop is taken; left out if they were not measured.
        level: nominal coverage; by default as for `summarize`.

    Raises:
        ArgumentError: the frame has several targets, incomplete trials or no rate 0.
    """
    if not isinstance(rates, tuple | list) or len(rates) != 2:
        raise ArgumentError(f"rates={rates!r} must be two numbers in [0, 1]")
    check_fraction(first_rate=rates[0], second_rate=rates[1])
    check_positive_integer(classes=classes)
    check_range(2, 2**31, classes=classes)
    level = interval_settings(frame, level=level)["level"]
    table = accuracy_table(frame)
    if 0.0 not in table:
        raise ArgumentError("frame has no rate 0: the curve needs its clean end")
    chance = 1 / classes
    above = table.to_numpy(np.float64) - chance
    where = table.columns.to_numpy(np.float64)
    levels = drop_interval = area = area_interval = None
    if all(rate in table for rate in rates):
        first, second = (table[rate].to_numpy(np.float64) for rate in rates)
        levels = (float(first.mean()), float(second.mean()))
        drop_interval = _over_trials(first - second, frame, level, least=-1.0, most=1.0)
    clean = float(above[:, 0].mean())
    half_rate = _first_crossing(where, above.mean(axis=0), clean / 2) if clean > 0 else None
    if clean > 0 and len(where) > 1:
        areas = (above[:, 1:] + above[:, :-1]) / 2 @ np.diff(where)
        areas = areas / (where[-1] - where[0]) / clean
        area = float(areas.mean())
        ends = {"least": -chance / clean, "most": (1 - chance) / clean}
        area_interval = _over_trials(areas, frame, level, **ends)
    return CurveFigures(
        target=str(frame["target"].iloc[0]),
        rates=rates,
        levels=levels,
        drop=None if levels is None else levels[0] - levels[1],
        drop_interval=drop_interval,
        chance=chance,
        half_rate=half_rate,
        half_rate_interval=(
            None
            if half_rate is None
            else _crossing_interval(where, above - above[:, :1] / 2, frame, level)
        ),
        area=area,
        area_interval=area_interval,
    )


def _over_trials(
    values: np.ndarray, frame: pd.DataFrame, level: float, *, least: float, most: float
) -> intervals.Interval | None:
    """Interval of a mean over whole trials, cut at the ends of what the mean can be.

    None where one trial shows no spread, or a stop rule that looks has chosen the trials.
    """
    settings = interval_settings(frame, level=level)
    if settings["method"] == "anytime" or len(values) < 2:
        return None
    found = interval_of(1.0, values, least=least, most=most, **settings)
    return dataclasses.replace(found, low=max(found.low, least), high=min(found.high, most))


def _first_crossing(where: np.ndarray, curve: np.ndarray, height: float) -> float | None:
    below = np.flatnonzero(curve <= height)
    if not len(below):
        return None
    right = below[0]
    share = (curve[right - 1] - height) / (curve[right - 1] - curve[right])
    return float(where[right - 1] + share * (where[right] - where[right - 1]))


def lost_rate(
    frame: pd.DataFrame, *, points: float, level: float | None = None
) -> tuple[float | None, intervals.Interval | None]:
    """The lowest rate, interpolated, at which so much accuracy is lost on average.

    Each trial is set against the fault-free model on its own images (`accuracy_lost`).

    Args:
        frame: as for `curve_figures`.
        points: the loss, a fraction of all images.
        level: nominal coverage; by default as for `summarize`.

    Returns:
        The rate, None if the loss is never reached; its interval, as that of
        `CurveFigures.half_rate_interval`.

    >>> rows = [("weights", rate, trial, 0.1 * rate + 0.01 * rate * trial)
    ...         for rate in (0.0, 0.5, 1.0) for trial in (0, 1, 2)]
    >>> frame = pd.DataFrame(rows, columns=["target", "rate", "trial", "accuracy_lost"])
    >>> round(lost_rate(frame, points=0.033)[0], 3)  # 0.11 per rate, on average
    0.3
    """
    check_probability(points=points)
    level = interval_settings(frame, level=level)["level"]
    table = accuracy_table(frame, "accuracy_lost")
    if 0.0 not in table:
        raise ArgumentError("frame has no rate 0: the curve needs its clean end")
    where = table.columns.to_numpy(np.float64)
    excess = points - table.to_numpy(np.float64)
    rate = _first_crossing(where, excess.mean(axis=0), 0.0)
    return rate, None if rate is None else _crossing_interval(where, excess, frame, level)


def _crossing_interval(
    where: np.ndarray, excess: np.ndarray, frame: pd.DataFrame, level: float
) -> intervals.Interval | None:
    """Rates at which the interval of the mean excess contains 0 (Fieller); excess [trials, rates].

    Between tested rates the curve of each trial is interpolated, so that every rate has an interval
    over trials.
    """

    def end(rate: float, name: str) -> float:
        column = min(int(np.searchsorted(where, rate, side="right")), len(where) - 1)
        share = (rate - where[column - 1]) / (where[column] - where[column - 1])
        values = (1 - share) * excess[:, column - 1] + share * excess[:, column]
        if len(values) > 1 and not intervals.has_spread(values):
            # At rates too low for a fault that matters; one at a higher rate keeps those below it.
            return float(values[0])
        found = _over_trials(values, frame, level, least=-1.0, most=1.0)
        return math.nan if found is None else getattr(found, name)

    def first_below_zero(name: str) -> float:
        for left, right in itertools.pairwise(where):
            if end(right, name) <= 0:
                return float(optimize.brentq(end, left, right, args=(name,)))
        return math.inf

    if math.isnan(end(where[-1], "low")):
        return None
    method = f"inverted {_over_trials(excess[:, -1], frame, level, least=-1.0, most=1.0).method}"
    return intervals.Interval(
        first_below_zero("low"), first_below_zero("high"), level, method, "trial"
    )


@dataclasses.dataclass(frozen=True)
class _InLayer(FaultModel):
    """Faults in one layer only. Names of `Select` could also stand for the layers in it."""

    fault: FaultModel
    layer: str

    def placed(self, groups: Sequence[Any]) -> list[Any]:
        own = [group for group in groups if group.layer == self.layer]
        return self.fault.within(own).placed(own)


def layer_vulnerability(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target: str,
    rate: float,
    trials: int,
    seed: int,
    level: float | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Faults in one layer at a time, and in the whole model.

    Uniform faults over all weights mostly hit the largest layer. At an equal rate within the layer,
    a small one can be more vulnerable. `level` is the intervals' coverage, by default `confidence`;
    other arguments, and `options`, are those of `sweep`, but with one rate and target "weights" or
    "units". Intervals are those of `summarize`.

    Returns:
        Columns layer ("whole model" first), sites, faults, clean_accuracy, accuracy, drop (mean
        of accuracy_lost, see `measures`), low, high (of the accuracy); layers in order.

    Raises:
        ArgumentError, ModelError: as `sweep`.
    """
    check_choice(("weights", "units"), target=target)
    if level is not None:
        check_probability(level=level)
    shared = {"target": target, "rates": [rate], "trials": trials, "seed": seed}
    whole = options.pop("select", None)
    kept = {name: options[name] for name in ("fault", "allocation") if name in options}
    plan = make_plan(model, target=target, select=whole, **kept)
    names: Sequence[str | None] = [None, *dict.fromkeys(group.layer for group in plan.groups)]
    rows = []
    for name in names:
        groups = [group for group in plan.groups if name in (None, group.layer)]
        options["fault"] = plan.fault if name is None else _InLayer(plan.fault, name)
        frame = sweep(model, x, y, select=whole, **shared, **options)
        settings = interval_settings(frame, level=level)
        interval = interval_of(rate, frame["accuracy"].tolist(), **settings)
        rows.append(
            {
                "layer": name or "whole model",
                "sites": sum(group.sites for group in groups),
                "faults": float(frame["faults"].mean()),
                "clean_accuracy": frame.attrs["clean_accuracy"],
                "accuracy": float(frame["accuracy"].mean()),
                "drop": float(frame["accuracy_lost"].mean()),
                "low": interval.low,
                "high": interval.high,
            }
        )
    return pd.DataFrame(rows)
