"""The ascents themselves, as TensorFlow loops over a batch: projected gradient, and Auto-PGD."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ft_tf._compat import tf
from ft_tf.attacks.geometry import Ball, largest_entry, steepest_direction
from ft_tf.checks import check_positive_integer

MOMENTUM = 0.75
"""Auto-PGD's alpha: the share of the new step, the rest being the last one."""
SUFFICIENT_PROGRESS = 0.75
"""Auto-PGD's rho: a window with a smaller share of rising losses halves the step size."""

Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Gives, for a batch of points, each one's loss [n] and whether it is misclassified [n]."""


class Worst(NamedTuple):
    """The worst point met for each example: misclassified before not, then by the higher loss.

    A loss of NaN is higher than all others.
    """

    point: tf.Tensor
    loss: tf.Tensor
    broken: tf.Tensor

    def updated(self, point: tf.Tensor, loss: tf.Tensor, broken: tf.Tensor) -> "Worst":
        """This, or where the new point is worse, the new point."""
        same_kind = tf.equal(broken, self.broken)
        is_higher = (loss > self.loss) | (tf.math.is_nan(loss) & ~tf.math.is_nan(self.loss))
        is_worse = (broken & ~self.broken) | (same_kind & is_higher)
        return Worst(
            _choose(is_worse, point, self.point),
            tf.where(is_worse, loss, self.loss),
            broken | self.broken,
        )


class Ascent(NamedTuple):
    """What an ascent gives back.

    Attributes:
        worst: the worst point met.
        last: the last point, [n, ...].
        stuck: where the first gradient was exactly zero, [n].
    """

    worst: Worst
    last: tf.Tensor
    stuck: tf.Tensor


def _choose(mask: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """tf.where with a mask per example, [n], over batches [n, ...]."""
    return tf.where(tf.reshape(mask, [-1] + [1] * (one.shape.rank - 1)), one, other)


def _none_yet(x: tf.Tensor) -> Worst:
    examples = tf.shape(x)[0]
    return Worst(x, tf.fill([examples], x.dtype.min), tf.fill([examples], False))


def _gradient(objective: Objective, point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Loss, misclassified, and the gradient by the point alone; no number of it is NaN."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(point)
        loss, broken = objective(point)
    gradient = tape.gradient(loss, point)
    if gradient is None:
        gradient = tf.zeros_like(point)
    # One NaN would put NaN into the point, which no projection takes out again.
    gradient = tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))
    return loss, broken, gradient


def _is_zero(gradient: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.equal(largest_entry(gradient), 0), [-1])


def projected_gradient(
    objective: Objective,
    ball: Ball,
    start: tf.Tensor,
    *,
    step_size: tf.Tensor,
    num_steps: tf.Tensor,
) -> Ascent:
    """x_{k+1} = P(x_k + step_size * direction(gradient at x_k)), Madry et al. 2018.

    Returns:
        The worst of x_1, ..., x_num_steps, and the last.
    """

    def step(
        index: tf.Tensor, point: tf.Tensor, worst: Worst, stuck: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Worst, tf.Tensor]:
        loss, broken, gradient = _gradient(objective, point)
        is_start = tf.equal(index, 0)
        worst = tf.cond(is_start, lambda: worst, lambda: worst.updated(point, loss, broken))
        stuck = tf.where(is_start, _is_zero(gradient), stuck)
        direction = steepest_direction(gradient, ball.distance)
        return index + 1, ball.project(point + step_size * direction), worst, stuck

    nothing = _none_yet(ball.x)
    _, point, worst, stuck = tf.while_loop(
        lambda index, *_: index < num_steps, step, (0, start, nothing, nothing.broken)
    )
    return Ascent(worst.updated(point, *objective(point)), point, stuck)


def apgd_windows(num_steps: int) -> npt.NDArray[np.int32]:
    """Auto-PGD's schedule: at each step, the length of the window that ends there, or 0.

    Checkpoints are ceil(p_j * num_steps) with p_0 = 0, p_1 = 0.22 and
    p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06) (Croce and Hein 2020, section 3).

    >>> (np.flatnonzero(apgd_windows(100)) + 1).tolist()
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    check_positive_integer(num_steps=num_steps)
    windows = np.zeros(num_steps, np.int32)
    share, length, last = Fraction(22, 100), Fraction(22, 100), 0
    while share <= 1:
        checkpoint = ceil(share * num_steps)
        if checkpoint > last:
            windows[checkpoint - 1] = checkpoint - last
        last = checkpoint
        length = max(length - Fraction(3, 100), Fraction(6, 100))
        share += length
    return windows


class _State(NamedTuple):
    """What Auto-PGD carries from step to step; the per-example numbers are [n]."""

    index: tf.Tensor
    point: tf.Tensor
    previous: tf.Tensor
    loss: tf.Tensor
    gradient: tf.Tensor
    step_size: tf.Tensor
    best_point: tf.Tensor
    best_loss: tf.Tensor
    best_gradient: tf.Tensor
    rises: tf.Tensor
    was_halved: tf.Tensor
    checkpoint_loss: tf.Tensor
    worst: Worst


def auto_pgd(objective: Objective, ball: Ball, start: tf.Tensor, *, windows: tf.Tensor) -> Ascent:
    """Auto-PGD (Croce and Hein 2020, Algorithm 1): momentum, and a step size that adapts.

    The step size starts at 2 * epsilon. When a window ends, an example's step size is halved and
    it goes on from its best point if (1) the loss rose in less than rho of the window's steps, or
    (2) the step size was not halved at the last checkpoint and the best loss has not risen since.

    Args:
        objective: what is maximised.
        ball: where.
        start: the first point, inside the ball.
        windows: one entry per step, see `apgd_windows`.

    Returns:
        The worst of the start and all points, and the last.
    """

    def step(state: _State) -> tuple[_State]:
        moved = _momentum_step(state, ball)
        loss, broken, gradient = _gradient(objective, moved)
        is_best = loss > state.best_loss
        state = state._replace(
            index=state.index + 1,
            point=moved,
            previous=state.point,
            loss=loss,
            gradient=gradient,
            best_point=_choose(is_best, moved, state.best_point),
            best_loss=tf.where(is_best, loss, state.best_loss),
            best_gradient=_choose(is_best, gradient, state.best_gradient),
            rises=state.rises + tf.cast(loss > state.loss, tf.int32),
            worst=state.worst.updated(moved, loss, broken),
        )
        window = windows[state.index - 1]
        return (tf.cond(window > 0, lambda: _checkpoint(state, window), lambda: state),)

    loss, broken, gradient = _gradient(objective, start)
    worst = _none_yet(ball.x).updated(start, loss, broken)
    state = _State(
        index=tf.constant(0),
        point=start,
        previous=start,
        loss=loss,
        gradient=gradient,
        step_size=tf.fill(tf.shape(loss), 2 * ball.epsilon),
        best_point=start,
        best_loss=loss,
        best_gradient=gradient,
        rises=tf.zeros_like(loss, tf.int32),
        was_halved=tf.zeros_like(broken),
        checkpoint_loss=loss,
        worst=worst,
    )
    (final,) = tf.while_loop(lambda state: state.index < tf.shape(windows)[0], step, (state,))
    return Ascent(final.worst, final.point, _is_zero(gradient))


def _momentum_step(state: _State, ball: Ball) -> tf.Tensor:
    """P(x_k + alpha * (z - x_k) + (1 - alpha) * (x_k - x_{k-1})), z the plain projected step."""
    direction = steepest_direction(state.gradient, ball.distance)
    step_size = tf.reshape(state.step_size, [-1] + [1] * (direction.shape.rank - 1))
    plain = ball.project(state.point + step_size * direction)
    share = tf.cast(tf.where(tf.equal(state.index, 0), 1.0, MOMENTUM), state.point.dtype)
    return ball.project(
        state.point + share * (plain - state.point) + (1 - share) * (state.point - state.previous)
    )


def _checkpoint(state: _State, window: tf.Tensor) -> _State:
    needed = SUFFICIENT_PROGRESS * tf.cast(window, tf.float32)
    few_rises = tf.cast(state.rises, tf.float32) < needed
    no_progress = ~state.was_halved & tf.equal(state.best_loss, state.checkpoint_loss)
    halve = few_rises | no_progress
    return state._replace(
        point=_choose(halve, state.best_point, state.point),
        loss=tf.where(halve, state.best_loss, state.loss),
        gradient=_choose(halve, state.best_gradient, state.gradient),
        step_size=tf.where(halve, state.step_size / 2, state.step_size),
        rises=tf.zeros_like(state.rises),
        was_halved=halve,
        checkpoint_loss=state.best_loss,
    )
