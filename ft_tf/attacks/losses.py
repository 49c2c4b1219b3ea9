"""What an attacker maximises: a loss per example, from logits with a column per class.

All take logits [n, classes] (see `class_logits` for single-logit models) and int64 labels [n],
and return [n]; a positive margin, DLR or targeted DLR means that the example is misclassified.
"""

from ft_tf._compat import tf

TINY = 1e-12
"""Keeps the DLR's quotient finite when the logits it divides by are equal."""


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log softmax(z)_y."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _true_logit(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, labels, axis=-1, batch_dims=1)


def _largest_other_logit(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False)
    return tf.reduce_max(tf.where(is_label, logits.dtype.min, logits), axis=-1)


def is_wrong(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Whether the largest logit is not the label's; a NaN is no prediction and never right.

    >>> is_wrong(tf.constant([[2.0, 1.0], [float("nan"), 1.0]]), tf.constant([0, 0])).numpy()
    array([False,  True])
    """
    labels = tf.cast(labels, tf.int64)
    is_nan = tf.reduce_any(tf.math.is_nan(logits), axis=-1)
    return is_nan | tf.not_equal(tf.argmax(logits, axis=-1), labels)


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """max_{i != y} z_i - z_y (Carlini and Wagner 2017); its gradient never vanishes by saturation.

    >>> margin(tf.constant([[3.0, 1.0, 2.5]]), tf.constant([0])).numpy().tolist()
    [-0.5]
    """
    return _largest_other_logit(logits, labels) - _true_logit(logits, labels)


def dlr(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Difference of logits ratio, (max_{i != y} z_i - z_y) / (z_(1) - z_(3)), z_(1) the largest.

    Croce and Hein 2020, equation 6: unchanged by a shift or a rescaling of the logits. Needs at
    least 3 classes.
    """
    largest = tf.math.top_k(logits, 3).values
    return margin(logits, labels) / (largest[:, 0] - largest[:, 2] + TINY)


def targeted_dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2), Croce and Hein 2020, equation 7.

    Needs at least 4 classes: with 3 the denominator could not be formed.
    """
    largest = tf.math.top_k(logits, 4).values
    scale = largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + TINY
    return (_true_logit(logits, targets) - _true_logit(logits, labels)) / scale
