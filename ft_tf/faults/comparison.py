"""Two models under faults, trial by trial: which one keeps more of its accuracy?"""

from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.checks import check_probability
from ft_tf.faults.campaign import sweep
from ft_tf.faults.models import FaultModel
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

    Models of one shape get the same faulty sites in each trial, so that what a set of sites does to
    both cancels: the interval is that of the mean over trials of accuracy(first) -
    accuracy(second). Models of different shapes have no sites in common; their trials are
    independent (Welch).

    The intervals speak of further fault sets in these two models on these images. They say nothing
    about other training seeds: one model of each kind does not tell which kind is better.

    Args:
        first: a built Keras 2 classifier that gives logits.
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
        A row per rate: target, rate, trials, faults_first, faults_second, accuracy_first,
        accuracy_second, difference, low, high, level, method, unit, same_sites.

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
    same_sites = shapes[0] == shapes[1]
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
    rows = []
    for rate in sorted(set(frames[0]["rate"])):
        one, other = (frame[frame["rate"] == rate].set_index("trial") for frame in frames)
        difference = one["accuracy"] - other["accuracy"]
        if same_sites:
            interval = intervals.mean(difference, level=level, unit="trial")
        else:
            interval = intervals.welch(
                one["accuracy"], other["accuracy"], level=level, unit="trial"
            )
        rows.append(
            {
                "target": target,
                "rate": rate,
                "trials": len(difference),
                "faults_first": float(one["faults"].mean()),
                "faults_second": float(other["faults"].mean()),
                "accuracy_first": float(one["accuracy"].mean()),
                "accuracy_second": float(other["accuracy"].mean()),
                "difference": float(difference.mean()),
                "low": interval.low,
                "high": interval.high,
                "level": level,
                "method": f"{interval.method}{', of paired trials' if same_sites else ''}",
                "unit": interval.unit,
                "same_sites": same_sites,
            }
        )
    return pd.DataFrame(rows)
