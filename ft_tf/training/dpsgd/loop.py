"""Keras's compiled loop over the steps of one execution, with the step traced once."""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.arguments import without_weights

Logs = dict[str, tf.Tensor]


def compiled_loop(model: keras.Model) -> Callable[[Any], Logs]:
    """Takes an iterator of batches, runs `model`'s steps of one execution, and gives its metrics.

    Keras's own traces its body twice to learn what it returns, and makes metrics' results in every
    step.
    """
    return tf.function(
        lambda iterator: _run(model, lambda done: next(iterator), model._steps_per_execution),
        autograph=False,
        reduce_retracing=True,
    )


def loop_with_a_look(model: keras.Model, look: Callable[..., bool]) -> Callable[[Any], Logs]:
    """As `compiled_loop`, but look(x, y) sees batches until it has seen enough, one step each.

    No batch is drawn twice and none is left out: what was looked at is what the step takes.
    """
    run = tf.function(
        lambda iterator, first, count: _run(
            model, lambda done: tf.cond(done == 0, lambda: first, lambda: next(iterator)), count
        ),
        autograph=False,
        reduce_retracing=True,
    )

    def execution(iterator: Any) -> Logs:
        left, logs = int(model._steps_per_execution), {}
        while left:
            first = next(iterator)
            steps = left if look(*without_weights(first)) else 1
            logs = run(iterator, first, tf.constant(steps))
            left -= steps
        return logs

    return execution


def _run(model: keras.Model, batch: Callable[[tf.Tensor], Any], steps: Any) -> Logs:
    def body(done: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies(list(model.train_step(batch(done)).values())):
            model._train_counter.assign_add(1)
        return done + 1

    count = tf.cast(steps, tf.int32)
    tf.while_loop(lambda done: done < count, body, [0], parallel_iterations=1)
    return {metric.name: metric.result() for metric in model.metrics}
