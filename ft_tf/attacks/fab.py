"""FAB-T: the smallest perturbation that changes the class, one target class at a time.

Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
attack". Each step replaces the decision boundary between the label y and the target t by the
hyperplane of its linearisation at x_k, <w, z> = b with w = grad (f_t - f_y)(x_k), and moves to

    x_{k+1} = clip((1 - alpha) (x_k + eta d_1) + alpha (x + eta d_2)),

d_1 and d_2 being the shortest steps from x_k and from the clean x to the hyperplane inside the box,
alpha = min(|d_1| / (|d_1| + |d_2|), alpha_max). A point that is misclassified is kept if it is
closer than the last one, and the search goes on from x + beta (x_{k+1} - x).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.attacks.geometry import l2_norm, largest_entry
from ft_tf.attacks.input_gradients import inference_pass
from ft_tf.attacks.kl import class_logits
from ft_tf.attacks.losses import is_wrong
from ft_tf.attacks.result import AttackResult, result_of
from ft_tf.attacks.search import Problem, WorstCase, checked_problem, compiled
from ft_tf.checks import check_positive_integer

ALPHA_MAX = 0.1
ETA = 1.05
BETA = 0.9
STEPS = 100
TARGETS = 9
_NEWTON_STEPS = 50
_STREAM = 1_000_033  # apart from the streams of the other attacks

Difference = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Gives, for a batch of points, f_t - f_y [n] and whether each is misclassified [n]."""


class Closest(NamedTuple):
    """The closest misclassified point of each example, and its distance: inf where none was met."""

    point: tf.Tensor
    distance: tf.Tensor


def distance_between(point: tf.Tensor, x: tf.Tensor, distance: str) -> tf.Tensor:
    """Length of point - x in the l_inf or the l_2 norm, shape [n]."""
    length = largest_entry(point - x) if distance == "l_inf" else l2_norm(point - x)
    return tf.reshape(length, [-1])


def _power_of_two(values: tf.Tensor) -> tf.Tensor:
    """The largest power of two that is no larger, of values >= 0: divisions by it are exact."""
    is_double = values.dtype == tf.float64
    exponent = tf.constant(0x7FF << 52, tf.int64) if is_double else tf.constant(0xFF << 23)
    bits = tf.bitwise.bitwise_and(tf.bitcast(values, exponent.dtype), exponent)
    return tf.bitcast(bits, values.dtype)


def step_to_hyperplane(
    point: tf.Tensor,
    normal: tf.Tensor,
    value: tf.Tensor,
    *,
    distance: str,
    bounds: tuple[tf.Tensor | float, tf.Tensor | float],
) -> tf.Tensor:
    """The shortest step d with <normal, point + d> = <normal, point> + value inside the box.

    Along s = sign(value) sign(normal) every entry moves by min(m g_i, r_i): r_i is its room up to
    the box, g_i = 1 for l_inf and |normal_i| for l_2, and m >= 0 solves
    sum_i |normal_i| min(m g_i, r_i) = |value|. The sum is concave and piecewise linear in m, so
    that Newton's method from m = 0 rises to the solution and ends after finitely many steps. A
    hyperplane that the box does not meet is approached as far as the box allows.

    Args:
        point: [n, d] inside the box.
        normal: [n, d].
        value: [n].
        distance: "l_inf" or "l_2".
        bounds: lowest and highest entry.

    Returns:
        The step, [n, d].

    >>> step = step_to_hyperplane(tf.constant([[0.5, 0.9]]), tf.constant([[1.0, 1.0]]),
    ...     tf.constant([0.4]), distance="l_inf", bounds=(0.0, 1.0))
    >>> step.numpy().tolist()
    [[0.3..., 0.1...]]
    """
    low, high = bounds
    # The same hyperplane; squares of a normal of 1e-25 are 0 in float32, of 1e20 infinite.
    scale = _power_of_two(tf.reduce_max(tf.abs(normal), axis=1))
    normal = tf.math.divide_no_nan(normal, scale[:, None])
    value = tf.math.divide_no_nan(value, scale)
    weight = tf.abs(normal)
    direction = tf.sign(value)[:, None] * tf.sign(normal)
    room = tf.where(direction > 0, high - point, point - low)
    gain = tf.ones_like(weight) if distance == "l_inf" else weight
    wanted = tf.abs(value)

    def reach(length: tf.Tensor) -> tf.Tensor:
        return tf.math.multiply_no_nan(length[:, None], gain)  # an infinite length too

    def missing(length: tf.Tensor) -> tf.Tensor:
        moved = tf.minimum(reach(length), room)
        return wanted - tf.reduce_sum(weight * moved, axis=1)

    def improve(length: tf.Tensor, _: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, ...]:
        is_free = tf.cast(reach(length) < room, weight.dtype)
        slope = tf.reduce_sum(weight * gain * is_free, axis=1)
        rise = tf.maximum(tf.math.divide_no_nan(missing(length), slope), 0)
        return length + rise, tf.reduce_any(rise > 1e-7 * length), count + 1

    length, _, _ = tf.while_loop(
        lambda length, is_moving, count: is_moving & (count < _NEWTON_STEPS),
        improve,
        (tf.zeros_like(wanted), tf.constant(True), tf.constant(0)),
    )
    return direction * tf.minimum(reach(length), room)


def closest_points(
    difference: Difference,
    x: tf.Tensor,
    start: tf.Tensor,
    *,
    num_steps: tf.Tensor,
    distance: str,
    bounds: tuple[tf.Tensor | float, tf.Tensor | float],
) -> Closest:
    """Runs FAB-T from `start` for one target class.

    Args:
        difference: f_t - f_y and whether a point is misclassified.
        x: clean inputs [n, ...].
        start: first points [n, ...] inside the box.
        num_steps: gradient steps.
        distance: "l_inf" or "l_2".
        bounds: lowest and highest input.
    """
    flat = [tf.shape(x)[0], -1]
    clean = tf.reshape(x, flat)

    def step(index: tf.Tensor, point: tf.Tensor, found: Closest) -> tuple:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            value, _ = difference(point)
        gradient = tape.gradient(value, point)
        gradient = tf.zeros_like(point) if gradient is None else gradient
        gradient = tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))
        # One NaN would put NaN into the point; from a step of 0 it goes back towards x.
        value = tf.where(tf.math.is_finite(value), value, tf.zeros_like(value))
        here, normal = tf.reshape(point, flat), tf.reshape(gradient, flat)
        from_clean = -value - tf.reduce_sum(normal * (clean - here), axis=1)
        steps = step_to_hyperplane(
            tf.concat([here, clean], 0),
            tf.concat([normal, normal], 0),
            tf.concat([-value, from_clean], 0),
            distance=distance,
            bounds=bounds,
        )
        lengths = distance_between(steps, tf.zeros_like(steps), distance)
        ours, cleans = tf.split(tf.maximum(lengths, 1e-8), 2)
        alpha = tf.minimum(ours / (ours + cleans), ALPHA_MAX)[:, None]
        step_here, step_clean = tf.split(steps, 2)
        moved = (here + ETA * step_here) * (1 - alpha) + (clean + ETA * step_clean) * alpha
        moved = tf.reshape(tf.clip_by_value(moved, *bounds), tf.shape(x))
        _, broken = difference(moved)
        length = distance_between(moved, x, distance)
        axes = [-1] + [1] * (x.shape.rank - 1)
        is_closer = broken & (length < found.distance)
        found = Closest(
            tf.where(tf.reshape(is_closer, axes), moved, found.point),
            tf.where(is_closer, length, found.distance),
        )
        return index + 1, tf.where(tf.reshape(broken, axes), x + BETA * (moved - x), moved), found

    nothing = Closest(x, tf.fill([tf.shape(x)[0]], tf.constant(float("inf"), x.dtype)))
    _, _, found = tf.while_loop(
        lambda index, *_: index < num_steps, step, (tf.constant(0), start, nothing)
    )
    return found


def fab(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    num_steps: int = STEPS,
    targets: int = TARGETS,
    restarts: int = 1,
    distance: str = "l_inf",
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """FAB-T, Croce and Hein 2020: the closest misclassified point, class by class.

    The arguments are those of `ft_tf.attacks.pgd`, and:

    - epsilon: radius within which a point counts as success, in units of x; random starts are
      within half of it.
    - num_steps: gradient steps for each target and restart.
    - targets: classes to drive each example to, likeliest first.
    - restarts: starts per example and target, the first one at x itself.
    """
    problem = checked_problem(model, x, y, epsilon, distance, bounds, seed, batch_size)
    worst = WorstCase(problem)
    parameters = fab_attempts(
        problem, worst, num_steps=num_steps, targets=targets, restarts=restarts
    )
    return result_of("fab", problem, worst, **parameters)


def fab_attempts(
    problem: Problem, worst: WorstCase, *, num_steps: int, targets: int, restarts: int
) -> dict[str, int]:
    """Runs every target and restart; returns the parameters as they were used."""
    check_positive_integer(num_steps=num_steps, targets=targets, restarts=restarts)
    targets = min(targets, problem.classes - 1)
    for rank in range(targets):
        towards = problem.other_classes[:, rank]
        for restart in range(restarts):
            for batch in worst.batches(problem.batch_size):
                start = problem.x[batch]
                if restart:
                    stream = (restart, _STREAM, rank)
                    start = problem.random_points(batch, problem.epsilon / 2, stream)
                found = search_closest(problem, batch, start, towards[batch], num_steps)
                within = found.distance.numpy() <= np.float32(problem.epsilon)
                worst.record(batch, found.point.numpy(), within)
    return {"num_steps": num_steps, "targets": targets, "restarts": restarts}


def search_closest(
    problem: Problem,
    batch: npt.NDArray[np.int64],
    start: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    num_steps: int,
) -> Closest:
    """`closest_points` for some examples of a problem, each towards its target class."""
    return compiled(problem, ("fab",), lambda model: _build(model, problem))(
        problem.x[batch],
        start,
        problem.y[batch],
        targets,
        np.float32(problem.bounds),
        np.int32(num_steps),
    )


def _build(model: Callable[[], keras.Model], problem: Problem) -> Callable:
    images = tf.TensorSpec([None, *problem.x.shape[1:]], tf.float32)
    labels = tf.TensorSpec([None], tf.int64)
    box, number = tf.TensorSpec([2], tf.float32), tf.TensorSpec([], tf.int32)
    distance = problem.distance

    @tf.function(input_signature=[images, images, labels, labels, box, number])
    def run(*arrays: tf.Tensor) -> Closest:
        x, start, y, targets, bounds, num_steps = arrays
        predict = inference_pass(model())

        def difference(point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = class_logits(tf.cast(predict(point), tf.float32))
            of_target = tf.gather(logits, targets, axis=-1, batch_dims=1)
            of_label = tf.gather(logits, y, axis=-1, batch_dims=1)
            return of_target - of_label, is_wrong(logits, y)

        ball = {"distance": distance, "bounds": tf.unstack(bounds)}
        return closest_points(difference, x, start, num_steps=num_steps, **ball)

    return run
