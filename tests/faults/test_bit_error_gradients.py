import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import tf


@pytest.mark.parametrize("storage", ["float32", "bfloat16", "int8", "int8_per_channel"])
def test_the_gradient_passes_through_every_value_without_an_inverted_bit(storage):
    fault = faults.BitFlip(storage, bits=(2, 3), flips=2)
    values = tf.constant(np.random.default_rng(0).normal(size=(6, 4)), tf.float32)
    mask = tf.constant(np.random.default_rng(1).random((6, 4)) < 0.5)
    words = tf.zeros((6, 4, 2), tf.uint32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(3 * fault.apply(values, mask, words))
    gradient = tape.gradient(total, values).numpy()
    np.testing.assert_array_equal(gradient, np.where(mask, 0.0, 3.0))
    prepared = fault.prepared(values)(mask, words)
    np.testing.assert_array_equal(fault.apply(values, mask, words), prepared)
