"""The randomness of DP-SGD: batches and Gaussian noise, as functions of (secret, step).

A run that resumes at a step draws the same batches and the same noise.

Batches are Poisson samples as accountants assume them, or shuffled full batches. A batch is padded
with repetitions of example 0 that later get weight 0: batch sizes then come from a short list, and
no kernel is prepared for each new size.

The bits of the noise come from NumPy's SFC64, seeded for each step from the secret and the step;
the Box-Muller transform turns pairs of 32-bit uniforms into pairs of normals by vectorised float32
functions. That takes a fifth of the processor time of TensorFlow's generators, and holds no
interpreter lock, so it runs in parallel with the forward pass. The largest possible value is
sqrt(66 ln 2) = 6.8 standard deviations.

Neither this generator nor TensorFlow's is cryptographically secure, and float32 noise is open to
attacks on its last bits (Mironov 2012). Against an adversary who observes every iterate bit for
bit, use a cryptographically secure generator.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import tf
from ft_tf.privacy.phases import steps_per_pass
from ft_tf.training.epochs import Epoch

_SAMPLING_STREAM, _ORDER_STREAM = range(2)
_CHUNK = 1 << 15  # pairs at a time: the working arrays stay in the second-level cache
_ALIGNMENT = 64  # bytes
_SECRET_BYTES = 16
_NOISE, _SAMPLING, _COUNT = range(3)


@dataclasses.dataclass(frozen=True)
class Secret:
    """The entropy of noise and sampling: from the operating system, or a noise seed.

    Attributes:
        entropy: a number of 128 bits, or the noise seed.
        is_seed: whether it is a noise seed; the guarantee then holds only while it is secret.
    """

    entropy: int = dataclasses.field(repr=False)
    is_seed: bool

    @classmethod
    def of(cls, noise_seed: int | None) -> "Secret":
        """Returns the secret of `noise_seed`, or a new one from the operating system's entropy."""
        if noise_seed is None:
            return cls(int.from_bytes(os.urandom(_SECRET_BYTES), "little"), False)
        is_long = type(noise_seed) is int and 0 < noise_seed >> 63 < 2**65
        if not is_long:
            checks.check_non_negative_integer(noise_seed=noise_seed)  # longer than a count may be
        return cls(int(noise_seed), True)

    def noise_generator(self, step: int, *, of_count: bool = False) -> np.random.Generator:
        """Returns the generator of the noise of one step: on gradients, or on a count."""
        stream = _COUNT if of_count else _NOISE
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(stream, step))
        return np.random.Generator(np.random.SFC64(sequence))

    def sampling_key(self) -> int:
        """Returns the int64 key of the counter-based generator that draws batches."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(_SAMPLING,))
        return int(sequence.generate_state(1, np.uint64).view(np.int64)[0])


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a batch: pieces of one size that fit in memory.

    Attributes:
        bucket: the size of a piece is a multiple of this.
        largest_piece: greatest size, before rounding up to a multiple of `bucket`.
    """

    bucket: int
    largest_piece: int

    def arrange(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns indices [count] as pieces [pieces, size], padded by zeros, and count."""
        count = tf.size(indices)
        pieces = tf.maximum(1, -(-count // self.largest_piece))
        size = tf.maximum(1, -(-count // (pieces * self.bucket))) * self.bucket
        padded = tf.pad(indices, [[0, pieces * size - count]])
        return tf.reshape(padded, [pieces, size]), count


def poisson_sample(key: int, step: tf.Tensor, size: int, sampling_probability: float) -> tf.Tensor:
    """Draws ascending indices of a sample that each of `size` examples enters independently.

    The gap between successive members of such a sample is geometric: floor(ln U / ln(1 - q)) are
    left out. U is a 53-bit uniform, so that probabilities are exact to 1e-16. Enough gaps are
    drawn that they fall short of `size` with a probability below 1e-30.
    """
    mean = sampling_probability * size
    deviation = math.sqrt(mean * (1 - sampling_probability))
    draws = min(size, math.ceil(mean + 12 * deviation + 60))
    seed = tf.stack(
        [tf.constant(key, tf.int64), tf.cast(step, tf.int64) + (_SAMPLING_STREAM << 40)]
    )
    uniforms = tf.random.stateless_uniform([draws], seed=seed, dtype=tf.float64, alg="philox")
    log_of_rest = -math.inf if sampling_probability == 1 else math.log1p(-sampling_probability)
    gaps = tf.floor(tf.math.log1p(-uniforms) / tf.constant(log_of_rest, tf.float64))
    indices = tf.cumsum(gaps + 1) - 1
    return tf.cast(indices[indices < size], tf.int32)


def poisson_batches(key: int, *, size: int, batch_size: int, layout: Layout) -> tuple[Epoch, int]:
    """Returns the batches (indices [pieces, piece size], count) of an epoch, and its steps.

    Args:
        key: of the randomness.
        size: examples to draw from.
        batch_size: expected size of a batch; each example enters with probability
            batch_size / size.
        layout: of a batch in memory.
    """
    steps = steps_per_pass(size, batch_size)

    def draw(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return layout.arrange(poisson_sample(key, step, size, batch_size / size))

    return lambda start: tf.data.Dataset.range(start, start + steps).map(draw), steps


def shuffled_batches(key: int, *, size: int, batch_size: int, layout: Layout) -> tuple[Epoch, int]:
    """As `poisson_batches`, but each pass over the data is a permutation in full batches.

    The examples left over when `batch_size` does not divide `size` are left out of the pass. An
    epoch that starts within a pass ends within the next one.
    """
    steps = steps_per_pass(size, batch_size, sampling="shuffle")

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        seed = tf.stack([tf.constant(key, tf.int64), number + (_ORDER_STREAM << 40)])
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed=seed)
        full = tf.reshape(order[: steps * batch_size], [steps, batch_size])
        return tf.data.Dataset.from_tensor_slices(full)

    def epoch(start: tf.Tensor) -> tf.data.Dataset:
        first = start // steps
        batches = tf.data.Dataset.range(first, first + 2).flat_map(one_pass)
        return batches.skip(start % steps).take(steps).map(layout.arrange)

    return epoch, steps


Pieces = Callable[[tf.Tensor], tuple[Any, tf.Tensor, tf.Tensor]]
"""Index of a piece -> (x, y, mask of the rows that are no padding)."""


def pieces_of_indices(
    x: tf.Tensor, y: tf.Tensor, indices: tf.Tensor, count: tf.Tensor
) -> tuple[Pieces, tf.Tensor]:
    """Returns the first `count` examples with indices [pieces, size]; and the number of pieces."""
    size = tf.shape(indices)[1]

    def piece(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        chosen = indices[number]
        real = number * size + tf.range(size) < count
        return tf.gather(x, chosen), tf.gather(y, chosen), real

    return piece, tf.shape(indices)[0]


def pieces_of_batch(
    x: Any, y: tf.Tensor, size: int | tf.Tensor, count: tf.Tensor | None = None
) -> tuple[Pieces, tf.Tensor]:
    """Returns a batch in pieces of at most `size` examples; and their number, at least one.

    From row `count` on, if that is given, the examples are padding.
    """

    def piece(number: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        rows = slice(number * size, (number + 1) * size)
        part_y = y[rows]
        rows_of_part = tf.shape(part_y)[0]
        if count is None:
            real = tf.ones([rows_of_part], tf.bool)
        else:
            real = number * size + tf.range(rows_of_part) < count
        return tf.nest.map_structure(lambda part: part[rows], x), part_y, real

    return piece, tf.maximum(1, -(-tf.shape(y)[0] // size))


def gaussian(
    generator: np.random.Generator, size: int, *, standard_deviation: float = 1.0
) -> np.ndarray:
    """Returns float32 [size]: independent N(0, standard_deviation^2).

    >>> values = gaussian(np.random.default_rng(1), 100_000, standard_deviation=2.0)
    >>> round(float(values.mean()), 1), round(float(values.std()), 1)
    (-0.0, 2.0)
    """
    values = _aligned(size + size % 2)
    room = min(len(values) // 2, _CHUNK)
    radius, angle = np.empty(room, np.float32), np.empty(room, np.float32)
    for start in range(0, len(values), 2 * _CHUNK):
        chunk = values[start : start + 2 * _CHUNK]
        pairs = len(chunk) // 2
        bits = generator.integers(0, 1 << 64, pairs, dtype=np.uint64).view(np.uint32)
        r, a = radius[:pairs], angle[:pairs]
        # (bits + 1/2) / 2^32: never 0, so the logarithm is finite, and never above 1.
        np.multiply(bits[:pairs], 2.0**-32, out=r, dtype=np.float32, casting="unsafe")
        r += np.float32(2.0**-33)
        np.log(r, out=r)
        r *= np.float32(-2.0 * standard_deviation**2)
        np.sqrt(r, out=r)
        np.multiply(bits[pairs:], 2.0**-31 * np.pi, out=a, dtype=np.float32, casting="unsafe")
        np.cos(a, out=chunk[:pairs])
        np.sin(a, out=chunk[pairs:])
        chunk[:pairs] *= r
        chunk[pairs:] *= r
    return values[:size]


def _aligned(size: int) -> np.ndarray:
    """Returns uninitialised float32 [size], aligned so that TensorFlow makes no copy."""
    spare = np.empty(size + _ALIGNMENT // 4, np.float32)
    offset = -spare.ctypes.data % _ALIGNMENT // 4
    return spare[offset : offset + size]


def noise_like(
    variables: Sequence[tf.Variable | tf.Tensor],
    secret: Secret,
    step: tf.Tensor,
    *,
    standard_deviation: float | tf.Tensor,
    of_count: bool = False,
) -> list[tf.Tensor]:
    """Returns float32 noise in the shape of each variable, a function of (secret, step)."""
    sizes = [variable.shape.num_elements() for variable in variables]
    ends = np.cumsum(sizes)

    def draw(step_value: np.ndarray, deviation: np.ndarray) -> list[np.ndarray]:
        generator = secret.noise_generator(int(step_value), of_count=of_count)
        values = gaussian(generator, int(ends[-1]), standard_deviation=float(deviation))
        return np.split(values, ends[:-1])

    # Stateless: it depends on its inputs alone, so it may run in parallel with the forward pass.
    if not tf.is_tensor(standard_deviation):
        standard_deviation = tf.constant(standard_deviation, tf.float64)
    inputs = [step, standard_deviation]
    parts = tf.numpy_function(draw, inputs, [tf.float32] * len(sizes), stateful=False)
    return [
        tf.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)
    ]
