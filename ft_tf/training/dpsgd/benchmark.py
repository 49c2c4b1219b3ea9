"""What `benchmark dpsgd` measures: examples per second of DP-SGD against plain SGD, in turn.

Every contender trains the same architecture from random arrays in memory. They take turns, A B C
A B C, so that what the machine does besides falls on all alike; figures are medians over rounds.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ft_tf import architectures, checks
from ft_tf._compat import keras, require_tensorflow_privacy, tf
from ft_tf.errors import FtTfError
from ft_tf.training.dpsgd.model import DPSGDModel
from ft_tf.training.natural import NaturalModel

_RATE, _CLIP, _SIGMA, _L2 = 0.05, 1.0, 1.1, 1e-3
_PEAK_SIZE = 2048

Take = Callable[[int], None]
"""Takes that many training steps."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        name: as printed.
        make: prepares it on (architecture, x, y, batch size) and gives what takes steps.
        slow: whether a step takes seconds, so that few steps must do.
        against: the contender that it is compared with.
    """

    name: str
    make: Callable[[str, np.ndarray, np.ndarray, int], Take]
    slow: bool = False
    against: str = "plain"


def _loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=keras.losses.Reduction.NONE
    )


def _plain(*, l2: float = 0.0) -> Callable[[str, np.ndarray, np.ndarray, int], Take]:
    """A bare compiled SGD step on fixed batches, called once per step."""

    def prepare(architecture: str, x: np.ndarray, y: np.ndarray, batch_size: int) -> Take:
        model, loss = architectures.build(architecture), _loss()
        optimizer = keras.optimizers.SGD(_RATE)
        optimizer.build(model.trainable_variables)
        all_x, all_y = tf.constant(x), tf.constant(y)
        order = np.random.default_rng(0).permutation(len(x)).astype(np.int32)
        batches = tf.constant(order[: len(x) // batch_size * batch_size].reshape(-1, batch_size))
        kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]

        @tf.function
        def step(indices: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                outputs = model(tf.gather(all_x, indices), training=True)
                value = tf.reduce_mean(loss(tf.gather(all_y, indices), outputs))
                if l2:
                    value += l2 * tf.add_n([tf.reduce_sum(kernel**2) for kernel in kernels])
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
            return value

        def take(steps: int) -> None:
            for index in range(steps):
                step(batches[index % len(batches)])

        return take

    return prepare


def _through_fit(
    make: Callable[[keras.Model], keras.Model], *, one_batch: bool = False
) -> Callable[..., Take]:
    """A model that trains by its own `fit`: in epochs of all the data, or of one batch."""

    def prepare(architecture: str, x: np.ndarray, y: np.ndarray, batch_size: int) -> Take:
        trainer = make(architectures.build(architecture))
        trainer.compile(
            keras.optimizers.SGD(_RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        # The same objects in every call: other arrays would be compiled for anew.
        x, y = (x[:batch_size], y[:batch_size]) if one_batch else (x, y)

        def take(steps: int) -> None:
            epochs = steps * batch_size // len(x)
            trainer.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)

        return take

    return prepare


def _vectorized(architecture: str, x: np.ndarray, y: np.ndarray, batch_size: int) -> Take:
    """TF Privacy's VectorizedDPKerasSGDOptimizer in Keras's fit."""
    require_tensorflow_privacy()
    from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras_vectorized

    model = architectures.build(architecture)
    optimizer = dp_optimizer_keras_vectorized.VectorizedDPKerasSGDOptimizer(
        l2_norm_clip=_CLIP,
        noise_multiplier=_SIGMA,
        num_microbatches=batch_size,
        learning_rate=_RATE,
    )
    model.compile(optimizer, _loss())

    def take(steps: int) -> None:
        model.fit(x[:batch_size], y[:batch_size], batch_size=batch_size, epochs=steps, verbose=0)

    return take


def _private(*, one_batch: bool = False, **options: Any) -> Callable[..., Take]:
    return _through_fit(
        lambda model: DPSGDModel(model, l2_norm_clip=_CLIP, noise_multiplier=_SIGMA, **options),
        one_batch=one_batch,
    )


CONTENDERS = (
    Contender("plain", _plain()),
    Contender("fit", _through_fit(NaturalModel)),
    Contender("plain_l2", _plain(l2=_L2)),
    Contender(
        "tikhonov", _through_fit(lambda model: NaturalModel(model, l2=_L2)), against="plain_l2"
    ),
    Contender("fast", _private()),
    Contender(
        "reference", _private(one_batch=True, engine="reference", sampling="shuffle"), slow=True
    ),
    Contender("vectorized", _vectorized, slow=True),
)
"""plain: a bare SGD step; fit: natural training by `fit`; plain_l2 and tikhonov: the same two with
the Tikhonov penalty; fast and reference: DPSGDModel's engines (the reference is
DPKerasSGDOptimizer); vectorized: TF Privacy's VectorizedDPKerasSGDOptimizer."""


def contenders_named(names: Sequence[str]) -> tuple[Contender, ...]:
    """The contenders of those names and what they are compared with, in the order of CONTENDERS.

    >>> [contender.name for contender in contenders_named(["tikhonov"])]
    ['plain', 'plain_l2', 'tikhonov']

    Raises:
        ArgumentError: a name is not known.
    """
    known = {contender.name: contender for contender in CONTENDERS}
    wanted: set[str] = set()
    for name in names:
        checks.check_choice(known, contenders=name)
        while name not in wanted:
            wanted.add(name)
            name = known[name].against
    return tuple(contender for contender in CONTENDERS if contender.name in wanted)


def matmul_peak(*, repeats: int = 12) -> float:
    """Float32 matrix-multiply operations per second of this machine, best of `repeats`."""
    a = tf.random.stateless_normal([_PEAK_SIZE, _PEAK_SIZE], seed=[0, 0])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)))
    product()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        product().numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * _PEAK_SIZE**3 / best


def training_operations(model: keras.Model) -> int:
    """Floating-point operations of plain training per example, of Dense and Conv2D layers.

    A multiplication and an addition for each weight and position, once forward, once for the
    weights' gradient, and, except in the first layer, once for the inputs' gradient.
    """
    total, passes = 0, 2
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            positions = int(np.prod(layer.output_shape[1:-1]))
            total += 2 * passes * positions * int(np.prod(layer.kernel.shape))
            passes = 3
    return total


def _rate(take: Take, batch_size: int, steps: int) -> float:
    start = time.perf_counter()
    take(steps)
    return steps * batch_size / (time.perf_counter() - start)


def _prepared(
    contenders: tuple[Contender, ...],
    setting: tuple[str, np.ndarray, np.ndarray, int],
    steps: int,
    seconds: float,
) -> tuple[dict[str, tuple[Take, int]], dict[str, str]]:
    """Compiled contenders and their steps in a round; and why the others cannot run."""
    takes: dict[str, tuple[Take, int]] = {}
    failed: dict[str, str] = {}
    for contender in contenders:
        try:
            take = contender.make(*setting)
            take(1 if contender.slow else steps)  # compiles
        except FtTfError as error:
            failed[contender.name] = str(error)
            continue
        count = steps
        if contender.slow:
            steps_per_second = _rate(take, setting[-1], 1) / setting[-1]
            count = max(1, min(steps, round(seconds * steps_per_second)))
        takes[contender.name] = take, count
    return takes, failed


def benchmark_dpsgd(
    *,
    architecture: str,
    batch_size: int = 250,
    steps: int = 200,
    rounds: int = 3,
    seconds: float = 20.0,
    contenders: tuple[Contender, ...] = CONTENDERS,
) -> list[dict[str, Any]]:
    """Examples per second of each contender, in turn.

    Args:
        architecture: one of ft_tf.architectures.NAMES.
        batch_size: examples per step; the expected number where batches are drawn by chance.
        steps: of each contender in each round.
        rounds: turns.
        seconds: about what a slow contender may take in a round; it takes at least one step.
        contenders: what to measure, with what each is compared with.

    Returns:
        One row per contender: `contender`, `examples_per_second` (median over rounds), `low` and
        `high` (least and greatest), `against`: the contender that it is compared with, `ratio` to
        that (median over rounds of the ratio within a round), `ratio_low`, `ratio_high`, `steps` in
        each round, and `peak_fraction`: operations of plain training over the matrix-multiply
        peak; or `contender` and `error`, for one that cannot run here.

    Raises:
        ArgumentError: an argument is out of range.
    """
    checks.check_positive_integer(batch_size=batch_size, steps=steps, rounds=rounds)
    checks.check_positive(seconds=seconds)
    rng = np.random.default_rng(0)
    shape = architectures.input_shape(architecture)
    x = rng.random((steps * batch_size, *shape), dtype=np.float32)
    model = architectures.build(architecture)
    y = rng.integers(0, max(2, model.output_shape[-1]), len(x))
    per_example = training_operations(model)
    takes, failed = _prepared(contenders, (architecture, x, y, batch_size), steps, seconds)
    rates: dict[str, list[float]] = {name: [] for name in takes}
    for _ in range(rounds):
        for name, (take, count) in takes.items():
            rates[name].append(_rate(take, batch_size, count))
    peak = matmul_peak()
    against = {contender.name: contender.against for contender in contenders}
    rows = [
        {
            "contender": name,
            "examples_per_second": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "against": against[name],
            **_ratios(values, rates[against[name]]),
            "steps": takes[name][1],
            "peak_fraction": statistics.median(values) * per_example / peak,
        }
        for name, values in rates.items()
    ]
    return rows + [{"contender": name, "error": reason} for name, reason in failed.items()]


def _ratios(values: list[float], others: list[float]) -> dict[str, float]:
    """Round by round, as both shared what the machine did besides."""
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }
