"""Checks, in the graph, of batches whose values nothing could look at before training.

Arrays are checked before the first step. A tf.data input gives its values step by step: each batch
is checked as the arrays are, and the words reach the user as an ArgumentError. Each function
returns its values, computed only after the assertion has held: no step is taken on a bad batch.
"""

import contextlib
import re
from collections.abc import Iterator

from ft_tf._compat import tf
from ft_tf.attacks.validation import BOUNDS_TOLERANCE
from ft_tf.errors import ArgumentError

_MARK = "ft_tf refuses a batch: "


def require_finite(x: tf.Tensor) -> tf.Tensor:
    """Returns `x` if its values, where they are floating, are finite."""
    if not x.dtype.is_floating:
        return x
    wrong = tf.math.count_nonzero(~tf.math.is_finite(x))
    text = tf.strings.format("x has {} values that are NaN or infinite", wrong)
    return _require(x, tf.equal(wrong, 0), text)


def require_within(x: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    """Returns `x` if it lies within the bounds, but for rounding."""
    low, high = bounds
    slack = BOUNDS_TOLERANCE * (high - low)
    smallest, largest = (tf.cast(end(x), tf.float32) for end in (tf.reduce_min, tf.reduce_max))
    text = tf.strings.format(
        f"x lies in [{{}}, {{}}], outside bounds=({low:g}, {high:g}): rescale the images or pass "
        "their bounds",
        (smallest, largest),
    )
    return _require(x, (smallest >= low - slack) & (largest <= high + slack), text)


def require_labels(y: tf.Tensor, classes: int, ignored: int | None = None) -> tf.Tensor:
    """Returns `y` if its labels are integers 0 ... classes - 1, or `ignored`."""
    labels = tf.cast(tf.reshape(y, [-1]), tf.float64)
    right = (labels >= 0) & (labels < classes) & tf.equal(labels % 1, 0)
    if ignored is not None:
        right |= tf.equal(labels, ignored)
    text = tf.strings.format(
        f"y has labels from {{}} to {{}}, must be integers in [0, {classes - 1}] for a model of "
        f"{classes} classes",
        (tf.reduce_min(labels), tf.reduce_max(labels)),
    )
    return _require(y, tf.reduce_all(right), text)


def _require(values: tf.Tensor, condition: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    assertion = tf.debugging.Assert(condition, [tf.strings.join([_MARK, text])])
    with tf.control_dependencies([] if assertion is None else [assertion]):
        return tf.identity(values)


@contextlib.contextmanager
def as_argument_error() -> Iterator[None]:
    """Within the block a failed assertion of this module is an ArgumentError of one line."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(rf"{_MARK}(.*)\]$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise ArgumentError(found[1]) from None
