"""Dense layers, and all layers whose gradient is a sum of outer products over T positions.

A Dense layer on rank 2 has the gradient a g^T per example, whose squared norm is |a|^2 |g|^2
(Goodfellow 2015, "Efficient Per-Example Gradient Computations"); the weighted sum over the examples
is one matrix product. On higher ranks the T positions of an example add up, as in a convolution.

With rows u_t [K] (the inputs of position t) and g_t [O] (the gradients of its outputs) the gradient
is then M = sum_t u_t g_t^T [K, O]. Two exact forms of its squared norm:

    written out:  |M|^2, with 2 T K O operations; the weighted sum then needs no second pass
    Gram:         sum_{t,t'} (u_t . u_t') (g_t . g_t'), with 2 T^2 (K + O) operations, after which
                  the weighted sum is one matrix product over all examples and positions. Terms
                  of both signs may cancel: where little is left, the gradient is written out.

An Embedding layer's rows u_t are those of the identity.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.rules import (
    PerExampleGradients,
    contract,
    from_materialized,
    joined,
    register_rule,
    sum_of_squares,
    trains,
    weigh,
)

_LOST = 1e-33
"""More than what squares below 1e-38, which become 0, add up to. It counts where the other factor
of a squared norm is 1e38: so norms are rounded upwards."""


def dense_rule(
    layer: keras.layers.Dense, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Dense layer on inputs [batch, ..., features]."""
    return _products(inputs, gradients, use_bias=layer.use_bias)


def lora_dense_rule(
    layer: keras.layers.Dense, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of a Dense layer with low-rank adapters: x (W + s A B) + b.

    Those of A are s x^T (g B^T), those of B are s (x A)^T g; W is frozen.
    """
    inputs, gradients = (tf.cast(part, tf.float32) for part in (inputs, gradients))
    scale = layer.lora_alpha / layer.lora_rank
    a, b = (tf.cast(w.value, tf.float32) for w in (layer.lora_kernel_a, layer.lora_kernel_b))
    by_a = _products(inputs, scale * tf.tensordot(gradients, b, [[-1], [1]]), use_bias=False)
    by_b = _products(scale * tf.tensordot(inputs, a, 1), gradients, use_bias=False)
    if layer.trainable_weights[0] is not layer.bias:
        return joined(by_a, by_b)
    bias = tf.reduce_sum(gradients, axis=list(range(1, gradients.shape.rank - 1)))
    return joined(from_materialized([bias]), by_a, by_b)


def _products(inputs: tf.Tensor, gradients: tf.Tensor, *, use_bias: bool) -> PerExampleGradients:
    """Gradients of a kernel [K, O] that maps inputs [batch, ..., K], and of a bias [O]."""
    inputs = tf.cast(inputs, tf.float32)
    gradients = tf.cast(gradients, tf.float32)
    if inputs.shape.rank > 2:
        return position_gradients(
            _merge_positions(inputs), _merge_positions(gradients), use_bias=use_bias
        )
    input_norms = sum_of_squares(inputs)
    gradient_norms = sum_of_squares(gradients)

    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        weighted = weigh(weights, gradients)
        kernel = tf.matmul(inputs, weighted, transpose_a=True)
        return [kernel, tf.reduce_sum(weighted, axis=0)] if use_bias else [kernel]

    bias_part = 1.0 if use_bias else 0.0
    squared_norms = (gradient_norms + _LOST) * (input_norms + bias_part + _LOST)
    return PerExampleGradients(squared_norms=squared_norms, weighted_sum=weighted_sum)


class _Einsum(NamedTuple):
    """The letters of an EinsumDense layer's equation, without that of the examples.

    Attributes:
        positions: of inputs and outputs: the gradient is summed over them.
        rows: of inputs and kernel.
        columns: of kernel and outputs.
    """

    batch: str
    inputs: str
    kernel: str
    outputs: str
    positions: str
    rows: str
    columns: str

    @classmethod
    def of(cls, layer: keras.layers.EinsumDense) -> "_Einsum | None":
        """Reads the equation; None if the rule does not serve it."""
        found = re.fullmatch(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)", layer.equation)
        if found is None or any(len(set(part)) < len(part) for part in found.groups()):
            return None
        inputs, kernel, outputs = found.groups()
        batch = inputs[0]
        if outputs[0] != batch or batch in kernel or set(inputs) & set(kernel) & set(outputs):
            return None
        if set(inputs[1:]) - set(kernel) - set(outputs) or set(kernel) - set(inputs) - set(outputs):
            return None
        return cls(
            batch, inputs, kernel, outputs,
            positions="".join(x for x in inputs[1:] if x in outputs),
            rows="".join(x for x in inputs[1:] if x in kernel),
            columns="".join(x for x in outputs[1:] if x in kernel),
        )  # fmt: skip


def einsum_dense_rule(
    layer: keras.layers.EinsumDense, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of an EinsumDense layer, by the form of a Dense layer's."""
    inputs, gradients = (tf.cast(part, tf.float32) for part in (inputs, gradients))
    e = _Einsum.of(layer)
    rows = _arranged(inputs, e.inputs, e.batch, e.positions, e.rows)
    columns = _arranged(gradients, e.outputs, e.batch, e.positions, e.columns)
    products = position_gradients(rows, columns, use_bias=False)
    sizes = dict(zip(e.kernel, layer.kernel.shape, strict=True))
    order = e.rows + e.columns

    def kernel_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        (total,) = products.weighted_sum(weights)
        whole = tf.reshape(total, [sizes[letter] for letter in order])
        return [tf.transpose(whole, [order.index(letter) for letter in e.kernel])]

    kernel = PerExampleGradients(products.squared_norms, kernel_sum)
    if layer.bias is None:
        return kernel
    others = [i for i, x in enumerate(e.outputs) if i and x not in layer.bias_axes]
    bias = tf.reshape(tf.reduce_sum(gradients, axis=others), [-1, *layer.bias.shape])
    return joined(kernel, from_materialized([bias]))


def _arranged(
    tensor: tf.Tensor, letters: str, batch: str, positions: str, features: str
) -> tf.Tensor:
    """[batch, positions, features], each of the two merged, of a tensor with axes `letters`."""
    order = [letters.index(letter) for letter in batch + positions + features]
    sizes = dict(zip(letters, tensor.shape, strict=True))
    merged = (math.prod(sizes[x] for x in group) for group in (positions, features))
    return tf.reshape(tf.transpose(tensor, order), [-1, *merged])


def _merge_positions(tensor: tf.Tensor) -> tf.Tensor:
    """[batch, ..., features] -> [batch, positions, features]."""
    positions = tensor.shape[1:-1].num_elements()
    return tf.reshape(
        tensor, [tf.shape(tensor)[0], -1 if positions is None else positions, tensor.shape[-1]]
    )


def gram_is_cheaper(positions: int | None, rows: int, outputs: int) -> bool:
    """Returns True if the Gram form is cheaper than writing the gradients out.

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


_EPSILON = float(np.finfo(np.float32).eps)
_BLOCK = 64
"""Products of a Gram entry that are summed in a row."""
_CANCELLED = 1 / 64
"""A squared norm below this share of sum_t |u_t|^2 |g_t|^2 is the remainder of a cancellation."""


def _gram_form(rows: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, KernelSum]:
    """The Gram form; examples whose positions nearly cancel are written out, one at a time.

    The rounding of a sum that cancels is large compared with the sum. Written out, an example is
    clipped by the norm of the very matrix that is added.
    """
    norms, cancelled = gram_norms(rows, gradients)
    written_out = tf.where(cancelled)[:, 0]

    def product(example: tf.Tensor) -> tf.Tensor:
        return tf.matmul(rows[example], gradients[example], transpose_a=True)

    exact = tf.map_fn(
        lambda example: sum_of_squares(product(example)[tf.newaxis])[0],
        written_out,
        fn_output_signature=tf.float32,
    )
    norms = tf.tensor_scatter_nd_update(norms, written_out[:, tf.newaxis], exact)

    def kernel_sum(weights: tf.Tensor) -> tf.Tensor:
        weighted = weigh(tf.where(cancelled, 0.0, weights), gradients)
        flat = tf.reshape(rows, [-1, rows.shape[2]])
        columns = tf.reshape(weighted, [-1, gradients.shape[2]])
        total = tf.transpose(tf.matmul(columns, flat, transpose_a=True))

        def add(place: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            example = written_out[place]
            return place + 1, total + weights[example] * product(example)

        _, total = tf.while_loop(lambda place, _: place < tf.size(written_out), add, (0, total))
        return total

    return norms, kernel_sum


def gram_norms(rows: tf.Tensor, gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """sum_{t,t'} (u_t . u_t') (g_t . g_t'), rounded upwards, and where the sum nearly cancelled.

    Returns:
        float32 [batch]: the squared norms, and what rounding may have taken from them: a share of
        (sum_t |u_t| |g_t|)^2, and one of the sum itself, larger for longer rows and for more
        positions, since rounding adds up where all products are equal.
        bool [batch]: whether that is much compared with the squared norm, which must then be
        computed otherwise.
    """
    by_rows, by_gradients = _gram(rows), _gram(gradients)
    products = by_rows * by_gradients
    total = tf.reduce_sum(products, axis=[1, 2])
    squares = tf.linalg.diag_part(products)
    largest = tf.square(tf.reduce_sum(tf.sqrt(squares), axis=1))
    summed = sum(min(part.shape[2], _BLOCK) for part in (rows, gradients)) + rows.shape[1]
    rounding = _EPSILON * (summed / 4 * total + largest)
    lost = _LOST * rows.shape[1] * (tf.linalg.trace(by_rows) + tf.linalg.trace(by_gradients))
    return total + rounding + lost, total < _CANCELLED * tf.reduce_sum(squares, axis=1)


def _gram(vectors: tf.Tensor) -> tf.Tensor:
    """Inner products [batch, T, T] of vectors [batch, T, K], summed in blocks along K.

    A processor may sum the K products of an entry one after another, and where they are equal the
    rounding adds up: at K = 1152 it came to 1.4e-5 of the entry with AVX-512.
    """
    width, positions = vectors.shape[2], vectors.shape[1]
    blocks = -(-width // _BLOCK)
    if blocks == 1:
        return tf.matmul(vectors, vectors, transpose_b=True)
    padded = tf.pad(vectors, [[0, 0], [0, 0], [0, blocks * _BLOCK - width]])
    split = tf.reshape(padded, [-1, positions, blocks, _BLOCK])
    split = tf.transpose(split, [0, 2, 1, 3])
    return tf.reduce_sum(tf.matmul(split, split, transpose_b=True), axis=1)


def embedding_rule(
    layer: keras.layers.Embedding, inputs: tf.Tensor, gradients: tf.Tensor
) -> PerExampleGradients:
    """Per-example gradients of an Embedding layer on ids [batch, ...].

    Two positions share a row exactly when their ids agree, so the squared norm of an example is
    sum_{t,t'} [id_t = id_t'] g_t . g_t'. The sum is a dense table: its noise falls on every row.
    """
    positions = math.prod(inputs.shape[1:])
    ids = tf.reshape(tf.cast(inputs, tf.int32), [-1, positions])
    ids = tf.where(ids < 0, ids + layer.input_dim, ids)  # as Keras counts from the end
    flat = tf.reshape(tf.cast(gradients, tf.float32), [-1, positions, layer.output_dim])
    same = tf.cast(ids[:, :, tf.newaxis] == ids[:, tf.newaxis, :], tf.float32)
    # Each of the k positions of a row holds the row's gradient, so each adds 1/k of its square.
    rows = tf.matmul(same, flat)
    norms = tf.reduce_sum(tf.square(rows), axis=-1) / tf.reduce_sum(same, axis=-1)

    def weighted_sum(weights: tf.Tensor) -> list[tf.Tensor]:
        rows = tf.reshape(weigh(weights, flat), [-1, layer.output_dim])
        return [tf.math.unsorted_segment_sum(rows, tf.reshape(ids, [-1]), layer.input_dim)]

    return PerExampleGradients(tf.reduce_sum(norms, axis=-1), weighted_sum)


def _trains_adapters(layer: keras.layers.Dense) -> bool:
    trained = [weight.name for weight in layer.trainable_weights]
    return trained[-2:] == ["lora_kernel_a", "lora_kernel_b"] and trained[:-2] in ([], ["bias"])


register_rule(keras.layers.Dense, dense_rule, applies=trains("kernel", "bias"))
register_rule(keras.layers.Dense, lora_dense_rule, applies=_trains_adapters)
register_rule(
    keras.layers.EinsumDense,
    einsum_dense_rule,
    applies=lambda layer: trains("kernel", "bias")(layer) and _Einsum.of(layer) is not None,
)
register_rule(keras.layers.Embedding, embedding_rule, applies=trains("embeddings"))
