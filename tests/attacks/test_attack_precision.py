import numpy as np
import pytest

from ft_tf import architectures, data
from ft_tf._compat import keras, tf
from ft_tf.attacks import kl_attack, kl_divergence, start_noise
from ft_tf.attacks.precision import float32_pass

MIXED = "mixed_bfloat16"


def classifier(dtype, *, kind="dense"):
    layers = keras.layers
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3))
    if kind == "dense":
        x = layers.Dense(16, activation="relu", dtype=dtype)(layers.Flatten(dtype=dtype)(inputs))
    elif kind == "normalized":
        x = layers.Conv2D(4, 3, activation="relu", dtype=dtype)(inputs)
        x = layers.BatchNormalization(dtype=dtype)(x)
        x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    else:
        inner = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Conv2D(4, 3, strides=2, dtype=dtype),
                layers.ReLU(dtype=dtype),
                layers.Flatten(dtype=dtype),
            ]
        )
        x = inner(inputs)
    return keras.Model(inputs, layers.Dense(3, dtype="float32")(x))


@pytest.mark.parametrize("kind", ["dense", "normalized", "nested"])
def test_the_logits_are_those_of_a_float32_model_with_the_same_weights(kind):
    mixed, plain = classifier(MIXED, kind=kind), classifier("float32", kind=kind)
    weights = [
        np.random.default_rng(i).uniform(0.1, 1, w.shape) for i, w in enumerate(plain.weights)
    ]
    mixed.set_weights(weights)
    plain.set_weights(weights)
    x = tf.random.stateless_uniform((5, 8, 8, 3), [1, 2])
    before = [layer.dtype_policy.name for layer in mixed.layers]
    predict = float32_pass(mixed)
    np.testing.assert_array_equal(predict(x), plain(x, training=False))
    np.testing.assert_array_equal(tf.function(predict)(x), tf.function(plain)(x))
    assert np.abs(mixed(x, training=False) - plain(x, training=False)).max() > 1e-4
    assert [layer.dtype_policy.name for layer in mixed.layers] == before
    assert len(mixed.weights) == len(weights)


@pytest.mark.parametrize("name", ["fmnist_dnn", "fmnist_cnn_2", "cifar10_cnn"])
def test_the_papers_networks_have_it(name):
    mixed = architectures.build(name, seed=1, precision=MIXED)
    plain = architectures.build(name, seed=1)
    x = tf.random.stateless_uniform((4, *architectures.input_shape(name)), [1, 2])
    np.testing.assert_allclose(float32_pass(mixed)(x), plain(x), rtol=1e-5, atol=1e-6)


def test_the_policies_come_back_when_the_pass_fails():
    mixed = classifier(MIXED)
    with pytest.raises(Exception, match=r"(?i)shape|dim|incompatible"):
        float32_pass(mixed)(tf.zeros((2, 5, 5, 3)))
    assert mixed.layers[2].dtype_policy.name == MIXED


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_there_is_none_where_the_logits_cannot_be_finer(dtype):
    assert float32_pass(classifier(dtype)) is None


def test_the_attack_is_that_of_float32_where_its_first_gradient_is():
    sample = data.load("fashion_mnist")
    images, labels = sample.x_train[:2000], sample.y_train[:2000]
    plain = architectures.build("fmnist_dnn", seed=0)
    plain.compile(
        keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    plain.fit(images, labels, batch_size=50, epochs=5, verbose=0)
    mixed = architectures.build("fmnist_dnn", seed=0, precision=MIXED)
    mixed.set_weights(plain.get_weights())
    x = tf.constant(images[:300])
    noise = start_noise(x, tf.constant([1, 2]))

    def reached(model, **options):
        points = kl_attack(
            lambda v: model(v, training=False), x, model(x, training=False), epsilon=0.1,
            step_size=0.02, num_steps=10, start_noise=noise, **options,
        )  # fmt: skip
        return float(tf.reduce_mean(kl_divergence(plain(x), plain(points))))

    expected = reached(plain)
    assert reached(mixed, predict_at_start=float32_pass(mixed)) == pytest.approx(expected, rel=0.01)
    assert reached(mixed) > 1.04 * expected
