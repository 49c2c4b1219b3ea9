"""One loss per example: ranks as Keras matches them, masks, and losses that mix examples."""

import dpsgd_oracle as oracle
import numpy as np
import pytest
from dpsgd_oracle import clipped_gradient_sum

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.dpsgd.independence import check_loss_is_per_example, per_example_loss

L = keras.layers
N, CLIP = 6, 1.0


def squares(y, outputs):
    return tf.square(y - outputs)


def column_free():
    """Outputs [n]."""
    make = keras.initializers.GlorotUniform(1)
    return keras.Sequential([keras.Input((4,)), L.Dense(1, kernel_initializer=make), L.Reshape(())])


def per_step(last=1, steps=N):
    """Outputs [n, steps, last]."""
    make = keras.initializers.GlorotUniform(1)
    return keras.Sequential([keras.Input((steps, 2)), L.Dense(last, kernel_initializer=make)])


def losses_of(model, loss, x, y):
    """As a step of `fit` computes them."""
    losses = per_example_loss(resolve_loss(loss, model))
    return tf.function(lambda x, y: losses(y, model(x)), autograph=False)(x, y).numpy()


CASES = {
    # name: (model, loss, shape of x, shape of y)
    "a function, outputs [n], y [n, 1]": (column_free, squares, (N, 4), (N, 1)),
    "a function, outputs [n, n, 1], y [n, n]": (per_step, squares, (N, N, 2), (N, N)),
    "a name, outputs [n, n, 1], y [n, n]": (per_step, "mae", (N, N, 2), (N, N)),
}


@pytest.mark.parametrize("case", CASES)
def test_one_label_moves_its_own_gradient_and_no_other(case):
    make, loss, x_shape, y_shape = CASES[case]
    rng = np.random.default_rng(0)
    x = rng.normal(size=x_shape).astype("float32")
    y = rng.normal(size=y_shape).astype("float32")
    moved = y.copy()
    moved[0] += 100
    model = make()
    first, norms, _ = clipped_gradient_sum(model, loss, x, y, CLIP)
    second, moved_norms, _ = clipped_gradient_sum(model, loss, x, moved, CLIP)
    np.testing.assert_array_equal(norms[1:], moved_norms[1:])
    assert oracle.norm([a - b for a, b in zip(first, second, strict=True)]) <= 2 * CLIP

    def one(y, outputs):
        distance = tf.abs if loss == "mae" else tf.square
        return tf.reduce_mean(distance(tf.reshape(y, [-1]) - tf.reshape(outputs, [-1])))

    expected = oracle.clipped_sum(oracle.example_gradients(model, one, x, y), CLIP)
    assert oracle.relative_error(first, expected) < 1e-5


def masked_model(steps=5):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((steps,), dtype="int32"), L.Embedding(7, 4, mask_zero=True), L.Dense(3)]
    )


def masked_examples(count=4, steps=5):
    rng = np.random.default_rng(1)
    x = rng.integers(1, 7, (count, steps)).astype("int32")
    x[0, 3:] = 0
    x[1, 1:] = 0
    return x, rng.integers(0, 3, (count, steps))


LOGITS_LOSS = "sparse_categorical_crossentropy"


def test_a_mask_leaves_out_what_keras_leaves_out():
    x, y = masked_examples()
    model = masked_model()
    keras_model = masked_model()
    keras_model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    gradients = oracle.example_gradients(keras_model, keras_model.compiled_loss, x, tf.constant(y))
    expected = oracle.clipped_sum(gradients, 0.3)
    ours, _, _ = clipped_gradient_sum(model, LOGITS_LOSS, x, y, 0.3)
    assert oracle.relative_error(ours, expected) < 1e-5


def test_evaluation_honours_the_mask_also_where_nothing_is_left():
    x, y = masked_examples()
    x[2] = 0  # padding alone
    private = DPSGDModel(masked_model(), l2_norm_clip=1.0, noise_multiplier=0.0)
    private.compile("sgd", LOGITS_LOSS)
    logits = private.model(x).numpy().astype("float64")
    each = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    counts = (x > 0).sum(axis=1)
    by_example = (each * (x > 0)).sum(axis=1) / np.maximum(counts, 1)
    assert private.evaluate(x, y, verbose=0) == pytest.approx(np.mean(by_example), rel=1e-5)


def test_a_mask_without_a_loss_per_step_is_refused():
    def of_sequence(y, outputs):
        return tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - outputs[..., 0]), axis=1)

    x, y = masked_examples()
    with pytest.raises(ArgumentError, match="masked outputs need a loss per step"):
        losses_of(masked_model(), of_sequence, x, y)


def centred(y, outputs):
    return tf.square(tf.reshape(y - tf.reduce_mean(y), [-1]) - tf.reshape(outputs, [-1]))


def every_pair(y, outputs):
    return tf.square(tf.reshape(y, [1, -1]) - tf.reshape(outputs, [-1, 1]))


def shared_out(y, outputs):
    return tf.square(y - outputs) / tf.cast(tf.shape(y)[0], tf.float32)


class Broadcast(keras.losses.Loss):
    """Outputs [n] and labels [n, 1]: [n, n], of which Keras warns nobody either."""

    def call(self, y, outputs):
        return tf.square(y - outputs)


@pytest.mark.parametrize("loss", [centred, every_pair, shared_out, Broadcast()])
def test_a_loss_that_mixes_examples_is_refused(loss):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(N, 4)).astype("float32")
    y = rng.normal(size=(N, 1)).astype("float32")
    private = DPSGDModel(column_free(), l2_norm_clip=CLIP, noise_multiplier=1.0)
    private.compile("sgd", loss)
    for data in ((x, y), (tf.data.Dataset.from_tensor_slices((x, y)).batch(3), None)):
        with pytest.raises(ArgumentError, match="mixes examples") as caught:
            private.fit(*data, batch_size=3, verbose=0)
        assert "\n" not in str(caught.value)
    assert not private.privacy_events()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda y, o: tf.reduce_mean(o), "one number for the whole batch"),
        (lambda y, o: o[:2], r"losses of shape|mixes examples"),
        (lambda y, o: tf.concat([o, o], axis=0), r"losses of shape|mixes examples"),
    ],
)
def test_other_than_a_loss_for_each_example_is_refused(loss, message):
    x, y = np.ones((N, 4), "float32"), np.ones((N, 1), "float32")
    with pytest.raises(ArgumentError, match=message):
        losses_of(column_free(), loss, x, y)


def test_labels_that_no_made_up_ones_stand_for_are_checked_on_their_own():
    def of_codes(y, outputs):  # labels 0 and 1 have no row
        return tf.square(
            tf.gather(tf.eye(3), tf.cast(tf.reshape(y, [-1]), tf.int32) - 10) - outputs
        )

    def mixing(y, outputs):
        return of_codes(y, outputs) + tf.reduce_mean(tf.cast(y, tf.float32))

    y, outputs = np.array([10, 12, 11]), np.ones((3, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), L.Dense(3)])
    assert losses_of(model, of_codes, outputs, y).shape == (3,)
    check_loss_is_per_example(resolve_loss(of_codes, model), y, outputs)
    with pytest.raises(ArgumentError, match="mixes examples"):
        check_loss_is_per_example(resolve_loss(mixing, model), y, outputs)
    private = DPSGDModel(model, l2_norm_clip=CLIP, noise_multiplier=1.0)
    private.compile("sgd", mixing)
    for data in (
        (outputs, y[:, None]),
        (tf.data.Dataset.from_tensors((outputs, y[:, None])), None),
    ):
        with pytest.raises(ArgumentError, match="mixes examples"):
            private.fit(*data, batch_size=3, verbose=0)
    assert not private.privacy_events()


@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(), LOGITS_LOSS, "categorical_hinge"])
def test_losses_of_keras_pass(loss):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    x = np.random.default_rng(0).normal(size=(N, 4)).astype("float32")
    y = np.arange(N) % 3 if loss == LOGITS_LOSS else np.eye(3, dtype="float32")[np.arange(N) % 3]
    clipped_gradient_sum(model, loss, x, y, CLIP)


def confident(model, x, y):
    """The model with weights so large that its probabilities are rounded to 0 and 1."""
    model.set_weights([100 * weight for weight in model.get_weights()])
    assert np.isin(np.round(model.predict(x, verbose=0), 7), (0, 1)).mean() > 0.5
    return model


@pytest.mark.parametrize(
    ("ending", "loss"),
    [
        (L.Dense(1, activation="sigmoid"), "binary_crossentropy"),
        (L.Dense(3, activation="softmax"), "sparse_categorical_crossentropy"),
        (L.Softmax(), "sparse_categorical_crossentropy"),
    ],
    ids=["sigmoid", "softmax", "softmax layer"],
)
def test_confident_probabilities_mix_no_examples(ending, loss):
    """Keras takes the loss from the logits that it keeps beside them, which a slice has lost."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)).astype("float32"), np.arange(8) % 2
    model = keras.Sequential([keras.Input((4,)), L.Dense(3), ending])
    private = DPSGDModel(confident(model, x, y), l2_norm_clip=CLIP, noise_multiplier=1.0)
    private.compile("sgd", loss)
    private.fit(x, y, batch_size=4, verbose=0)
    assert private.privacy_events()


@pytest.mark.parametrize("as_dataset", [False, True])
def test_outputs_with_a_mask_are_trained_on(as_dataset):
    """Padding in later examples alone: the look leaves the first one out."""
    ids = np.array([[1, 2, 3, 4], [1, 2, 0, 0], [3, 0, 0, 0], [2, 2, 2, 0]])
    model = keras.Sequential([keras.Input((4,)), L.Embedding(5, 3, mask_zero=True), L.Dense(3)])
    private = DPSGDModel(model, l2_norm_clip=CLIP, noise_multiplier=1.0)
    private.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = ids % 3
    data = (tf.data.Dataset.from_tensors((ids, labels)), None) if as_dataset else (ids, labels)
    private.fit(*data, batch_size=4, verbose=0)
    assert int(private.optimizer.iterations) == 1
