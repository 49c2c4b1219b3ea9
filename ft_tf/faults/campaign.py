"""Fault campaigns: seeded trials at several rates, as a tidy table."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import metrics
from ft_tf._compat import keras
from ft_tf.checks import check_fraction, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultMasks, FaultPlan, make_plan
from ft_tf.faults.program import TrialProgram
from ft_tf.faults.sites import Select

COLUMNS = ("target", "rate", "trial", "seed", "faults", "accuracy")


def sweep(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target: str,
    rates: Sequence[float],
    trials: int | Iterable[int],
    seed: int,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
    batch_size: int = 500,
    cache_bytes: int = 1 << 30,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> pd.DataFrame:
    """Accuracy of a faulty model, a row per rate and trial.

    Args:
        model: any built Keras 2 classifier that gives logits; its weights come back to the byte.
        x: inputs [n, ...], or a structure of such arrays for a model with several inputs.
        y: labels int [n].
        target: "weights", "units" or "both".
        rates: shares of faulty sites, in [0, 1].
        trials: how many trials, or their numbers: a part of a campaign equals that part of the
            whole.
        seed: fixes the faults of every trial.
        fault: what a faulty value becomes; stuck at 0 by default.
        allocation: "model", "layer" or "bernoulli"; see `FaultPlan`.
        select: which part of the model.
        batch_size: images evaluated at once; results can differ in the last bits between sizes.
        cache_bytes: memory that activations before the first fault may take.
        progress: called with every finished row.

    Returns:
        Columns target, rate, trial, seed, faults, accuracy, and what `measures` adds; sorted by
        rate and trial.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted.
    """
    check_positive_integer(batch_size=batch_size)
    for rate in rates:
        check_fraction(rate=rate)
    numbers = _trial_numbers(trials)
    if len(x) != len(y):
        raise ArgumentError(f"len(y)={len(y)} must be len(x)={len(x)}")
    plan = make_plan(model, target=target, fault=fault, allocation=allocation, select=select)
    program = TrialProgram(model, plan, x, batch_size=batch_size, cache_bytes=cache_bytes)
    rows = []
    with program.weights.restored_after():
        for trial, rate, masks in _drawn_ahead(plan, seed, numbers, sorted(set(rates))):
            logits = program(masks)
            accuracy = metrics.accuracy_from_logits(logits, y)
            values = (target, rate, trial, seed, masks.count, accuracy)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
            if progress is not None:
                progress(rows[-1])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values(["rate", "trial"], ignore_index=True)


def _trial_numbers(trials: int | Iterable[int]) -> list[int]:
    if isinstance(trials, Iterable):
        numbers = list(trials)
        if len(set(numbers)) != len(numbers):
            raise ArgumentError(f"trials={numbers} must not repeat a number")
        return numbers
    check_positive_integer(trials=trials)
    return list(range(trials))


def _drawn_ahead(
    plan: FaultPlan, seed: int, trials: list[int], rates: list[float]
) -> Iterable[tuple[int, float, FaultMasks]]:
    """Draws the next masks in a second thread while the caller evaluates the last ones."""

    def masks() -> Iterable[tuple[int, float, FaultMasks]]:
        for number in trials:
            trial = plan.trial(seed=seed, trial=number)
            for rate in rates:
                yield number, rate, trial.masks(rate)

    drawn = iter(masks())
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, drawn, None)
        while (current := ahead.result()) is not None:
            ahead = thread.submit(next, drawn, None)
            yield current
