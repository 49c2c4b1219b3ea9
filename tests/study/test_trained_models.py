"""The user's model files as subjects of campaigns and attacks."""

import keras as keras_3
import numpy as np
import pytest

from ft_tf import data, metrics
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.study import trained_models


def saved(path, shape, *layers, module=keras):
    model = module.Sequential([module.Input(shape), *layers])
    model.save(path)
    return model


@pytest.fixture(scope="module")
def sample():
    return data.load("fashion_mnist")


@pytest.mark.parametrize("module", [keras, keras_3], ids=["keras 2", "keras 3"])
def test_a_softmax_is_taken_off_and_said(tmp_path, sample, module):
    path, layers = tmp_path / "mine.keras", module.layers
    original = saved(
        path,
        (28, 28, 1),
        layers.Flatten(),
        layers.Dense(10, activation="softmax", name="probabilities"),
        module=module,
    )
    subject = trained_models.of_file(path, "fashion_mnist")
    assert any("ends in softmax (layer 'probabilities')" in note for note in subject.notes)
    logits = metrics.predict_logits(subject.model, subject.x[:50]).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, np.asarray(original(sample.x_test[:50])), atol=1e-6)
    assert subject.results == str(tmp_path / "mine-fashion_mnist-")
    assert subject.run is None
    np.testing.assert_array_equal(subject.y, sample.y_test)


@pytest.mark.parametrize("shape", [(28, 28), (784,)])
def test_images_take_the_models_shape(tmp_path, sample, shape):
    path = tmp_path / "mine.keras"
    saved(path, shape, keras.layers.Reshape((784,)), keras.layers.Dense(10))
    subject = trained_models.of_file(path, "fashion_mnist")
    assert subject.x.shape == (len(sample.x_test), *shape)
    np.testing.assert_array_equal(subject.x.ravel(), sample.x_test.ravel())
    assert any(f"reshaped from (28, 28, 1) to {shape}" in note for note in subject.notes)


def test_open_image_sizes_are_taken(tmp_path, sample):
    path = tmp_path / "mine.keras"
    saved(
        path,
        (None, None, 1),
        keras.layers.Conv2D(4, 3),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    )
    assert trained_models.of_file(path, "fashion_mnist").x is not None


def test_a_model_at_chance_is_doubted(tmp_path):
    path = tmp_path / "mine.keras"
    model = saved(path, (28, 28, 1), keras.layers.Flatten(), keras.layers.Dense(10))
    model.set_weights([np.zeros((784, 10)), np.eye(10)[3]])  # says 3 to everything
    model.save(path)
    notes = trained_models.of_file(path, "fashion_mnist").notes
    assert any("hardly above chance" in note for note in notes)


REFUSED = {
    "images": ((32, 32, 3), 10, r"takes inputs of shape \(32, 32, 3\), dataset='fashion_mnist'"),
    "size": ((27, 28, 1), 10, r"takes inputs of shape \(27, 28, 1\)"),
    "classes": ((28, 28, 1), 7, r"outputs of shape \(7,\), dataset='fashion_mnist' has 10"),
    "one logit": ((28, 28, 1), 1, r"outputs of shape \(1,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_the_data_is_refused(tmp_path, case):
    shape, classes, message = REFUSED[case]
    saved(tmp_path / "mine.keras", shape, keras.layers.Flatten(), keras.layers.Dense(classes))
    with pytest.raises(ArgumentError, match=message):
        trained_models.of_file(tmp_path / "mine.keras", "fashion_mnist")


def test_two_inputs_are_refused(tmp_path):
    first, second = keras.Input((28, 28, 1)), keras.Input((28, 28, 1))
    total = keras.layers.Flatten()(keras.layers.Add()([first, second]))
    keras.Model([first, second], keras.layers.Dense(10)(total)).save(tmp_path / "mine.keras")
    with pytest.raises(ModelError, match="one input and one output"):
        trained_models.of_file(tmp_path / "mine.keras", "fashion_mnist")
