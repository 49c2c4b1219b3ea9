"""The proposals of the Square attack: windows, the points it starts from, and one query."""

import math

import numpy as np
import numpy.typing as npt

from ft_tf._compat import tf
from ft_tf.attacks.geometry import Ball, l2_norm
from ft_tf.attacks.loops import Objective, Worst

P_INIT = 0.8
"""Share of the pixels that the first window changes."""
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_GRID = 5
_TINY = 1e-12


def share_of_pixels(query: int, queries: int) -> float:
    """The share of pixels that a query changes: P_INIT, halved at fixed places of the budget.

    The places are those of the paper for 10,000 queries, scaled to the budget.

    >>> [share_of_pixels(query, 10_000) for query in (0, 11, 51, 9_999)]
    [0.8, 0.4, 0.2, 0.0015625]
    """
    place = int(query / queries * 10_000)
    return P_INIT / 2 ** sum(place > halving for halving in _HALVINGS)


def window_of(query: int, queries: int, shape: tuple[int, ...], distance: str) -> tuple[int, int]:
    """Height and width of a query's window on an image [height, width, channels].

    An input of one axis has width 1; its window is a stretch of the same share. Windows of the
    l_2 attack have an odd side of at least 3.
    """
    height, width = shape[:2]
    share = share_of_pixels(query, queries)
    if width == 1:
        return min(height, max(1, round(share * height))), 1
    side = max(1, round(math.sqrt(share * height * width)))
    if distance == "l_2":
        side = max(3, side) | 1
    return min(side, height), min(side, width)


def bump(height: int, width: int) -> npt.NDArray[np.float32]:
    """The l_2 attack's window pattern: two bumps of opposite sign, of unit length in all.

    A bump falls off from its centre: at Chebyshev distance d it is sum_{k >= d} 1 / (k + 1)^2
    over the squares k that fit (section 3.3 of the paper).
    """
    half = height // 2
    top, bottom = _one_bump(half, width), _one_bump(height - half, width)
    pattern = np.concatenate([top, -bottom])
    return (pattern / np.linalg.norm(pattern)).astype(np.float32)


def patterns_of(window: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The `bump` of a window and, where it is square, its transpose: [2, height, width]."""
    pattern = bump(*window)
    return np.stack([pattern, pattern.T if window[0] == window[1] else pattern])


def _one_bump(height: int, width: int) -> npt.NDArray[np.float64]:
    if not height:
        return np.zeros((0, width))
    squares = max(height // 2 + 1, width // 2 + 1)
    rows = np.abs(np.arange(height) - height // 2)[:, None]
    columns = np.abs(np.arange(width) - width // 2)[None]
    away = np.maximum(rows, columns)
    terms = 1 / np.arange(1, squares + 1) ** 2
    tails = np.cumsum(terms[::-1])[::-1]
    values = tails[np.minimum(away, squares - 1)]
    return values / np.linalg.norm(values)


def first_points(
    x: npt.NDArray[np.float32],
    draws: npt.NDArray[np.float64],
    *,
    epsilon: float,
    distance: str,
    bounds: tuple[float, float],
) -> npt.NDArray[np.float32]:
    """Where the search starts: vertical stripes of +-epsilon; for l_2 a grid of bumps.

    Args:
        x: images [n, height, width, channels].
        draws: uniform numbers [n, at least max(width, grid cells) * channels].
        epsilon: radius of the ball.
        distance: "l_inf" or "l_2".
        bounds: lowest and highest input.
    """
    count, height, width, channels = x.shape
    if distance == "l_inf":
        long = height if width == 1 else width
        signs = _signs(draws[:, : long * channels]).reshape(count, 1, long, channels)
        delta = epsilon * (signs.transpose(0, 2, 1, 3) if width == 1 else signs)
    else:
        delta = _bump_grid(draws, (count, height, width, channels))
        length = np.sqrt((delta**2).sum(axis=(1, 2, 3), keepdims=True))
        delta = epsilon * delta / (length + _TINY)
    return np.clip(x + delta, *bounds).astype(np.float32)


def _bump_grid(
    draws: npt.NDArray[np.float64], shape: tuple[int, int, int, int]
) -> npt.NDArray[np.float64]:
    count, height, width, channels = shape
    tall, wide = max(1, height // _GRID), max(1, width // _GRID)
    rows, columns = height // tall, width // wide
    signs = _signs(draws[:, : rows * columns * channels]).reshape(count, rows, columns, channels)
    pattern = bump(tall, wide) if tall > 1 else np.ones((1, wide), np.float32)
    cells = np.kron(np.ones((rows, columns)), pattern)
    delta = np.zeros(shape)
    delta[:, : rows * tall, : columns * wide] = (
        np.repeat(np.repeat(signs, tall, axis=1), wide, axis=2) * cells[None, :, :, None]
    )
    return delta


def _signs(draws: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(draws < 0.5, -1.0, 1.0)


def numbers_of_first(shape: tuple[int, ...]) -> int:
    """Uniform numbers that `first_points` takes for one image."""
    height, width, channels = shape
    return max(height, width, (2 * _GRID) ** 2) * channels


def numbers_of_query(channels: int) -> int:
    """Uniform numbers that one query takes for one image: two places, a turn, a sign each."""
    return 5 + channels


def search(
    objective: Objective,
    ball: Ball,
    start: Worst,
    draws: tf.Tensor,
    window: tf.Tensor,
    patterns: tf.Tensor,
) -> Worst:
    """Some queries with one window size, as a TensorFlow loop.

    Args:
        objective: the margin loss and whether a point is misclassified.
        ball: around x [n, height, width, channels].
        start: the best points so far.
        draws: uniform numbers [queries, n, `numbers_of_query`], float32.
        window: its height and width, int32 [2].
        patterns: `patterns_of` that window for l_2; not read for l_inf.
    """
    propose = _linf_proposal if ball.distance == "l_inf" else _l2_proposal

    def query(index: tf.Tensor, worst: Worst) -> tuple[tf.Tensor, Worst]:
        point = propose(ball, worst.point, draws[index], window, patterns)
        return index + 1, worst.updated(point, *objective(point))

    _, worst = tf.while_loop(
        lambda index, _: index < tf.shape(draws)[0], query, (tf.constant(0), start)
    )
    return worst


def _places(numbers: tf.Tensor, shape: tf.Tensor, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First row and column of each example's window, uniform over all that fit, int32 [n]."""
    free = tf.cast(shape[1:3] - window + 1, numbers.dtype)
    places = tf.minimum(tf.floor(numbers * free), free - 1)
    return tf.cast(places[:, 0], tf.int32), tf.cast(places[:, 1], tf.int32)


def _offsets(first: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Place of each row (column) within its example's window, int32 [n, size]."""
    return tf.range(size)[None] - first[:, None]


def _mask(rows: tf.Tensor, columns: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    inside = (rows >= 0) & (rows < window[0]), (columns >= 0) & (columns < window[1])
    return (inside[0][:, :, None] & inside[1][:, None, :])[..., None]


def _channel_signs(numbers: tf.Tensor) -> tf.Tensor:
    return tf.where(numbers < 0.5, -1.0, 1.0)[:, None, None, :]


def _linf_proposal(
    ball: Ball, point: tf.Tensor, draws: tf.Tensor, window: tf.Tensor, patterns: tf.Tensor
) -> tf.Tensor:
    """Moves one window by 2 epsilon up or down in each channel, then into the ball."""
    del patterns
    shape = tf.shape(point)
    row, column = _places(draws[:, :2], shape, window)
    mask = _mask(_offsets(row, shape[1]), _offsets(column, shape[2]), window)
    change = 2 * ball.epsilon * _channel_signs(draws[:, 5:])
    return ball.project(point + tf.where(mask, change, 0.0))


def _l2_proposal(
    ball: Ball, point: tf.Tensor, draws: tf.Tensor, window: tf.Tensor, patterns: tf.Tensor
) -> tf.Tensor:
    """Empties one window, adds its and the unused length to another one, on a bump pattern."""
    shape = tf.shape(point)
    delta = point - ball.x
    places = [_places(draws[:, at : at + 2], shape, window) for at in (0, 2)]
    offsets = [(_offsets(row, shape[1]), _offsets(column, shape[2])) for row, column in places]
    filled, emptied = (_mask(*pair, window) for pair in offsets)
    bumps = _placed(patterns, draws[:, 4], *offsets[0])
    channel_axes = [1, 2]

    def length(values: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(tf.reduce_sum(tf.square(values), channel_axes, keepdims=True))

    inside = tf.where(filled, delta, 0.0)
    fresh = bumps[..., None] * _channel_signs(draws[:, 5:]) + inside / (_TINY + length(inside))
    fresh = tf.where(filled, fresh, 0.0)
    unused = tf.maximum(ball.epsilon**2 - l2_norm(delta) ** 2, 0.0)
    channels = tf.cast(shape[3], delta.dtype)
    freed = length(tf.where(filled | emptied, delta, 0.0))
    fresh = fresh / (_TINY + length(fresh)) * tf.sqrt(unused / channels + freed**2)
    delta = tf.where(filled, fresh, tf.where(emptied, 0.0, delta))
    return ball.project(ball.x + ball.epsilon * delta / (_TINY + l2_norm(delta)))


def _placed(patterns: tf.Tensor, turn: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """One of the two patterns [2, height, width], at each example's place: [n, h, w]."""
    rows = tf.clip_by_value(rows, 0, tf.shape(patterns)[1] - 1)
    columns = tf.clip_by_value(columns, 0, tf.shape(patterns)[2] - 1)
    straight, turned = (
        tf.gather(tf.gather(patterns[side], rows), columns, axis=2, batch_dims=1) for side in (0, 1)
    )
    return tf.where((turn < 0.5)[:, None, None], straight, turned)
