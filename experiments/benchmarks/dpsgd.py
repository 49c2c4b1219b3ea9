"""`benchmark dpsgd`: examples per second of DP-SGD against plain SGD.

Every contender trains the same architecture from random arrays in memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.benchmarks import timer
from experiments.benchmarks.operations import matmul_peak, operations_of
from ft_tf import architectures, checks
from ft_tf._compat import keras, require_tensorflow_privacy, tf
from ft_tf.errors import FtTfError
from ft_tf.training import DPSGDModel, NaturalModel

_RATE, _CLIP, _SIGMA, _L2 = 0.05, 1.0, 1.1, 1e-3

Take = Callable[[int], None]
"""Takes that many training steps."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        name: as printed.
        make: prepares it on (architecture, x, y, batch size) and returns the function that takes
            steps.
        slow: whether a step takes seconds, so that few steps must do.
        against: the contender that it is compared with.
    """

    name: str
    make: Callable[[str, np.ndarray, np.ndarray, int], Take]
    slow: bool = False
    against: str = "plain"


def _loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)


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
        # The same objects in every call: other arrays would compile the step again.
        x, y = (x[:batch_size], y[:batch_size]) if one_batch else (x, y)

        def take(steps: int) -> None:
            epochs = steps * batch_size // len(x)
            trainer.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)

        return take

    return prepare


def _vectorized(architecture: str, x: np.ndarray, y: np.ndarray, batch_size: int) -> Take:
    """A compiled step of TF Privacy's VectorizedDPKerasSGDOptimizer, called once per step."""
    require_tensorflow_privacy()
    from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras_vectorized

    model, loss = architectures.build(architecture), _loss()
    variables = [variable.value for variable in model.trainable_variables]
    optimizer = dp_optimizer_keras_vectorized.VectorizedDPKerasSGDOptimizer(
        l2_norm_clip=_CLIP,
        noise_multiplier=_SIGMA,
        num_microbatches=batch_size,
        learning_rate=_RATE,
    )
    batch = tf.constant(x[:batch_size]), tf.constant(y[:batch_size])

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            losses = loss(batch[1], model(batch[0], training=True))
        optimizer.minimize(losses, variables, tape=tape)

    def take(steps: int) -> None:
        for _ in range(steps):
            step()

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
    """Returns the contenders of those names and their baselines, in the order of CONTENDERS.

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


def _prepared(
    contenders: tuple[Contender, ...],
    setting: tuple[str, np.ndarray, np.ndarray, int],
    steps: int,
    seconds: float,
) -> tuple[dict[str, tuple[Take, int]], dict[str, str]]:
    """Returns compiled contenders with their steps per round; and why the others cannot run."""
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
            count = max(1, min(steps, round(seconds / timer.seconds(lambda t=take: t(1)))))
        takes[contender.name] = take, count
    return takes, failed


def run(
    *,
    architecture: str,
    batch_size: int = 250,
    steps: int = 200,
    rounds: int = 3,
    seconds: float = 20.0,
    contenders: tuple[Contender, ...] = CONTENDERS,
) -> list[dict[str, Any]]:
    """Measures the examples per second of each contender.

    Args:
        architecture: one of ft_tf.architectures.NAMES.
        batch_size: examples per step; the expected number in Poisson batches.
        steps: steps of each contender in each round.
        rounds: measurements of each contender.
        seconds: about the time of a slow contender in a round; it takes at least one step.
        contenders: the contenders, with their baselines.

    Returns:
        One row per contender: `contender`, `examples_per_second` (median over rounds), `low` and
        `high`, `against`: its baseline, `ratio` to that (of medians), `ratio_low` and `ratio_high`
        (within a round), `steps` in each round, and `peak_fraction`: operations of plain training
        over the matrix-multiply peak; or `contender` and `error`, for one that cannot run here.

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
    takes, failed = _prepared(contenders, (architecture, x, y, batch_size), steps, seconds)

    def measure(take: Take, count: int) -> float:
        return batch_size / timer.seconds(lambda: take(count), units=count)

    rates = timer.in_turn(
        {name: functools.partial(measure, *work) for name, work in takes.items()}, rounds
    )
    share_of_peak = operations_of(model).training / matmul_peak()
    against = {contender.name: contender.against for contender in contenders}
    rows = [
        {
            "contender": name,
            "examples_per_second": rate.median,
            "low": rate.low,
            "high": rate.high,
            "against": against[name],
            **rate.ratio_to(rates[against[name]]),
            "steps": takes[name][1],
            "peak_fraction": rate.median * share_of_peak,
        }
        for name, rate in rates.items()
    ]
    return rows + [{"contender": name, "error": reason} for name, reason in failed.items()]
