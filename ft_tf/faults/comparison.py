"""Two models under faults, trial by trial: which one keeps more of its accuracy?"""

import itertools
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.checks import check_probability
from ft_tf.faults.campaign import sweep
from ft_tf.faults.models import FaultModel
from ft_tf.faults.pairs import paired_difference
from ft_tf.faults.plan import make_plan
from ft_tf.faults.sites import Select


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
    (`paired_difference`). Models of different shapes have no sites in common: their trials are
    independent (Welch).

    The intervals speak of further fault sets in these two models on these images. They say nothing
    about other training seeds: one model of each kind does not tell which kind is better.

    Args:
        first: a built Keras classifier that gives logits.
        second: another one, for the same images.
        x: inputs [n, ...], as for `sweep`.
        y: labels int [n].
        target: "weights", "units" or "both".
        rates: shares of faulty sites, in [0, 1].
        trials: fault sets per rate.
        seed: fixes the fault sets.
        fault: what a faulty value becomes; stuck at 0 by default.
        allocation: "model", "layer" or "bernoulli".
        select: which part of the models.
        images_per_trial: evaluate each trial on a random subset of that many images, the same for
            both models.
        batch_size: images evaluated at once.
        level: nominal coverage.

    Returns:
        A row per rate: target, rate, trials, accuracy_first, accuracy_second, faults_first,
        faults_second, difference, low, high, level, method, unit, same_sites. The difference is
        accuracy_first - accuracy_second, low and high are its interval.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted.
    """
    check_probability(level=level)
    plans = {"target": target, "fault": fault, "allocation": allocation, "select": select}
    shapes = [
        [(group.target, group.shape) for group in make_plan(model, **plans).groups]
        for model in (first, second)
    ]
    frames = [
        sweep(
            model,
            x,
            y,
            rates=rates,
            trials=trials,
            seed=seed,
            images_per_trial=images_per_trial,
            batch_size=batch_size,
            **plans,
        )
        for model in (first, second)
    ]
    same_sites = shapes[0] == shapes[1]
    difference = paired_difference if same_sites else _unpaired_difference
    table = difference(*frames, level=level).assign(same_sites=same_sites)
    means = [frame.groupby("rate")[["accuracy", "faults"]].mean() for frame in frames]
    for place, (column, number) in enumerate(itertools.product(("accuracy", "faults"), (0, 1))):
        name = f"{column}_{('first', 'second')[number]}"
        table.insert(3 + place, name, means[number][column].to_numpy())
    return table


def _unpaired_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, level: float
) -> pd.DataFrame:
    """As `paired_difference`, of campaigns whose trials have nothing in common."""
    rows = []
    for (target, rate), group in first.groupby(["target", "rate"], sort=True):
        other = second[second["rate"] == rate]
        interval = intervals.welch(
            group["accuracy"], other["accuracy"], level=level, unit="independent trial"
        )
        rows.append(
            {
                "target": target,
                "rate": rate,
                "trials": len(group),
                "difference": float(group["accuracy"].mean() - other["accuracy"].mean()),
                "low": interval.low,
                "high": interval.high,
                "level": level,
                "method": interval.method,
                "unit": interval.unit,
            }
        )
    return pd.DataFrame(rows)
