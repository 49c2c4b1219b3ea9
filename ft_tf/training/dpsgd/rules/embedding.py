"""Embedding layers: row `id` of a table for each of an example's T positions.

Two positions share a row exactly when their ids agree, so the squared norm of an example is
sum_{t,t'} [id_t = id_t'] g_t . g_t'. The sum is a dense table: its noise falls on every row.
"""

import math

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    register_rule,
    trains,
    weigh,
)


def embedding_rule(
    layer: keras.layers.Embedding, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of an Embedding layer on ids [batch, ...]."""
    positions = math.prod(inputs.shape[1:])
    ids = tf.reshape(tf.cast(inputs, tf.int32), [-1, positions])
    flat = tf.reshape(tf.cast(gradients, tf.float32), [-1, positions, layer.output_dim])
    same = tf.cast(ids[:, :, tf.newaxis] == ids[:, tf.newaxis, :], tf.float32)
    # Each of the k positions of a row holds the row's gradient, so each adds 1/k of its square.
    rows = tf.matmul(same, flat)
    norms = tf.reduce_sum(tf.square(rows), axis=-1) / tf.reduce_sum(same, axis=-1)

    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        rows = tf.reshape(weigh(weights, flat), [-1, layer.output_dim])
        return [tf.math.unsorted_segment_sum(rows, tf.reshape(ids, [-1]), layer.input_dim)]

    return PerExampleGradients(tf.reduce_sum(norms, axis=-1), weighted_sum)


register_rule(keras.layers.Embedding, embedding_rule, applies=trains("embeddings"))
