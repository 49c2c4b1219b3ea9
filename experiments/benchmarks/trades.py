"""`benchmark trades`: the time of a TRADES step and of its parts, and of plain training.

All work on one batch of random images in memory.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks import timer
from experiments.benchmarks.operations import matmul_peak, operations_of
from ft_tf import architectures, checks
from ft_tf._compat import keras, tf
from ft_tf.training.bfloat16 import warn_if_slow
from ft_tf.training.natural import NaturalModel
from ft_tf.training.trades import TradesModel, mean_divergence

_EPSILON, _STEP_SIZE, _NUM_STEPS, _BETA = 0.031, 0.007, 10, 6.0
_RATE = 0.01
_FIT_STEPS = 16


@dataclasses.dataclass(frozen=True)
class _Part:
    """A piece of work that is timed.

    Attributes:
        name: as printed.
        run: does the work `per_run` times.
        in_step: times that a TRADES step does it; None for whole steps.
        operations: floating-point operations per example, of Dense and Conv2D layers.
        per_run: times that one call of `run` does it.
    """

    name: str
    run: Callable[[], Any]
    in_step: int | None
    operations: int
    per_run: int = 1


def _compiled(trainer: keras.Model) -> Any:
    trainer.compile(keras.optimizers.SGD(_RATE, momentum=0.9))
    trainer.optimizer.build(trainer.model.trainable_variables)
    return trainer


def _trades(architecture: str, precision: str) -> TradesModel:
    return _compiled(
        TradesModel(
            architectures.build(architecture, precision=precision),
            epsilon=_EPSILON,
            step_size=_STEP_SIZE,
            num_steps=_NUM_STEPS,
            beta=_BETA,
        )
    )


def _stepper(trainer: Any, x: tf.Tensor, y: tf.Tensor) -> Callable[[], Any]:
    @tf.function
    def step() -> tf.Tensor:
        return trainer.gradient_step(x, y, tf.cast(trainer.optimizer.iterations, tf.int64))

    return step


def _pieces(trainer: TradesModel, x: tf.Tensor, y: tf.Tensor) -> list[_Part]:
    """Returns the parts of a TRADES step, each compiled separately."""
    model = trainer.model
    variables = model.trainable_variables
    forward, training = operations_of(model)
    logits = tf.constant(model(x, training=False))
    points = tf.constant(trainer.attack(x, logits, tf.constant(0, tf.int64)))
    zeros = [tf.zeros_like(variable) for variable in variables]

    @tf.function
    def natural_pass() -> tf.Tensor:
        return model(x, training=True)

    @tf.function
    def attack() -> tf.Tensor:
        return trainer.attack(x, logits, tf.constant(0, tf.int64))

    @tf.function
    def outer_gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            natural = model(x, training=True)
            divergence = mean_divergence(natural, model(points, training=True))
            loss = trainer.penalized_loss(y, natural, [trainer.beta * divergence])
        return tape.gradient(loss, variables)

    @tf.function
    def update() -> None:
        trainer.optimizer.apply_gradients(zip(zeros, variables, strict=True))

    return [
        _Part("natural pass", natural_pass, 1, forward),
        _Part("attack step", attack, _NUM_STEPS, 2 * forward, per_run=_NUM_STEPS),
        _Part("outer passes", outer_gradients, 1, 2 * training),
        _Part("update", update, 1, 0),
    ]


def _parts(architecture: str, batch_size: int, precision: str) -> list[_Part]:
    rng = np.random.default_rng(0)
    shape = (_FIT_STEPS * batch_size, *architectures.input_shape(architecture))
    images = rng.random(shape, dtype=np.float32)
    trades, fitted = (_trades(architecture, precision) for _ in range(2))
    labels = rng.integers(0, max(2, trades.model.output_shape[-1]), len(images))
    x, y = tf.constant(images[:batch_size]), tf.constant(labels[:batch_size])
    plain = _compiled(NaturalModel(architectures.build(architecture, precision=precision)))
    forward, training = operations_of(plain.model)
    whole = 2 * _NUM_STEPS * forward + 2 * training

    def fit() -> None:
        fitted.fit(images, labels, batch_size=batch_size, epochs=1, verbose=0)

    return [
        _Part("plain step", _stepper(plain, x, y), None, training),
        _Part("TRADES step", _stepper(trades, x, y), None, whole),
        _Part("TRADES fit", fit, None, whole, per_run=_FIT_STEPS),
        *_pieces(_trades(architecture, precision), x, y),
    ]


def run(
    *,
    architecture: str,
    batch_size: int = 128,
    precision: str = "float32",
    seconds: float = 2.0,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """Times a step of TRADES (10 steps of attack), its parts, plain SGD and `fit`.

    The natural pass is part of the outer passes too: a step computes it once for both. Parts that
    are compiled separately cost a little more than within the step.

    Args:
        architecture: one of ft_tf.architectures.NAMES.
        batch_size: examples per step.
        precision: "float32" or "mixed_bfloat16".
        seconds: about the time of each row in each round.
        rounds: measurements of each row.

    Returns:
        A row for each of "plain step", "TRADES step", "TRADES fit" (`fit` on arrays, its start
        included), "natural pass", "attack step", "outer passes" (forward and backward of the
        loss at x and x'), "update": `part`; `milliseconds` (median over rounds), `low`, `high`;
        `examples_per_second`; `in_step`, times that a TRADES step does it, None for whole steps;
        `share`, of the TRADES step's time, all these times counted; `forward_passes`, its
        operations in Dense and Conv2D layers over those of a forward pass; `measured_passes`, its
        time over that of the natural pass; `peak_fraction`, its operations per second over those
        of a float32 matrix product, measured in the same run. None where a value means nothing.

    Raises:
        ArgumentError: an argument is out of range.
    """
    checks.check_positive_integer(batch_size=batch_size, rounds=rounds)
    checks.check_positive(seconds=seconds)
    warn_if_slow(precision=precision)
    parts = _parts(architecture, batch_size, precision)
    for part in parts:
        part.run()  # compiles

    def measure(part: _Part) -> float:
        return timer.seconds(part.run, units=part.per_run, at_least=seconds)

    times = timer.in_turn({part.name: functools.partial(measure, part) for part in parts}, rounds)
    peak = matmul_peak()
    median = {name: found.median for name, found in times.items()}
    forward = next(part.operations for part in parts if part.name == "natural pass")
    return [
        {
            "part": part.name,
            "milliseconds": 1e3 * median[part.name],
            "low": 1e3 * times[part.name].low,
            "high": 1e3 * times[part.name].high,
            "examples_per_second": batch_size / median[part.name],
            "in_step": part.in_step,
            "share": part.in_step and part.in_step * median[part.name] / median["TRADES step"],
            "forward_passes": part.operations / forward or None,
            "measured_passes": median[part.name] / median["natural pass"],
            "peak_fraction": part.operations * batch_size / median[part.name] / peak or None,
        }
        for part in parts
    ]
