"""What is refused before an attack starts, each with one line."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.attacks import check_images, check_labels, check_logits_model, fgsm, sanity_checks
from ft_tf.attacks.validation import check_logits
from ft_tf.errors import ArgumentError, ModelError

layers = keras.layers


def sequential(*tail):
    return keras.Sequential([layers.Input((4,)), *tail])


def functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(5, "relu")(inputs)))


def two_outputs():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])


def two_inputs():
    one, two = keras.Input((4,)), keras.Input((4,))
    return keras.Model([one, two], layers.Dense(3)(one + two))


@pytest.mark.parametrize(
    "model, classes",
    [
        (lambda: sequential(layers.Dense(7)), 7),
        (lambda: sequential(layers.Dense(1)), 2),
        (functional, 3),
        (lambda: sequential(layers.Dense(5, "softmax"), layers.Dense(3)), 3),
        (lambda: sequential(functional()), 3),
    ],
)
def test_logits_models_are_accepted(model, classes):
    assert check_logits_model(model()) == classes


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: sequential(layers.Dense(3, "softmax")), "ends in softmax"),
        (lambda: sequential(layers.Dense(1, "sigmoid")), "ends in sigmoid"),
        (lambda: sequential(layers.Dense(3), layers.Softmax()), "ends in softmax"),
        (lambda: sequential(layers.Dense(3), layers.Activation("softmax")), "ends in softmax"),
        (lambda: sequential(sequential(layers.Dense(3, "softmax"))), "ends in softmax"),
        (two_outputs, "one input and one output"),
        (two_inputs, "one input and one output"),
        (lambda: sequential(layers.Reshape((2, 2))), r"output shape \(None, 2, 2\)"),
        (lambda: keras.Sequential([layers.Dense(3)]), "no weights yet"),
        (lambda: object(), "not a Keras model"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(ModelError, match=message):
        check_logits_model(model())


@pytest.mark.parametrize("attack", [fgsm, sanity_checks])
@pytest.mark.parametrize("structure", [list, tuple, lambda x: dict(zip("ab", x, strict=True))])
def test_several_inputs_are_refused_before_they_are_stacked(attack, structure):
    """Inputs of different shapes make no array: NumPy's error came first."""
    one, two = keras.Input((4,)), keras.Input((3,))
    outputs = layers.Dense(3)(layers.Concatenate()([one, two]))
    model = keras.Model(structure([one, two]), outputs)
    with pytest.raises(ModelError, match="one input and one output"):
        attack(model, [np.zeros((5, 4)), np.zeros((5, 3))], np.zeros(5, int), epsilon=0.1)


def test_images_that_make_no_array_are_refused():
    with pytest.raises(ArgumentError, match="x=list must be one array"):
        check_images([np.zeros((5, 4)), np.zeros((5, 3))], (0.0, 1.0))


def test_a_hidden_softmax_is_found_by_its_values():
    model = sequential(layers.Dense(3), layers.Lambda(tf.nn.softmax))
    with pytest.raises(ModelError, match="gives probabilities"):
        fgsm(model, np.random.default_rng(0).random((5, 4)), np.zeros(5, int), epsilon=0.1)


def test_logits_that_only_look_positive_are_accepted():
    check_logits(np.array([[0.2, 0.8], [0.5, 0.6]]))
    check_logits(np.array([[1.2, -0.2], [0.5, 0.5]]))


@pytest.mark.parametrize(
    "x, bounds, message",
    [
        (np.full((2, 3), 255.0), (0, 1), r"x lies in \[255, 255\], outside bounds=\(0, 1\)"),
        (np.full((2, 3), -0.01), (0, 1), "outside bounds"),
        (np.full((2, 3), np.nan), (0, 1), "NaN or infinite"),
        (np.full((2, 3), np.inf), (0, 1), "NaN or infinite"),
        (np.zeros((0, 3)), (0, 1), "at least one example"),
        (np.zeros(3), (0, 1), r"shape \(3,\)"),
        (np.zeros((2, 3), complex), (0, 1), "complex"),
        (np.zeros((2, 3)), (0, 0), "lower number first"),
        (np.zeros((2, 3)), (0, np.inf), "finite number"),
        (np.zeros((2, 3)), 1.0, "must be two numbers"),
    ],
)
def test_images(x, bounds, message):
    with pytest.raises(ArgumentError, match=message):
        check_images(x, bounds)


def test_what_float32_rounding_put_outside_is_clipped():
    low, high = (0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081
    pixels = np.array([[0.0, 1.0]], np.float32)
    x = (pixels - np.float32(0.1307)) / np.float32(0.3081)
    checked = check_images(x + np.float32([[-1e-6, 1e-6]]), (low, high))
    np.testing.assert_array_equal(checked, np.float32([[low, high]]))


@pytest.mark.parametrize(
    "y, message",
    [
        ([0, 1, 3], r"labels from 0 to 3, must lie in \[0, 2\] for a model of 3 classes"),
        ([0, -1, 1], "labels from -1 to 1"),
        ([0, 1], r"shape \(2,\)"),
        (np.eye(3), r"shape \(3, 3\)"),
        ([0.0, 1.0, 2.0], "dtype float64 must be integers"),
    ],
)
def test_labels(y, message):
    with pytest.raises(ArgumentError, match=message):
        check_labels(y, classes=3, examples=3)


def test_labels_become_int64():
    assert check_labels(np.array([0, 1], np.uint8), classes=2, examples=2).dtype == np.int64


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 1), (2, 3, 8, 8)])
def test_images_of_another_shape_are_refused_before_a_kernel_aborts(shape):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)]
    )
    with pytest.raises(ArgumentError, match=r"x.shape=\(2, .*\) must be \(n, 8, 8, 3\)"):
        fgsm(model, np.zeros(shape), np.zeros(2, int), epsilon=0.1)


def test_a_ball_wider_than_the_bounds_is_refused_as_a_slip_of_units():
    model = sequential(layers.Dense(3))
    x, y = np.full((2, 4), 128.0), np.zeros(2, int)
    with pytest.raises(ArgumentError, match="epsilon=8 must be <= 1"):
        fgsm(model, x / 255, y, epsilon=8)
    assert np.ptp(fgsm(model, x, y, epsilon=8, bounds=(0, 255)).adversarial) <= 16
