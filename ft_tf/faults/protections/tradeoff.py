"""What protections cost and what they keep, in one table."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import metrics
from ft_tf._compat import keras, tf
from ft_tf.checks import check_type, shown
from ft_tf.errors import ArgumentError
from ft_tf.faults.arming import WeightFaults
from ft_tf.faults.campaign import sweep
from ft_tf.faults.comparison import paired_difference
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.plan import FaultPlan, make_plan
from ft_tf.faults.protections.base import Protection, protection_names, protection_of
from ft_tf.faults.protections.memory import format_in
from ft_tf.faults.sites import Select
from ft_tf.faults.summary import summarize
from ft_tf.models import check_built

NONE = "none"
_ROUNDS = 5


def compare_protections(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    protections: Sequence[str | Protection] | None = None,
    fault: FaultModel | None = None,
    select: Select | None = None,
    x_train: Any = None,
    batch_size: int = 1000,
    **options: Any,
) -> pd.DataFrame:
    """Measures protections under the same faults in the weights, and what each of them costs.

    `protections` are names or protections, all registered ones by default, of a functional or
    Sequential classifier, and ranges are recorded on `x_train`. Other arguments, `options` among
    them, are those of `sweep`.

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
    check_built(model)
    fault = StuckAt(0.0) if fault is None else fault
    names = protection_names() if protections is None else protections
    if not isinstance(names, list | tuple):
        raise ArgumentError(f"protections={shown(names)} must be a list of names or protections")
    check_type(FaultModel, fault=fault)
    chosen = [Protection(), *map(protection_of, names)]
    labels = [NONE, *(name if isinstance(name, str) else repr(name) for name in names)]
    faults = [protection.on_fault(fault) for protection in chosen]
    for faulty in faults:
        faulty.check_target("weights")
    models = [protection.on_model(model, x_train) for protection in chosen]
    settings = {"target": "weights", "select": select}
    plans = [make_plan(m, fault=f, **settings) for m, f in zip(models, faults, strict=True)]
    seconds = _seconds(models, plans, x, batch_size)
    bits = sum(g.size * format_in(g.fault, g.dtype).bits for g in plans[0].groups)
    tables, frames = [], []
    for label, protection, protected, plan, time_ratio in zip(
        labels, chosen, models, plans, seconds / seconds[0], strict=True
    ):
        frame = sweep(
            protected, x, y, fault=plan.fault, batch_size=batch_size, **settings, **options
        )
        frames.append(frame)
        table = summarize(frame).rename(columns={"accuracy_lost": "lost"})
        gained = paired_difference(frame, frames[0])
        unprotected = tables[0]["lost"] if tables else table["lost"]
        tables.append(
            table.assign(
                protection=label,
                memory=100 * protection.extra_bits(protected, plan) / bits,
                arithmetic=protection.arithmetic,
                time_ratio=time_ratio,
                clean_accuracy=frame.attrs["clean_accuracy"],
                gained=gained["difference"],
                gained_low=gained["low"],
                gained_high=gained["high"],
                recovered=(1 - table["lost"] / unprotected).where(unprotected > 0),
            )
        )
    return pd.concat(tables, ignore_index=True)[list(_COLUMNS)]


_COLUMNS = (
    "protection", "rate", "memory", "arithmetic", "time_ratio", "clean_accuracy", "trials",
    "faults", "accuracy", "low", "high", "lost", "recovered", "gained", "gained_low", "gained_high",
)  # fmt: skip


def _seconds(
    models: list[keras.Model], plans: list[FaultPlan], x: Any, batch_size: int
) -> np.ndarray:
    """Seconds of a pass, weights decoded before it; medians of rounds taken in turn."""
    reads = [_reading(model, plan) for model, plan in zip(models, plans, strict=True)]
    passes = [partial(metrics.predict_logits, model, x, batch_size=batch_size) for model in models]
    times: list[list[float]] = []
    for _ in range(1 + _ROUNDS):
        times.append([])
        for task in (*reads, *passes):
            start = time.perf_counter()
            task()
            times[-1].append(time.perf_counter() - start)
    read, forward = np.split(np.median(times[1:], axis=0), 2)  # the first round compiles
    return forward + np.maximum(read - read[0], 0.0)  # read[0]: simulating faults alone


def _reading(model: keras.Model, plan: FaultPlan) -> Callable[[], Any]:
    """Reads all weights under a plan without a fault."""
    weights = WeightFaults(model, plan, ())
    masks = plan.trial(seed=0, trial=0).masks(0.0)
    read = tf.function(weights.values, autograph=False)
    return partial(read, *tf.nest.map_structure(tf.constant, (masks.faulty, masks.words)))
