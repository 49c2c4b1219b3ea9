"""Predictors of fault tolerance against closed forms and brute force."""

import itertools

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.faults import predictors


def network(*widths, seed=0):
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, "relu") for width in widths[1:-1]]
    model = keras.Sequential([keras.Input((widths[0],)), *hidden, keras.layers.Dense(widths[-1])])
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def test_path_norm_is_the_sum_over_all_paths():
    model = network(3, 4, 2)
    first, first_bias, last, last_bias = model.get_weights()
    paths = sum(
        (first[i, j] * last[j, k]) ** 2
        for i, j, k in itertools.product(range(3), range(4), range(2))
    )
    paths += sum((first_bias[j] * last[j, k]) ** 2 for j in range(4) for k in range(2))
    paths += np.sum(last_bias**2)
    assert predictors.path_norm(model) == pytest.approx(np.sqrt(paths), rel=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], first)


def test_sharpness_is_the_loss_along_the_gradient():
    model, rng = network(3, 4, 2), np.random.default_rng(1)
    x, y = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 2, 50)
    before = model.get_weights()

    def loss():
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x))
        return tf.reduce_mean(losses)

    with tf.GradientTape() as tape:
        start = loss()
    gradients = tape.gradient(start, [weight.value for weight in model.trainable_variables])
    norm = tf.linalg.global_norm(gradients)
    found = predictors.sharpness(model, x, y, batch_size=20)
    for kept, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        weight.assign_add(0.05 * gradient / norm)
    assert found == pytest.approx(float(loss() - start), rel=1e-3)


def test_the_first_order_loss_of_a_linear_network_is_what_trials_lose():
    """Of a linear layer mean and variance of the logits are exact."""
    model, rng = network(200, 2), np.random.default_rng(2)
    x = rng.normal(size=(400, 200)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(axis=1)
    kernel, bias = model.get_weights()
    right = []
    for _ in range(200):
        kept = rng.random(kernel.shape) >= 0.1
        right.append(np.mean((x @ (kernel * kept) + bias).argmax(axis=1) == y))
    found = predictors.first_order_loss(model, x[:200], y[:200])
    assert found == pytest.approx(1 - np.mean(right), abs=0.02)


def test_measure_names_every_predictor():
    rng = np.random.default_rng(3)
    images, labels = rng.random((60, 4), dtype=np.float32), rng.integers(0, 3, 60)
    model = network(4, 5, 3)
    train, test = (images[:40], labels[:40]), (images[40:], labels[40:])
    found = predictors.measure(model, train, test, batch_size=16)
    logits = model.predict(images[:40], verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(labels[:40], logits, from_logits=True)
    assert found["train_loss"] == pytest.approx(float(np.mean(losses)), rel=1e-5)
    own = logits[np.arange(40), labels[:40]]
    best_others = [max(np.delete(row, label)) for row, label in zip(logits, labels, strict=False)]
    assert found["margin"] == pytest.approx(float(np.quantile(own - best_others, 0.1)), rel=1e-5)
    largest = np.mean([np.abs(weight).max() for weight in model.get_weights() if weight.ndim > 1])
    assert found["largest_weight"] == pytest.approx(float(largest))
    assert set(found) == {
        "train_loss", "test_loss", "largest_weight", "path_norm", "margin", "sharpness",
        "first_order",
    }  # fmt: skip
