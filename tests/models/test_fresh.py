"""Fresh weights: none of the old ones is left, and what cannot be drawn anew is refused."""

import numpy as np
import pytest

from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.models import load, with_fresh_weights

L = keras.layers


def sequential():
    return keras.Sequential([keras.Input((6, 6, 1)), L.Conv2D(4, 3), L.Flatten(), L.Dense(3)])


def functional():
    start = keras.Input((6,))
    hidden = L.LayerNormalization()(L.Dense(5, activation="relu")(start))
    return keras.Model(start, L.Dense(3)(L.Concatenate()([hidden, start])))


def nested():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(5), L.BatchNormalization()])
    return keras.Sequential([keras.Input((6,)), inner, L.Dense(3)])


def frozen():
    model = keras.Sequential([keras.Input((6,)), L.Dense(5, trainable=False), L.Dense(3)])
    assert len(model.trainable_weights) == 2
    return model


def adapted():
    normalization = L.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(7, 3, (50, 6)))
    return keras.Sequential([keras.Input((6,)), normalization, L.Dense(3)])


@pytest.mark.parametrize("make", [sequential, functional, nested, frozen, adapted])
def test_no_trained_number_is_left(make):
    model = make()
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(5, 1, w.shape).astype(w.dtype) for w in model.get_weights()])
    trained = model.get_weights()
    fresh = with_fresh_weights(model)
    assert fresh.output_shape == model.output_shape
    assert len(fresh.trainable_weights) == len(model.trainable_weights)
    for old, new in zip(trained, fresh.get_weights(), strict=True):
        assert old.shape == new.shape
        assert not np.isin(new, old).any() or old.dtype.kind == "i"
    for old, now in zip(trained, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    kernels = [w for w in fresh.get_weights() if w.ndim > 1]
    assert all(kernel.std() > 0 for kernel in kernels)


def test_of_a_file_too(tmp_path):
    model = functional()
    model.save(tmp_path / "model.keras")
    fresh = with_fresh_weights(load(tmp_path / "model.keras"))
    kernels = zip(model.get_weights(), fresh.get_weights(), strict=True)
    assert not any((old == new).any() for old, new in kernels if old.ndim > 1)


def test_initializers_that_may_hold_weights_are_refused():
    array = keras.initializers.Constant(np.arange(18.0).reshape(6, 3))
    held = keras.Sequential([keras.Input((6,)), L.Dense(3, kernel_initializer=array)])
    with pytest.raises(ModelError, match=r"kernel_initializer that holds an array"):
        with_fresh_weights(held)
    own = keras.Sequential(
        [keras.Input((6,)), L.Dense(3, bias_initializer=lambda shape, dtype=None: np.ones(shape))]
    )
    with pytest.raises(ModelError, match=r"bias_initializer that is none of Keras's own"):
        with_fresh_weights(own)


def test_a_constant_number_is_no_weight():
    seven = keras.initializers.Constant(7.0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(3, bias_initializer=seven)])
    assert with_fresh_weights(model).get_weights()[1].tolist() == [7.0] * 3


def test_a_model_of_its_own_class_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 6), np.float32))
    with pytest.raises(ModelError, match="cannot get fresh weights"):
        with_fresh_weights(model)
