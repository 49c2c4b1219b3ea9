"""The batches of DP-SGD: Poisson samples as accountants assume them, or shuffled full batches.

Batches are functions of (key, step), so a run that resumes at a step draws the same batches. A
batch is padded with repetitions of example 0 that later get weight 0: batch sizes then come from a
short list, and no kernel is prepared for each new size.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from ft_tf._compat import tf
from ft_tf.privacy.phases import steps_per_pass
from ft_tf.training.epochs import Epoch

_SAMPLING_STREAM, _ORDER_STREAM = range(2)


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


def pieces_of_batch(x: Any, y: tf.Tensor, size: int | tf.Tensor) -> tuple[Pieces, tf.Tensor]:
    """Returns a batch in pieces of at most `size` examples; and their number, at least one."""

    def piece(number: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        rows = slice(number * size, (number + 1) * size)
        part_y = y[rows]
        real = tf.ones([tf.shape(part_y)[0]], tf.bool)
        return tf.nest.map_structure(lambda part: part[rows], x), part_y, real

    return piece, tf.maximum(1, -(-tf.shape(y)[0] // size))
