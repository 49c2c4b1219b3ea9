"""First-order prediction of a fault's effect, beside what trials measure."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import check_columns, check_fraction, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.examples import check_inputs
from ft_tf.faults import forward
from ft_tf.faults.guard import guarded
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultPlan, make_plan
from ft_tf.faults.program import TrialProgram
from ft_tf.faults.rows import distinct_rates
from ft_tf.faults.sites import Select
from ft_tf.models import check_input_shape


@dataclasses.dataclass(frozen=True, eq=False)
class FirstOrder:
    """What small rates do to each logit, to first order in the rate.

    A fault at site i changes its value by delta_i (stuck at 0: minus the value) and the logit z by
    about d_i = delta_i dz/dv_i. With n sites, S = sum d_i and Q = sum d_i^2,

        E[z' - z] = p S,
        Var[z'] = p (1 - p) Q                                   each site on its own,
        Var[z'] = p (1 - p) n / (n - 1) (Q - S^2 / n)           exactly p n of them.

    Of a linear layer both are exact; in general terms of order p^2 are left out.

    Attributes:
        shift: S, float64 [images, classes].
        squares: Q, float64 [images, classes].
        sites: n.
        allocation: "model" or "bernoulli".
    """

    shift: np.ndarray
    squares: np.ndarray
    sites: int
    allocation: str

    def mean_change(self, rate: float) -> np.ndarray:
        """Expected change of each logit, float64 [images, classes]."""
        check_fraction(rate=rate)
        return rate * self.shift

    def variance(self, rate: float) -> np.ndarray:
        """Variance of each logit over fault masks, float64 [images, classes]."""
        check_fraction(rate=rate)
        if self.allocation == "bernoulli":
            return rate * (1 - rate) * self.squares
        spread = np.maximum(self.squares - self.shift**2 / self.sites, 0.0)
        return rate * (1 - rate) * self.sites / max(1, self.sites - 1) * spread


def first_order(
    model: keras.Model,
    x: np.ndarray,
    *,
    target: str,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
) -> FirstOrder:
    """Sums of weight times gradient (or activation times gradient) for every logit of every image.

    It takes one backward pass per image and class: a few dozen images are meant.

    Arguments are those of `sweep`: target "weights" or "units", a fault model without randomness,
    allocation "model" or "bernoulli".

    Raises:
        ArgumentError: the fault is random, or target or allocation has no such formula.
        ModelError: something asked for cannot be faulted.
    """
    x = check_inputs(x, model=model)
    check_input_shape(model, x)
    options = {"fault": fault, "allocation": allocation, "select": select}
    plan = _predictable_plan(model, target=target, **options)
    one_image = _gradient_sums(model, plan)
    sums = [one_image(tf.convert_to_tensor(x[i : i + 1])) for i in range(len(x))]
    return FirstOrder(
        shift=np.stack([shift.numpy() for shift, _ in sums]),
        squares=np.stack([squares.numpy() for _, squares in sums]),
        sites=plan.sites,
        allocation=allocation,
    )


def compare_with_trials(
    model: keras.Model,
    x: np.ndarray,
    *,
    target: str,
    rates: Sequence[float],
    trials: int,
    seed: int,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
) -> pd.DataFrame:
    """The first-order prediction next to Monte Carlo, at each rate.

    `rates` are positive, `trials` (at each rate) at least 2, and `seed` fixes the faults. Other
    arguments are those of `first_order`.

    Returns:
        Columns rate; predicted, measured, noise, distance and allowed of "mean" and of "sd", as
        mean_predicted; holds. Each is a root mean square over images and logits: of the mean
        change, of the standard deviation over masks. Noise is the standard error of the measured
        one; the mean's distance is that of the mean changes, logit by logit, and so may be more
        than their sizes differ by. `holds`: both distances are within what is allowed, tolerance *
        measured + 2 noise: the trials do not refute it. `attrs` has the tolerance, 0.2. A few
        faults hit weights that do next to nothing or a lot, so that trials show the spread poorly
        at tiny rates.
    """
    check_positive_integer(trials=trials)
    if trials < 2:
        raise ArgumentError(f"trials={trials} must be at least 2 to see a spread")
    options = {"target": target, "fault": fault, "allocation": allocation, "select": select}
    plan = _predictable_plan(model, **options)
    x = check_inputs(x, model=model)
    predicted = first_order(model, x, **options)
    sums = {rate: [0.0, 0.0] for rate in distinct_rates(rates)}
    sizes: dict[float, list[float]] = {rate: [] for rate in sums}
    with contextlib.ExitStack() as stack:
        stack.enter_context(guarded(model))
        program = TrialProgram(model, plan, x, batch_size=len(x), cache_bytes=1 << 30)
        stack.enter_context(program.weights.restored_after())
        clean = program(plan.trial(seed=seed, trial=0).masks(0.0)).astype(np.float64)
        for number in range(trials):
            trial = plan.trial(seed=seed, trial=number)
            for rate, pair in sums.items():
                change = program(trial.masks(rate)) - clean
                pair[0], pair[1] = pair[0] + change, pair[1] + change**2
                sizes[rate].append(float(np.mean(change**2)))
    rows = [
        _comparison(predicted, rate, total / trials, squares / trials, sizes[rate])
        for rate, (total, squares) in sums.items()
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["tolerance"] = _TOLERANCE
    return frame


def prediction_rates(model: keras.Model, rates: Sequence[float], **options: Any) -> list[float]:
    """The rates of a campaign, and small ones before them, at which there is a fault at all.

    `options` are target, fault, allocation and select, as for `compare_with_trials`.

    Raises:
        ArgumentError: nothing can be predicted for these.
    """
    plan = _predictable_plan(model, **options)
    wanted = {1e-5, 1e-4, 1e-3, 1e-2, 0.03, *distinct_rates(rates)}
    return sorted(rate for rate in wanted if rate * plan.sites >= 1)


def holds_up_to(comparison: pd.DataFrame) -> float | None:
    """The highest rate up to which the prediction holds at every measured rate; None if at none."""
    check_columns(("rate", "holds"), comparison=comparison)
    ordered = comparison.sort_values("rate")
    held = ordered["rate"][ordered["holds"].cummin()]
    return float(held.max()) if len(held) else None


_TOLERANCE = 0.2  # relative error up to which the prediction holds
_PARTS = ("predicted", "measured", "noise", "distance")


def _comparison(
    predicted: FirstOrder,
    rate: float,
    mean: np.ndarray,
    mean_square: np.ndarray,
    sizes: list[float],
) -> dict[str, Any]:
    """A row of the comparison; `sizes` are the mean squared changes of each trial."""
    trials = len(sizes)

    def size(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean(values**2)))

    variance = np.maximum(mean_square - mean**2, 0.0) * trials / (trials - 1)
    expected, spread = predicted.mean_change(rate), size(np.sqrt(predicted.variance(rate)))
    measured = size(np.sqrt(variance))
    # d sd = d variance / (2 sd), and the trials' own squares show how well the variance is known.
    error = float(np.std(sizes, ddof=1) / np.sqrt(trials))
    noise = error / (2 * measured) if measured > 0 else 0.0
    figures = {
        "mean": (
            size(expected),
            size(mean),
            size(np.sqrt(variance / trials)),
            size(expected - mean),
        ),
        "sd": (spread, measured, noise, abs(spread - measured)),
    }
    row, holds = {"rate": rate}, True
    for name, values in figures.items():
        row |= zip([f"{name}_{part}" for part in _PARTS], values, strict=True)
        row[f"{name}_allowed"] = _TOLERANCE * values[1] + 2 * values[2]
        holds = holds and row[f"{name}_distance"] <= row[f"{name}_allowed"]
    return {**row, "holds": holds}


def _predictable_plan(model: keras.Model, *, target: str, **options: Any) -> FaultPlan:
    require_keras_model(model)
    plan = make_plan(model, target=target, **options)
    if plan.parts:
        names = ", ".join(part.name for part in plan.parts)
        raise ArgumentError(f"layers={names}: the prediction is for whole layers' outputs")
    if target == "both" or plan.allocation == "layer":
        raise ArgumentError(
            f"target={target!r}, allocation={plan.allocation!r}: the prediction is for one "
            "population"
        )
    for group in plan.groups_of("weights"):
        if not tf.as_dtype(group.variable.dtype).is_floating:
            raise ArgumentError(
                f"model={model.name!r} stores {group.name} as {group.variable.dtype}: integers "
                "have no first-order effect"
            )
    if plan.random or any(
        g.fault.sites_per_value > 1 or g.fault.together(g.shape) > 1 for g in plan.groups
    ):
        raise ArgumentError(f"fault={plan.fault!r} is random: its first-order effect is not given")
    return plan


def _gradient_sums(model: keras.Model, plan: FaultPlan) -> Any:
    """Compiled function of one image [1, ...] to (S, Q), float64 [classes] each."""
    variables = [group.variable.value for group in plan.groups_of("weights")]

    @tf.function(autograph=False)
    def sums(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        watched: dict[tuple[int, int], tf.Tensor] = {}
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(variables)

            def watch(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
                if any(group.holds(layer, index) for group in plan.groups_of("units")):
                    outputs = tf.identity(outputs)
                    tape.watch(outputs)
                    watched[id(layer), index] = outputs
                return outputs

            with forward.hooked(model, watch):
                logits = tf.unstack(forward.infer_logits(model, x)[0])
        sources = [
            [group.variable.value]
            if group.variable is not None
            else [watched[id(layer), index] for layer, index in group.points]
            for group in plan.groups
        ]
        values = tf.nest.map_structure(tf.convert_to_tensor, sources)
        totals = []
        for logit in logits:
            gradients = tape.gradient(logit, sources, unconnected_gradients="zero")
            effects = [
                _effects(group.fault, group.shape, tensors, parts)
                for group, tensors, parts in zip(plan.groups, values, gradients, strict=True)
            ]
            flat = tf.concat([tf.reshape(e, [-1]) for e in effects], 0)
            totals.append((tf.reduce_sum(flat), tf.reduce_sum(flat**2)))
        return tf.stack([t[0] for t in totals]), tf.stack([t[1] for t in totals])

    return sums


def _effects(
    fault: FaultModel, shape: tuple[int, ...], values: list[tf.Tensor], gradients: list[tf.Tensor]
) -> tf.Tensor:
    """d_i of one group: change times gradient, summed over what a site stands for."""
    singles = [axis for axis, length in enumerate(shape) if length == 1]
    total = tf.zeros(shape, tf.float64)
    for value, gradient in zip(values, gradients, strict=True):
        sites = tf.ones_like(value, tf.bool)
        change = fault.apply(value, sites) - fault.apply(value, ~sites)  # as the memory holds it
        effect = tf.cast(change, tf.float64) * tf.cast(tf.convert_to_tensor(gradient), tf.float64)
        effect = tf.reduce_sum(effect, list(range(effect.shape.rank - len(shape))))
        total += tf.reduce_sum(effect, singles, keepdims=True)
    return total
