"""Dense layers: y = x W + b on inputs of any rank.

On rank 2 an example's gradient is the outer product a g^T, so its squared norm is |a|^2 |g|^2
(Goodfellow 2015, "Efficient Per-Example Gradient Computations"), and the weighted sum of all of
them is one matrix product. On higher ranks the T positions of an example add up, as in a
convolution with a 1x1 kernel.
"""

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules.positions import position_gradients
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    register_rule,
    sum_of_squares,
    weigh,
)


def dense_rule(
    layer: keras.layers.Dense, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Dense layer on inputs [batch, ..., features]."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    if inputs.shape.rank > 2:
        return position_gradients(
            _merge_positions(inputs), _merge_positions(gradients), use_bias=layer.use_bias
        )
    input_norms = sum_of_squares(inputs)
    gradient_norms = sum_of_squares(gradients)

    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        weighted = weigh(weights, gradients)
        kernel = tf.matmul(inputs, weighted, transpose_a=True)
        return [kernel, tf.reduce_sum(weighted, axis=0)] if layer.use_bias else [kernel]

    bias_part = 1.0 if layer.use_bias else 0.0
    return PerExampleGradients(
        squared_norms=gradient_norms * (input_norms + bias_part), weighted_sum=weighted_sum
    )


def _merge_positions(tensor: tf.Tensor) -> tf.Tensor:
    """[batch, ..., features] -> [batch, positions, features]."""
    positions = tensor.shape[1:-1].num_elements()
    return tf.reshape(
        tensor, [tf.shape(tensor)[0], -1 if positions is None else positions, tensor.shape[-1]]
    )


register_rule(keras.layers.Dense, dense_rule)
