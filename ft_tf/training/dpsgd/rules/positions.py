"""Layers whose per-example gradient is a sum of outer products over T positions.

With rows u_t [K] (the inputs of position t) and g_t [O] (the gradients of its outputs) the
gradient of an example is M = sum_t u_t g_t^T [K, O]. Two exact forms of its squared norm:

    written out:  |M|^2, with 2 T K O operations; the weighted sum then needs no second pass
    Gram:         sum_{t,t'} (u_t . u_t') (g_t . g_t'), with 2 T^2 (K + O) operations, after which
                  the weighted sum is one matrix product over all examples and positions
"""

from collections.abc import Callable

from ft_tf._compat import tf
from ft_tf.training.dpsgd.rules.registry import (
    PerExampleGradients,
    contract,
    sum_of_squares,
    weigh,
)


def gram_is_cheaper(positions: int | None, rows: int, outputs: int) -> bool:
    """Whether the Gram form is cheaper than writing the gradients out.

    The written-out form writes rows * outputs floats per example and reads them twice; each costs
    about as much as 80 operations. The Gram form's sum is another 2 T K O operations.

    >>> gram_is_cheaper(64, 500, 50), gram_is_cheaper(16, 1152, 128)
    (False, True)
    """
    if positions is None:
        return False
    written_out = 2 * positions * rows * outputs + 80 * rows * outputs
    gram = 2 * positions**2 * (rows + outputs) + 2 * positions * rows * outputs
    return gram < written_out


def position_gradients(
    rows: tf.Tensor, gradients: tf.Tensor, *, use_bias: bool, rows_last: bool = False
) -> PerExampleGradients:
    """Per-example gradients sum_t u_t g_t^T, and sum_t g_t for the bias.

    Args:
        rows: float32 [batch, T, K].
        gradients: float32 [batch, T, O].
        use_bias: whether the layer adds a bias to each of its O outputs.
        rows_last: `rows` are [batch, K, T] instead.
    """
    width = rows.shape[1] if rows_last else rows.shape[2]
    gram = gram_is_cheaper(gradients.shape[1], width, gradients.shape[2])
    if gram:
        rows = tf.transpose(rows, [0, 2, 1]) if rows_last else rows
        norms, kernel_sum = _gram_form(rows, gradients)
    else:
        norms, kernel_sum = _written_out_form(rows, gradients, rows_last)
    if not use_bias:
        return PerExampleGradients(norms, lambda weights: [kernel_sum(weights)])
    bias = tf.reduce_sum(gradients, axis=1)
    return PerExampleGradients(
        squared_norms=norms + sum_of_squares(bias),
        weighted_sum=lambda weights: [kernel_sum(weights), contract(weights, bias)],
    )


KernelSum = Callable[[tf.Tensor], tf.Tensor]


def _written_out_form(
    rows: tf.Tensor, gradients: tf.Tensor, rows_last: bool
) -> tuple[tf.Tensor, KernelSum]:
    if rows_last:
        products = tf.matmul(rows, gradients)
        return sum_of_squares(products), lambda weights: contract(weights, products)
    products = tf.matmul(gradients, rows, transpose_a=True)  # wide rows keep the vectors full
    return sum_of_squares(products), lambda weights: tf.transpose(contract(weights, products))


def _gram_form(rows: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, KernelSum]:
    norms = gram_norms(rows, gradients)

    def kernel_sum(weights: tf.Tensor) -> tf.Tensor:
        weighted = tf.reshape(weigh(weights, gradients), [-1, gradients.shape[2]])
        flat = tf.reshape(rows, [-1, rows.shape[2]])
        return tf.transpose(tf.matmul(weighted, flat, transpose_a=True))

    return norms, kernel_sum


def gram_norms(rows: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """sum_{t,t'} (u_t . u_t') (g_t . g_t'), float32 [batch]; never negative.

    Terms of both signs may cancel, and rounding could then take the sum below zero.
    """
    products = tf.matmul(rows, rows, transpose_b=True) * tf.matmul(
        gradients, gradients, transpose_b=True
    )
    return tf.maximum(tf.reduce_sum(products, axis=[1, 2]), 0.0)
