"""Masks, second inputs and states: each example's gradient with its own rows of every argument."""

import numpy as np
import pytest
from dpsgd_oracle import check_against_oracle, sequential

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd import DPSGDModel

L = keras.layers
BATCH = 4

pytestmark = pytest.mark.filterwarnings("ignore:no fast DP-SGD rule")


def targets():
    return np.random.default_rng(1).normal(size=(BATCH, 3)).astype(np.float32)


def normal(*shape):
    return np.random.default_rng(2).normal(size=(BATCH, *shape)).astype(np.float32)


def padded_ids():
    """Sequences of 5, 2, 4 and 1 ids; 0 pads."""
    ids = np.random.default_rng(0).integers(1, 7, (BATCH, 5))
    ids[np.arange(5) >= np.array([[5], [2], [4], [1]])] = 0
    return ids


def padded_values():
    values = normal(5, 2)
    values[padded_ids() == 0] = 0
    return values


class AttentionPooling(L.Layer):
    """sum_t softmax(x_t . v) x_t over the positions that are not masked."""

    def build(self, shape):
        self.v = self.add_weight(name="v", shape=(shape[-1], 1))

    def call(self, inputs, mask=None):
        scores = tf.matmul(inputs, self.v[tf.newaxis])[..., 0]
        scores += -1e9 * (1 - tf.cast(mask, scores.dtype))
        return tf.reduce_sum(tf.nn.softmax(scores)[..., tf.newaxis] * inputs, axis=1)


RECURRENT = {
    "lstm": lambda: L.LSTM(3),
    "gru": lambda: L.GRU(3),
    "bidirectional": lambda: L.Bidirectional(L.SimpleRNN(2)),
    "attention pooling": AttentionPooling,
}


@pytest.mark.parametrize("name", RECURRENT)
def test_a_mask_of_padding_ids_goes_with_its_example(name):
    keras.utils.set_random_seed(3)
    model = sequential((5,), L.Embedding(7, 3, mask_zero=True), RECURRENT[name](), L.Dense(3))
    check_against_oracle(model, padded_ids(), targets())


def test_a_mask_of_padded_values_goes_with_its_example():
    keras.utils.set_random_seed(3)
    model = sequential((5, 2), L.Masking(), L.SimpleRNN(3), L.Dense(3))
    check_against_oracle(model, padded_values(), targets())


@pytest.mark.parametrize("kind", ["self", "keywords", "cross"])
def test_attention_gets_the_query_and_the_value_of_one_example(kind):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5, 4))
    attention = L.MultiHeadAttention(2, 3)
    if kind == "keywords":
        attended = attention(query=inputs, value=inputs)
    else:
        attended = attention(inputs, inputs if kind == "self" else L.Dense(4)(inputs))
    pooled = L.GlobalAveragePooling1D()(L.LayerNormalization()(attended + inputs))
    check_against_oracle(keras.Model(inputs, L.Dense(3)(pooled)), normal(5, 4), targets())


def test_attention_sees_the_masks_that_tensors_carry():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    embedded = L.Embedding(7, 4, mask_zero=True)(inputs)
    attended = L.MultiHeadAttention(2, 3)(embedded, embedded)
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(attended)))
    check_against_oracle(model, padded_ids(), targets())


def test_what_all_examples_share_is_not_cut_though_it_has_as_many_rows():
    """A causal mask of as many rows as there are examples."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((BATCH, 4))
    causal = np.tril(np.ones((BATCH, BATCH), bool))
    attended = L.MultiHeadAttention(2, 3)(inputs, inputs, attention_mask=tf.constant(causal))
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(attended)))
    check_against_oracle(model, normal(BATCH, 4), targets())


def test_a_state_that_another_layer_gives_goes_with_its_example():
    keras.utils.set_random_seed(3)
    one, two = keras.Input((5, 2)), keras.Input((3, 2))
    _, state = L.SimpleRNN(3, return_state=True)(one)
    model = keras.Model([one, two], L.Dense(3)(L.SimpleRNN(3)(two, initial_state=[state])))
    check_against_oracle(model, [normal(5, 2), normal(3, 2)[::-1].copy()], targets())


class Gate(L.Layer):
    """x * w * condition."""

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=shape[-1:], initializer="ones")

    def call(self, inputs, condition=None):
        return inputs * self.w * condition["by"][0]


def test_a_second_argument_goes_with_its_example_however_deep_it_lies():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    condition = L.Dense(4)(inputs)
    model = keras.Model(inputs, L.Dense(3)(Gate()(inputs, condition={"by": [condition]})))
    check_against_oracle(model, normal(4), targets())


class ResidualDense(L.Dense):
    def call(self, inputs):
        return inputs + super().call(inputs)


class ScaledConv(L.Conv2D):
    def call(self, inputs):
        return 2.0 * super().call(inputs) - 1.0


class ScaledDepthwise(L.DepthwiseConv2D):
    def call(self, inputs):
        return 2.0 * super().call(inputs) - 1.0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: ResidualDense(4, activation="relu"), (2, 4)),
        (lambda: ScaledConv(2, 2, activation="relu"), (4, 4, 1)),
        (lambda: ScaledDepthwise(2, activation="relu"), (4, 4, 2)),
    ],
    ids=["dense", "convolution", "depthwise"],
)
def test_a_subclass_that_goes_on_after_its_activation_computes_what_it_computes(layer, shape):
    keras.utils.set_random_seed(3)
    model = sequential(shape, layer(), L.Flatten(), L.Dense(3))
    check_against_oracle(model, normal(*shape), targets())


@pytest.mark.parametrize("as_dataset", [False, True], ids=["arrays", "dataset"])
def test_a_masked_recurrent_model_trains(as_dataset):
    keras.utils.set_random_seed(3)
    model = sequential((5,), L.Embedding(7, 3, mask_zero=True), L.SimpleRNN(3), L.Dense(3))
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=0.0, noise_seed=1)
    private.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    ids = np.tile(padded_ids(), (5, 1))
    labels = (ids > 0).sum(axis=1) % 3
    source = (ids, labels)
    if as_dataset:
        source = (tf.data.Dataset.from_tensor_slices(source).batch(5), None)
    losses = private.fit(*source, batch_size=5, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_an_example_that_is_not_finite_is_no_loss_to_the_others_of_a_masked_model():
    keras.utils.set_random_seed(3)
    model = sequential((5, 2), L.Masking(), L.SimpleRNN(3), L.Dense(3))
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=0.0)
    private.compile("sgd", "sparse_categorical_crossentropy")
    values = padded_values()
    values[2, 0] = np.nan
    history = private.fit(values, np.zeros(BATCH, int), batch_size=BATCH, verbose=0).history
    assert history["nonfinite_examples"] == [1.0]
    assert all(np.isfinite(part).all() for part in model.get_weights())
