"""Rules of further layers against one-example-at-a-time clipping, and adapters trained alone."""

import functools
import warnings

import dpsgd_oracle as oracle
import numpy as np
import pytest
from dpsgd_oracle import check_against_oracle, sequential

from ft_tf._compat import keras, tf
from ft_tf.training import DPSGDModel
from ft_tf.training.dpsgd.rules import registered

L = keras.layers
BATCH = 5


def flat(shape, *layers):
    return sequential(shape, *layers, L.Flatten(), L.Dense(3))


def attention(layer, **call):
    inputs = keras.Input((4, 6))
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(layer(inputs, inputs, **call))))


class Branching(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = L.Dense(5, "relu")
        self.second = L.Dense(3)

    def call(self, inputs):
        return self.second(self.first(inputs)) * tf.reduce_sum(inputs, axis=1, keepdims=True)


def subclassed():
    model = Branching()
    model(np.zeros((1, 6), np.float32))
    return model


FAST = {
    "conv1d": lambda: flat((9, 5), L.Conv1D(4, 3, activation="relu")),
    "conv1d_few_channels": lambda: flat((9, 2), L.Conv1D(4, 3, strides=2, padding="same")),
    "conv1d_causal": lambda: flat((8, 2), L.Conv1D(4, 3, dilation_rate=2, padding="causal")),
    "conv1d_groups": lambda: flat((8, 4), L.Conv1D(6, 3, groups=2)),
    "conv3d": lambda: flat((4, 5, 3, 2), L.Conv3D(3, 2, strides=(1, 2, 1), padding="same")),
    "conv3d_many_channels": lambda: flat((4, 4, 3, 5), L.Conv3D(3, (2, 1, 3), activation="tanh")),
    "conv2d_many_channels": lambda: flat((7, 6, 5), L.Conv2D(3, (3, 2), strides=(2, 1))),
    "depthwise1d": lambda: flat((8, 3), L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")),
    "einsum_dense": lambda: flat((4, 6), L.EinsumDense("abc,cd->abd", (4, 5), bias_axes="d")),
    "einsum_heads": lambda: flat(
        (4, 6), L.EinsumDense("abc,cde->abde", (4, 2, 3), bias_axes="de", activation="relu")
    ),
    "einsum_merge": lambda: flat((4, 2, 3), L.EinsumDense("abcd,cde->abe", (4, 5))),
    "einsum_bias_of_positions": lambda: flat(
        (4, 6), L.EinsumDense("abc,dc->abd", (4, 5), bias_axes="b")
    ),
    "einsum_rank_2": lambda: flat((6,), L.EinsumDense("ab,bc->ac", 5, bias_axes="c")),
    "group_normalization": lambda: flat((3, 4, 6), L.GroupNormalization(3)),
    "group_normalization_axis": lambda: flat((4, 6), L.GroupNormalization(2, axis=1)),
    "group_normalization_behind_a_convolution": lambda: flat(
        (5, 4, 3), L.Conv2D(6, 2), L.GroupNormalization(3), L.Conv2D(2, 2)
    ),
    "normalization_over_axes": lambda: flat((4, 3, 5), L.LayerNormalization(axis=[3, 1])),
    "rms_normalization": lambda: flat((4, 6), L.RMSNormalization()),
    "attention": lambda: attention(L.MultiHeadAttention(2, 3)),
    "causal_attention": lambda: attention(L.MultiHeadAttention(2, 3), use_causal_mask=True),
    "grouped_attention": lambda: attention(L.GroupQueryAttention(3, 4, 2)),
    "subclassed": subclassed,
}


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("shape, axis", [((6,), -1), ((4, 6), 1), ((5, 3, 6), -1), ((3, 6, 2), 2)])
@pytest.mark.parametrize("parts", [{}, {"scale": False}, {"center": False}])
def test_the_faster_group_normalization_is_that_of_keras(shape, axis, parts, dtype):
    groups = 2 if shape == (4, 6) else 3
    layer = L.GroupNormalization(groups, axis=axis, dtype=dtype, **parts)
    layer.build((None, *shape))
    rng = np.random.default_rng(2)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = tf.constant(7 + rng.normal(size=(BATCH, *shape)), layer.compute_dtype)
    upstream = tf.constant(rng.normal(size=x.shape), layer.compute_dtype)
    found = []
    for call in (layer, functools.partial(registered(layer)[1], layer)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = call(x)
        found.append([y, tape.gradient(y, x, upstream)])
    tolerance = 2e-5 if dtype == "float32" else 4e-2
    for theirs, ours in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        theirs, ours = (tf.cast(part, tf.float32) for part in (theirs, ours))
        np.testing.assert_allclose(ours, theirs, atol=tolerance * np.abs(theirs).max())


def data(shape, outputs=3):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(BATCH, *shape)).astype(np.float32)
    x *= np.linspace(0.5, 2.0, BATCH, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1))
    return x, rng.normal(size=(BATCH, outputs)).astype(np.float32)


def check(model, x=None):
    shape = (6,) if isinstance(model, Branching) else model.input_shape[1:]
    ours, y = data(shape)
    check_against_oracle(model, ours if x is None else x, y)


@pytest.mark.parametrize("name", FAST)
def test_clipped_sum_equals_the_oracle_without_the_slow_path(name):
    keras.utils.set_random_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check(FAST[name]())


SLOW = {
    "einsum_with_ellipsis": lambda: flat((4, 6), L.EinsumDense("...x,xy->...y", 5)),
    "einsum_of_each_position": lambda: flat((4, 6), L.EinsumDense("abc,bcd->abd", (4, 5))),
    "transposed": lambda: flat((4, 4, 2), L.Conv2DTranspose(3, 2)),
    "separable": lambda: flat((5, 5, 2), L.SeparableConv2D(3, 2)),
    "prelu": lambda: flat((4, 6), L.PReLU()),
}


@pytest.mark.parametrize("name", SLOW)
def test_layers_without_a_rule_are_exact_too(name):
    keras.utils.set_random_seed(3)
    with pytest.warns(UserWarning, match="one example at a time"):
        check(SLOW[name]())


def adapted(model, *, bias=True):
    """The model with LoRA in its first layer; all else of the model is frozen."""
    first, *others = model.layers
    first.enable_lora(2, lora_alpha=3)
    for layer in others:
        layer.trainable = False
    second = next(weight for weight in first.trainable_weights if weight.name.endswith("_b"))
    second.assign(np.random.default_rng(0).normal(size=second.shape))
    if getattr(first, "bias", None) is not None:
        first.bias.trainable = bias
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_adapters_alone_are_clipped_as_one_example_at_a_time(shape, bias):
    keras.utils.set_random_seed(3)
    model = adapted(flat(shape, L.Dense(5, "relu")), bias=bias)
    names = [variable.name for variable in model.trainable_variables]
    assert names == [*(["bias"] if bias else []), "lora_kernel_a", "lora_kernel_b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check(model)


def test_adapters_without_a_rule_are_exact_too():
    keras.utils.set_random_seed(3)
    model = adapted(flat((4, 6), L.EinsumDense("abc,cd->abd", (4, 5), bias_axes="d")))
    with pytest.warns(UserWarning, match="one example at a time"):
        check(model)
    model = adapted(flat((4,), L.Embedding(7, 5)))
    with pytest.warns(UserWarning, match="one example at a time"):
        check(model, np.random.default_rng(0).integers(0, 7, (BATCH, 4)))


def test_adapters_of_a_quantised_layer_are_exact():
    keras.utils.set_random_seed(3)
    model = flat((6,), L.Dense(5, "relu"))
    model.layers[0].quantize("int8")
    check(adapted(model))


def test_a_bias_trained_alone_is_clipped_by_its_own_gradient():
    model = flat((6,), L.Dense(5, "relu"))
    model.layers[0].kernel.trainable = False
    with pytest.warns(UserWarning, match="one example at a time"):
        check(model)


def test_training_adapters_moves_them_alone_and_by_the_clipped_sum():
    keras.utils.set_random_seed(3)
    model = adapted(flat((6,), L.Dense(5, "relu")), bias=False)
    x, y = data((6,))
    gradients = oracle.example_gradients(model, oracle.squared_loss, x, y)
    clip = float(np.median([oracle.norm(parts) for parts in gradients]))
    trained, before = model.trainable_variables, {v.path: v.numpy() for v in model.variables}
    private = DPSGDModel(model, l2_norm_clip=clip, noise_multiplier=0.0)
    private.compile(keras.optimizers.SGD(0.5), oracle.squared_loss)
    private.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    expected = oracle.clipped_sum(gradients, clip)
    for variable, total in zip(trained, expected, strict=True):
        moved = before.pop(variable.path) - variable.numpy()
        np.testing.assert_allclose(moved, 0.5 * total / BATCH, rtol=1e-4, atol=1e-6)
    assert len(trained) == 2
    for variable in model.variables:
        if variable.path in before:
            np.testing.assert_array_equal(variable.numpy(), before[variable.path])
