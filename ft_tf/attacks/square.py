"""The Square attack: random search that only reads the model's outputs, never a gradient.

Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via
random search". Each query changes one square window of the best point so far; the change is kept
where the margin loss max_{i != y} z_i - z_y rises. A model that is protected by masked gradients
alone does not stop it.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.attacks.geometry import Ball
from ft_tf.attacks.kl import class_logits
from ft_tf.attacks.loops import Worst
from ft_tf.attacks.losses import is_wrong, margin
from ft_tf.attacks.noise import uniform_numbers
from ft_tf.attacks.result import AttackResult, result_of
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

    The arguments are those of `ft_tf.attacks.pgd`, and:

    - x: inputs [n, height, width, channels] or [n, features] inside the bounds.
    - queries: passes per example and restart; an example that is broken asks no more.
    - restarts: searches per example; those still right are attacked again.
    """
    problem = checked_problem(model, x, y, epsilon, distance, bounds, seed, batch_size)
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
    run = compiled(problem, ("square",), lambda model: _build(model, problem, shape))
    patterns = np.zeros((2, 1, 1), np.float32)
    for first, count, window in _pieces(queries, shape, problem.distance):
        numbers = np.empty((count, examples, numbers_of_query(shape[2])), np.float32)
        for query in range(count):
            key = (*stream, first + query)
            numbers[query] = uniform_numbers(examples, numbers.shape[2], stream=key)
        if problem.distance == "l_2":
            patterns = patterns_of(window)
        for batch in worst.batches(problem.batch_size):
            found = run(
                x[batch],
                point[batch],
                loss[batch],
                problem.y[batch],
                numbers[:, batch],
                np.asarray(window, np.int32),
                patterns,
                np.float32(problem.epsilon),
                np.float32(problem.bounds),
            )
            point[batch], loss[batch], broken = (part.numpy() for part in found)
            worst.record(batch, point[batch].reshape(-1, *problem.x.shape[1:]), broken)
        if worst.broken.all():
            return


def _pieces(
    queries: int, shape: tuple[int, ...], distance: str
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Queries 1, 2, ... in pieces of one window size: first query, how many, the window.

    The first point costs a query as well; of a budget of one nothing is left for the search.
    """

    def window(query: int) -> tuple[int, int]:
        return window_of(query, queries, shape, distance)

    yield 1, 0, window(1)
    for size, group in itertools.groupby(range(1, queries), window):
        numbers = list(group)
        for place in range(0, len(numbers), _AT_ONCE):
            piece = numbers[place : place + _AT_ONCE]
            yield piece[0], len(piece), size


def _build(
    model: Callable[[], keras.Model], problem: Problem, shape: tuple[int, int, int]
) -> Callable:
    images = tf.TensorSpec([None, *shape], tf.float32)
    own_shape, distance = problem.x.shape[1:], problem.distance

    @tf.function(
        input_signature=[
            images, images, tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, None, numbers_of_query(shape[2])], tf.float32),
            tf.TensorSpec([2], tf.int32), tf.TensorSpec([2, None, None], tf.float32),
            tf.TensorSpec([], tf.float32), tf.TensorSpec([2], tf.float32),
        ]
    )  # fmt: skip
    def run(*arrays: tf.Tensor) -> Worst:
        x, point, loss, y, draws, window, patterns, epsilon, bounds = arrays

        def objective(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inputs = tf.reshape(at, [-1, *own_shape])
            logits = class_logits(tf.cast(model()(inputs, training=False), tf.float32))
            return margin(logits, y), is_wrong(logits, y)

        ball = Ball.around(x, epsilon, tf.unstack(bounds), distance)
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
