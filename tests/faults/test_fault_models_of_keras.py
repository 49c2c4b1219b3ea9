"""Any Keras model: branches, shared and recurrent layers, batch normalization, own layers."""

import zlib

import numpy as np
import pytest

from ft_tf import faults, metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.plan import make_plan

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Scaled(layers.Layer):
    """A layer of one's own, with two weights of one name."""

    def build(self, input_shape):
        self.gain = self.add_weight(name="w", shape=(input_shape[-1],), initializer="ones")
        self.offset = self.add_weight(name="w", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs):
        return (inputs + self.offset) * self.gain


def make_branched(normalization):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 3))
    hidden = layers.ReLU()(normalization(layers.Conv2D(4, 3)(inputs)))
    sequence = layers.SimpleRNN(6, name="memory")(layers.Reshape((6, 24))(hidden))
    shared = layers.Dense(6, activation="relu", name="shared")
    flat = shared(layers.Dense(6, activation="tanh", name="narrow")(layers.Flatten()(hidden)))
    merged = Scaled(name="scaled")(layers.Add()([sequence, flat, shared(sequence)]))
    return keras.Model(inputs, layers.Dense(5, name="logits")(merged))


@pytest.fixture(scope="module")
def branched():
    return make_branched(layers.BatchNormalization())


@pytest.fixture(scope="module")
def images():
    generator = np.random.Generator(np.random.Philox(3))
    return generator.normal(size=(40, 8, 8, 3)).astype(np.float32), generator.integers(0, 5, 40)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("weights", faults.StuckAt(0.0)),
        ("units", faults.StuckAt(0.0)),
        ("both", faults.GaussianNoise(0.3)),
    ],
)
def test_inject_and_sweep_agree_on_a_branched_model(branched, images, target, fault):
    x, y = images
    where = {"target": target, "seed": 3}
    clean = branched.predict(x, verbose=0, batch_size=20)
    row = faults.sweep(
        branched, x, y, rates=[0.4], trials=[2], batch_size=20, fault=fault, **where
    ).iloc[0]
    with faults.inject(branched, rate=0.4, trial=2, fault=fault, **where) as injection:
        injected = branched.predict(x, verbose=0, batch_size=20)
    assert injection.faults == row["faults"] > 0
    assert metrics.accuracy_from_logits(injected, y) == row["accuracy"]
    assert np.abs(injected - clean).max() > 1e-3


@pytest.mark.parametrize("target", ["weights", "units", "both"])
def test_a_wrapped_model_trains_with_the_faults_of_inject_where_all_sites_are_faulty(
    images, target
):
    x, _ = images
    model = make_branched(layers.LayerNormalization())
    clean = model.predict(x, verbose=0)
    where = {"target": target, "rate": 1.0, "fault": faults.SignFlip()}
    wrapped = faults.wrap(model, **where)
    np.testing.assert_array_equal(wrapped.predict(x, verbose=0), clean)
    faulty = wrapped(x, training=True).numpy()
    with faults.inject(model, seed=0, **where):
        injected = model(x).numpy()
    np.testing.assert_allclose(faulty, injected, rtol=1e-5, atol=1e-5)
    assert np.abs(injected - clean).max() > 1e-3


@pytest.mark.parametrize("storage", ["int8_per_channel", "int8_per_group:4"])
def test_a_wrapped_transposed_kernel_has_the_scales_of_its_output_channels(storage):
    model = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.Conv1DTranspose(2, 3), keras.layers.Flatten()]
    )
    kernel, bias = model.get_weights()
    model.set_weights([kernel * np.array([[1.0], [50.0]], np.float32), bias])
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    where = {"target": "weights", "rate": 1.0, "fault": faults.BitErrors(storage, bits=(6, 6))}
    with faults.inject(model, seed=0, **where):
        expected = model.predict(x, verbose=0)
    wrapped = faults.wrap(model, **where)(x, training=True)
    np.testing.assert_allclose(wrapped, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", ["weights", "units", "both"])
def test_a_wrapped_model_flips_words_as_they_are_stored(target):
    """All fraction bits but one of float16, in a model of which a layer is in float32."""
    keras.utils.set_random_seed(4)
    stack = [layers.Dense(6, "tanh", dtype="float16"), layers.Dense(5, "tanh"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *stack])
    x = np.random.Generator(np.random.Philox(1)).normal(size=(6, 3)).astype(np.float32)
    where = {"target": target, "rate": 1.0, "fault": faults.BitErrors("as_stored", bits=(0, 8))}
    with faults.inject(model, seed=0, **where):
        injected = model(x).numpy()
    assert np.abs(model(x).numpy() - injected).max() > 1e-2
    faulty = faults.wrap(model, **where)(x, training=True).numpy()
    np.testing.assert_allclose(faulty, injected, rtol=1e-5, atol=1e-6)
    where["fault"] = faults.BitErrors("as_stored", bits=(0, 29))
    with pytest.raises(ArgumentError, match="^bits=.* must be .* within 0 ... 15"):
        faults.wrap(model, **where)


def test_frozen_layers_are_faulty_in_training_as_in_a_campaign():
    keras.utils.set_random_seed(4)
    normalization = layers.BatchNormalization(name="normalization")
    stack = [layers.Dense(4, "tanh", name="first"), normalization, layers.Dense(2, name="last")]
    model = keras.Sequential([keras.Input((3,)), *stack])
    x = np.random.Generator(np.random.Philox(1)).normal(size=(6, 3)).astype(np.float32)
    for frozen in stack[:2]:
        frozen.trainable = False
    where = {"target": "weights", "rate": 1.0, "fault": faults.StuckAt(0.3)}
    with faults.inject(model, seed=0, **where):
        injected = model(x).numpy()
    wrapped = faults.wrap(model, **where)
    np.testing.assert_allclose(wrapped(x, training=True), injected, rtol=1e-5, atol=1e-6)
    assert len(wrapped.trainable_variables) == 2
    wrapped.layers[-1].trainable = False
    np.testing.assert_allclose(wrapped(x, training=True), injected, rtol=1e-5, atol=1e-6)


def test_every_seed_draws_faults_of_its_own():
    """Those of seeds below 2^31 are the ones that they always had."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(64, use_bias=False, name="only")])
    model.set_weights([np.ones((1, 64))])
    drawn = set()
    seeds = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32, 2**33, 2**63 - 1, np.int32(7)]
    for seed in seeds:
        wrapped = faults.wrap(model, target="weights", rate=0.5, seed=seed)
        eager = wrapped(tf.ones((1, 1)), training=True).numpy()[0]
        wrapped.set_weights(faults.wrap(model, target="weights", rate=0.5).get_weights())
        compiled = tf.function(wrapped)(tf.ones((1, 1)), training=True).numpy()[0]
        np.testing.assert_array_equal(compiled, eager)
        drawn.add(tuple(eager))
    assert len(drawn) == len(seeds)
    first = tf.random.stateless_uniform(
        (1, 64), [(7 << 32) ^ zlib.crc32(b"only"), 1], None, None, tf.uint64
    )
    np.testing.assert_array_equal(eager == 0, first[0] < tf.constant(2**63, tf.uint64))


def test_a_wrapped_lstm_has_the_faults_of_inject():
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((5, 3)), layers.LSTM(4), layers.Dense(2)])
    x = np.random.Generator(np.random.Philox(1)).normal(size=(6, 5, 3)).astype(np.float32)
    where = {"target": "weights", "rate": 1.0, "fault": faults.StuckAt(0.3)}
    with faults.inject(model, seed=0, **where):
        injected = model(x).numpy()
    faulty = faults.wrap(model, **where)(x, training=True).numpy()
    np.testing.assert_allclose(faulty, injected, rtol=1e-5, atol=1e-6)
    assert np.abs(model(x).numpy() - injected).max() > 1e-3


def test_a_wrapped_model_is_saved_and_unwrapped_without_faults(branched, images, tmp_path):
    x, _ = images
    wrapped = faults.wrap(branched, target="both", rate=0.9)
    wrapped(x[:2], training=True)
    wrapped.set_weights(faults.wrap(branched, target="both").get_weights())
    wrapped.save(tmp_path / "wrapped.keras")
    loaded = keras.models.load_model(tmp_path / "wrapped.keras")
    clean = branched.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), clean)
    np.testing.assert_array_equal(faults.unwrap(wrapped).predict(x, verbose=0), clean)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
@pytest.mark.parametrize("target", ["weights", "units"])
def test_a_wrapped_model_computes_in_the_precision_of_the_model(policy, target):
    keras.utils.set_random_seed(5)
    stack = [
        layers.Dense(5, activation="tanh", dtype=policy),
        layers.LayerNormalization(dtype=policy),
        layers.Reshape((5, 1), dtype=policy),
        layers.LSTM(4, dtype=policy),
        layers.Dense(3, dtype=policy),
    ]
    model = keras.Sequential([keras.Input((4,), dtype="float64"), *stack])
    x = np.random.Generator(np.random.Philox(2)).normal(size=(20, 4))
    # All three bits of every word: which ones is no matter of chance.
    where = {"target": target, "rate": 1.0, "fault": faults.BitFlip(bits=(20, 22), flips=3)}
    wrapped = faults.wrap(model, **where)
    clean = model(x)
    assert wrapped(x).dtype == clean.dtype == ("float64" if policy == "float64" else "bfloat16")
    np.testing.assert_array_equal(wrapped(x), clean)
    with faults.inject(model, seed=1, **where):
        np.testing.assert_array_equal(wrapped(x, training=True), model(x))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(wrapped(x, training=True))
    assert all(g is not None for g in tape.gradient(total, wrapped.trainable_weights))


def test_fault_aware_training_draws_fresh_faults_and_spares_dead_weights():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(400, use_bias=False)])
    model.set_weights([np.ones((1, 400))])
    wrapped = faults.wrap(
        model,
        target="weights",
        rate=0.25,
        select=faults.Select(output_layer=True),
    )
    x = tf.ones((1, 1))
    dead = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            output = wrapped(x, training=True)
        gradient = tape.gradient(output, wrapped.trainable_weights)[0].numpy()[0]
        np.testing.assert_array_equal(gradient, output.numpy()[0])  # 1 where alive, 0 where dead
        dead.append(gradient == 0)
        assert 0.25 * 400 - 40 < dead[-1].sum() < 0.25 * 400 + 40
    assert (dead[0] != dead[1]).any()
    assert (dead[1] != dead[2]).any()
    assert (wrapped(x, training=False).numpy() == 1).all()


def test_training_under_bit_errors_computes_with_stored_faulty_words():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(400, use_bias=False)])
    clean = np.linspace(-1, 1, 400).astype(np.float32)[np.newaxis]
    model.set_weights([clean])
    options = {"target": "weights", "select": faults.Select(output_layer=True), "rate": 0.05}
    wrapped = faults.wrap(model, fault=faults.BitErrors("int8_per_channel"), **options)
    x = tf.ones((1, 1))
    with tf.GradientTape() as tape:
        output = wrapped(x, training=True)
    gradient = tape.gradient(output, wrapped.trainable_weights)[0].numpy()[0]
    scale = np.abs(clean[0]) / np.float32(127)  # one scale for each of the 400 channels
    words = np.round(output.numpy()[0] / scale).astype(int)
    whole = np.sign(clean[0]).astype(int) * 127
    flipped = np.array([bin((a ^ b) & 255).count("1") for a, b in zip(words, whole, strict=True)])
    np.testing.assert_allclose(words * scale, output.numpy()[0], rtol=1e-6)
    np.testing.assert_array_equal(gradient, flipped == 0)  # straight-through but for faulty words
    assert 160 - 60 < flipped.sum() < 160 + 60


def test_limited_weights_stay_within_the_limit_and_gammas_do_not():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(2)]
    )
    faults.limit_weights(model, 0.05)
    model.compile(keras.optimizers.SGD(10.0), "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), epochs=1, verbose=0)
    limited = [v for v in model.trainable_variables if v.name in ("kernel", "bias")]
    assert len(limited) == 4
    assert all(np.abs(v.numpy()).max() == np.float32(0.05) for v in limited[::2])
    assert np.abs(model.layers[1].gamma.numpy()).max() > 0.05
    other = keras.Sequential([keras.Input((3,)), layers.Dense(2, kernel_constraint="non_neg")])
    with pytest.raises(ModelError, match="has a constraint"):
        faults.limit_weights(other, 0.05)
    with pytest.raises(ArgumentError, match="limit=0"):
        faults.limit_weights(model, 0)


def test_batch_normalization_statistics_only_if_asked(branched):
    def names(**options):
        select = faults.Select(**options)
        groups = faults.find_sites(branched, target="weights", select=select)
        return {group.name.split("/")[-1].split(":")[0] for group in groups}

    everything = names()
    assert {"kernel", "recurrent_kernel", "bias", "gamma", "beta", "w"} <= everything
    assert not everything & {"moving_mean", "moving_variance"}
    assert names(moving_statistics=True) - everything == {"moving_mean", "moving_variance"}
    assert names(parameters="biases") == {"bias"}
    assert names(parameters="kernels") == {"kernel", "recurrent_kernel"}
    weights = faults.find_sites(branched, target="weights")
    assert sum(group.size for group in weights) == sum(
        int(np.prod(w.shape)) for w in branched.trainable_weights
    )


def test_units_of_named_layers_and_single_positions(branched):
    groups = faults.find_sites(branched, target="units")
    assert [(g.layer, g.size) for g in groups if not g.layer.startswith("conv")] == [
        ("narrow", 6), ("shared", 6),
    ]  # fmt: skip
    assert len(next(g for g in groups if g.layer == "shared").points) == 2
    named = faults.Select(layers=("memory", "scaled", "logits"))
    sizes = [group.size for group in faults.find_sites(branched, target="units", select=named)]
    assert sizes == [6, 6, 5]
    positions = faults.Select(units="positions")
    first = faults.find_sites(branched, target="units", select=positions)[0]
    assert first.shape == (6, 6, 4)


class Tied(layers.Layer):
    """A Dense layer with the kernel of another one."""

    def __init__(self, other, **options):
        super().__init__(**options)
        self.other = other

    def call(self, inputs):
        return tf.nn.relu(inputs @ self.other.kernel)


@pytest.mark.parametrize("tied", [False, True])
def test_a_shared_normalization_or_a_tied_kernel_silences_no_unit_of_another_layer(tied):
    inputs = keras.Input((6, 6, 2))
    if tied:
        first = layers.Dense(3, activation="relu", name="first")
        maps = [first(inputs), Tied(first, name="second")(inputs)]
    else:
        norm = layers.BatchNormalization(beta_initializer="ones")
        maps = [
            layers.ReLU()(norm(layers.Conv2D(3, 3, name=n)(inputs))) for n in ("first", "second")
        ]
    pooled = [layers.GlobalAveragePooling2D()(hidden) for hidden in maps]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(pooled)))
    inside = keras.Model(inputs, maps)
    x = np.random.Generator(np.random.Philox(1)).normal(size=(5, 6, 6, 2)).astype(np.float32)
    y = np.zeros(5, int)
    where = {
        "target": "units",
        "rate": 2 / 3,
        "seed": 2,
        "select": faults.Select(layers=("first",)),
    }
    clean = inside(x)
    with faults.inject(model, **where) as injection:
        first, second = inside.predict(x, verbose=0)
        logits = model.predict(x, verbose=0)
    assert injection.faults == 2
    assert (first == 0).all(axis=(0, 1, 2)).sum() == 2
    np.testing.assert_allclose(second, clean[1], rtol=1e-6)
    row = faults.sweep(model, x, y, rates=[where.pop("rate")], trials=1, **where).iloc[0]
    assert row["accuracy"] == metrics.accuracy_from_logits(logits, y)


def test_a_subclassed_model_with_nested_parts(images):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = keras.Sequential(
                [keras.Input((8, 8, 3)), layers.Conv2D(3, 3, activation="relu"), layers.Flatten()]
            )
            self.heads = [layers.Dense(5), layers.Dense(5)]

        def call(self, inputs):
            hidden = self.body(inputs)
            return self.heads[0](hidden) + self.heads[1](hidden)

    x, y = images
    model = Net()
    with pytest.raises(ModelError, match="call it once"):
        faults.find_sites(model, target="units")
    model(x[:2])
    clean = model.predict(x, verbose=0)
    groups = faults.find_sites(model, target="units")
    assert [group.size for group in groups] == [3]
    frame = faults.sweep(model, x, y, target="both", rates=[0, 0.5], trials=2, seed=0)
    for row in frame.itertuples():
        with faults.inject(model, target="both", rate=row.rate, seed=0, trial=row.trial):
            assert metrics.accuracy(model, x, y) == row.accuracy
    np.testing.assert_array_equal(model.predict(x, verbose=0), clean)


def test_an_activation_counts_as_the_units_own_only_as_a_layer_or_an_option():
    x = np.random.Generator(np.random.Philox(4)).normal(size=(5, 4)).astype(np.float32)
    values = {"option": 0.0, "layer": 0.0, "operation": 0.5}  # dead behind or before the sigmoid
    for written, expected in values.items():
        inputs = keras.Input((4,))
        hidden = layers.Dense(6, "sigmoid" if written == "option" else None)(inputs)
        if written == "layer":
            hidden = layers.Activation("sigmoid")(hidden)
        if written == "operation":
            hidden = keras.ops.sigmoid(hidden)
        head = layers.Dense(2)
        model = keras.Model(inputs, head(hidden))
        with faults.inject(model, target="units", rate=1.0, seed=0):
            found = model(x).numpy()
        by_hand = head(np.full((5, 6), expected, np.float32)).numpy()
        np.testing.assert_allclose(found, by_hand, atol=1e-6)


class BesidePool(keras.Model):
    """Uses a convolution's output twice: pooled by a layer, and averaged by an operation."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(6, 3, activation="relu")
        self.pool, self.flat, self.head = layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5)

    def call(self, inputs):
        return self.after(self.conv(inputs))

    def after(self, hidden):
        pooled = self.flat(self.pool(hidden))
        return self.head(tf.concat([pooled, 5.0 * tf.reduce_mean(hidden, [1, 2])], -1))


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_unit_is_dead_for_an_operation_beside_the_pool_too(activation, images):
    keras.utils.set_random_seed(7)
    x, _ = images
    model = BesidePool()
    model.conv.activation = keras.activations.get(activation)
    model(x[:1])
    dead = make_plan(model, target="units").trial(seed=1, trial=0).masks(0.5).faulty["units"]
    by_hand = model.after(tf.where(dead, 0.0, model.conv(x))).numpy()
    y = by_hand.argmax(axis=1)
    frame = faults.sweep(model, x, y, target="units", rates=[0.5], trials=1, seed=1)
    assert frame["accuracy"].tolist() == [1.0]
    assert frame.attrs["clean_accuracy"] < 1.0


def test_what_cannot_be_faulted_is_named_at_once(branched):
    with pytest.raises(ModelError, match="layers=nowhere, neither"):
        faults.find_sites(
            branched, target="weights", select=faults.Select(layers=("nowhere", "neither"))
        )
    with pytest.raises(ModelError, match=r"flatten.*\(Flatten\).*add.*\(Add\)"):
        names = [x.name for x in branched.layers if isinstance(x, layers.Add | layers.Flatten)]
        names.sort()
        faults.find_sites(branched, target="weights", select=faults.Select(layers=tuple(names)))
    inputs = keras.Input((4, 3))
    states = layers.LSTM(2, return_state=True, name="stateful")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(states[0]))
    with pytest.raises(ModelError, match=r"stateful \(LSTM\) has no units"):
        faults.find_sites(model, target="units", select=faults.Select(layers=("stateful",)))
    with pytest.raises(ModelError, match="no units to fault"):
        linear = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        faults.find_sites(linear, target="units")
    with pytest.raises(ModelError, match="not a Keras model"):
        faults.find_sites("model", target="weights")


def two_outputs():
    inputs = keras.Input((4, 3))
    flat = layers.Flatten()(inputs)
    return keras.Model(inputs, [layers.Dense(3)(flat), layers.Dense(2)(flat)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_outputs, r"gives 2 outputs, must give one \[n, classes\]: take a model of one"),
        (
            lambda: keras.Sequential([keras.Input((4, 3)), layers.Dense(3)]),
            r"gives an output of shape \(.*4, 3\), must give one \[n, classes\]",
        ),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(make, message):
    model, x = make(), np.ones((10, 4, 3), np.float32)
    with pytest.raises(ModelError, match=message) as caught:
        faults.sweep(model, x, np.zeros(10, int), target="weights", rates=[0.1], trials=1, seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=message):
        faults.first_order(model, x, target="weights")
    with faults.inject(model, target="weights", rate=0.1, seed=0):  # for whatever model
        model(x)


@pytest.mark.parametrize(("classes", "activation"), [(5, "softmax"), (1, "sigmoid")])
def test_probabilities_are_measured_like_the_logits_behind_them(classes, activation, images):
    keras.utils.set_random_seed(6)
    plain = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.Dense(classes),
        ]
    )
    ended = keras.Sequential([keras.Input((8, 8, 3)), *plain.layers, layers.Activation(activation)])
    x, y = images
    options = {"target": "weights", "rates": [0, 0.3], "trials": 3, "seed": 1}
    expected = faults.sweep(plain, x, y % max(2, classes), **options)
    found = faults.sweep(ended, x, y % max(2, classes), **options)
    assert 0.0 < expected["accuracy"].iloc[0] < 1.0
    for column in ("accuracy", "sdc_rate", "retention", "non_finite"):
        np.testing.assert_array_equal(found[column], expected[column])
    for column in ("total_variation_50", "total_variation_95"):
        np.testing.assert_allclose(found[column], expected[column], atol=1e-5)
    if activation == "sigmoid":
        np.testing.assert_allclose(found["logit_change_95"], expected["logit_change_95"], rtol=1e-3)
    assert found.attrs["classes"] == max(2, classes)
