"""The oracle: clipping one example at a time with tf.GradientTape and NumPy in float64."""

import numpy as np

from ft_tf._compat import tf


def example_gradients(model, loss, x, y, *, training=False):
    """Gradients of each example's loss, float64, one list of arrays per example."""
    gradients = []
    for index in range(len(y)):
        with tf.GradientTape() as tape:
            outputs = model(x[index : index + 1], training=training)
            value = tf.reduce_mean(loss(y[index : index + 1], outputs))
        parts = tape.gradient(
            value, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        gradients.append([tf.convert_to_tensor(part).numpy().astype(np.float64) for part in parts])
    return gradients


def norm(parts):
    return float(np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in parts)))


def clipped_sum(gradients, l2_norm_clip):
    total = [np.zeros_like(part) for part in gradients[0]]
    for parts in gradients:
        scale = 1 / max(1.0, norm(parts) / l2_norm_clip)
        total = [a + scale * b for a, b in zip(total, parts, strict=True)]
    return total


def relative_error(ours, oracle):
    difference = [a - b for a, b in zip(ours, oracle, strict=True)]
    return norm(difference) / max(norm(oracle), 1e-30)
