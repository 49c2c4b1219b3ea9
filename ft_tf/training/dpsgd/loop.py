"""Keras's compiled loop over the steps of one execution, with the step traced once."""

from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras, tf

Logs = dict[str, tf.Tensor]


def compiled_loop(model: keras.Model) -> Callable[[Any], Logs]:
    """Takes an iterator of batches, runs `model`'s steps of one execution, and gives its metrics.

    Keras's own traces its body twice to learn what it returns, and makes metrics' results in every
    step.
    """
    return tf.function(
        lambda iterator: _run(model, lambda done: next(iterator)),
        autograph=False,
        reduce_retracing=True,
    )


def loop_with_a_look(model: keras.Model, look: Callable[[Any], None]) -> Callable[[Any], Logs]:
    """As `compiled_loop`, but the first batch of each execution passes by `look`.

    No batch is drawn twice and none is left out: what was looked at is what the first step takes.
    """
    run = tf.function(
        lambda iterator, first: _run(
            model, lambda done: tf.cond(done == 0, lambda: first, lambda: next(iterator))
        ),
        autograph=False,
        reduce_retracing=True,
    )

    def execution(iterator: Any) -> Logs:
        first = next(iterator)
        look(first)
        return run(iterator, first)

    return execution


def _run(model: keras.Model, batch: Callable[[tf.Tensor], Any]) -> Logs:
    def body(done: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies(list(model.train_step(batch(done)).values())):
            model._train_counter.assign_add(1)
        return done + 1

    count = tf.cast(model._steps_per_execution, tf.int32)
    tf.while_loop(lambda done: done < count, body, [0], parallel_iterations=1)
    return {metric.name: metric.result() for metric in model.metrics}
