"""Auto-PGD against its published schedule and a NumPy implementation in float64."""

import numpy as np
import pytest

from ft_tf._compat import tf
from ft_tf.attacks import loops
from ft_tf.attacks.geometry import Ball
from ft_tf.errors import ArgumentError


@pytest.mark.parametrize(
    "num_steps, checkpoints",
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
        (50, [11, 21, 29, 35, 40, 44, 47, 50]),
        (10, [3, 5, 6, 7, 8, 9, 10]),
        (1, [1]),
    ],
)
def test_checkpoints(num_steps, checkpoints):
    windows = loops.apgd_windows(num_steps)
    assert (np.flatnonzero(windows) + 1).tolist() == checkpoints
    assert windows[windows > 0].tolist() == np.diff([0, *checkpoints]).tolist()


def test_no_steps_are_refused():
    with pytest.raises(ArgumentError, match="num_steps=0"):
        loops.apgd_windows(0)


def bumps(z):
    """A loss with many local maxima, and its gradient."""
    value = np.sin(9 * z).sum(axis=1) + z.sum(axis=1) ** 2
    return value, 9 * np.cos(9 * z) + 2 * z.sum(axis=1, keepdims=True)


def tensor_bumps(z):
    value = tf.reduce_sum(tf.sin(9 * z), axis=1) + tf.reduce_sum(z, axis=1) ** 2
    return value, value > 2.5


def numpy_project(point, x, epsilon, distance):
    if distance == "l_inf":
        return np.clip(np.clip(point, x - epsilon, x + epsilon), 0, 1)
    delta = np.clip(point, 0, 1) - x
    return x + delta * min(1, epsilon / max(np.linalg.norm(delta), 1e-300))


def numpy_direction(gradient, distance):
    return np.sign(gradient) if distance == "l_inf" else gradient / np.linalg.norm(gradient)


def numpy_auto_pgd(x, start, epsilon, checkpoints, num_steps, distance):
    """Croce and Hein 2020, Algorithm 1, for one example; returns the best value and its point."""

    def loss(point):
        value, gradient = bumps(point[None])
        return value[0], gradient[0]

    def project(point):
        return numpy_project(point, x, epsilon, distance)

    eta, previous, point = 2 * epsilon, start, start
    value, gradient = loss(point)
    best = (value, point, gradient)
    halved, best_then, rises, last, halvings = False, value, 0, 0, 0
    for k in range(1, num_steps + 1):
        alpha = 1.0 if k == 1 else 0.75
        z = project(point + eta * numpy_direction(gradient, distance))
        new = project(point + alpha * (z - point) + (1 - alpha) * (point - previous))
        previous, point, old_value = point, new, value
        value, gradient = loss(point)
        rises += value > old_value
        if value > best[0]:
            best = (value, point, gradient)
        if k in checkpoints:
            condition_1 = rises < 0.75 * (k - last)
            condition_2 = not halved and best[0] == best_then
            halved = condition_1 or condition_2
            if halved:
                eta /= 2
                value, point, gradient = best
                halvings += 1
            best_then, rises, last = best[0], 0, k
    return best[0], best[1], halvings


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_auto_pgd_equals_the_algorithm(distance):
    rng = np.random.default_rng(2)
    x, num_steps, epsilon = rng.random((30, 3)), 30, 0.4
    start = np.stack(
        [numpy_project(row + rng.uniform(-0.4, 0.4, 3), row, epsilon, distance) for row in x]
    )
    windows = loops.apgd_windows(num_steps)
    ball = Ball.around(tf.constant(x), tf.constant(epsilon, tf.float64), (0.0, 1.0), distance)
    worst, _, _ = loops.auto_pgd(
        tensor_bumps, ball, tf.constant(start), windows=tf.constant(windows)
    )
    checkpoints = (np.flatnonzero(windows) + 1).tolist()
    expected = [
        numpy_auto_pgd(row, first, epsilon, checkpoints, num_steps, distance)
        for row, first in zip(x, start, strict=True)
    ]
    np.testing.assert_allclose(worst.loss, [e[0] for e in expected], rtol=0, atol=1e-9)
    np.testing.assert_allclose(worst.point, [e[1] for e in expected], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(worst.broken, [e[0] > 2.5 for e in expected])
    assert len({e[2] for e in expected}) > 2  # examples halve their steps at different times


def test_auto_pgd_halves_where_the_best_loss_has_not_risen_although_most_steps_rose():
    """Checkpoints at 5 and 9: the second window rises in three of four steps, all below 5."""
    losses = [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, *range(5, 16)]
    slopes = [1, 0, 0, 0, 0, -1] + [0] * 15
    visited = []

    def objective(point):
        index = len(visited)
        visited.append(float(point[0, 0]))
        value = slopes[index] * point[:, 0]
        return value + tf.stop_gradient(losses[index] - value), tf.constant([False])

    x = tf.zeros((1, 1), tf.float64)
    ball = Ball.around(x, tf.constant(1, tf.float64), (-9.0, 9.0), "l_inf")
    loops.auto_pgd(objective, ball, x, windows=tf.constant(loops.apgd_windows(20)))
    assert visited[5:10] == [1.0, -0.5, -0.875, -0.96875, -0.9921875]
    # From the best point, 1, by a step of 1 to 0: 1 + 0.75 (0 - 1) + 0.25 (1 - visited[8]).
    assert visited[10] == 0.7421875


def test_the_worst_point_of_all_steps_is_kept():
    # From 0.05 a step of 0.2 jumps over the maximum of sin(9 z) + z^2 near 0.18, back and forth.
    x = tf.constant([[0.05]], tf.float64)
    ball = Ball.around(x, tf.constant(0.4, tf.float64), (0.0, 1.0), "l_inf")
    path = [0.05]
    for _ in range(5):
        _, gradient = bumps(np.array([[path[-1]]]))
        path.append(float(np.clip(path[-1] + 0.2 * np.sign(gradient[0, 0]), 0, 0.45)))
    values = [bumps(np.array([[z]]))[0][0] for z in path[1:]]
    assert np.argmax(values) != len(values) - 1
    worst, last, stuck = loops.projected_gradient(
        tensor_bumps, ball, x, step_size=tf.constant(0.2, tf.float64), num_steps=tf.constant(5)
    )
    np.testing.assert_allclose(worst.loss, [max(values)], atol=1e-12)
    np.testing.assert_allclose(worst.point, [[path[1:][int(np.argmax(values))]]], atol=1e-12)
    np.testing.assert_allclose(last, [[path[-1]]], atol=1e-12)
    assert not stuck.numpy().any()


def test_a_broken_point_is_worse_than_an_unbroken_one_of_higher_loss():
    zeros, ones = tf.zeros((2, 1)), tf.ones((2, 1))
    worst = loops.Worst(zeros, tf.constant([5.0, 5.0]), tf.constant([False, True]))
    worst = worst.updated(ones, tf.constant([1.0, 9.0]), tf.constant([True, False]))
    np.testing.assert_array_equal(worst.point, [[1.0], [0.0]])
    np.testing.assert_array_equal(worst.loss, [1.0, 5.0])
    np.testing.assert_array_equal(worst.broken, [True, True])


def test_nan_gradients_leave_the_point_where_it_is():
    def objective(point):
        loss = tf.reduce_sum(tf.sqrt(point - 0.5), axis=1)  # NaN below 0.5
        return loss, tf.zeros_like(loss, tf.bool)

    x = tf.constant([[0.2], [0.7]])
    ball = Ball.around(x, tf.constant(0.1), (0.0, 1.0), "l_inf")
    worst, _, _ = loops.projected_gradient(
        objective, ball, x, step_size=tf.constant(0.1), num_steps=tf.constant(2)
    )
    np.testing.assert_allclose(worst.point, [[0.2], [0.8]], atol=1e-6)
