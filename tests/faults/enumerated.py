"""A small trained network and what each of its single faults does, by NumPy alone."""

import functools

import numpy as np

from ft_tf._compat import keras

IMAGES, INPUTS, HIDDEN, CLASSES = 60, 5, 8, 3


@functools.cache
def network():
    """Model, inputs and labels: three noisy clusters of points."""
    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(1)
    y = draw.integers(0, CLASSES, 300)
    x = (np.eye(INPUTS)[y] * 2 + draw.normal(size=(300, INPUTS))).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(HIDDEN, "relu", name="first"),
            keras.layers.Dense(CLASSES, name="second"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss=loss)
    model.fit(x, y, epochs=10, verbose=0)
    return model, x[:IMAGES], y[:IMAGES]


def in_half_precision(*names):
    """The network with the weights of these layers in float16."""
    model, x, y = network()
    copy = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), **({"dtype": "float16"} if layer.name in names else {})}
        ),
    )
    copy.set_weights(model.get_weights())
    return copy, x, y


def predictions(weights, x):
    """Classes, -1 with a NaN among the logits."""
    with np.errstate(over="ignore", invalid="ignore"):
        hidden = np.maximum(x @ weights[0] + weights[1], np.float32(0))
        logits = hidden @ weights[2] + weights[3]
    return np.where(np.isnan(logits).any(axis=1), -1, logits.argmax(axis=1))


def int8_per_channel(weight):
    """Integers 0 ... 255 in two's complement, and scales that broadcast."""
    scales = np.abs(weight).max(axis=0 if weight.ndim > 1 else None, keepdims=True)
    scales = scales / np.float32(127)
    return np.rint(weight / scales).astype(int) % 256, scales


def stored(weight, storage):
    """Words and their decoder, of float32 or of int8 per output channel."""
    if storage == "float32":
        return weight.view(np.uint32).astype(np.uint64), lambda words: words.astype(np.uint32).view(
            np.float32
        )
    words, scales = int8_per_channel(weight)

    def decoded(changed):
        signed = np.where(changed >= 128, changed.astype(int) - 256, changed.astype(int))
        return signed.astype(np.float32) * scales

    return words.astype(np.uint64), decoded


@functools.cache
def outcomes(storage):
    """{(variable, flat index, bit): share of images whose predicted class changes}."""
    model, x, _ = network()
    memory = [stored(weight, storage) for weight in model.get_weights()]
    base = [decoded(words) for words, decoded in memory]
    clean, found = predictions(base, x), {}
    for number, (words, decoded) in enumerate(memory):
        for place in range(words.size):
            for bit in range(32 if storage == "float32" else 8):
                changed = words.copy()
                changed.flat[place] ^= np.uint64(1 << bit)
                weights = [*base[:number], decoded(changed), *base[number + 1 :]]
                found[number, place, bit] = float(np.mean(predictions(weights, x) != clean))
    return found
