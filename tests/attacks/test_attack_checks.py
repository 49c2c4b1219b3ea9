"""Each warning on a model built to deserve it, and silence on one that does not."""

import re

import numpy as np
import pytest

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.attacks.checks import REPEATED_IMAGES, randomness_warnings
from ft_tf.attacks.search import checked_problem

layers = keras.layers


def test_an_honest_model_raises_no_doubt(classifier, images):
    x, y = images[1]
    for epsilon in (0.001, 0.05):
        assert attacks.sanity_checks(classifier, x, y, epsilon=epsilon) == ()
    assert attacks.sanity_checks(classifier, x, y, epsilon=0.3, distance="l_2") == ()
    result = attacks.evaluate(classifier, x, y, attack="pgd", steps=5, epsilon=0.05)
    assert result.warnings == ()


def test_nothing_to_check(classifier, images):
    x, y = images[1]
    assert attacks.sanity_checks(classifier, x, y, epsilon=0.0) == ()
    predicted = classifier.predict(x, verbose=0).argmax(axis=1)
    assert attacks.sanity_checks(classifier, x, (predicted + 1) % 5, epsilon=0.1) == ()


def test_quantised_inputs_have_no_gradient(classifier, images):
    x, y = images[1]
    quantise = layers.Lambda(lambda v: tf.round(v * 64) / 64)
    model = keras.Sequential([layers.Input((6, 6, 1)), quantise, classifier])
    found = " | ".join(attacks.sanity_checks(model, x, y, epsilon=0.05))
    assert "the gradient of the cross-entropy is exactly zero for" in found
    assert "in a ball that holds every image" in found
    result = attacks.evaluate(model, x, y, attack="pgd", steps=5, epsilon=0.05)
    assert "the gradient is exactly zero" in result.warnings[0]
    assert len(result.warnings) >= 3


def test_a_larger_ball_that_changes_nothing(classifier, images):
    x = np.round(images[1][0] * 4) / 4
    quantise = layers.Lambda(lambda v: tf.round(v * 4) / 4)
    model = keras.Sequential([layers.Input((6, 6, 1)), quantise, classifier])
    y = model.predict(x, verbose=0).argmax(axis=1)
    found = attacks.sanity_checks(model, x, y, epsilon=0.01)
    assert any(
        "a larger ball does not lower accuracy: 100.0% at epsilon=0.01, 100.0%" in line
        for line in found
    )


def test_saturated_logits_have_no_cross_entropy_gradient(classifier, images):
    x, y = images[1]
    scale = layers.Lambda(lambda v: 1e4 * v)
    model = keras.Sequential([layers.Input((6, 6, 1)), classifier, scale])
    assert "exactly zero" in attacks.sanity_checks(model, x, y, epsilon=0.05)[0]
    fooled = attacks.pgd(model, x, y, epsilon=0.08)
    assert any("try loss='margin'" in line for line in fooled.warnings)
    # The scale-invariant loss is not fooled.
    honest = attacks.apgd(classifier, x, y, epsilon=0.08, num_steps=30, loss="targeted_dlr")
    through = attacks.apgd(model, x, y, epsilon=0.08, num_steps=30, loss="targeted_dlr")
    assert through.robust_accuracy == pytest.approx(honest.robust_accuracy, abs=0.02)
    assert fooled.robust_accuracy > honest.robust_accuracy + 0.2


def test_a_single_step_that_beats_many():
    # Each pixel u away from 0.5 adds sin(2 pi u / 0.08) + 5 u: maxima at 0.02 and, higher, at 0.1.
    # One step of 0.1 lands on the second; small steps stop at the nearest.
    def ripple(v):
        u = tf.reshape(v, [-1, 16]) - 0.5
        height = tf.reduce_mean(tf.sin(2 * np.pi * u / 0.08) + 5 * u, axis=1, keepdims=True)
        return height - 1.35

    model = keras.Sequential([layers.Input((4, 4, 1)), layers.Lambda(ripple)])
    x, y = np.full((50, 4, 4, 1), 0.5), np.zeros(50, int)
    found = attacks.sanity_checks(model, x, y, epsilon=0.1)
    assert any("a single step beats many: accuracy 0.0% after 1 step" in line for line in found)


def test_more_steps_that_do_not_lower_accuracy():
    # Pixels are worth their distance u from 0.5 plus ripples of period 0.025. Five steps of 0.05
    # keep their place on the ripples and carry half of the pixels to the edge of the ball; twenty
    # of 0.0125 go half a period forth and back.
    def ripple(v):
        u = tf.abs(tf.reshape(v, [-1, 256]) - 0.5)
        return tf.reduce_mean(0.02 * tf.sin(2 * np.pi * u / 0.025) + u, 1, keepdims=True) - 0.063

    model = keras.Sequential([layers.Input((16, 16, 1)), layers.Lambda(ripple)])
    x, y = np.full((50, 16, 16, 1), 0.5), np.zeros(50, int)
    found = " | ".join(attacks.sanity_checks(model, x, y, epsilon=0.1))
    said = re.search(
        r"more steps do not lower accuracy: (.*)% after 5 steps, (.*)% after 20", found
    )
    assert said, found
    assert float(said[1]) < 20 and float(said[2]) > 80


def test_a_weak_attack_in_a_huge_ball_is_said(classifier, images):
    x, y = images[1]
    weak = attacks.pgd(classifier, x, y, epsilon=0.5, step_size=1e-4, random_start=False)
    assert weak.robust_accuracy > 0.1
    assert "epsilon=0.5 reaches the middle grey" in weak.warnings[0]
    strong = attacks.apgd(classifier, x, y, epsilon=0.5)
    assert strong.robust_accuracy == 0 and strong.warnings == ()


def test_low_precision_is_said():
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(8, "relu", dtype="mixed_bfloat16")
    model = keras.Sequential([layers.Input((4,)), hidden, layers.Dense(3, dtype="float32")])
    x = np.random.default_rng(0).random((10, 4))
    result = attacks.fgsm(model, x, np.zeros(10, int), epsilon=0.1)
    assert any("computes in bfloat16" in line for line in result.warnings)


class Drawing(layers.Layer):
    """Dropout also in inference mode; Keras's own layer never drops there."""

    def __init__(self):
        super().__init__()
        self.draws = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return keras.random.dropout(inputs, 0.5, seed=self.draws)


def noisy(noise):
    """Two classes by the sign of sum(x) - 2; where asked, with noise that inference keeps."""
    inputs = layers.Input((4,))
    logit = layers.Lambda(lambda v: 4 * (tf.reduce_sum(v, axis=1, keepdims=True) - 2))(inputs)
    return keras.Model(inputs, Drawing()(logit) if noise else logit)


@pytest.mark.parametrize("noise", [False, True])
def test_a_model_that_answers_by_chance_is_said(noise):
    x = np.random.default_rng(0).random((40, 4)).astype(np.float32)
    y = (x.sum(axis=1) > 2).astype(int)
    model = noisy(noise)
    results = [
        attacks.fgsm(model, x, y, epsilon=1e-6),
        attacks.evaluate(model, x, y, attack="apgd", steps=5, epsilon=1e-6, sanity=False),
        attacks.transfer(noisy(False), model, x, y, epsilon=1e-6, num_steps=2),
    ]
    said = ["differently each time" in " ".join(result.warnings) for result in results]
    assert said == [noise] * 3


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("examples", [1, 7, 300])
def test_rounding_by_batch_size_is_no_chance(policy, examples):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([layers.Input((40,))])
    for width in (200, 200, 3):
        model.add(layers.Dense(width, dtype=policy))
        model.add(layers.Lambda(lambda v: tf.round(50 * v) / 50, dtype=policy))
    x = np.random.default_rng(1).random((examples, 40))
    result = attacks.fgsm(model, x, np.zeros(examples, int), epsilon=0.1)
    assert not any("each time" in line for line in result.warnings)


def test_a_second_look_takes_one_pass_on_a_few_images(classifier, images):
    x, y = images[1]
    seen = []
    counted = layers.Lambda(lambda v: seen.append(v.shape[0]) or v)
    model = keras.Sequential([layers.Input((6, 6, 1)), counted, classifier])
    seen.clear()
    problem = checked_problem(model, x, y, epsilon=0.1)
    seen.clear()
    assert randomness_warnings(problem) == ()
    assert seen == [REPEATED_IMAGES]


class Purified(layers.Layer):
    """Takes a step down a loss of its inputs before it passes them on."""

    def call(self, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.square(inputs - 0.5))
        return inputs - 0.1 * tape.gradient(loss, inputs)


class Adapting(layers.Layer):
    """Moves a weight with each batch, also in inference."""

    def build(self, input_shape):
        self.mean = self.add_weight(shape=(input_shape[-1],), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(inputs, axis=0))
        return inputs - self.mean


@pytest.mark.parametrize(
    ("layer", "what"), [(Purified, "takes gradients"), (Adapting, "changes its weights")]
)
def test_a_model_that_optimizes_while_it_predicts_is_said(layer, what):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((4,)), layer(), layers.Dense(3)])
    x = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(axis=1)
    result = attacks.evaluate(model, x, y, attack="fgsm", epsilon=0.01)
    assert any(f"the model {what} while it predicts" in warning for warning in result.warnings)
