"""The banded input gradient of a first convolution against TensorFlow's own."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.attacks import input_gradients
from ft_tf.attacks.input_gradients import inference_pass
from ft_tf.keras_layers import hooks

LAYERS = keras.layers


def first_convolution(model):
    return input_gradients._first_convolution(input_gradients._calls(model))


def model_of(first, *, shape, dtype, rest=(), before=()):
    layers = [LAYERS.Input(shape, dtype=dtype), *before, first, *rest, LAYERS.Flatten(dtype=dtype)]
    return keras.Sequential([*layers, LAYERS.Dense(3, dtype=dtype)])


def value_and_gradient(predict, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = predict(x)
        total = tf.reduce_sum(tf.sin(logits))
    return logits, tape.gradient(total, x)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel_size", [(8, 4), (3, 5), (2, 3)])
@pytest.mark.parametrize(
    ("channels", "activation", "use_bias"),
    [(1, "relu", True), (3, None, True), (2, "relu", False)],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_by_the_input_is_that_of_the_model(
    padding, kernel_size, channels, activation, use_bias, compiled
):
    first = LAYERS.Conv2D(
        5,
        kernel_size,
        padding=padding,
        activation=activation,
        use_bias=use_bias,
        bias_initializer="random_normal",
        dtype="float64",
    )
    model = model_of(first, shape=(9, 11, channels), dtype="float64")
    x = tf.random.stateless_normal((4, 9, 11, channels), seed=[1, 2], dtype=tf.float64)
    assert first_convolution(model) == 0

    def ours(x):
        return value_and_gradient(inference_pass(model), x)

    logits, gradient = (tf.function(ours) if compiled else ours)(x)
    expected_logits, expected = value_and_gradient(lambda v: model(v, training=False), x)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (4, 2)])
@pytest.mark.parametrize("shape", [(2, 2, 8), (4, 4, 5), (5, 3, 4)])
def test_convolutions_of_small_images_are_matrix_products(padding, strides, kernel_size, shape):
    if padding == "valid" and min(np.subtract(shape[:2], kernel_size)) < 0:
        pytest.skip("the kernel does not fit")
    last = LAYERS.Conv2D(
        6,
        kernel_size,
        strides=strides,
        padding=padding,
        activation="relu",
        bias_initializer="random_normal",
        dtype="float64",
    )
    model = model_of(last, shape=shape, dtype="float64")
    assert input_gradients._is_small(input_gradients._calls(model)[0])
    x = tf.random.stateless_normal((4, *shape), seed=[1, 2], dtype=tf.float64)
    logits, gradient = value_and_gradient(inference_pass(model), x)
    expected_logits, expected = value_and_gradient(lambda v: model(v, training=False), x)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)
    assert np.abs(expected).max() > 1e-3


def test_layers_around_it_run_in_inference_mode():
    model = model_of(
        LAYERS.Conv2D(4, 5, activation="relu"),
        shape=(9, 9, 1),
        dtype="float32",
        before=[LAYERS.Rescaling(2.0, offset=-1.0)],
        rest=[LAYERS.BatchNormalization(), LAYERS.Dropout(0.5)],
    )
    x = tf.random.stateless_uniform((4, 9, 9, 1), seed=[1, 2])
    model(x, training=True)
    before = [part.tobytes() for part in model.get_weights()]
    assert first_convolution(model) == 1
    logits, gradient = value_and_gradient(inference_pass(model), x)
    expected_logits, expected = value_and_gradient(lambda v: model(v, training=False), x)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5)
    assert [part.tobytes() for part in model.get_weights()] == before


def test_bfloat16_keeps_its_types_and_its_accuracy():
    model = model_of(
        LAYERS.Conv2D(4, 5, activation="relu", dtype="mixed_bfloat16"),
        shape=(9, 9, 1),
        dtype="float32",
    )
    x = tf.random.stateless_uniform((4, 9, 9, 1), seed=[1, 2])
    logits, gradient = value_and_gradient(inference_pass(model), x)
    assert logits.dtype == gradient.dtype == tf.float32
    _, expected = value_and_gradient(lambda v: model(v, training=False), x)
    error = np.abs(gradient - expected).max()
    assert error < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(
    "first",
    [
        LAYERS.Conv2D(4, 5, strides=2),
        LAYERS.Conv2D(4, 5, dilation_rate=2),
        LAYERS.Conv2D(4, 5, activation="tanh"),
        LAYERS.Conv2D(4, 1),
        LAYERS.Flatten(),
    ],
)
def test_other_models_are_called_as_they_are(first):
    model = model_of(first, shape=(9, 12, 1), dtype="float32")
    assert first_convolution(model) is None
    x = tf.random.stateless_uniform((4, 9, 12, 1), seed=[1, 2])
    np.testing.assert_array_equal(inference_pass(model)(x), model(x))


def test_what_hooks_make_of_a_convolution_is_seen():
    first = LAYERS.Conv2D(4, 3, activation="relu", bias_initializer="ones")
    small = LAYERS.Conv2D(4, 2, activation="relu", bias_initializer="ones")
    rest = (LAYERS.MaxPool2D(), small)
    model = model_of(first, shape=(6, 6, 1), dtype="float32", rest=rest)
    x = tf.random.stateless_normal((5, 6, 6, 1), seed=[3, 4])
    clean = model(x).numpy()

    def halved(layer, number, inputs, outputs):
        return outputs * 0.5 if isinstance(layer, LAYERS.Conv2D) else outputs

    with hooks.hooked(model, halved):
        logits, gradient = value_and_gradient(inference_pass(model), x)
        expected_logits, expected = value_and_gradient(model, x)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert np.abs(logits - clean).max() > 1e-2
    np.testing.assert_allclose(inference_pass(model)(x), clean, atol=1e-6)
