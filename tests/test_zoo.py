"""A zoo of Keras models: each kind goes through measures, weight and unit faults, and an attack."""

import dataclasses

import numpy as np
import pytest

import ft_tf
from ft_tf import attacks, faults, metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError

L = keras.layers
CLASSES = 3
RNG = np.random.default_rng(0)
EXAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is known of a kind of models, by hand.

    Attributes:
        make: gives a built model.
        shape: of one input; several for several inputs.
        tokens: integers below this number instead of numbers in [0, 1].
        units: number of unit sites by default; None where there are none.
        words: the input is text.
    """

    make: object
    shape: tuple = (6,)
    tokens: int = 0
    units: int | None = None
    words: bool = False


ZOO: dict[str, Kind] = {}


def kind(shape=(6,), **facts):
    def register(make):
        ZOO[make.__name__] = Kind(make, shape, **facts)
        return make

    return register


def stack(*layers, shape=(6,), **options):
    return keras.Sequential([keras.Input(shape, **options), *layers, L.Dense(CLASSES)])


def images(*layers):
    return stack(*layers, L.GlobalAveragePooling2D(), shape=(8, 8, 2))


@kind(units=5)
def sequential():
    return stack(L.Dense(5, "relu"))


@kind(units=5)
def without_input():
    model = keras.Sequential([L.Dense(5, "relu"), L.Dense(CLASSES)])
    model.build((None, 6))
    return model


@kind(units=9)
def functional():
    start = keras.Input((6,))
    left, right = L.Dense(5, "relu")(start), L.Dense(4, "tanh")(start)
    return keras.Model(start, L.Dense(CLASSES)(L.Concatenate()([left, right])))


@kind(units=9)
def nested():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(5), L.BatchNormalization(), L.ReLU()])
    start = keras.Input((6,))
    return keras.Model(start, L.Dense(CLASSES)(L.Dense(4, "elu")(inner(start))))


@kind(units=6)
def shared():
    dense, start = L.Dense(6, "relu"), keras.Input((6,))
    return keras.Model(start, L.Dense(CLASSES)(dense(dense(start))))


@kind(units=5)
def tensor_operations():
    start = keras.Input((6,))
    hidden = keras.ops.relu(L.Dense(5)(start)) * 2.0 + 1.0
    return keras.Model(start, L.Dense(CLASSES)(hidden))


@kind(shape=((6,), (4,)), units=10)
def several_inputs():
    first, second = keras.Input((6,), name="first"), keras.Input((4,), name="second")
    joined = L.Concatenate()([L.Dense(5, "relu")(first), L.Dense(5, "relu")(second)])
    return keras.Model([first, second], L.Dense(CLASSES)(joined))


registered = keras.saving.register_keras_serializable("zoo")


@registered
class Net(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.hidden, self.out = L.Dense(5, "relu"), L.Dense(CLASSES)

    def call(self, inputs):
        return self.out(self.hidden(inputs))


@kind(units=5)
def subclassed():
    model = Net()
    model(np.zeros((1, 6), np.float32))
    return model


@registered
class Block(L.Layer):
    """A user's own layer, made of layers and a weight."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.width = width
        self.inner, self.norm = L.Dense(width, "relu"), L.LayerNormalization()

    def build(self, shape):
        self.inner.build(shape)
        self.norm.build((*shape[:-1], self.width))
        self.gain = self.add_weight(shape=(self.width,), initializer="ones", name="gain")

    def call(self, inputs):
        return self.norm(self.inner(inputs)) * self.gain

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@kind(units=5)
def custom_layer():
    return stack(Block(5))


@registered
class Functionally(keras.Model):
    """A subclass of a functional model."""


@kind(units=5)
def subclass_of_functional():
    start = keras.Input((6,))
    return Functionally(start, L.Dense(CLASSES)(L.Dense(5, "relu")(start)))


@kind(shape=(8, 8, 2), units=9)
def convolutions():
    return images(L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Conv2D(5, 2), L.ReLU())


@kind(shape=(8, 8, 2), units=4)
def batch_normalization():
    return images(
        L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(), L.LeakyReLU(), L.Dropout(0.5)
    )


@kind(shape=(12, 3), units=4)
def convolution_1d():
    return stack(L.Conv1D(4, 3, activation="relu"), L.GlobalMaxPooling1D(), shape=(12, 3))


@kind(shape=(5, 5, 5, 1), units=3)
def convolution_3d():
    return stack(L.Conv3D(3, 2, activation="relu"), L.Flatten(), shape=(5, 5, 5, 1))


@kind(shape=(8, 8, 2), units=4)
def transposed():
    return images(L.Conv2DTranspose(4, 3, strides=2, activation="relu"))


@kind(shape=(8, 8, 2), units=8)
def separable():
    return images(L.SeparableConv2D(4, 3, activation="relu"), L.DepthwiseConv2D(2), L.PReLU())


@kind(shape=(8, 8, 2), units=4)
def pooling_and_padding():
    return images(
        L.ZeroPadding2D(), L.Conv2D(4, 3, activation="gelu"), L.AveragePooling2D(2),
        L.UpSampling2D(), L.Cropping2D(1), L.SpatialDropout2D(0.3),
    )  # fmt: skip


@kind(shape=(8, 8, 2), units=4)
def residual():
    start = keras.Input((8, 8, 2))
    hidden = L.Conv2D(2, 3, padding="same", activation="relu")(start)
    hidden = L.Add()([start, L.Conv2D(2, 3, padding="same")(hidden)])
    return keras.Model(start, L.Dense(CLASSES)(L.Flatten()(L.ReLU()(hidden))))


@kind(units=5)
def group_normalization():
    return stack(
        L.Dense(5), L.Activation("silu"), L.Reshape((5, 1)), L.GroupNormalization(1), L.Flatten()
    )


@kind(units=5)
def rms_normalization():
    return stack(L.Dense(5, "relu"), L.RMSNormalization())


@kind(units=5)
def spectral_normalization():
    return stack(L.SpectralNormalization(L.Dense(5, "relu")), L.Dense(5, "relu"))


@kind(shape=(5, 4))
def lstm():
    return stack(L.LSTM(4), shape=(5, 4))


@kind(shape=(5,), tokens=11)
def lstm_with_mask():
    return stack(L.Embedding(11, 4, mask_zero=True), L.LSTM(4), shape=(5,), dtype="int32")


@kind(shape=(5,), tokens=11)
def gru_bidirectional():
    embedded = L.Embedding(11, 4, mask_zero=True)
    return stack(embedded, L.Bidirectional(L.GRU(3)), shape=(5,), dtype="int32")


@kind(shape=(5, 4))
def rnn_of_cells():
    return stack(L.RNN([L.LSTMCell(3), L.GRUCell(3)]), shape=(5, 4))


@kind(shape=(4, 6, 6, 1), units=None)
def convolutional_lstm():
    return stack(L.ConvLSTM2D(2, 3), L.Flatten(), shape=(4, 6, 6, 1))


@kind(shape=(5, 4), units=6)
def time_distributed():
    return stack(
        L.TimeDistributed(L.Dense(5, "relu")), L.Dense(6, "relu"), L.Flatten(), shape=(5, 4)
    )


@kind(shape=(5,), tokens=11, units=6)
def embedding():
    return stack(
        L.Embedding(11, 4),
        L.GlobalAveragePooling1D(),
        L.Dense(6, "relu"),
        shape=(5,),
        dtype="int32",
    )


@kind(shape=(5, 8), units=20)
def attention():
    start = keras.Input((5, 8))
    hidden = L.LayerNormalization()(start + L.MultiHeadAttention(2, 4)(start, start))
    hidden = hidden + L.Dense(8)(L.Dense(12, "gelu")(hidden))
    return keras.Model(start, L.Dense(CLASSES)(L.GlobalAveragePooling1D()(hidden)))


@kind(shape=(5, 8), units=6)
def grouped_query_attention():
    start = keras.Input((5, 8))
    hidden = L.RMSNormalization()(start + L.GroupQueryAttention(4, 4, 2)(start, start))
    return keras.Model(start, L.Dense(CLASSES)(L.Flatten()(L.Dense(6, "relu")(hidden))))


@kind(shape=(5, 8), units=7)
def einsum_dense():
    return stack(
        L.EinsumDense("abc,cd->abd", (5, 7), "relu", bias_axes="d"), L.Flatten(), shape=(5, 8)
    )


@registered
class Patches(L.Layer):
    """Cuts images into patches, and adds a learned position."""

    def build(self, shape):
        self.position = self.add_weight(shape=(16, 8), initializer="normal", name="position")

    def call(self, inputs):
        patches = keras.ops.image.extract_patches(inputs, 2)
        return keras.ops.reshape(patches, (-1, 16, 8)) + self.position


@kind(shape=(8, 8, 2), units=20)
def vision_transformer():
    start = keras.Input((8, 8, 2))
    hidden = Patches()(start)
    normal = L.LayerNormalization()(hidden)
    hidden = hidden + L.MultiHeadAttention(2, 4)(normal, normal)
    hidden = hidden + L.Dense(8)(L.Dense(12, "gelu")(L.LayerNormalization()(hidden)))
    return keras.Model(start, L.Dense(CLASSES)(L.GlobalAveragePooling1D()(hidden)))


@kind(shape=(8, 8, 2), units=4)
def preprocessing_of_images():
    return images(
        L.Rescaling(2.0, -1.0), L.Normalization(mean=0.1, variance=1.0), L.Resizing(6, 6),
        L.CenterCrop(5, 5), L.RandomFlip(), L.RandomRotation(0.1), L.RandomZoom(0.1),
        L.RandomContrast(0.1), L.RandomTranslation(0.1, 0.1), L.Conv2D(4, 3, activation="relu"),
    )  # fmt: skip


@kind(units=4)
def adapted_normalization():
    normalization = L.Normalization()
    normalization.adapt(RNG.random((50, 6)).astype(np.float32))
    return stack(normalization, L.Dense(4, "relu"))


@kind(shape=(4,), tokens=8, units=4)
def preprocessing_of_integers():
    return stack(
        L.IntegerLookup(vocabulary=[1, 2, 3, 4], output_mode="multi_hot"), L.Dense(4, "relu"),
        shape=(4,), dtype="int64",
    )  # fmt: skip


@kind(shape=(1,), words=True, units=4)
def preprocessing_of_text():
    return stack(
        L.TextVectorization(vocabulary=["a", "b", "c"], output_sequence_length=3),
        L.Embedding(6, 4), L.Flatten(), L.Dense(4, "relu"), shape=(1,), dtype="string",
    )  # fmt: skip


@kind(units=5)
def discretization():
    return stack(L.Discretization([0.2, 0.5]), L.CategoryEncoding(3), L.Dense(5, "relu"))


@kind(units=5)
def noise_layers():
    return stack(L.GaussianNoise(0.1), L.Dense(5), L.AlphaDropout(0.1), L.GaussianDropout(0.1))


@kind(units=5)
def mixed_bfloat16():
    return stack(L.Dense(5, "relu", dtype="mixed_bfloat16"))


@kind(units=5)
def mixed_float16():
    return stack(L.Dense(5, "relu", dtype="mixed_float16"))


@kind(units=5)
def float64():
    return stack(L.Dense(5, "relu", dtype="float64"), dtype="float64")


@kind(units=8)
def frozen():
    model = stack(L.Dense(8, "relu"))
    model.layers[0].trainable = False
    return model


@kind(units=8)
def lora():
    model = stack(L.Dense(8, "relu"))
    model.layers[0].enable_lora(2)
    return model


def quantised(mode):
    model = stack(L.Dense(8, "relu"), L.Dense(4, "relu"))
    model.quantize(mode)
    return model


@kind(units=12)
def int8():
    return quantised("int8")


@kind(units=12)
def int4():
    return quantised("int4")


@kind(units=12)
def float8():
    return quantised("float8")


@kind(shape=(5,), tokens=11, units=4)
def int8_embedding():
    model = stack(L.Embedding(11, 8), L.Flatten(), L.Dense(4, "relu"), shape=(5,), dtype="int32")
    model.quantize("int8")
    return model


@kind(units=5)
def softmax_ending():
    model = stack(L.Dense(5, "relu"))
    return keras.Sequential([keras.Input((6,)), *model.layers, L.Softmax()])


def application(name, size=32):
    make = getattr(keras.applications, name)

    def build():
        options = {"include_preprocessing": False} if "V3" in name or "Conv" in name else {}
        return make(
            input_shape=(size, size, 3), weights=None, classes=CLASSES, classifier_activation=None,
            **options,
        )  # fmt: skip

    return build


HEAVY = {
    name: Kind(application(name), (32, 32, 3), units=-1)
    for name in (
        "MobileNetV2", "MobileNetV3Small", "ResNet50V2", "EfficientNetB0", "DenseNet121",
        "ConvNeXtTiny",
    )
}  # fmt: skip


def inputs_of(known):
    shapes = known.shape if isinstance(known.shape[0], tuple) else (known.shape,)
    if known.words:
        return np.array([["a b"], ["c"], ["b b a"], ["d"], ["a"], ["c c"]])
    if known.tokens:
        parts = [RNG.integers(0, known.tokens, (EXAMPLES, *s)).astype(np.int32) for s in shapes]
    else:
        parts = [RNG.random((EXAMPLES, *s), np.float32) for s in shapes]
    return parts if len(parts) > 1 else parts[0]


def bytes_of(model):
    return [np.asarray(v.numpy()).tobytes() for v in model.weights]


def check(known, path):
    keras.utils.set_random_seed(1)
    model, x = known.make(), inputs_of(known)
    feed = tf.nest.map_structure(tf.constant, x)
    outputs = tf.cast(model(feed, training=False), tf.float32).numpy()
    y = outputs.argmax(axis=1)
    y[0] = (y[0] + 1) % CLASSES
    assert metrics.accuracy(model, x, y) == pytest.approx(1 - 1 / EXAMPLES)
    clean = bytes_of(model)
    model.save(path)
    loaded = ft_tf.load_model(path)
    merged = "lora" in known.make.__name__  # Keras saves the sum of kernel and adapters
    assert merged or sorted(bytes_of(loaded)) == sorted(clean)
    again = tf.cast(loaded(feed, training=False), tf.float32).numpy()
    np.testing.assert_allclose(again, outputs, rtol=1e-6, atol=1e-6)

    with faults.inject(model, target="weights", rate=1.0, seed=0) as injection:
        assert injection.faults == injection.sites > 0
        dead = tf.cast(model(feed, training=False), tf.float32).numpy()
    # Without weights every input is the same; a scale of 0 makes NaN of an integer kernel.
    np.testing.assert_allclose(dead, np.broadcast_to(dead[0], dead.shape), atol=1e-6)
    assert bytes_of(model) == clean
    options = {"trials": 1, "seed": 3, "batch_size": EXAMPLES}
    row = faults.sweep(model, x, y, target="weights", rates=[0.3], **options).iloc[0]
    with faults.inject(model, target="weights", rate=0.3, seed=3) as injection:
        assert injection.faults == row["faults"]
        assert metrics.accuracy(model, x, y) == row["accuracy"]
    assert bytes_of(model) == clean

    if known.units is None:
        with pytest.raises(ModelError, match="no units"):
            faults.find_sites(model, target="units")
    else:
        sites = sum(group.size for group in faults.find_sites(model, target="units"))
        assert sites == known.units or (known.units < 0 < sites)
        row = faults.sweep(model, x, y, target="units", rates=[0.5], **options).iloc[0]
        with faults.inject(model, target="units", rate=0.5, seed=3) as injection:
            assert injection.faults == row["faults"] == round(sites / 2)
            assert metrics.accuracy(model, x, y) == row["accuracy"]
    assert bytes_of(model) == clean

    if not known.tokens and not known.words and isinstance(x, np.ndarray):
        logits = ft_tf.models.logits_of(model)
        found = attacks.pgd(logits, x, y, epsilon=0.1, step_size=0.05, num_steps=2, seed=0)
        assert np.abs(found.adversarial - x).max() <= 0.1 + 1e-6
        assert found.robust_accuracy <= found.clean_accuracy == 1 - 1 / EXAMPLES
        assert bytes_of(model) == clean


@pytest.mark.parametrize("name", ZOO)
def test_a_kind_of_models(name, tmp_path):
    check(ZOO[name], tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_a_published_network(name, tmp_path):
    check(HEAVY[name], tmp_path / "model.keras")


def test_there_are_forty_kinds():
    assert len(ZOO) + len(HEAVY) >= 40


def sites_of(model):
    return {g.name: g for g in faults.find_sites(model, target="weights")}


def test_the_sites_of_an_integer_model_are_its_integers_and_scales():
    sites = sites_of(int8())
    assert {name.split("/")[-1] for name in sites} == {"kernel", "kernel_scale", "bias"}
    assert [g.variable.dtype for g in sites.values() if g.name.endswith("kernel")] == [
        "int8", "int8", "int8",
    ]  # fmt: skip
    packed = [g.size for g in sites_of(int4()).values() if g.name.endswith("kernel")]
    assert packed == [6 * 4, 8 * 2, 4 * 2]  # two numbers of four bits in a byte
    assert {name.split("/")[-1] for name in sites_of(float8())} == {"kernel", "bias"}


def test_a_frozen_kernel_is_a_site_under_lora_and_without():
    assert sum(g.size for g in sites_of(frozen()).values()) == 6 * 8 + 8 + 8 * 3 + 3
    found = sites_of(lora())
    assert sum(g.size for g in found.values()) == 6 * 8 + 8 + 8 * 3 + 3 + 2 * (6 + 8)


def test_a_bit_error_in_an_integer_flips_that_bit():
    model = int8()
    select = faults.Select(layers=(model.layers[0].name,), parameters="kernels")
    fault = faults.BitFlip(storage="int8", bits=(7, 7))
    before = model.layers[0]._kernel.numpy()
    options = {"target": "weights", "rate": 1.0, "seed": 0, "fault": fault, "select": select}
    with faults.inject(model, **options):
        np.testing.assert_array_equal(
            model.layers[0]._kernel.numpy(), (before.view(np.uint8) ^ 0x80).view(np.int8)
        )
    np.testing.assert_array_equal(model.layers[0]._kernel.numpy(), before)
    wrong = options | {"fault": faults.BitFlip()}
    with pytest.raises(ft_tf.errors.ArgumentError, match="the model stores int8: give storage="):
        faults.inject(model, **wrong).__enter__()
