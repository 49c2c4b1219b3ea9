"""A classifier of four kinds of small images whose weights are solved for, not trained."""

import functools

import numpy as np

from ft_tf import faults
from ft_tf._compat import keras

CLASSES, SIDE = 4, 6
BUDGET = 6


class Ticks:
    """A clock that goes on by a hundredth of a second each time it is looked at."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        self.time += 0.01
        return self.time


def fraction_only(model, fault):
    """A protection: the model stays what it is, and sign and exponent are spared."""
    return model, faults.BitErrors("float32", bits=(0, 22))


def images(count, seed, noise=0.25):
    """Images [n, 6, 6, 1] in [0, 1], and labels: a bright quarter says the class."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, CLASSES, count)
    x = generator.normal(0.4, noise, (count, SIDE, SIDE, 1))
    for row, label in enumerate(y):
        top, left = divmod(int(label), 2)
        x[row, 3 * top : 3 * top + 3, 3 * left : 3 * left + 3] += 0.2
    return np.clip(x, 0, 1).astype(np.float32), y.astype(np.int64)


@functools.cache
def classifier(hidden=24, seed=0):
    """One hidden layer of random features; the output layer fits the training images."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Flatten(),
            layers.Dense(hidden, activation="relu", name="hidden"),
            layers.Dense(CLASSES, name="logits"),
        ],
        name="quarters",
    )
    x, y = images(400, seed=100)
    generator = np.random.default_rng(seed)
    kernel = generator.normal(0, 0.3, (SIDE * SIDE, hidden)).astype(np.float32)
    features = np.maximum(x.reshape(len(x), -1) @ kernel, 0)
    wanted = 4.0 * np.eye(CLASSES)[y]
    matrix = np.concatenate([features, np.ones((len(x), 1))], axis=1)
    solved = np.linalg.lstsq(matrix, wanted, rcond=None)[0].astype(np.float32)
    model.set_weights([kernel, np.zeros(hidden, np.float32), solved[:-1], solved[-1]])
    return model
