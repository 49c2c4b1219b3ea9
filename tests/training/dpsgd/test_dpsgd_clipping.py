"""Clipped sums against one-example-at-a-time clipping, for every rule and for mixed models."""

import dpsgd_oracle as oracle
import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.clipping import clipped_sum
from ft_tf.training.dpsgd.losses import per_example_loss, resolve_loss
from ft_tf.training.dpsgd.plan import make_plan, trainable_variables

L = keras.layers
BATCH = 5


def squared_loss(y, outputs):
    return tf.reduce_sum(tf.square(outputs - tf.cast(y, outputs.dtype)), axis=-1)


def sequential(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


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


def data(model, *, integers=False):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(BATCH, *model.input_shape[1:])).astype(np.float32)
    # Examples of different sizes, so that a clip norm in the middle clips some of them.
    x *= np.linspace(0.5, 2.0, BATCH, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1))
    return x, rng.normal(size=(BATCH, *model.output_shape[1:])).astype(np.float32)


def compiled_sum(model, loss):
    """clipped_sum in one graph: (x, y, weights, l2_norm_clip) -> sum in model order, norms."""
    plan = make_plan(model)
    order = [id(variable) for variable in trainable_variables(plan)]

    @tf.function
    def graph(x, y, weights, l2_norm_clip):
        result = clipped_sum(
            plan,
            per_example_loss(resolve_loss(loss, model)),
            x,
            y,
            weights=weights,
            l2_norm_clip=l2_norm_clip,
            training=False,
        )
        return result.gradients, result.norms

    def compute(x, y, weights, l2_norm_clip):
        parts, norms = graph(
            tf.constant(x),
            tf.constant(y),
            tf.constant(weights, tf.float32),
            tf.constant(l2_norm_clip, tf.float32),
        )
        ordered = [parts[order.index(id(variable))] for variable in model.trainable_variables]
        return [part.numpy() for part in ordered], norms.numpy()

    return compute


def check_against_oracle(model, x, y, loss=squared_loss):
    """Clip norms that clip all, some and none; sums to 1e-5, and no contribution above C."""
    gradients = oracle.example_gradients(model, loss, x, y)
    norms = [oracle.norm(parts) for parts in gradients]
    compute = compiled_sum(model, loss)
    for l2_norm_clip in (min(norms) / 3, float(np.median(norms)), max(norms) * 2):
        ours, our_norms = compute(x, y, np.ones(BATCH), l2_norm_clip)
        np.testing.assert_allclose(our_norms, norms, rtol=1e-5)
        assert oracle.relative_error(ours, oracle.clipped_sum(gradients, l2_norm_clip)) < 1e-5
    for only in np.eye(BATCH):
        part, _ = compute(x, y, only, min(norms) / 3)
        assert oracle.norm(part) <= min(norms) / 3 * (1 + 1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_clipped_sum_equals_the_oracle(name):
    keras.utils.set_random_seed(3)
    model = MODELS[name]()
    check_against_oracle(model, *data(model))
