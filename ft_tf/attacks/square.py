"""The Square attack: random search that only reads the model's outputs, never a gradient.

Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via
random search". Each query changes one square window of the best point so far; the change is kept
where the margin loss max_{i != y} z_i - z_y rises. A model that is protected by masked gradients
alone does not stop it.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.attacks.evaluations import result_of
from ft_tf.attacks.kl import class_logits
from ft_tf.attacks.loops import Ball, Worst
from ft_tf.attacks.losses import margin
from ft_tf.attacks.noise import uniform_numbers
from ft_tf.attacks.result import AttackResult
from ft_tf.attacks.search import Problem, WorstCase, checked_problem, compiled
from ft_tf.attacks.windows import (
    first_points,
    numbers_of_first,
    numbers_of_query,
    patterns_of,
    search,
    window_of,
)
from ft_tf.checks import check_positive_integer

QUERIES = 5000
_STREAM = 1_000_037  # apart from the streams of the other attacks
_AT_ONCE = 50
"""Queries between two looks at which examples still stand."""


def square(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    queries: int = QUERIES,
    restarts: int = 1,
    distance: str = "l_inf",
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """The Square attack, Andriushchenko et al. 2020: random search without gradients.

    Args:
        model: a Keras classifier that gives logits.
        x: inputs [n, height, width, channels] or [n, features] inside the bounds.
        y: integer labels [n].
        epsilon: radius of the ball, in units of x.
        queries: passes per example and restart; an example that is broken asks no more.
        restarts: searches per example; those still right are attacked again.
        distance: "l_inf" or "l_2".
        seed: of the search.
        bounds: lowest and highest input.
        batch_size: examples attacked at a time.
    """
    problem = checked_problem(
        model,
        x,
        y,
        epsilon=epsilon,
        distance=distance,
        bounds=bounds,
        seed=seed,
        batch_size=batch_size,
    )
    worst = WorstCase(problem)
    parameters = square_attempts(problem, worst, queries=queries, restarts=restarts)
    return result_of("square", problem, worst, **parameters)


def square_attempts(
    problem: Problem, worst: WorstCase, *, queries: int, restarts: int
) -> dict[str, int]:
    """Runs every restart; returns the parameters as they were used."""
    check_positive_integer(queries=queries, restarts=restarts)
    for restart in range(restarts):
        _search_once(problem, worst, queries, (problem.seed, restart, _STREAM))
    return {"queries": queries, "restarts": restarts}


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels as the search sees an example of this shape.

    >>> image_shape((28, 28, 1)), image_shape((28, 28)), image_shape((30,))
    ((28, 28, 1), (28, 28, 1), (30, 1, 1))
    """
    if len(shape) <= 2:
        return (*shape, 1, 1)[0], (*shape, 1, 1)[1], 1
    return shape[0], math.prod(shape[1:-1]), shape[-1]


def _search_once(problem: Problem, worst: WorstCase, queries: int, stream: tuple[int, ...]) -> None:
    """One search over the examples that still stand, in steps of up to `_AT_ONCE` queries."""
    shape, examples = image_shape(problem.x.shape[1:]), len(problem.x)
    x = problem.x.reshape(examples, *shape)
    active = np.flatnonzero(~worst.broken)
    if not len(active):
        return
    draws = uniform_numbers(examples, numbers_of_first(shape), stream=(*stream, 0))
    point = x.copy()
    point[active] = first_points(
        x[active],
        draws[active],
        epsilon=problem.epsilon,
        distance=problem.distance,
        bounds=problem.bounds,
    )
    loss = np.full(examples, -np.inf, np.float32)
    for first, count, window in _pieces(queries, shape, problem.distance):
        numbers = np.empty((count, examples, numbers_of_query(shape[2])), np.float32)
        for query in range(count):
            key = (*stream, first + query)
            numbers[query] = uniform_numbers(examples, numbers.shape[2], stream=key)
        for row in range(0, len(active), problem.batch_size):
            batch = active[row : row + problem.batch_size]
            found = _run(problem, batch, x, point, loss, numbers[:, batch], window)
            point[batch], loss[batch], broken = (part.numpy() for part in found)
            worst.record(batch, point[batch].reshape(-1, *problem.x.shape[1:]), broken)
        active = active[~worst.broken[active]]
        if not len(active):
            return


def _pieces(
    queries: int, shape: tuple[int, ...], distance: str
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Queries 1, 2, ... in pieces of one window size: first query, how many, the window.

    The first point costs a query as well; of a budget of one nothing is left for the search.
    """
    first = 1
    yield first, 0, window_of(first, queries, shape, distance)
    while first < queries:
        window = window_of(first, queries, shape, distance)
        count = 1
        while (
            count < _AT_ONCE
            and first + count < queries
            and window_of(first + count, queries, shape, distance) == window
        ):
            count += 1
        yield first, count, window
        first += count


def _run(
    problem: Problem,
    batch: npt.NDArray[np.int64],
    x: npt.NDArray[np.float32],
    point: npt.NDArray[np.float32],
    loss: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.float32],
    window: tuple[int, int],
) -> Worst:
    patterns = patterns_of(window) if problem.distance == "l_2" else np.zeros((2, 1, 1), np.float32)
    return compiled(problem, ("square",), lambda model: _build(model, problem, x.shape[1:]))(
        x[batch],
        point[batch],
        loss[batch],
        problem.y[batch],
        numbers,
        np.asarray(window, np.int32),
        patterns,
        np.float32(problem.epsilon),
        np.float32(problem.bounds[0]),
        np.float32(problem.bounds[1]),
    )


def _build(
    model: Callable[[], keras.Model], problem: Problem, shape: tuple[int, int, int]
) -> Callable:
    images = tf.TensorSpec([None, *shape], tf.float32)
    number = tf.TensorSpec([], tf.float32)
    own_shape, distance = problem.x.shape[1:], problem.distance

    @tf.function(
        input_signature=[
            images,
            images,
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, None, numbers_of_query(shape[2])], tf.float32),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([2, None, None], tf.float32),
            number,
            number,
            number,
        ]
    )
    def run(
        x: tf.Tensor,
        point: tf.Tensor,
        loss: tf.Tensor,
        y: tf.Tensor,
        draws: tf.Tensor,
        window: tf.Tensor,
        patterns: tf.Tensor,
        epsilon: tf.Tensor,
        low: tf.Tensor,
        high: tf.Tensor,
    ) -> Worst:
        def objective(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inputs = tf.reshape(at, [-1, *own_shape])
            logits = class_logits(tf.cast(model()(inputs, training=False), tf.float32))
            return margin(logits, y), tf.not_equal(tf.argmax(logits, axis=-1), y)

        ball = Ball(x, epsilon, low, high, distance)
        nothing = tf.fill([tf.shape(x)[0]], False)
        is_first = tf.equal(tf.shape(draws)[0], 0)
        point = ball.project(point)
        start = tf.cond(
            is_first,
            lambda: Worst(point, *objective(point)),
            lambda: Worst(point, loss, nothing),
        )
        return search(objective, ball, start, draws, window, patterns)

    return run
