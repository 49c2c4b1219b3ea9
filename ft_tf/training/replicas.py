"""Training on several devices: equal parts of each batch, and gradients weighted by them.

Under a tf.distribute strategy the batches are those of one device, in the same order; each replica
gets an even part of each. Replicas average over their own parts and TensorFlow sums the gradients,
so a part's gradient counts by its size: the update is that of the whole batch, also where the
number of replicas does not divide it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError


def is_spread(model: keras.Model) -> bool:
    """Returns True if a model was made within the scope of a strategy with several replicas."""
    return model.distribute_strategy.num_replicas_in_sync > 1


def part_weight(examples: tf.Tensor) -> tf.Tensor:
    """Returns the weight of a replica's mean gradient: its examples over their mean number.

    Args:
        examples: number of examples of this replica.

    Returns:
        float32; 1 without a strategy.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return tf.constant(1.0)
    here = tf.cast(examples, tf.float32)
    return here * replicas / total(here)


def is_first() -> bool:
    """Returns True on the first replica of a step, and without a strategy; known in the graph."""
    replica = tf.distribute.get_replica_context()
    return replica is None or not tf.get_static_value(replica.replica_id_in_sync_group)


def total(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a value over the replicas; the value itself without a strategy."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def replicated(value: Any, dtype: tf.DType) -> tf.Variable:
    """Returns a variable that every replica changes alike within a step."""
    alike = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, trainable=False, dtype=dtype, aggregation=alike)


def reducible(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a step's logs in the shape in which Keras averages them over replicas.

    Over those of several processes it takes a mean along axis 0, which scalars lack.
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return {name: value[tf.newaxis] for name, value in logs.items()}
    return logs


def share_out(
    batches: tf.data.Dataset,
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    strategy: tf.distribute.Strategy,
    arrange: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]] | None = None,
) -> tf.distribute.DistributedDataset:
    """Returns the examples of index batches, an even part of each for each replica, in order.

    Args:
        batches: batches of indices, the same in every process of the strategy.
        x: examples [n, ...].
        y: labels [n].
        batch_size: of all but the last batch of an epoch.
        strategy: whose replicas they are for.
        arrange: indices of a part, which may be none -> indices with padding, and their number
            without it.

    Returns:
        Elements (x, y) of every replica; with `arrange` (x, y, number).

    Raises:
        ArgumentError: there are more replicas than examples in a batch.
    """
    replicas = strategy.num_replicas_in_sync
    smallest = len(x) % batch_size or batch_size
    if arrange is None and smallest < replicas:
        raise ArgumentError(
            f"batch_size={batch_size}: a batch of {len(x)} examples has {smallest}, fewer than "
            f"the {replicas} replicas of the strategy"
        )
    with tf.device("CPU:0"):
        examples = (tf.convert_to_tensor(x), tf.convert_to_tensor(y))

    def of_this_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = replicas // context.num_input_pipelines
        first = here * context.input_pipeline_id

        def parts(batch: tf.Tensor) -> tf.data.Dataset:
            size = tf.cast(tf.shape(batch)[0], tf.int64)

            def part(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
                indices = batch[size * number // replicas : size * (number + 1) // replicas]
                if arrange is None:
                    return tuple(tf.gather(array, indices) for array in examples)
                indices, count = arrange(indices)
                return *(tf.gather(array, tf.reshape(indices, [-1])) for array in examples), count

            return tf.data.Dataset.range(first, first + here).map(part)

        return batches.flat_map(parts).prefetch(4 * here)

    return strategy.distribute_datasets_from_function(of_this_process)
