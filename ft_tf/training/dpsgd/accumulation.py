"""A logical batch of any size in bounded memory: its clipped sum, piece by piece."""

from collections.abc import Callable

from ft_tf._compat import tf
from ft_tf.training.dpsgd.clipping import ClippedSum

Piece = Callable[[tf.Tensor], ClippedSum]
"""Index of a piece -> its clipped sum."""


def accumulated_sum(piece: Piece, pieces: tf.Tensor) -> ClippedSum:
    """The clipped sum of a batch that comes in pieces; runs in graph mode.

    The first piece stands outside the loop, so that a batch of one piece costs nothing extra.

    Args:
        piece: computes one piece.
        pieces: int32 scalar >= 1, how many there are.

    Returns:
        The sum of the pieces' gradients; norms, losses and outputs of all, in order.
    """
    first = piece(tf.constant(0))

    def add(index: tf.Tensor, gradients: list[tf.Tensor], rows: list[tf.Tensor]) -> tuple:
        more = piece(index)
        sums = [a + b for a, b in zip(gradients, more.gradients, strict=True)]
        joined = [tf.concat(pair, axis=0) for pair in zip(rows, _rows(more), strict=True)]
        return index + 1, sums, joined

    rows = _rows(first)
    unknown_length = [tf.TensorShape([None, *part.shape[1:]]) for part in rows]
    shapes = [gradient.shape for gradient in first.gradients]
    _, gradients, rows = tf.while_loop(
        lambda index, *_: index < pieces,
        add,
        (tf.constant(1), first.gradients, rows),
        shape_invariants=(tf.TensorShape([]), shapes, unknown_length),
        parallel_iterations=1,
    )
    norms, finite, losses, outputs = rows
    return ClippedSum(gradients, norms, finite, losses, outputs)


def _rows(part: ClippedSum) -> list[tf.Tensor]:
    return [part.norms, part.finite, part.losses, part.outputs]
