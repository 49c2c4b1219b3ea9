"""Small models and data that the attack tests share; nothing is downloaded."""

import numpy as np
import pytest

from ft_tf._compat import keras

CLASSES = 5
SHAPE = (6, 6, 1)


@pytest.fixture(scope="session")
def images():
    """Noisy copies of five prototypes, in [0, 1]: 600 to train on, 200 to attack."""
    rng = np.random.default_rng(1)
    prototypes = rng.random((CLASSES, *SHAPE))
    y = rng.integers(0, CLASSES, 800)
    x = 0.6 * prototypes[y] + 0.2 + 0.2 * rng.standard_normal((800, *SHAPE))
    x = np.clip(x, 0, 1).astype(np.float32)
    return (x[:600], y[:600]), (x[600:], y[600:])


@pytest.fixture(scope="session")
def classifier(images):
    """A trained convolution with batch normalisation and dropout."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(SHAPE),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(24, activation="relu"),
            layers.Dense(CLASSES),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    (x, y), _ = images
    model.fit(x, y, batch_size=50, epochs=4, verbose=0)
    return model


@pytest.fixture
def make_linear():
    """Makes a linear model with given weights [d, k] and biases [k] on inputs [n, d]."""

    def make(weights, biases):
        model = keras.Sequential(
            [keras.layers.Input((len(weights),)), keras.layers.Dense(len(biases))]
        )
        model.set_weights([np.asarray(weights, np.float32), np.asarray(biases, np.float32)])
        return model

    return make
