"""Keras 3 models against their Keras 2 conversions: the same outputs on the same inputs."""

import keras as keras_3
import numpy as np
import pytest

import ft_tf
from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.models.translation import SAME

K = keras_3.layers
IMAGE, SERIES, VECTOR = (9, 8, 3), (7, 4), (6,)
VOLUME = (5, 6, 4, 2)

# A layer and the shape of what it is given; "ids" stands for whole numbers below 11.
CASES = {
    "Activation": (lambda: K.Activation("gelu"), VECTOR),
    "AveragePooling1D": (lambda: K.AveragePooling1D(3, padding="same"), SERIES),
    "AveragePooling2D": (lambda: K.AveragePooling2D((2, 3), strides=1), IMAGE),
    "AveragePooling3D": (lambda: K.AveragePooling3D(2), VOLUME),
    "BatchNormalization": (lambda: K.BatchNormalization(epsilon=0.1), IMAGE),
    "Bidirectional": (lambda: K.Bidirectional(K.LSTM(3), merge_mode="ave"), SERIES),
    "Conv1D": (lambda: K.Conv1D(5, 3, padding="causal", dilation_rate=2), SERIES),
    "Conv1DTranspose": (lambda: K.Conv1DTranspose(5, 3, strides=2), SERIES),
    "Conv2D": (lambda: K.Conv2D(6, (3, 2), strides=2, padding="same", groups=3), IMAGE),
    "Conv2DTranspose": (lambda: K.Conv2DTranspose(4, 3, strides=2, padding="same"), IMAGE),
    "Conv3D": (lambda: K.Conv3D(3, 2, activation="elu"), VOLUME),
    "Conv3DTranspose": (lambda: K.Conv3DTranspose(3, 2, use_bias=False), VOLUME),
    "Cropping1D": (lambda: K.Cropping1D((1, 2)), SERIES),
    "Cropping2D": (lambda: K.Cropping2D(((1, 2), (0, 1))), IMAGE),
    "Cropping3D": (lambda: K.Cropping3D(1), VOLUME),
    "Dense": (lambda: K.Dense(5, "silu", kernel_regularizer="l2"), VECTOR),
    "DepthwiseConv1D": (lambda: K.DepthwiseConv1D(3, depth_multiplier=2), SERIES),
    "DepthwiseConv2D": (lambda: K.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "Dropout": (lambda: K.Dropout(0.5, seed=3), VECTOR),
    "ELU": (lambda: K.ELU(0.7), VECTOR),
    "EinsumDense": (lambda: K.EinsumDense("abc,cd->abd", (7, 5), bias_axes="d"), SERIES),
    "Embedding": (lambda: K.Embedding(11, 3), "ids"),
    "Flatten": (lambda: K.Flatten(), IMAGE),
    "GRU": (lambda: K.GRU(4, return_sequences=True, dropout=0.2), SERIES),
    "GaussianDropout": (lambda: K.GaussianDropout(0.3), VECTOR),
    "GaussianNoise": (lambda: K.GaussianNoise(0.3), VECTOR),
    "GlobalAveragePooling1D": (lambda: K.GlobalAveragePooling1D(), SERIES),
    "GlobalAveragePooling2D": (lambda: K.GlobalAveragePooling2D(keepdims=True), IMAGE),
    "GlobalAveragePooling3D": (lambda: K.GlobalAveragePooling3D(), VOLUME),
    "GlobalMaxPooling1D": (lambda: K.GlobalMaxPooling1D(), SERIES),
    "GlobalMaxPooling2D": (lambda: K.GlobalMaxPooling2D(), IMAGE),
    "GlobalMaxPooling3D": (lambda: K.GlobalMaxPooling3D(), VOLUME),
    "GroupNormalization": (lambda: K.GroupNormalization(2), (5, 4)),
    "LSTM": (lambda: K.LSTM(4, go_backwards=True, recurrent_dropout=0.1), SERIES),
    "LayerNormalization": (lambda: K.LayerNormalization(epsilon=0.01, scale=False), SERIES),
    "LeakyReLU": (lambda: K.LeakyReLU(negative_slope=0.15), VECTOR),
    "Masking": (lambda: K.Masking(0.0), SERIES),
    "MaxPooling1D": (lambda: K.MaxPooling1D(2), SERIES),
    "MaxPooling2D": (lambda: K.MaxPooling2D(3, strides=2, padding="same"), IMAGE),
    "MaxPooling3D": (lambda: K.MaxPooling3D(2), VOLUME),
    "PReLU": (lambda: K.PReLU(shared_axes=[1, 2]), IMAGE),
    "Permute": (lambda: K.Permute((3, 1, 2)), IMAGE),
    "ReLU": (lambda: K.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), VECTOR),
    "RepeatVector": (lambda: K.RepeatVector(3), VECTOR),
    "Rescaling": (lambda: K.Rescaling(1 / 255, offset=-0.5), IMAGE),
    "Reshape": (lambda: K.Reshape((4, -1)), IMAGE),
    "SeparableConv1D": (lambda: K.SeparableConv1D(5, 3), SERIES),
    "SeparableConv2D": (lambda: K.SeparableConv2D(5, 3, padding="same"), IMAGE),
    "SimpleRNN": (lambda: K.SimpleRNN(4), SERIES),
    "Softmax": (lambda: K.Softmax(axis=1), SERIES),
    "SpatialDropout1D": (lambda: K.SpatialDropout1D(0.2), SERIES),
    "SpatialDropout2D": (lambda: K.SpatialDropout2D(0.2), IMAGE),
    "SpatialDropout3D": (lambda: K.SpatialDropout3D(0.2), VOLUME),
    "TimeDistributed": (lambda: K.TimeDistributed(K.Dense(3)), SERIES),
    "UnitNormalization": (lambda: K.UnitNormalization(), VECTOR),
    "UpSampling1D": (lambda: K.UpSampling1D(2), SERIES),
    "UpSampling2D": (lambda: K.UpSampling2D(2, interpolation="bilinear"), IMAGE),
    "UpSampling3D": (lambda: K.UpSampling3D(2), VOLUME),
    "ZeroPadding1D": (lambda: K.ZeroPadding1D(2), SERIES),
    "ZeroPadding2D": (lambda: K.ZeroPadding2D(((1, 0), (2, 1))), IMAGE),
    "ZeroPadding3D": (lambda: K.ZeroPadding3D(1), VOLUME),
}  # fmt: skip
MERGES = {
    "Add": K.Add, "Average": K.Average, "Concatenate": K.Concatenate, "Maximum": K.Maximum,
    "Minimum": K.Minimum, "Multiply": K.Multiply, "Subtract": K.Subtract,
    "Dot": lambda: K.Dot(axes=1, normalize=True),
}  # fmt: skip
ELSEWHERE = {"Normalization", "MultiHeadAttention"}


def inputs_for(shape, examples=4, seed=1):
    rng = np.random.default_rng(seed)
    if shape == "ids":
        return rng.integers(0, 11, (examples, 7)).astype(np.int32)
    return rng.normal(size=(examples, *shape)).astype(np.float32)


def randomized(model, seed=2):
    """All weights random: no zero bias or unit variance may hide a mistake."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.2, 0.9, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def same_outputs(original, converted, x):
    before = keras_3.tree.flatten(original(x, training=False))
    after = keras_3.tree.flatten(converted(x, training=False))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_a_layer_computes_the_same(kind):
    make, shape = CASES[kind]
    dtype, size = ("int32", (7,)) if shape == "ids" else ("float32", shape)
    original = randomized(keras_3.Sequential([keras_3.Input(size, dtype=dtype), make()]))
    converted = ft_tf.convert(original)
    assert isinstance(converted, keras.Model)
    assert [type(layer).__name__ for layer in converted.layers] == [kind]
    same_outputs(original, converted, inputs_for(shape))


@pytest.mark.parametrize("kind", MERGES)
def test_a_merging_layer_computes_the_same(kind):
    first, second = keras_3.Input(VECTOR), keras_3.Input(VECTOR)
    original = keras_3.Model([first, second], MERGES[kind]()([first, second]))
    same_outputs(
        original, ft_tf.convert(original), [inputs_for(VECTOR, seed=3), inputs_for(VECTOR, seed=4)]
    )


def test_every_layer_that_is_said_to_convert_is_tested():
    assert set(CASES) | set(MERGES) | ELSEWHERE == SAME


def test_the_table_checks_what_it_seems_to():
    """Weights that differ must show."""
    original = randomized(keras_3.Sequential([keras_3.Input(VECTOR), K.Dense(3)]))
    converted = ft_tf.convert(original)
    randomized(original, seed=5)
    with pytest.raises(AssertionError):
        same_outputs(original, converted, inputs_for(VECTOR))


def test_adapted_normalization_keeps_its_statistics():
    layer = K.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 6)).astype(np.float32))
    original = keras_3.Sequential([keras_3.Input(VECTOR), layer, K.Dense(2)])
    same_outputs(original, ft_tf.convert(original), inputs_for(VECTOR))


def test_attention_with_two_inputs():
    query, value = keras_3.Input((5, 8)), keras_3.Input((3, 8))
    attended = K.MultiHeadAttention(num_heads=2, key_dim=4, dropout=0.1)(query, value)
    original = randomized(keras_3.Model([query, value], attended))
    same_outputs(original, ft_tf.convert(original), [inputs_for((5, 8)), inputs_for((3, 8))])


def residual_model():
    """A branching image classifier with nested and shared parts, and arithmetic on tensors."""
    start = keras_3.Input(IMAGE, name="image")
    inner_start = keras_3.Input((9, 8, 4))
    inner = keras_3.Model(
        inner_start,
        K.BatchNormalization()(K.Conv2D(4, 3, padding="same")(inner_start)),
        name="inner",
    )
    x = K.Conv2D(4, 3, padding="same")(start / 2.0)
    x = keras_3.ops.relu(inner(x) + x)
    x = inner(x) * 0.5 - x
    head = keras_3.Sequential(
        [K.GlobalAveragePooling2D(), K.Dense(8, activation="relu"), K.Dropout(0.3)], name="head"
    )
    return randomized(keras_3.Model(start, K.Dense(10, name="logits")(head(x)), name="residual"))


def test_a_branching_model_with_nested_and_shared_parts():
    original = residual_model()
    converted = ft_tf.convert(original)
    same_outputs(original, converted, inputs_for(IMAGE))
    assert len(converted.weights) == len(original.weights)  # what was shared is shared
    assert converted.name == "residual"
    assert converted.get_layer("inner") is not None


def test_what_is_converted_can_be_fault_tested_and_trained():
    converted = ft_tf.convert(residual_model())
    x, y = inputs_for(IMAGE, examples=20), np.arange(20) % 10
    frame = faults.sweep(converted, x, y, target="weights", rates=[0.5], trials=2, seed=0)
    assert frame["faults"].iloc[0] == round(0.5 * sum(map(np.size, converted.trainable_variables)))
    converted.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    converted.fit(x, y, verbose=0)


def test_several_inputs_and_outputs_keep_their_structure():
    first, second = keras_3.Input((4,), name="a"), keras_3.Input((4,), name="b")
    total = K.Dense(3)(K.Add()([first, second]))
    original = keras_3.Model({"a": first, "b": second}, {"sum": total, "first": first})
    converted = ft_tf.convert(randomized(original))
    x = {"a": inputs_for((4,), seed=7), "b": inputs_for((4,), seed=8)}
    assert set(converted(x)) == {"sum", "first"}
    same_outputs(original, converted, x)


def test_text_with_masks_through_a_recurrent_layer():
    original = keras_3.Sequential(
        [
            keras_3.Input((7,), dtype="int32"),
            K.Embedding(11, 5, mask_zero=True),
            K.Bidirectional(K.GRU(4)),
            K.Dense(3),
        ]
    )
    converted = ft_tf.convert(randomized(original))
    x = inputs_for("ids")
    x[:, 4:] = 0  # masked
    same_outputs(original, converted, x)


def test_options_of_training_are_kept():
    original = keras_3.Sequential(
        [keras_3.Input(VECTOR), K.Dense(3, kernel_regularizer=keras_3.regularizers.L2(0.25))]
    )
    original.layers[0].trainable = False
    converted = ft_tf.convert(original)
    assert converted.trainable_weights == []
    kernel = original.get_weights()[0]
    assert float(converted.losses[0]) == pytest.approx(0.25 * np.sum(kernel**2), rel=1e-5)


def dense_pair(**options):
    return keras_3.Sequential([keras_3.Input(VECTOR), K.Dense(6), K.Dense(6)], **options)


@pytest.mark.parametrize("frozen", ["none", "one", "all", "all but one", "by its flag", "outside"])
def test_the_same_weights_train_whatever_is_frozen_in_a_nested_model(frozen):
    nested = dense_pair(trainable=frozen != "by its flag")
    if frozen in ("all", "all but one"):
        nested.trainable = False
    if frozen in ("one", "all but one"):
        nested.layers[1].trainable = frozen != "one"
    inputs = keras_3.Input(VECTOR)
    original = keras_3.Model(inputs, K.Dense(3)(nested(inputs)))
    if frozen == "outside":
        original.trainable = False
        nested.layers[1].trainable = True
    converted = ft_tf.convert(randomized(original))
    ours = [weight.numpy() for weight in converted.trainable_weights]
    theirs = [np.asarray(weight) for weight in original.trainable_weights]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_low_precision_is_kept():
    original = keras_3.Sequential([keras_3.Input(VECTOR), K.Dense(3, dtype="mixed_bfloat16")])
    assert ft_tf.convert(original).layers[0].compute_dtype == "bfloat16"


def test_a_keras_2_model_is_given_back():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert ft_tf.convert(model) is model


class Doubled(K.Layer):
    def call(self, inputs):
        return 2 * inputs


class Subclassed(keras_3.Model):
    def call(self, inputs):
        return inputs


def through(*layers):
    return keras_3.Sequential([keras_3.Input(VECTOR), *layers])


REFUSED = {
    "lambda": (
        lambda: through(K.Lambda(lambda x: x, name="twist")),
        r"layer 'twist' \(Lambda\) holds Python code",
    ),
    "own layer": (
        lambda: through(Doubled(name="mine")),
        r"layer 'mine' \(Doubled\) is a class of its own",
    ),
    "all at once": (
        lambda: through(Doubled(name="one"), K.RandomFlip(name="two")),
        r"'one' \(Doubled\).*'two' \(RandomFlip\) has no counterpart",
    ),
    "option": (
        lambda: through(K.Dense(3, name="low", lora_rank=2)),
        r"layer 'low' \(Dense\) has lora_rank=2",
    ),
    "activation": (
        lambda: through(K.Dense(3, keras_3.activations.celu, name="act")),
        r"layer 'act' \(Dense\) has the activation celu",
    ),
    "own activation": (
        lambda: through(K.Dense(3, lambda x: x, name="act")),
        r"layer 'act' \(Dense\) has an activation that is a function",
    ),
    "other meaning": (
        lambda: through(K.Activation("hard_sigmoid", name="hard")),
        r"layer 'hard' \(Activation\) has the activation hard_sigmoid",
    ),
    "operation": (
        lambda: keras_3.Model(start := keras_3.Input(VECTOR), keras_3.ops.sin(start)),
        r"operation '\w+' \(keras.ops Sin\)",
    ),
    "constant": (
        lambda: keras_3.Model(start := keras_3.Input(VECTOR), start + np.ones(6, np.float32)),
        r"'\w+' \(Add\) is called on a constant",
    ),
    "subclassed": (Subclassed, "it is a Subclassed, whose call is code"),
    "not built": (lambda: keras_3.Sequential([K.Dense(3)]), "no weights yet"),
    "no model": (lambda: "model.keras", "builtins.str is not a Keras model"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_in_one_line(case):
    make, reason = REFUSED[case]
    with pytest.raises(ModelError, match=reason) as refusal:
        ft_tf.convert(make())
    assert "\n" not in str(refusal.value)


def test_a_layer_that_means_something_else_is_caught_by_its_outputs(monkeypatch):
    """Even where the tables are wrong: the outputs are compared."""
    from ft_tf.models import translation

    monkeypatch.setattr(translation, "_OTHER_MEANING", {})
    with pytest.raises(ModelError, match="its outputs differ"):
        ft_tf.convert(through(K.Activation("hard_sigmoid")))
