"""A trainer that nothing refers to any more gives back its model and its training set."""

import gc
import weakref

import keras
import numpy as np
import pytest

from ft_tf import training

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network():
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def trainer(name):
    if name == "natural":
        return training.NaturalModel(network(), weight_decay=1e-3)
    if name == "dpsgd":
        return training.DPSGDModel(network(), l2_norm_clip=1.0, noise_multiplier=1.0, noise_seed=0)
    return training.TradesModel(network(), epsilon=0.1, step_size=0.05, num_steps=2, beta=6.0)


@pytest.mark.parametrize("name", ["natural", "dpsgd", "trades"])
def test_a_trainer_is_freed(name):
    x = np.random.default_rng(0).random((40, 8, 8, 1), dtype=np.float32)
    y = np.arange(40, dtype=np.int32) % 4
    found = trainer(name)
    found.compile(keras.optimizers.SGD(0.1), *([] if name == "trades" else [LOSS]))
    found.fit(x, y, batch_size=10, epochs=2, verbose=0)
    held = [weakref.ref(found), weakref.ref(found.model), weakref.ref(found._examples[0])]
    del found
    gc.collect()
    assert [ref() for ref in held] == [None, None, None]
