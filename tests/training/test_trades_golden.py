"""The whole TRADES step in float64 against a two-layer network written out in NumPy."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.training.base import ATTACK_STREAM
from ft_tf.training.trades import MNIST_NORMALIZATION, TradesModel, normalized_mnist_example

EPSILON, STEP_SIZE, NUM_STEPS, BETA = 0.15, 0.04, 7, 6.0
EXAMPLES, INPUTS, HIDDEN, CLASSES = 24, 6, 8, 3


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(weights, x):
    w1, b1, w2, b2 = weights
    hidden = x @ w1 + b1
    return hidden, np.maximum(hidden, 0) @ w2 + b2


def backward(weights, x, hidden, by_logits):
    """Gradients by the weights, and by x."""
    w1, _, w2, _ = weights
    by_hidden = (by_logits @ w2.T) * (hidden > 0)
    by_weights = [
        x.T @ by_hidden,
        by_hidden.sum(axis=0),
        np.maximum(hidden, 0).T @ by_logits,
        by_logits.sum(axis=0),
    ]
    return by_weights, by_hidden @ w1.T


def attacked(weights, x, noise, *, distance, epsilon, step_size, num_steps, bounds=(0.0, 1.0)):
    natural = softmax(forward(weights, x)[1])
    point = x + noise
    for _ in range(num_steps):
        hidden, logits = forward(weights, point)
        _, gradient = backward(weights, point, hidden, softmax(logits) - natural)
        if distance == "l_inf":
            point = point + step_size * np.sign(gradient)
            point = np.clip(np.minimum(np.maximum(point, x - epsilon), x + epsilon), *bounds)
        else:
            length = np.linalg.norm(gradient, axis=1, keepdims=True)
            delta = np.clip(point + 2 * epsilon / num_steps * gradient / length, *bounds) - x
            size = np.linalg.norm(delta, axis=1, keepdims=True)
            point = x + delta * np.minimum(1, epsilon / size)
    return point


def outer_loss(natural_weights, adversarial_weights, x, point, y, beta):
    """CE + beta KL; the two passes may have weights of their own, for finite differences."""
    p = softmax(forward(natural_weights, x)[1])
    q = softmax(forward(adversarial_weights, point)[1])
    cross_entropy = -np.log(p[np.arange(len(y)), y]).mean()
    return cross_entropy + beta * (p * np.log(p / q)).sum(axis=1).mean()


def outer_gradients(weights, x, point, y, beta):
    hidden, logits = forward(weights, x)
    hidden_at_point, logits_at_point = forward(weights, point)
    p, q = softmax(logits), softmax(logits_at_point)
    log_ratio = np.log(p / q)
    divergence = (p * log_ratio).sum(axis=1, keepdims=True)
    by_logits = p - np.eye(CLASSES)[y] + beta * p * (log_ratio - divergence)
    first, _ = backward(weights, x, hidden, by_logits / len(x))
    second, _ = backward(weights, point, hidden_at_point, beta * (q - p) / len(x))
    return [a + b for a, b in zip(first, second, strict=True)]


class Recorded(TradesModel):
    """Keeps what the step computed."""

    def attack(self, *args):
        self.points = super().attack(*args)
        return self.points

    def penalized_loss(self, *args, **kwargs):
        self.outer_loss = super().penalized_loss(*args, **kwargs)
        return self.outer_loss


def case(seed):
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(0, 1, (INPUTS, HIDDEN)),
        rng.normal(0, 0.3, HIDDEN),
        rng.normal(0, 1, (HIDDEN, CLASSES)),
        rng.normal(0, 0.3, CLASSES),
    ]
    x = rng.random((EXAMPLES, INPUTS))
    x[:5] = np.round(x[:5])  # on the edge of the box
    return weights, x, rng.integers(0, CLASSES, EXAMPLES)


def trainer_of(weights, **options):
    model = keras.Sequential(
        [
            keras.Input((INPUTS,), dtype="float64"),
            keras.layers.Dense(HIDDEN, activation="relu", dtype="float64"),
            keras.layers.Dense(CLASSES, dtype="float64"),
        ]
    )
    model.set_weights(weights)
    defaults = {
        "epsilon": EPSILON,
        "step_size": STEP_SIZE,
        "num_steps": NUM_STEPS,
        "beta": BETA,
        "seed": 11,
    }
    trainer = Recorded(model, **(defaults | options))
    trainer.compile(keras.optimizers.SGD(1.0))
    trainer.optimizer.build(model.trainable_variables)
    return trainer


def noise_of(trainer, x, step):
    seed = trainer.stream_seed(ATTACK_STREAM, tf.constant(step, tf.int64))
    return 0.001 * tf.random.stateless_normal(x.shape, seed, dtype=tf.float64).numpy()


def take_step(trainer, x, y, step, *, compiled=False):
    """Runs one step: x', loss, and the weights' change, which at rate 1 is minus the gradient."""

    def run(x, y, step):
        trainer.gradient_step(x, y, step)
        return trainer.points, trainer.outer_loss

    before = trainer.model.get_weights()
    arguments = tf.constant(x), tf.constant(y), tf.constant(step, tf.int64)
    points, loss = (tf.function(run) if compiled else run)(*arguments)
    change = [b - a for b, a in zip(before, trainer.model.get_weights(), strict=True)]
    return points.numpy(), float(loss), change


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
@pytest.mark.parametrize(("seed", "compiled"), [(0, False), (1, False), (1, True)])
def test_points_loss_and_gradients_agree_to_1e_9(distance, seed, compiled):
    weights, x, y = case(seed)
    trainer = trainer_of(weights, distance=distance)
    points, loss_of_step, gradients = take_step(trainer, x, y, 5, compiled=compiled)
    options = {"epsilon": EPSILON, "step_size": STEP_SIZE, "num_steps": NUM_STEPS}
    point = attacked(weights, x, noise_of(trainer, x, 5), distance=distance, **options)
    assert np.abs(point - x).max() > 0.1  # it moved
    np.testing.assert_allclose(points, point, rtol=0, atol=1e-9)
    loss = outer_loss(weights, weights, x, point, y, BETA)
    np.testing.assert_allclose(loss_of_step, loss, rtol=0, atol=1e-9)
    for ours, golden in zip(gradients, outer_gradients(weights, x, point, y, BETA), strict=True):
        np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-9)
    results = {metric.name: float(metric.result()) for metric in trainer.metrics}
    np.testing.assert_allclose(
        results["natural_loss"], outer_loss(weights, weights, x, x, y, 0.0), rtol=1e-6
    )
    np.testing.assert_allclose(results["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(
        results["kl"], (loss - results["natural_loss"]) / BETA, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_finite_differences_confirm_the_gradients_through_both_arguments(distance):
    weights, x, y = case(2)
    trainer = trainer_of(weights, distance=distance)
    point, _, gradients = take_step(trainer, x, y, 0)
    h = 1e-6
    for part, gradient in enumerate(gradients):
        for index in list(np.ndindex(gradient.shape))[::5]:
            up, down = ([w.copy() for w in weights] for _ in range(2))
            up[part][index] += h
            down[part][index] -= h
            by_natural, by_adversarial = (
                (outer_loss(*high, x, point, y, BETA) - outer_loss(*low, x, point, y, BETA))
                / (2 * h)
                for high, low in (
                    ((up, weights), (down, weights)),
                    ((weights, up), (weights, down)),
                )
            )
            np.testing.assert_allclose(gradient[index], by_natural + by_adversarial, atol=1e-6)
            # A step that dropped one of them would not pass.
            if part == 3:
                assert min(abs(by_natural), abs(by_adversarial)) > 1e-4


def test_the_normalised_example_is_the_authors_algorithm_in_normalised_space():
    mean, std = MNIST_NORMALIZATION
    (w1, b1, w2, b2), pixels, y = case(3)
    w1 = w1 / 2
    normalised = (pixels - mean) / std
    assert normalised.min() < 0 and normalised.max() > 1  # outside the box that they clamp to
    # The same network, the normalisation folded into its first layer.
    trainer = trainer_of([w1 / std, b1 - mean / std * w1.sum(axis=0), w2, b2])
    arguments = normalized_mnist_example()
    trainer = Recorded(trainer.model, seed=11, **arguments)
    trainer.compile(keras.optimizers.SGD(1.0))
    trainer.optimizer.build(trainer.model.trainable_variables)
    points, loss_of_step, gradients = take_step(trainer, pixels, y, 1)
    weights = [w1, b1, w2, b2]
    point = attacked(
        weights,
        normalised,
        noise_of(trainer, pixels, 1) * (arguments["start_noise"] / 0.001) / std,
        distance="l_inf",
        epsilon=0.1,
        step_size=0.02,
        num_steps=10,
        bounds=(0.0, 1.0),
    )
    np.testing.assert_allclose((points - mean) / std, point, rtol=0, atol=1e-9)
    loss = outer_loss(weights, weights, normalised, point, y, 1.0)
    np.testing.assert_allclose(loss_of_step, loss, rtol=0, atol=1e-9)
    by_w1, by_b1, by_w2, by_b2 = outer_gradients(weights, normalised, point, y, 1.0)
    for ours, golden in zip(gradients[1:], (by_b1, by_w2, by_b2), strict=True):
        np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradients[0], std * by_w1 + mean * by_b1, rtol=0, atol=1e-9)


def test_the_normalised_example_keeps_its_published_values():
    assert MNIST_NORMALIZATION == (0.1307, 0.3081)
    assert normalized_mnist_example() == {
        "epsilon": pytest.approx(0.03081),
        "step_size": pytest.approx(0.006162),
        "num_steps": 10,
        "beta": 1.0,
        "start_noise": pytest.approx(0.0003081),
        "bounds": (0.1307, pytest.approx(0.4388)),
        "inputs_within_bounds": False,
    }
