"""Clipped sums against one-example-at-a-time clipping, for every rule and for mixed models."""

import dpsgd_oracle as oracle
import numpy as np
import pytest
from dpsgd_oracle import (
    check_against_oracle,
    clipped_gradient_sum,
    sequential,
    squared_loss,
)

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd import from_materialized, register_rule
from ft_tf.training.dpsgd.clipping import Clipping
from ft_tf.training.dpsgd.independence import per_example_loss
from ft_tf.training.dpsgd.plan import make_plan
from ft_tf.training.dpsgd.rules.dense import (
    gram_is_cheaper,
    gram_norms,
    position_gradients,
)
from ft_tf.training.dpsgd.step import clipped_sum

L = keras.layers
BATCH = 5


def conv(shape=(7, 6, 2), filters=4, kernel=3, **options):
    return sequential(shape, L.Conv2D(filters, kernel, **options), L.Flatten(), L.Dense(3))


def branches():
    inputs = keras.Input((6, 6, 2))
    left = L.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    right = L.Conv2D(3, 1, activation="tanh")(inputs)
    joined = L.Concatenate()([L.Add()([left, right]), inputs])
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(L.AveragePooling2D(2)(joined))))


def nested():
    inner = sequential((6, 6, 2), L.Conv2D(3, 3, activation="relu"), L.Flatten())
    inputs = keras.Input((6, 6, 2))
    return keras.Model(inputs, L.Dense(3)(inner(inputs)))


MODELS = {
    "dense": lambda: sequential((6,), L.Dense(5, activation="relu"), L.Dense(3)),
    "dense_no_bias": lambda: sequential((6,), L.Dense(5, "tanh", use_bias=False), L.Dense(3)),
    "dense_rank_3": lambda: sequential((4, 6), L.Dense(5, "relu"), L.Flatten(), L.Dense(3)),
    "dense_rank_4": lambda: sequential(
        (2, 3, 6), L.Dense(5, "relu", use_bias=False), L.Flatten(), L.Dense(3)
    ),
    "conv_valid": lambda: conv(activation="relu"),
    "conv_same": lambda: conv(padding="same", activation="relu"),
    "conv_kernel_even": lambda: conv(kernel=(4, 2), padding="same"),
    "conv_strides": lambda: conv(strides=(2, 3), padding="same"),
    "conv_strides_valid": lambda: conv(strides=2, kernel=(2, 3)),
    "conv_strides_over_kernel": lambda: conv(strides=3, kernel=2, padding="same"),
    "conv_dilation": lambda: conv(dilation_rate=(2, 1)),
    "conv_dilation_same": lambda: conv(dilation_rate=2, padding="same"),
    "conv_no_bias": lambda: conv(use_bias=False, activation="relu"),
    "conv_groups": lambda: conv(shape=(6, 6, 4), filters=6, groups=2),
    "conv_one_position": lambda: conv(shape=(3, 3, 2), filters=8),
    "conv_few_positions": lambda: conv(shape=(4, 4, 16), filters=32),
    "depthwise": lambda: sequential(
        (7, 6, 3),
        L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu"),
        L.Flatten(),
        L.Dense(3),
    ),
    "depthwise_strides_no_bias": lambda: sequential(
        (7, 7, 2), L.DepthwiseConv2D((2, 3), strides=2, use_bias=False), L.Flatten(), L.Dense(3)
    ),
    "depthwise_dilation": lambda: sequential(
        (7, 7, 2), L.DepthwiseConv2D(2, dilation_rate=2), L.Flatten(), L.Dense(3)
    ),
    "layer_normalization": lambda: sequential(
        (4, 6), L.LayerNormalization(), L.Flatten(), L.Dense(3)
    ),
    "layer_normalization_epsilon": lambda: sequential(
        (6,), L.Dense(5), L.LayerNormalization(epsilon=0.3), L.Dense(3)
    ),
    "layer_normalization_axes": lambda: sequential(
        (4, 3, 5), L.LayerNormalization(axis=[1, 3]), L.Flatten(), L.Dense(3)
    ),
    "layer_normalization_center": lambda: sequential(
        (6,), L.Dense(5), L.LayerNormalization(scale=False), L.Dense(3)
    ),
    "mixed": lambda: sequential(
        (8, 8, 2),
        L.ZeroPadding2D(1),
        L.Conv2D(4, 3, activation="relu"),
        L.MaxPool2D(2),
        L.Conv2D(6, 2, padding="same"),
        L.ReLU(),
        L.Dropout(0.5),
        L.GlobalAveragePooling2D(),
        L.Reshape((2, 3)),
        L.Flatten(),
        L.Dense(5, activation="softplus"),
        L.Dense(3),
    ),
    "branches": branches,
    "nested": nested,
}


def data(model):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(BATCH, *model.input_shape[1:])).astype(np.float32)
    # Examples of different sizes, so that a clip norm in the middle clips some of them.
    x *= np.linspace(0.5, 2.0, BATCH, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1))
    return x, rng.normal(size=(BATCH, *model.output_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_clipped_sum_equals_the_oracle(name):
    keras.utils.set_random_seed(3)
    model = MODELS[name]()
    check_against_oracle(model, *data(model))


def test_embedding_counts_negative_ids_from_the_end_as_keras_does():
    ids = np.array([[-1, 0], [4, -1], [2, 2]], np.int32)
    model = sequential((2,), L.Embedding(5, 4), L.Flatten(), L.Dense(3))
    y = np.array([0, 1, 2])
    for found, other in zip(
        clipped_gradient_sum(model, "sparse_categorical_crossentropy", ids, y, 0.1),
        clipped_gradient_sum(model, "sparse_categorical_crossentropy", ids % 5, y, 0.1),
        strict=True,
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, found, other)


def test_a_norm_whose_factors_are_beyond_float32_is_no_zero():
    """|g|^2 = 1e-40 is 0 in float32, and |x|^2 = 3e38 is not: the gradient has a norm of 0.2."""
    model = keras.Sequential([keras.Input((1,)), L.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((1, 1), np.float32)])
    x, y = np.full((2, 1), 1.8e19, np.float32), np.zeros(2, np.float32)
    loss = lambda y, outputs: 1e-20 * outputs  # noqa: E731
    (kernel,), norms, _ = clipped_gradient_sum(model, loss, x, y, 0.1)
    assert (norms >= 0.18).all()
    assert abs(float(kernel[0, 0])) <= 2 * 0.1


def test_embedding_with_repeated_ids():
    keras.utils.set_random_seed(3)
    model = sequential((6,), L.Embedding(5, 4), L.Conv1DTranspose(3, 2), L.Flatten(), L.Dense(3))
    x = np.random.default_rng(0).integers(0, 5, (BATCH, 6))
    with pytest.warns(UserWarning, match="Conv1DTranspose"):
        check_against_oracle(model, x, data(model)[1])


def shared_layer():
    inputs = keras.Input((4,))
    shared = L.Dense(4, activation="tanh", name="shared")
    return keras.Model(inputs, L.Dense(3)(shared(shared(inputs))))


def shared_model():
    inputs = keras.Input((6, 6, 2))
    inner = sequential((6, 6, 2), L.Conv2D(2, 3, padding="same", activation="relu"))
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Add()([inner(inner(inputs)), inputs]))))


@pytest.mark.parametrize("make", [shared_layer, shared_model])
def test_a_layer_used_twice_is_clipped_as_one(make):
    keras.utils.set_random_seed(3)
    with pytest.warns(UserWarning, match="is called 2 times: its per-example gradients"):
        check_against_oracle(make(), *data(make()))


def test_an_open_shape_takes_the_slower_path_and_says_so():
    keras.utils.set_random_seed(3)
    model = sequential(
        (None, None, 2),
        L.Conv2D(3, 3, activation="relu", name="open"),
        L.GlobalAveragePooling2D(),
        L.Dense(3),
    )
    y = np.random.default_rng(0).normal(size=(BATCH, 3)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(BATCH, 6, 6, 2)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"'open' \(Conv2D\) is called on inputs whose"):
        plan = make_plan(model)
        step = tf.function(
            lambda x, y: clipped_sum(
                plan,
                per_example_loss(resolve_loss(squared_loss, model)),
                x,
                y,
                weights=tf.ones(BATCH),
                l2_norm_clip=0.5,
            ).gradients,
            input_signature=[tf.TensorSpec([None, None, None, 2]), tf.TensorSpec([None, 3])],
        )
        ours = [part.numpy() for part in step(x, y)]
    expected = oracle.clipped_sum(oracle.example_gradients(model, squared_loss, x, y), 0.5)
    assert oracle.relative_error(ours, expected) < 1e-5


@pytest.mark.parametrize(
    "layers",
    [
        (L.LSTM(3),),
        (L.Bidirectional(L.GRU(2)),),
        (L.TimeDistributed(L.Dense(2)), L.Flatten()),
    ],
    ids=["lstm", "bidirectional", "time_distributed"],
)
def test_layers_without_a_rule_take_the_slower_path(layers):
    keras.utils.set_random_seed(3)
    model = sequential(
        (4, 3), *(type(part).from_config(part.get_config()) for part in layers), L.Dense(3)
    )
    with pytest.warns(UserWarning, match="one example at a time"):
        check_against_oracle(model, *data(model))


def test_copies_of_an_example_give_copies_of_its_gradient():
    model = MODELS["conv_valid"]()
    x, y = data(model)
    one, _, _ = clipped_gradient_sum(model, squared_loss, x[:1], y[:1], 0.5)
    copies = [np.repeat(part[:1], 7, axis=0) for part in (x, y)]
    seven, _, _ = clipped_gradient_sum(model, squared_loss, *copies, 0.5)
    assert oracle.relative_error(seven, [7 * part for part in one]) < 1e-6


@pytest.mark.parametrize("size", [3, 12], ids=["few_positions", "many_positions"])
def test_norm_of_a_constant_image_is_positions_times_patch_times_gradient(size):
    # A 2x2 convolution of a constant image meets T equal patches p; with the mean of the outputs
    # as loss every output has the same gradient g, so the kernel's gradient is T p g.
    model = sequential((size, size, 2), L.Conv2D(3, 2, use_bias=False))
    positions, value = (size - 1) ** 2, 0.5
    x = np.full((2, size, size, 2), value, np.float32)
    _, norms, _ = clipped_gradient_sum(
        model, lambda y, outputs: tf.reduce_sum(outputs, axis=[1, 2, 3]), x, np.zeros(2), 1.0
    )
    patch, gradient = value * np.sqrt(2 * 2 * 2), np.sqrt(3)
    np.testing.assert_allclose(norms, positions * patch * gradient, rtol=1e-6)


def position_norms(rows, gradients):
    """Squared norms in float64, and the scale of their rounding."""
    written_out = np.einsum("btk,bto->bko", rows.astype(np.float64), gradients.astype(np.float64))
    lengths = [np.linalg.norm(part.astype(np.float64), axis=2) for part in (rows, gradients)]
    return np.square(written_out).sum(axis=(1, 2)), np.square((lengths[0] * lengths[1]).sum(axis=1))


@pytest.mark.parametrize(
    ("positions", "width", "outputs"),
    [(2, 1, 1), (16, 1152, 128), (64, 288, 32), (4, 2304, 256), (128, 64, 64)],
)
@pytest.mark.parametrize("kind", ["normal", "positive", "equal rows", "constant", "all scales"])
def test_the_gram_form_never_understates_a_norm(positions, width, outputs, kind):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(32, positions, width))
    gradients = rng.normal(size=(32, positions, outputs))
    if kind == "positive":
        rows = np.abs(rows)
    elif kind == "equal rows":
        rows[:] = rows[:, :1]
    elif kind == "constant":
        rows[:], gradients[:] = rows[:, :1, :1], gradients[:, :1, :1]
    elif kind == "all scales":
        rows *= 10 ** rng.uniform(-4, 4, rows.shape)
        gradients *= 10 ** rng.uniform(-4, 4, gradients.shape)
    rows, gradients = rows.astype(np.float32), gradients.astype(np.float32)
    norms, cancelled = (part.numpy() for part in gram_norms(rows, gradients))
    exact, scale = position_norms(rows, gradients)
    kept = ~cancelled
    assert (norms[kept] >= exact[kept]).all()
    assert (norms[kept] - exact[kept] <= 1.5e-5 * exact[kept] + 5e-7 * scale[kept]).all()
    assert (exact[cancelled] < 0.05 * scale[cancelled]).all()


@pytest.mark.parametrize("share", [1.0, 1e-2, 1e-4, 1e-6])
def test_positions_that_cancel_do_not_slip_past_the_clipping(share):
    """Two equal rows whose gradients are opposite but for a small share of them."""
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.uniform(500, 1000, (3, 1, 400)), 2, axis=1).astype(np.float32)
    gradients = np.full((3, 2, 300), 60.0, np.float32)
    gradients[:, 1] *= -(1 - share)
    assert gram_is_cheaper(2, 400, 300)
    parts = position_gradients(tf.constant(rows), tf.constant(gradients), use_bias=False)
    (scale,) = Clipping().scales(tf.sqrt(parts.squared_norms), [parts.squared_norms], 1.0)
    for example in range(3):
        (contribution,) = parts.weighted_sum(scale * tf.one_hot(example, 3))
        assert 1 - 3e-6 < oracle.norm([contribution.numpy()]) < 1 + 1e-6
    together = parts.weighted_sum(scale)[0].numpy()
    exact = np.einsum("btk,bto->bko", rows.astype(np.float64), gradients.astype(np.float64))
    exact /= np.sqrt(np.square(exact).sum(axis=(1, 2), keepdims=True))
    assert oracle.relative_error([together], [exact.sum(axis=0)]) < max(3e-6, 1e-7 / share)


def test_gradients_that_cancel_entirely_are_zero():
    rows = np.tile(np.float32([[1.0, 3.0, 0.1] * 100]), (2, 4, 1))
    signs = np.tile(np.float32([[1.0] * 200, [-1.0] * 200]), (2, 2, 1)) / np.float32(3)
    assert gram_is_cheaper(4, 300, 200)
    parts = position_gradients(tf.constant(rows), tf.constant(signs), use_bias=False)
    assert (parts.squared_norms.numpy() >= 0).all() and (parts.squared_norms.numpy() < 1e-8).all()
    np.testing.assert_allclose(parts.weighted_sum(tf.ones(2))[0], np.zeros((300, 200)), atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_an_example_that_is_not_finite_counts_as_zero(bad):
    model = MODELS["mixed"]()
    x, y = data(model)
    spoiled = x.copy()
    spoiled[2] = bad
    rest = [0, 1, 3, 4]
    expected, _, _ = clipped_gradient_sum(model, squared_loss, x[rest], y[rest], 0.5)
    ours, norms, nonfinite = clipped_gradient_sum(model, squared_loss, spoiled, y, 0.5)
    assert nonfinite == 1 and not np.isfinite(norms[2])
    assert oracle.relative_error(ours, expected) < 1e-6


def test_all_problems_of_a_model_stand_in_one_error():
    model = sequential(
        (6, 6, 2),
        L.Conv2D(3, 2, kernel_regularizer="l2", name="regular"),
        L.BatchNormalization(name="norm"),
        L.Flatten(),
        L.Dense(3, activity_regularizer="l2", name="active"),
    )
    with pytest.raises(ModelError) as error:
        make_plan(model)
    text = str(error.value)
    assert "\n" not in text
    for part in ("'regular'", "'norm'", "mixes the examples", "'active'"):
        assert part in text


def test_a_frozen_batch_normalization_passes():
    model = sequential((6,), L.Dense(4), L.BatchNormalization(trainable=False), L.Dense(3))
    check_against_oracle(model, *data(model))


def test_a_rule_of_the_user_is_used():
    class Scale(L.Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones")

        def call(self, inputs):
            return inputs * self.scale

    calls = []

    def rule(layer, inputs, gradients):
        calls.append(layer)
        return from_materialized([inputs * gradients])

    register_rule(Scale, rule)
    model = sequential((6,), Scale(), L.Dense(3))
    check_against_oracle(model, *data(model))
    assert calls
