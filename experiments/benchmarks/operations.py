"""Floating-point operations of a network, and how many this machine can do in a second."""

from typing import NamedTuple

import numpy as np

from experiments.benchmarks import timer
from ft_tf._compat import keras, tf

_PEAK_SIZE = 2048
_PEAK_REPEATS = 12


class Operations(NamedTuple):
    """Operations per example of Dense and Conv2D layers.

    A multiplication and an addition for each weight and position: once forward, once for the
    weights' gradient, and, except in the first layer, once for the inputs' gradient.

    Attributes:
        forward: of a forward pass.
        training: of a step of plain training.
    """

    forward: int
    training: int


def operations_of(model: keras.Model) -> Operations:
    """Counts the operations of a model."""
    layers = [
        2 * int(np.prod(layer.output.shape[1:-1])) * int(np.prod(layer.kernel.shape))
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)
    ]
    return Operations(sum(layers), 3 * sum(layers) - layers[0])


def matmul_peak() -> float:
    """Returns the operations per second of a large float32 matrix product, the best of several."""
    a = tf.random.stateless_normal([_PEAK_SIZE, _PEAK_SIZE], seed=[0, 0])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)))
    product()
    times = [timer.seconds(lambda: product().numpy()) for _ in range(_PEAK_REPEATS)]
    return 2 * _PEAK_SIZE**3 / min(times)
