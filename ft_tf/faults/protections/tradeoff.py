"""What protections cost and what they keep, in one table."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.faults.arming import WeightFaults
from ft_tf.faults.campaign import sweep
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.pairs import paired_difference
from ft_tf.faults.plan import Draws, FaultPlan, make_plan
from ft_tf.faults.protections.base import Protection, protection_names, protection_of
from ft_tf.faults.protections.memory import bits_of
from ft_tf.faults.sites import Select
from ft_tf.faults.summary import summarize

NONE = "none"
_ROUNDS = 5


def compare_protections(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    rates: Sequence[float],
    trials: int | Iterable[int],
    seed: int,
    fault: FaultModel | None = None,
    protections: Sequence[str | Protection] | None = None,
    x_train: Any = None,
    select: Select | None = None,
    batch_size: int = 1000,
    level: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Measures protections under the same faults in the weights, and what each of them costs.

    Args:
        model: a functional or Sequential classifier.
        x: test inputs.
        y: labels int [n].
        rates: shares of faulty sites.
        trials: fault sets per rate.
        seed: fixes the fault sets, the same for all protections before these act.
        fault: what a faulty value becomes; stuck at 0 by default.
        protections: names or protections; all registered ones by default.
        x_train: inputs that ranges are recorded on.
        select: which weights.
        batch_size: images evaluated at once.
        level: nominal coverage.
        options: further arguments of `sweep`.

    Returns:
        A row per protection ("none" first) and rate: protection, rate, memory (bits that it adds,
        in percent of the bits of the selected weights), arithmetic (what it adds to an inference),
        time_ratio, clean_accuracy, trials, faults, accuracy, low, high (interval of the accuracy
        over trials), lost (mean accuracy lost against its own clean accuracy), recovered (share of
        the accuracy that the unprotected model loses; NaN where that loses none), gained,
        gained_low, gained_high (accuracy minus the unprotected model's, trial by trial).

        time_ratio is the time of a pass over x on this machine, over that of the unprotected
        model: for a protection of the memory with its weights decoded once before the pass, in
        software. In hardware decoding takes next to no time.

    Raises:
        ArgumentError: a protection is not known or cannot be applied.
        ModelError: the model cannot be copied.
    """
    fault = StuckAt(0.0) if fault is None else fault
    names = protection_names() if protections is None else protections
    if isinstance(names, str):
        raise ArgumentError(f"protections={names!r} must be a list")
    chosen = [Protection(), *map(protection_of, names)]
    labels = [NONE, *(name if isinstance(name, str) else repr(name) for name in names)]
    faults = [protection.on_fault(fault) for protection in chosen]
    for faulty in faults:
        faulty.check_target("weights")
    models = [protection.on_model(model, x_train) for protection in chosen]
    plans = [
        make_plan(protected, target="weights", fault=faulty, select=select)
        for protected, faulty in zip(models, faults, strict=True)
    ]
    times = _times(models, plans, x, batch_size)
    first, tables = None, []
    for place, label in enumerate(labels):
        frame = sweep(
            models[place], x, y, target="weights", rates=rates, trials=trials, seed=seed,
            fault=faults[place], select=select, batch_size=batch_size, level=level, **options,
        )  # fmt: skip
        first = frame if first is None else first
        table = summarize(frame, level=level).rename(columns={"accuracy_lost": "lost"})
        table.insert(0, "protection", label)
        extra = chosen[place].extra_bits(models[place], plans[place]) if place else 0
        table["memory"] = 100 * extra / _weight_bits(plans[0])
        table["arithmetic"] = chosen[place].arithmetic
        table["time_ratio"] = times[place] / times[0]
        table["clean_accuracy"] = frame.attrs["clean_accuracy"]
        gained = paired_difference(frame, first, level=level)
        table["gained"] = gained["difference"]
        table["gained_low"], table["gained_high"] = gained["low"], gained["high"]
        unprotected = tables[0]["lost"] if tables else table["lost"]
        table["recovered"] = (1 - table["lost"] / unprotected).where(unprotected > 0)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)[list(_COLUMNS)]


_COLUMNS = (
    "protection", "rate", "memory", "arithmetic", "time_ratio", "clean_accuracy", "trials",
    "faults", "accuracy", "low", "high", "lost", "recovered", "gained", "gained_low", "gained_high",
)  # fmt: skip


def _weight_bits(plan: FaultPlan) -> int:
    return sum(group.size * bits_of(plan.fault, group.variable.dtype) for group in plan.groups)


def _times(
    models: list[keras.Model], plans: list[FaultPlan], x: Any, batch_size: int
) -> np.ndarray:
    """Seconds of a pass, weights decoded before; medians of rounds taken in turn."""
    reads = [_reading(model, plan) for model, plan in zip(models, plans, strict=True)]
    passes = [
        lambda model=model: metrics.predict_logits(model, x, batch_size=batch_size)
        for model in models
    ]
    for task in (*reads, *passes):
        task()  # compiles
    seconds = np.array([[_seconds(task) for task in (*reads, *passes)] for _ in range(_ROUNDS)])
    read, forward = np.split(np.median(seconds, axis=0), 2)
    return forward + np.maximum(read - read[0], 0.0)  # read[0]: simulating faults alone


def _seconds(task: Callable[[], Any]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _reading(model: keras.Model, plan: FaultPlan) -> Callable[[], Any]:
    """Reads all weights under a plan without a fault."""
    weights = WeightFaults(model, plan, ())
    draws = Draws.tensors(plan.trial(seed=0, trial=0).masks(0.0))

    @tf.function(autograph=False)
    def read(faulty: dict[str, tf.Tensor], words: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        return weights.values(Draws(faulty, words))

    return lambda: read(draws.faulty, draws.words)
