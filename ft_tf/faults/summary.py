"""What a campaign says: a row of figures per fault rate, and headline figures of the curve."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.checks import check_choice, check_fraction, check_probability
from ft_tf.errors import ArgumentError
from ft_tf.faults.campaign import sweep
from ft_tf.faults.measures import COLUMNS as MEASURES
from ft_tf.faults.plan import make_plan
from ft_tf.faults.sites import Select

METHODS = ("student", "band", "anytime")


def summarize(
    frame: pd.DataFrame, *, level: float = 0.95, method: str = "student", half_width: float = 0.005
) -> pd.DataFrame:
    """Mean accuracy per target and rate with an interval over trials, and means of all measures.

    The intervals speak of further fault masks in this one model on these images: they say nothing
    about another training seed (see `intervals.over_seeds`).

    Args:
        frame: rows of `sweep`, of one model.
        level: nominal coverage.
        method: "student": each rate for itself; "band": all rates of a target at once; "anytime":
            valid although a stop rule has looked (`sweep(half_width=...)`).
        half_width: what "anytime" was aimed at.

    Returns:
        Columns target, rate, trials, faults, accuracy, low, high, level, method, unit, and the
        mean of each further measure that the frame has.

    Raises:
        ArgumentError: the frame is empty or an argument is out of range.
    """
    check_probability(level=level)
    check_choice(METHODS, method=method)
    if frame.empty:
        raise ArgumentError("frame has no rows: nothing to summarize")
    rows = []
    for target, curve in frame.groupby("target", sort=True):
        table = accuracy_table(curve)
        found = _intervals(table.to_numpy(np.float64), level, method, half_width)
        for (rate, group), interval in zip(curve.groupby("rate", sort=True), found, strict=True):
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
                }
            )
    return pd.DataFrame(rows)


def accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of one target, a row per trial and a column per rate."""
    if frame["target"].nunique() != 1:
        raise ArgumentError(f"frame has targets {sorted(frame['target'].unique())}: give one")
    table = frame.pivot(index="trial", columns="rate", values="accuracy").sort_index()
    if table.isna().any(axis=None):
        raise ArgumentError("frame lacks some rates of some trials: give whole trials")
    return table


def _intervals(
    table: np.ndarray, level: float, method: str, half_width: float
) -> list[intervals.Interval]:
    if method == "band":
        return intervals.simultaneous(table, level=level, unit="trial")
    if method == "student":
        return [intervals.mean(column, level=level, unit="trial") for column in table.T]
    found = []
    for column in table.T:
        betting = intervals.BettingInterval(level=level, half_width=half_width)
        for value in column:
            betting.add(float(value))
        found.append(betting.interval)
    return found


@dataclasses.dataclass(frozen=True)
class CurveFigures:
    """Headline figures of one target's curve of accuracy against fault rate.

    Attributes:
        target: "weights", "units" or "both".
        rates: the two rates of the drop, (0.5, 0.9) as in the paper's Figure 3.
        levels: mean accuracy at these: a small drop may mean that the model was at chance before.
        drop: levels[0] - levels[1].
        drop_interval: of the drop, over trials, each trial paired with itself.
        chance: accuracy of guessing, 1 / classes.
        half_rate: lowest rate, interpolated, at which half of the accuracy above chance is gone
            from the mean curve; None if it is never gone.
        area: mean over rates from the lowest to the highest (trapezoid) of the accuracy above
            chance, as a share of that at the lowest rate; None where that is at chance.
        area_interval: of the area, over trials.
    """

    target: str
    rates: tuple[float, float]
    levels: tuple[float, float] | None
    drop: float | None
    drop_interval: intervals.Interval | None
    chance: float
    half_rate: float | None
    area: float | None
    area_interval: intervals.Interval | None


def curve_figures(
    frame: pd.DataFrame,
    *,
    classes: int,
    rates: tuple[float, float] = (0.5, 0.9),
    level: float = 0.95,
) -> CurveFigures:
    """Headline figures of a campaign with one target.

    Args:
        frame: rows of `sweep`, with the same trials at every rate; rate 0 among them.
        classes: number of classes, for the level of chance.
        rates: between which the drop is taken; left out if they were not measured.
        level: nominal coverage.

    Raises:
        ArgumentError: the frame has several targets, incomplete trials or no rate 0.
    """
    check_fraction(first_rate=rates[0], second_rate=rates[1])
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
        drop_interval = intervals.mean(first - second, level=level, unit="trial")
    clean = float(above[:, 0].mean())
    if clean > 0 and len(where) > 1:
        areas = (above[:, 1:] + above[:, :-1]) / 2 @ np.diff(where)
        areas = areas / (where[-1] - where[0]) / clean
        area = float(areas.mean())
        area_interval = intervals.mean(areas, level=level, unit="trial")
    return CurveFigures(
        target=str(frame["target"].iloc[0]),
        rates=rates,
        levels=levels,
        drop=None if levels is None else levels[0] - levels[1],
        drop_interval=drop_interval,
        chance=chance,
        half_rate=_first_crossing(where, above.mean(axis=0), clean / 2) if clean > 0 else None,
        area=area,
        area_interval=area_interval,
    )


def _first_crossing(where: np.ndarray, curve: np.ndarray, height: float) -> float | None:
    below = np.flatnonzero(curve <= height)
    if not len(below):
        return None
    right = below[0]
    share = (curve[right - 1] - height) / (curve[right - 1] - curve[right])
    return float(where[right - 1] + share * (where[right] - where[right - 1]))


def layer_vulnerability(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target: str,
    rate: float,
    trials: int,
    seed: int,
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Faults in one layer at a time, beside faults in the whole model.

    Uniform faults over all weights mostly test the largest layer: this says what each one does.

    Args:
        model: any built Keras 2 classifier that gives logits.
        x: inputs.
        y: labels.
        target: "weights" or "units".
        rate: share of faulty sites within the layer.
        trials: trials per layer.
        seed: fixes the faults.
        level: nominal coverage.
        options: further arguments of `sweep`, the same for all.

    Returns:
        Columns layer ("whole model" first), sites, faults, clean_accuracy, accuracy, drop, low,
        high (of the accuracy); layers in order.
    """
    check_choice(("weights", "units"), target=target)
    shared = {"target": target, "rates": [rate], "trials": trials, "seed": seed}
    whole = options.pop("select", None)
    kept = {name: options[name] for name in ("fault", "allocation") if name in options}
    plan = make_plan(model, target=target, select=whole, **kept)
    names: Sequence[str | None] = [None, *dict.fromkeys(group.layer for group in plan.groups)]
    rows = []
    for name in names:
        select = whole if name is None else _only(whole, name)
        frame = sweep(model, x, y, select=select, **shared, **options)
        interval = intervals.mean(frame["accuracy"], level=level, unit="trial")
        groups = [group for group in plan.groups if name in (None, group.layer)]
        rows.append(
            {
                "layer": name or "whole model",
                "sites": plan.fault.sites_per_value * sum(group.size for group in groups),
                "faults": float(frame["faults"].mean()),
                "clean_accuracy": frame.attrs["clean_accuracy"],
                "accuracy": float(frame["accuracy"].mean()),
                "drop": frame.attrs["clean_accuracy"] - float(frame["accuracy"].mean()),
                "low": interval.low,
                "high": interval.high,
            }
        )
    return pd.DataFrame(rows)


def _only(select: Select | None, layer: str) -> Select:
    return dataclasses.replace(select or Select(), layers=(layer,))
