"""The architectures of Table 2 and the circles network."""

import numpy as np
import pytest

from ft_tf import architectures
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError

# Parameters by hand: (inputs + 1) x units for Dense, (k x k x inputs + 1) x filters for Conv2D.
COUNTS = {
    "fmnist_dnn": 785 * 512 + 513 * 512 + 513 * 10,
    "fmnist_cnn_1": 26 * 20 + (25 * 20 + 1) * 50 + (4 * 4 * 50 + 1) * 500 + 501 * 10,
    "fmnist_cnn_2": 65 * 16 + (16 * 16 + 1) * 32 + (11 * 11 * 32 + 1) * 32 + 33 * 10,
    "fmnist_cnn_2_tutorial": 65 * 16 + (16 * 16 + 1) * 32 + (4 * 4 * 32 + 1) * 32 + 33 * 10,
    "cifar10_cnn": (
        28 * 32 + (16 * 32 + 1) * 32 + (9 * 32 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64
        + (9 * 64 + 1) * 128 + (9 * 128 + 1) * 128 + (9 * 128 + 1) * 256 + (9 * 256 + 1) * 256
        + (2 * 2 * 256 + 1) * 512 + 513 * 512 + 513 * 10
    ),
    "circles_mlp": 3 * 500 + 501,
}  # fmt: skip


@pytest.mark.parametrize("name", architectures.NAMES)
def test_parameter_counts_shapes_and_logits(name):
    model = architectures.build(name)
    assert model.count_params() == COUNTS[name]
    assert model.input_shape == (None, *architectures.input_shape(name))
    assert model.output_shape == (None, 1 if name == "circles_mlp" else 10)
    assert model.layers[-1].activation is keras.activations.linear
    assert model.name == name


def test_the_counts_that_the_paper_allows_for():
    published = {
        "fmnist_dnn": 669_706, "fmnist_cnn_1": 431_080, "fmnist_cnn_2": 133_530,
        "cifar10_cnn": 1_981_258, "circles_mlp": 2_001,
    }  # fmt: skip
    assert {name: COUNTS[name] for name in published} == published


def weights(name="fmnist_cnn_2", **options):
    return architectures.build(name, **options).get_weights()


def test_a_name_and_a_seed_fix_all_weights_whatever_was_built_before():
    first = weights(seed=5)
    architectures.build("fmnist_dnn", seed=1)
    for ours, again, other in zip(first, weights(seed=5), weights(seed=6), strict=True):
        np.testing.assert_array_equal(ours, again)
        assert not ours.any() or (ours != other).any()


def test_layers_and_neighbouring_seeds_share_no_kernel():
    kernels = [
        w.ravel()[:20] for seed in range(3) for w in weights("cifar10_cnn", seed=seed) if w.ndim > 1
    ]
    scaled = [kernel / abs(kernel).max() for kernel in kernels]
    for i, one in enumerate(scaled):
        for other in scaled[:i]:
            assert abs(one - other).max() > 0.1


def test_kernels_are_glorot_uniform_and_biases_zero():
    for kernel, bias in zip(*[iter(weights("fmnist_dnn"))] * 2, strict=True):
        limit = np.sqrt(6 / sum(kernel.shape))
        assert 0.95 * limit < abs(kernel).max() <= limit
        assert not bias.any()


def test_the_hidden_activations_are_relu():
    for name in architectures.NAMES:
        layers = architectures.build(name).layers[:-1]
        activations = [layer.activation for layer in layers if hasattr(layer, "activation")]
        assert activations and set(activations) == {keras.activations.relu}


def test_mixed_bfloat16_keeps_weights_and_logits_in_float32():
    model = architectures.build("fmnist_cnn_2", precision="mixed_bfloat16", seed=1)
    assert {w.dtype for w in model.weights} == {"float32"}
    assert model.layers[0].compute_dtype == "bfloat16"
    x = np.random.default_rng(0).random((4, 28, 28, 1), dtype=np.float32)
    logits, exact = model(x), architectures.build("fmnist_cnn_2", seed=1)(x)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, exact, atol=0.02)
    assert abs(logits - exact).numpy().max() > 1e-6


def test_dropout_follows_each_hidden_dense_layer_and_only_there():
    model = architectures.build("fmnist_cnn_1", dropout=0.4)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[-3:] == ["Dense", "CountedDropout", "Dense"]
    assert kinds.count("CountedDropout") == 1
    trainable = [weight.shape for weight in model.trainable_weights]
    assert trainable == [weight.shape for weight in weights("fmnist_cnn_1")]


def test_dropout_masks_are_functions_of_seed_and_count():
    def masks(seed=3, first=0, count=3):
        layer = architectures.CountedDropout(0.25, seed=seed)
        layer.build((None, 2000))
        layer.set_weights([np.int64(first)])
        return [layer(np.ones((2, 2000), np.float32), training=True).numpy() for _ in range(count)]

    first = masks()
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    kept = np.array(first) > 0
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / kept.size)
    rows = kept.reshape(6, 2000)  # three calls of two examples: all dropped independently
    assert np.abs(np.corrcoef(rows)[np.triu_indices(6, 1)]).max() < 5 / np.sqrt(2000)
    np.testing.assert_array_equal(masks(first=2, count=1)[0], first[2])
    assert (masks(seed=4, count=1)[0] != first[0]).any()


def test_dropout_leaves_inference_alone_and_counts_training_calls_only():
    layer = architectures.CountedDropout(0.5, seed=1)
    x = np.ones((2, 50), np.float32)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    layer(x, training=True)
    assert [int(weight) for weight in layer.get_weights()] == [1]
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (type(copy), copy.rate, copy.seed) == (architectures.CountedDropout, 0.5, 1)


def test_normalization_maps_pixels_first():
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype=np.float32)
    plain = architectures.build("fmnist_cnn_2", seed=2)
    normalized = architectures.build("fmnist_cnn_2", seed=2, normalization=(0.1307, 0.3081))
    np.testing.assert_allclose(normalized(x), plain((x - 0.1307) / 0.3081), atol=1e-5)
    assert normalized.count_params() == plain.count_params()


def test_he_s_kernels_keep_the_signal_through_nine_convolutions():
    images = np.random.default_rng(0).random((16, 32, 32, 3), dtype=np.float32)
    he, glorot = (architectures.build(f"cifar10_cnn{kind}", seed=3) for kind in ("_he", ""))
    assert np.std(he(images)) > 0.05 > 0.005 > np.std(glorot(images))
    for layer, plain in zip(he.layers[:-1], glorot.layers[:-1], strict=True):
        for weight, same in zip(layer.get_weights(), plain.get_weights(), strict=True):
            assert weight.shape == same.shape
            if weight.ndim > 1:  # truncated normal of variance 2 / fan-in
                deviation = np.sqrt(2 / np.prod(weight.shape[:-1]))
                assert weight.std() == pytest.approx(deviation, rel=0.1)
    np.testing.assert_array_equal(
        he.layers[-1].get_weights()[0], glorot.layers[-1].get_weights()[0]
    )
    np.testing.assert_array_equal(
        he.get_weights()[0], architectures.build("cifar10_cnn_he", seed=3).get_weights()[0]
    )


def test_batch_normalisation_takes_the_biases_place():
    model = architectures.build("cifar10_cnn_bn")
    filters = 2 * (32 + 64 + 128 + 256) + 32
    # No biases; four vectors of a norm, two of them trained.
    assert model.count_params() == COUNTS["cifar10_cnn"] + (4 - 1) * filters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[:6] == ["Conv2D", "BatchNormalization", "ReLU"] * 2
    assert kinds.count("BatchNormalization") == 9
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet"}, "architecture='resnet' must be one of fmnist_dnn"),
        ({"seed": -1}, "seed=-1"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"dropout": 1.5}, r"dropout=1\.5"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
        ({"normalization": (0.1, 0.0)}, r"normalization_std=0\.0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        architectures.build(**{"name": "fmnist_dnn", **arguments})


@pytest.mark.parametrize("name", ["fmnist_cnn_1", "cifar10_cnn"])
def test_layers_with_parameters_have_one_name_whatever_was_built_before(name):
    """Records and the draws of fault-aware training go by these names."""

    def names():
        model = architectures.build(name, dropout=0.5)
        return [layer.name for layer in model.layers if layer.trainable_weights]

    first = names()
    assert (first[0], first[-1]) == ("conv_1", "logits")
    assert names() == first


def test_layers_without_a_name_are_named_alike_in_each_build():
    def whole_model(make):
        inputs = keras.Input(make.input_shape)
        (hidden,) = make.dense(8)
        outputs = hidden(keras.layers.Flatten()(inputs))
        for _ in range(3):
            outputs = keras.layers.Dense(make.classes)(outputs)
        return keras.Model(inputs, outputs)

    architectures.register("mixed_names", whole_model, input_shape=(4, 4, 1), classes=3)
    first = keras.layers.Dense(1).name
    built = [architectures.build("mixed_names") for _ in range(3)]
    names = [[layer.name for layer in model.layers] for model in built]
    assert names[0] == names[1] == names[2]
    assert keras.layers.Dense(1).name != first  # the count outside goes on
