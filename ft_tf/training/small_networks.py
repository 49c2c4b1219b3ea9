"""Hundreds of small networks trained together as one program, for the circles study (Table 3).

Each network is Dense(hidden, relu) -> Dense(1) on points of the plane, trained with Adam on the
binary cross-entropy of one full batch an epoch, for which Keras's fit needs half a minute a
network. The last axis of every array is that of the networks, so that each operation runs over all
of them, and the epochs are a loop inside one compiled program.
"""

import dataclasses
import os
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ft_tf import checks
from ft_tf.errors import ArgumentError
from ft_tf.training.input_noise import InputNoise
from ft_tf.training.small_networks_program import (
    coefficients_of,
    evaluate_networks,
    train_networks,
)

REPLICATES_PER_CHUNK = 8
"""Replicates whose networks run together: their state stays in a core's cache.

A chunk draws its noise together, so another number here gives other noise.
"""

Array = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class CirclesRow:
    """The training of one row of the study; natural training by default.

    Attributes:
        input_noise: resampled at every epoch, on the training points only.
        jacobian_penalty: the noise whose second-order equivalent is added to the loss
            (`penalties.jacobian_penalty`).
        l2: coefficient of sum |W|^2 over both kernels (keras.regularizers.L2).
        weight_decay: added to gradients as weight_decay * w, biases included.
    """

    input_noise: InputNoise | None = None
    jacobian_penalty: InputNoise | None = None
    l2: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.check_non_negative(l2=self.l2, weight_decay=self.weight_decay)


class CirclesResult(NamedTuple):
    """Accuracies after the last epoch, on the points without noise.

    Replicate r has the same initial weights, and its noise the same N(0, 1) draws, in every row.

    Attributes:
        train_accuracy: fractions [rows, replicates].
        test_accuracy: fractions [rows, replicates].
    """

    train_accuracy: Array
    test_accuracy: Array


def initial_parameters(
    *, seed: int, replicate: int, hidden: int = 500
) -> tuple[Array, Array, Array, Array]:
    """Kernel [2, hidden], bias, kernel [hidden, 1], bias: Glorot uniform and zeros, float32.

    A function of (seed, replicate) alone.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, replicate]))
    first, second = np.sqrt(6 / (2 + hidden)), np.sqrt(6 / (hidden + 1))
    return (
        rng.uniform(-first, first, (2, hidden)).astype(np.float32),
        np.zeros(hidden, np.float32),
        rng.uniform(-second, second, (hidden, 1)).astype(np.float32),
        np.zeros(1, np.float32),
    )


def train_circles(
    rows: Sequence[CirclesRow],
    *,
    x_train: Array,
    y_train: npt.NDArray[np.integer],
    x_test: Array,
    y_test: npt.NDArray[np.integer],
    replicates: int,
    epochs: int = 4000,
    hidden: int = 500,
    learning_rate: float = 0.001,
    seed: int = 0,
    threads: int | None = None,
    chunks: MutableMapping[int, tuple[Array, Array]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> CirclesResult:
    """Trains `replicates` networks for every row, each from its own initial weights.

    Adam has Keras's formula and defaults (beta 0.9 and 0.999, epsilon 1e-7). The result does not
    depend on `threads`. The program is compiled for n training points in a time proportional to n
    (ten seconds for 30).

    Args:
        rows: how to train; see `CirclesRow`.
        x_train: points [n, 2] of all replicates, or [replicates, n, 2]; the same for all rows.
        y_train: labels 0 or 1, [n] or [replicates, n].
        x_test: as `x_train`.
        y_test: as `y_train`.
        replicates: networks of each row.
        epochs: full-batch steps.
        hidden: units of the hidden layer.
        learning_rate: Adam's.
        seed: fixes initial weights and noise.
        threads: chunks of networks trained at once; by default one for each core.
        chunks: accuracies (train, test) of finished chunks by their first replicate. These are not
            trained again, and new ones are added: kept on disk, it lets an interrupted study
            resume. It must stem from the same arguments, `threads` apart.
        progress: called with the finished share, before the first chunk and after every one.

    Raises:
        ArgumentError: shapes that do not fit, labels other than 0 and 1, a value out of range.
    """
    checks.check_positive_integer(replicates=replicates, epochs=epochs, hidden=hidden)
    checks.check_non_negative_integer(seed=seed)
    checks.check_positive(learning_rate=learning_rate)
    if not rows:
        raise ArgumentError("rows=() must hold at least one CirclesRow")
    train = _points_of_replicates("train", x_train, y_train, replicates)
    test = _points_of_replicates("test", x_test, y_test, replicates)
    starts = range(0, replicates, REPLICATES_PER_CHUNK)

    def run(start: int) -> tuple[Array, Array]:
        chunk = slice(start, start + REPLICATES_PER_CHUNK)
        # A short last chunk is filled up, so that it has the noise and the program of the others.
        index = np.minimum(np.arange(chunk.start, chunk.stop), replicates - 1)
        initial = [initial_parameters(seed=seed, replicate=int(r), hidden=hidden) for r in index]
        noise_seed = np.random.SeedSequence([seed, start]).generate_state(1)[0] >> 1
        parameters = train_networks(
            tuple(_lanes(np.stack(part), len(rows)) for part in zip(*initial, strict=True)),
            _lanes(train[0][index], len(rows)),
            _lanes(train[1][index], len(rows)),
            coefficients_of(rows, replicates=len(index)),
            replicates=len(index),
            epochs=epochs,
            learning_rate=learning_rate,
            noise_seed=int(noise_seed),  # 31 bits; the epoch is the other half of the program's
        )
        accuracies = []
        for x, y in (train, test):
            logits = evaluate_networks(parameters, _lanes(x[index], len(rows)))
            correct = (logits > 0) == (_lanes(y[index], len(rows)) > 0.5)
            accuracies.append(correct.mean(axis=0).reshape(len(rows), -1)[:, : replicates - start])
        return accuracies[0], accuracies[1]

    chunks = {} if chunks is None else chunks
    missing = [start for start in starts if start not in chunks]
    if progress is not None:
        progress(len(chunks) / len(starts))
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        try:
            for start, part in zip(missing, pool.map(run, missing), strict=True):
                chunks[start] = part
                if progress is not None:
                    progress(len(chunks) / len(starts))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for all the rest
            raise
    parts = zip(*(chunks[start] for start in starts), strict=True)
    return CirclesResult(*(np.concatenate(part, axis=1) for part in parts))


def _points_of_replicates(
    split: str, x: Array, y: npt.NDArray[np.integer], replicates: int
) -> tuple[Array, Array]:
    """Views [replicates, n, 2] and [replicates, n], float32 points and labels."""
    x, y = np.asarray(x, np.float32), np.asarray(y)
    if x.shape[:-1] != y.shape or x.ndim not in (2, 3) or x.shape[-1] != 2 or not x.size:
        raise ArgumentError(
            f"x_{split}.shape={x.shape} and y_{split}.shape={y.shape} must be [n, 2] and [n], or "
            "[replicates, n, 2] and [replicates, n]"
        )
    if x.ndim == 3 and len(x) != replicates:
        raise ArgumentError(f"x_{split}.shape={x.shape} must begin with replicates={replicates}")
    if not np.isin(y, (0, 1)).all():
        raise ArgumentError(f"y_{split} must hold the labels 0 and 1 only")
    n = x.shape[-2]
    return (
        np.broadcast_to(x, (replicates, n, 2)),
        np.broadcast_to(y.astype(np.float32), (replicates, n)),
    )


def _lanes(values: Array, rows: int) -> Array:
    """[replicates, ...] -> [..., rows * replicates]: one network each, rows outermost."""
    return np.ascontiguousarray(np.tile(np.moveaxis(values, 0, -1), rows))
