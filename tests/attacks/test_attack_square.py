import numpy as np
import pytest

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.attacks.geometry import Ball
from ft_tf.attacks.loops import Worst
from ft_tf.attacks.windows import (
    bump,
    numbers_of_query,
    patterns_of,
    search,
    share_of_pixels,
    window_of,
)


@keras.saving.register_keras_serializable("tests")
class WithoutGradient(keras.layers.Layer):
    """Passes its input on, and raises as soon as anybody asks for a gradient."""

    def call(self, inputs):
        @tf.custom_gradient
        def forward(x):
            def backward(_):
                raise AssertionError("a gradient was asked for")

            return tf.identity(x), backward

        return forward(inputs)


def classifier(*first, shape=(8, 8, 1), classes=3, seed=0):
    model = keras.Sequential(
        [keras.layers.Input(shape), *first, keras.layers.Flatten(), keras.layers.Dense(classes)]
    )
    rng = np.random.default_rng(seed)
    model.set_weights(
        [rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()]
    )
    return model


def labelled(model, shape=(8, 8, 1), examples=40, seed=0):
    x = np.random.default_rng(seed).random((examples, *shape)).astype(np.float32)
    return x, model.predict(x, verbose=0).argmax(1)


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_it_never_asks_for_a_gradient(distance):
    model = classifier(WithoutGradient())
    x, y = labelled(model)
    with pytest.raises(AssertionError, match="a gradient was asked for"):
        attacks.pgd(model, x, y, epsilon=0.1, num_steps=2)
    result = attacks.square(model, x, y, epsilon=0.3, queries=100, distance=distance)
    assert result.robust_accuracy < 1


@pytest.mark.parametrize(
    ("distance", "shape", "epsilon"),
    [
        ("l_inf", (8, 8, 1), 0.05),
        ("l_inf", (8, 6, 3), 0.05),
        ("l_inf", (30,), 0.05),
        ("l_2", (8, 8, 1), 0.4),
        ("l_2", (9, 7, 2), 0.4),
        ("l_2", (30,), 0.4),
    ],
)
def test_points_lie_in_ball_and_box_and_are_misclassified(distance, shape, epsilon):
    model = classifier(shape=shape)
    x, y = labelled(model, shape)
    result = attacks.square(model, x, y, epsilon=epsilon, queries=200, distance=distance)
    delta = (result.adversarial - x).reshape(len(x), -1)
    length = np.abs(delta).max(1) if distance == "l_inf" else np.linalg.norm(delta, axis=1)
    assert length.max() <= epsilon * (1 + 1e-5)
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    assert 0 < result.success.mean() < 1
    broken = result.adversarial[result.success]
    assert (model.predict(broken, verbose=0).argmax(1) != y[result.success]).all()


def test_on_a_linear_model_it_breaks_nearly_what_the_closed_form_says_can_be_broken():
    model = classifier(shape=(8, 8, 1), classes=2)
    x = np.random.default_rng(1).uniform(0.3, 0.7, (200, 8, 8, 1)).astype(np.float32)
    kernel, bias = (np.float64(w) for w in model.get_weights())
    bias = -np.median(x.reshape(200, -1) @ kernel, axis=0)  # the boundary amid the examples
    model.set_weights([kernel, bias])
    logits = x.reshape(200, -1) @ kernel + bias
    y = logits.argmax(1)
    reach = 0.02 * np.abs(kernel[:, 0] - kernel[:, 1]).sum()
    breakable = np.abs(logits[:, 0] - logits[:, 1]) < reach
    found = attacks.square(model, x, y, epsilon=0.02, queries=3000).success
    assert not (found & ~breakable).any()
    assert found.sum() >= 0.9 * breakable.sum() > 20


def test_the_share_of_pixels_halves_at_the_papers_queries():
    places = [0, 10, 11, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6000, 6001,
              8000, 8001, 9999]  # fmt: skip
    halvings = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    for place, times in zip(places, halvings, strict=True):
        assert share_of_pixels(place, 10_000) == 0.8 / 2**times
    assert share_of_pixels(26, 5000) == 0.2  # query 52 of 10,000


def test_windows_of_images_and_of_vectors():
    assert window_of(0, 10_000, (28, 28, 1), "l_inf") == (25, 25)
    assert window_of(9_999, 10_000, (28, 28, 1), "l_inf") == (1, 1)
    assert window_of(9_999, 10_000, (28, 28, 1), "l_2") == (3, 3)
    assert window_of(0, 10_000, (30, 1, 1), "l_inf") == (24, 1)


def added_up(height, width):
    """One bump as the paper builds it: concentric squares, each adding 1 / (k + 1)^2."""
    values = np.zeros((height, width))
    for k in range(max(height // 2 + 1, width // 2 + 1)):
        top, left = height // 2 - k, width // 2 - k
        values[max(top, 0) : top + 2 * k + 1, max(left, 0) : left + 2 * k + 1] += 1 / (k + 1) ** 2
    return values / np.linalg.norm(values)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (5, 5), (7, 7), (6, 4)])
def test_the_bump_is_two_sums_of_concentric_squares(height, width):
    expected = np.concatenate(
        [added_up(height // 2, width), -added_up(height - height // 2, width)]
    )
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(bump(height, width), expected, atol=1e-6)


def test_an_l_inf_query_moves_one_window_and_keeps_only_what_rises():
    x = tf.fill([5, 10, 10, 1], 0.5)
    ball = Ball.around(x, tf.constant(0.1), (0.0, 1.0), "l_inf")
    start = Worst(x, tf.zeros([5]), tf.zeros([5], tf.bool))
    draws = tf.constant(np.random.default_rng(0).random((1, 5, numbers_of_query(1)), np.float32))

    def rises(point):
        return tf.reduce_sum(point - x, [1, 2, 3]), tf.zeros([5], tf.bool)

    found = search(rises, ball, start, draws, tf.constant([3, 3]), tf.zeros([2, 1, 1]))
    for row in range(5):
        moved = np.argwhere(found.point[row].numpy() != 0.5)
        up = draws[0, row, 5] >= 0.5
        assert len(moved) == (9 if up else 0)
        if up:
            assert (moved[:, :2].max(0) - moved[:, :2].min(0) == 2).all()
            assert float(found.loss[row]) == pytest.approx(0.9, abs=1e-5)


def test_an_l_2_query_spends_the_whole_ball_and_empties_a_window():
    rng = np.random.default_rng(0)
    x = tf.fill([6, 12, 12, 1], 0.5)
    delta = rng.standard_normal((6, 12, 12, 1))
    delta *= 0.2 / np.linalg.norm(delta.reshape(6, -1), axis=1)[:, None, None, None]
    point = tf.constant(0.5 + delta, tf.float32)
    ball = Ball.around(x, tf.constant(0.3), (0.0, 1.0), "l_2")
    start = Worst(point, tf.fill([6], -1.0), tf.zeros([6], tf.bool))
    draws = tf.constant(rng.random((1, 6, numbers_of_query(1)), np.float32))

    def any_change_is_better(at):
        return tf.zeros([6]), tf.zeros([6], tf.bool)

    found = search(
        any_change_is_better, ball, start, draws, tf.constant([3, 3]), patterns_of((3, 3))
    )
    lengths = np.linalg.norm((found.point - x).numpy().reshape(6, -1), axis=1)
    np.testing.assert_allclose(lengths, 0.3, rtol=1e-5)
    emptied = (found.point - x).numpy() == 0
    assert (emptied.reshape(6, -1).sum(1) <= 9).all() and emptied.any()


def test_the_batch_size_changes_nothing():
    model = classifier()
    x, y = labelled(model)
    one, other = (
        attacks.square(model, x, y, epsilon=0.05, queries=60, batch_size=size) for size in (7, 40)
    )
    np.testing.assert_array_equal(one.success, other.success)
    np.testing.assert_allclose(one.adversarial, other.adversarial, atol=1e-6)
