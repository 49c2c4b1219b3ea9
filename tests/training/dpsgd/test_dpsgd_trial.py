"""What would train on wrong gradients, or on examples that are mixed, is refused in one line."""

import contextlib

import numpy as np
import pytest
from dpsgd_oracle import clipped_gradient_sum, sequential, squared_loss

from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.training.dpsgd import (
    DPSGDModel,
    from_materialized,
    register_rule,
)
from ft_tf.training.dpsgd.plan import make_plan

L = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

pytestmark = pytest.mark.filterwarnings("ignore:no fast DP-SGD rule")


def data(count=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 3, count)


def batches(size=5, **options):
    return tf.data.Dataset.from_tensor_slices(data()).batch(size, **options)


def private_model(model, **options):
    private = DPSGDModel(model, **{"l2_norm_clip": 1.0, "noise_multiplier": 1.0} | options)
    private.compile("sgd", LOSS)
    return private


@contextlib.contextmanager
def refused(text):
    with pytest.raises(ModelError, match=text) as error:
        yield
    assert "\n" not in str(error.value)


def check_refused(model, text, x=None):
    """By `fit` on arrays and on a tf.data input, before any step."""
    for as_dataset in (False, True):
        private = private_model(model)
        source = (data()[0] if x is None else x, data()[1])
        if as_dataset:
            source = (tf.data.Dataset.from_tensor_slices(source).batch(5), None)
        with refused(text):
            private.fit(*source, batch_size=5, verbose=0)
        assert int(private.optimizer.iterations) == 0
        assert private.privacy_events() == ()


def autoencoder_tied_by_an_op():
    tied = L.Dense(4, name="tied")
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(3)(keras.ops.matmul(tied(inputs), tied.kernel)))


def embedding_tied_by_a_closure():
    tied = L.Embedding(3, 4, name="tied")
    inputs = keras.Input((5,))
    mean = L.GlobalAveragePooling1D()(tied(inputs))
    output = L.Lambda(lambda part: tf.matmul(part, tied.embeddings, transpose_b=True))
    return keras.Model(inputs, output(mean))


def a_layer_that_reads_anothers_weight():
    tied = L.Dense(4, name="tied")
    held = [lambda: tied.kernel]

    class Reads(L.Layer):
        def build(self, shape):
            self.w = self.add_weight(name="w", shape=shape[-1:])

        def call(self, inputs):
            return tf.matmul(inputs, held[0]()) * self.w

    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(3)(Reads()(tied(inputs))))


@pytest.mark.parametrize(
    "make",
    [
        autoencoder_tied_by_an_op,
        embedding_tied_by_a_closure,
        a_layer_that_reads_anothers_weight,
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_weight_that_is_used_outside_its_layer_is_found(make, policy):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = make()
    finally:
        keras.mixed_precision.set_global_policy(before)
    ids = np.random.default_rng(0).integers(0, 3, (20, 5))
    x = ids if model.input_shape == (None, 5) else None
    check_refused(model, "reads 'tied/.*' of layer 'tied' outside that layer", x)


def test_a_weight_that_is_frozen_may_be_used_anywhere():
    model = autoencoder_tied_by_an_op()
    model.get_layer("tied").trainable = False
    private_model(model).fit(*data(), batch_size=5, verbose=0)


def test_positions_in_the_place_of_examples_are_found():
    inputs = keras.Input((4,))
    folded = L.Dense(3, name="folded")(keras.ops.reshape(inputs, [-1, 2]))
    model = keras.Model(inputs, keras.ops.reshape(folded, [-1, 6]))
    check_refused(model, r"layer 'folded' \(Dense\) gets 6 rows of a batch of 3 examples")


class Scale(L.Layer):
    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.scale


@pytest.mark.parametrize("what", ["gradients", "norms"])
def test_a_wrong_rule_is_found(what):
    def rule(layer, inputs, gradients):
        right = from_materialized([inputs * gradients])
        if what == "gradients":
            return from_materialized([gradients])
        return type(right)(right.squared_norms / 2, right.weighted_sum)

    class Wrong(Scale):
        """Has a rule of its own: a rule is that of one class."""

    text = {"gradients": r"'scale' \(Wrong\) gets other per-example", "norms": "other norms"}[what]
    register_rule(Wrong, rule)
    check_refused(sequential((4,), Wrong(name="scale"), L.Dense(3)), text)


class Shows(L.Layer):
    """Leaves what it was called on where another layer finds it."""

    def call(self, inputs):
        self.shown[0] = inputs
        return inputs


class Peeks(L.Layer):
    """x * w * (what Shows was called on): no argument of the call."""

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=shape[-1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.w * self.shown[0]


def test_a_tensor_that_a_layer_gets_by_another_way_than_its_arguments_is_found():
    Shows.shown = Peeks.shown = [None]
    model = sequential((4,), Shows(), Peeks(name="peeks"), L.Dense(3))
    check_refused(model, r"'peeks' \(Peeks\) gets other per-example gradients of '.*peeks/w'")


class Adds(L.Layer):
    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(shape[-1], shape[-1]))

    def call(self, inputs):
        outputs = tf.matmul(inputs, self.w)
        self.add_loss(tf.reduce_mean(tf.square(outputs)))
        return outputs


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_losses_that_a_model_adds_are_found(engine):
    model = sequential((4,), Adds(), L.Dense(3))
    private = private_model(model, engine=engine, sampling="shuffle", noise_multiplier=0.0)
    with refused(r"adds losses \(add_loss or a regularizer\)"):
        private.fit(*data(), batch_size=5, verbose=0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: sequential((4, 2), L.TimeDistributed(L.Dense(3, activity_regularizer="l2"))),
            "contains Dense, which has an activity regularizer",
        ),
        (
            lambda: sequential((4, 2), L.Bidirectional(L.LSTM(3, activity_regularizer="l2"))),
            "contains LSTM, which has an activity regularizer",
        ),
        (
            lambda: sequential((4,), L.Dense(3, activation=L.PReLU())),
            "has an activation with weights: make the activation a separate layer",
        ),
        (
            lambda: keras.Model(i := keras.Input((4,)), (L.Dense(3)(i), L.Dense(3)(i))),
            "has several outputs",
        ),
    ],
)
def test_what_would_be_left_out_is_refused_when_the_plan_is_made(make, text):
    with refused(text):
        make_plan(make())


@pytest.mark.parametrize("kind", [L.LayerNormalization, L.RMSNormalization, L.UnitNormalization])
def test_a_normalization_over_the_examples_is_refused(kind):
    model = keras.Sequential([keras.Input(batch_shape=(5, 4)), kind(axis=0), L.Dense(3)])
    with refused("normalises over axis 0: it mixes the examples"):
        make_plan(model)


class OwnLSTM(L.LSTM):
    pass


@pytest.mark.parametrize("kind", [L.LSTM, OwnLSTM])
def test_a_state_that_goes_from_batch_to_batch_is_refused(kind):
    inputs = keras.Input(batch_shape=(5, 3, 4))
    with refused("carries its state from batch to batch"):
        make_plan(keras.Sequential([inputs, kind(2, stateful=True)]))


def test_a_model_with_weights_outside_its_layers_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)
            self.scale = self.add_weight(shape=(3,), initializer="ones")

        def call(self, inputs):
            return self.dense(inputs) * self.scale

    model = Own()
    model(data()[0])
    with refused("has trainable weights outside its layers"):
        DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0)


class Block(L.Layer):
    """Noise after a weight, drawn by a layer of Keras or by TensorFlow itself."""

    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=shape[-1:], initializer="ones")

    def call(self, inputs, training=None):
        outputs = inputs * self.w
        if self.inner is not None:
            return self.inner(outputs, training=training)
        return outputs * tf.random.uniform(tf.shape(outputs)) if training else outputs


@pytest.mark.parametrize("inner", [L.GaussianDropout(0.5), L.GaussianNoise(1.0), L.Dropout(0.5)])
def test_noise_within_a_layer_without_a_rule_is_refused(inner):
    with refused("draws its own dropout or noise"):
        make_plan(sequential((4,), Block(inner), L.Dense(3)))


def test_noise_that_no_layer_shows_is_refused_when_it_is_drawn():
    private = private_model(sequential((4,), Block(), L.Dense(3)))
    with refused(r"the weights '.*w:0' draws random numbers .* \(RandomUniform\)"):
        private.fit(*data(), batch_size=5, verbose=0)
    # map_fn would leave the scope of the process changed, and every later strategy would fail.
    assert tf.compat.v1.get_variable_scope().caching_device is None
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        tf.Variable(0.0)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_examples_that_are_mixed_are_found_in_a_tf_data_input(run_eagerly):
    mixing = L.Lambda(lambda part: part - tf.reduce_mean(part, axis=0))
    private = private_model(sequential((4,), mixing, L.Dense(3)))
    private.run_eagerly = run_eagerly
    with refused("a layer mixes examples"):
        private.fit(batches(), batch_size=5, num_examples=20, verbose=0)
    assert private.privacy_events() == ()


@pytest.mark.parametrize("steps_per_execution", [1, 16])
def test_a_batch_of_one_example_does_not_end_the_search_for_mixed_ones(steps_per_execution):
    mixing = L.Lambda(lambda part: part - tf.reduce_mean(part, axis=0))
    private = private_model(sequential((4,), mixing, L.Dense(3)))
    private.compile("sgd", LOSS, steps_per_execution=steps_per_execution)
    x, y = data()
    one_then_two = tf.data.Dataset.from_generator(
        lambda: iter([(x[:1], y[:1]), (x[:2], y[:2])]),
        output_signature=batches().element_spec,
    ).apply(tf.data.experimental.assert_cardinality(2))
    with refused("a layer mixes examples"):
        private.fit(one_then_two, batch_size=2, verbose=0)
    assert int(private.optimizer.iterations) == 1


@pytest.mark.parametrize("steps_per_execution", [1, 3, 16])
def test_a_look_at_the_first_batch_takes_none_away(steps_per_execution):
    """Plain SGD by Keras, on a dataset that shuffles anew each time that it is begun."""

    def shuffled():
        ids = tf.data.Dataset.range(20).shuffle(20, seed=4)
        return ids.batch(5).map(lambda index: (tf.gather(data()[0], index), data()[1][:5]))

    def model():
        return sequential((4,), L.Dense(3, kernel_initializer="zeros"))

    private = DPSGDModel(model(), l2_norm_clip=1e6, noise_multiplier=0.0)
    private.compile(keras.optimizers.SGD(0.5), LOSS, steps_per_execution=steps_per_execution)
    private.fit(shuffled(), batch_size=5, epochs=2, verbose=0)
    plain = model()
    plain.compile(keras.optimizers.SGD(0.5), LOSS)
    plain.fit(shuffled(), epochs=2, verbose=0)
    assert int(private.optimizer.iterations) == 8
    for ours, theirs in zip(private.model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_looking_moves_no_weight_and_no_random_state():
    keras.utils.set_random_seed(3)
    model = sequential((4,), L.Dropout(0.5, seed=1), Scale(), L.Dense(3))

    def state():
        seed = model.layers[0].seed_generator.state.numpy()
        return [*model.get_weights(), seed, tf.random.get_global_generator().state.numpy()]

    before = state()
    clipped_gradient_sum(model, squared_loss, data()[0], np.zeros((20, 3), np.float32), 1.0)
    for old, new in zip(before, state(), strict=True):
        np.testing.assert_array_equal(old, new)
    drawn = float(tf.random.uniform([]))
    keras.utils.set_random_seed(3)
    assert drawn == float(tf.random.uniform([]))


def partly_frozen(*extra):
    model = sequential((4,), L.Dense(4, name="early"), *extra, L.Dense(3))
    for layer in model.layers[:-1]:
        layer.trainable = False
    return model


def test_layers_that_are_unfrozen_before_compile_train():
    model = partly_frozen()
    private = private_model(model)
    private.fit(*data(), batch_size=5, verbose=0)
    model.get_layer("early").trainable = True
    before = model.get_layer("early").get_weights()
    with refused("frozen or unfrozen since compile: call compile again"):
        private.fit(*data(), batch_size=5, verbose=0)
    private.compile(keras.optimizers.SGD(0.5), LOSS)
    private.fit(*data(), batch_size=5, verbose=0)
    for old, new in zip(before, model.get_layer("early").get_weights(), strict=True):
        assert not np.array_equal(old, new)
    assert len(private.privacy_events()) == 2


def test_layers_that_are_frozen_before_compile_do_not_train():
    model = sequential((4,), L.Dense(4, name="early"), L.Dense(3))
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0)
    model.get_layer("early").trainable = False
    private.compile(keras.optimizers.SGD(0.5), LOSS)
    before = [part.copy() for part in model.get_weights()]
    private.fit(*data(), batch_size=5, verbose=0)
    same = [np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize("scale", [True, False])
def test_a_batch_normalization_that_is_unfrozen_is_refused(scale):
    model = partly_frozen(L.BatchNormalization(scale=scale, center=scale, name="norm"))
    private = private_model(model)
    model.get_layer("norm").trainable = True
    with refused("frozen or unfrozen since compile"):
        private.fit(*data(), batch_size=5, verbose=0)
    with refused("'norm' .* mixes the examples"):
        private.compile("sgd", LOSS)


def test_a_user_layer_in_bfloat16_is_no_wrong_gradient():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            L.Dense(64, activation="relu", dtype="mixed_bfloat16"),
            Scale(dtype="mixed_bfloat16"),
            L.Dense(3),
        ]
    )
    private_model(model).fit(*data(), batch_size=5, verbose=0)


class CentersInTraining(L.Layer):
    def call(self, inputs, training=False):
        return inputs - keras.ops.mean(inputs, axis=0, keepdims=True) if training else inputs


class Centers(L.Layer):
    def call(self, inputs):
        return inputs - keras.ops.mean(inputs, axis=0, keepdims=True)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_layer_that_mixes_examples_in_training_alone_is_found(noise):
    """Noise of the model is drawn alike for both batches that are compared."""
    model = sequential((4,), L.Dropout(noise), CentersInTraining(), L.Dense(3))
    before = model.get_weights()
    check_refused(model, "a layer mixes examples")
    for value, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


@pytest.mark.parametrize("first", ["equal", "not finite"])
def test_examples_that_show_no_mixing_are_passed_over(first):
    x = data()[0]
    x[:3] = x[0] if first == "equal" else np.nan
    check_refused(sequential((4,), Centers(), L.Dense(3)), "a layer mixes examples", x)


@pytest.mark.parametrize("layer", [L.MixUp, L.CutMix])
def test_layers_of_keras_that_mix_examples_are_refused(layer):
    with refused("it mixes the examples of a batch"):
        private_model(sequential((4, 4, 1), layer(), L.Flatten(), L.Dense(3)))


class Keeps(L.Layer):
    """Writes into a weight in training: a mean of the data, or the number of calls."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def build(self, shape):
        self.kept = self.add_weight(name="kept", shape=(), trainable=False, initializer="zeros")

    def call(self, inputs, training=False):
        if training:
            change = keras.ops.mean(inputs) if self.what == "mean" else 1.0
            self.kept.assign_add(change)
        return inputs


def test_a_weight_that_keeps_what_the_data_are_is_refused():
    model = sequential((4,), L.Dropout(0.5), Keeps("mean"), L.Dense(3))
    check_refused(model, "writes values that depend on the data into '.*kept'")
    assert float(model.layers[1].kept) == 0


def test_a_weight_that_counts_is_no_data():
    private = private_model(sequential((4,), Keeps("calls"), L.Dense(3)))
    private.fit(*data(), batch_size=5, verbose=0)
    assert float(private.model.layers[0].kept) == 4


def test_the_first_check_leaves_the_random_numbers_of_training_alone():
    """A model checked before training trains as one that was checked by another trainer."""

    def weights(check_twice):
        keras.utils.set_random_seed(1)
        model = sequential((4,), L.Dropout(0.5, seed=3), L.Dense(3))
        if check_twice:
            private_model(model, noise_seed=0).check_arrays(*data())
        private = private_model(model, noise_seed=0)
        private.fit(*data(), batch_size=5, verbose=0)
        return model.get_weights()[0]

    np.testing.assert_array_equal(weights(False), weights(True))


def test_batches_of_one_example_show_a_tied_weight():
    private = private_model(autoencoder_tied_by_an_op())
    with refused("reads 'tied/.*' of layer 'tied' outside that layer"):
        private.fit(batches(size=1), batch_size=1, num_examples=20, verbose=0)
    assert private.privacy_events() == ()


def test_batches_of_one_example_take_their_steps():
    private = private_model(sequential((4,), L.Dense(3)))
    private.fit(batches(size=1), batch_size=1, num_examples=20, verbose=0)
    assert int(private.optimizer.iterations) == 20
    assert private.privacy_events()[0].steps == 20


class FixedFeatures(L.Layer):
    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(6, 3))

    def call(self, inputs):
        drawn = tf.random.stateless_normal([4, 6], seed=[1, 2])
        return tf.matmul(tf.cos(tf.matmul(inputs, drawn)), self.w)


def test_numbers_that_are_drawn_alike_each_time_are_no_noise():
    private = private_model(sequential((4,), FixedFeatures()))
    private.fit(*data(), batch_size=5, verbose=0)
    assert private.privacy_events()
