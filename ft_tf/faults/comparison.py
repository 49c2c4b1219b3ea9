"""Two models under faults, trial by trial: which one keeps more of its accuracy?"""

from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.checks import check_columns, check_probability
from ft_tf.errors import ArgumentError
from ft_tf.faults.campaign import sweep
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import make_plan
from ft_tf.faults.rows import interval_of, interval_settings
from ft_tf.faults.sites import Select
from ft_tf.models import check_built


def same_shape(first: keras.Model, second: keras.Model) -> bool:
    """Whether two models have parameters of the same shapes.

    Then they have the same sites, unless a fault takes words as stored and theirs differ in bits.
    """
    check_built(first)
    check_built(second)
    return [v.shape for v in first.weights] == [v.shape for v in second.weights]


def compare(
    first: keras.Model,
    second: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target: str,
    rates: list[float],
    trials: int,
    seed: int,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
    images_per_trial: int | None = None,
    batch_size: int = 1000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Faults both models and says by how much their accuracies differ at each rate.

    Models of one shape get the same faulty sites in each trial and are compared trial by trial
    (`paired_difference`). Models of different shapes, or whose words have different numbers of bits
    ("as_stored"), have no sites in common: their trials are independent (Welch). `level` is the
    intervals' coverage, other arguments are those of `sweep`.

    The intervals speak of further fault sets in these two models on these images. They say nothing
    about other training seeds: one model of each kind does not tell which kind is better.

    Returns:
        A row per rate: target, rate, trials, accuracy_first, accuracy_second, faults_first,
        faults_second, difference, low, high, level, method, unit, same_sites. The difference is
        accuracy_first - accuracy_second, low and high are its interval.

    Raises:
        ArgumentError, ModelError: as `sweep`.
    """
    check_probability(level=level)
    plan = {"target": target, "fault": fault, "allocation": allocation, "select": select}
    options = {"rates": rates, "trials": trials, "seed": seed, **plan}
    options |= {"images_per_trial": images_per_trial, "batch_size": batch_size}
    sites = [
        [(group.target, group.shape, group.sites) for group in make_plan(model, **plan).groups]
        for model in (first, second)
    ]
    frames = [sweep(model, x, y, **options) for model in (first, second)]
    same_sites = sites[0] == sites[1]
    difference = paired_difference if same_sites else _unpaired_difference
    table = difference(*frames, level=level).assign(same_sites=same_sites)
    for column in ("faults", "accuracy"):
        for name, frame in (("second", frames[1]), ("first", frames[0])):
            table.insert(3, f"{column}_{name}", frame.groupby("rate")[column].mean().to_numpy())
    return table


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float | None = None
) -> pd.DataFrame:
    """Accuracy of `first` minus that of `second` at each rate, over the trials of both.

    The same trial hits the same sites of models of one shape, so what a set of sites does to both
    cancels. Where a stop rule has ended the campaigns the intervals are of its kind: with
    "stein" the number of trials depends on the pilots' variances alone, and the scale is that of
    the pilot's differences; with "anytime" the differences are bet on.

    Args:
        first: rows of `sweep`.
        second: rows of `sweep` with the same target and seed, on a model with the same sites.
        level: nominal coverage; by default the confidence of the stop rule, or 0.95.

    Returns:
        Columns target, rate, trials, difference, low, high, level, method, unit.

    Raises:
        ArgumentError: a trial of one has other faults than that of the other, or none is common.

    >>> row = {"target": "units", "rate": 0.5, "seed": 0, "faults": 9}
    >>> one = pd.DataFrame([{**row, "trial": t, "accuracy": 0.9 - t / 8} for t in (0, 1)])
    >>> table = paired_difference(one, one.assign(accuracy=one["accuracy"] - 0.1))
    >>> round(float(table["difference"][0]), 4), round(float(table["high"][0]), 4)
    (0.1, 0.1)
    """
    keys = ["target", "rate", "trial", "seed"]
    check_columns((*keys, "faults", "accuracy"), first=first, second=second)
    both = first.merge(second, on=keys, suffixes=("", "_second"), sort=True)
    if both.empty:
        raise ArgumentError("the campaigns have no trial in common: give the same target and seed")
    if (both["faults"] != both["faults_second"]).any():
        raise ArgumentError(
            "the campaigns have other faults: their models have not the same sites (shapes of "
            "parameters and bits of words); use compare"
        )
    rule, other = (frame.attrs.get("stop_rule") or {} for frame in (first, second))
    if rule != other:
        raise ArgumentError(f"stop_rule={rule} and {other} must be the same")
    settings = interval_settings(first, level=level)
    rows = []
    for where, group in both.groupby(["target", "rate"], sort=True):
        differences = (group["accuracy"] - group["accuracy_second"]).tolist()
        interval = interval_of(where[1], differences, least=-1.0, **settings)
        mean = sum(differences) / len(differences)
        rows.append(_row(where, len(group), mean, interval, "pair of trials"))
    return pd.DataFrame(rows)


def _unpaired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float
) -> pd.DataFrame:
    """As `paired_difference`, of campaigns whose trials have nothing in common."""
    rows = []
    for where, group in first.groupby(["target", "rate"], sort=True):
        pair = group["accuracy"], second["accuracy"][second["rate"] == where[1]]
        interval = intervals.welch(*pair, level=level, unit="independent trial")
        mean = float(pair[0].mean() - pair[1].mean())
        rows.append(_row(where, len(group), mean, interval, interval.unit))
    return pd.DataFrame(rows)


def _row(
    where: tuple[str, float], trials: int, mean: float, found: intervals.Interval, unit: str
) -> dict[str, Any]:
    row = {"target": where[0], "rate": where[1], "trials": trials, "difference": mean}
    ends = {"low": found.low, "high": found.high, "level": found.level}
    return {**row, **ends, "method": found.method, "unit": unit}
