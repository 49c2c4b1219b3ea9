"""Model files: what is right loads, what carries code does not run, what is wrong gets one line."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import tf_keras

import ft_tf
from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError

KERAS = {"2": tf_keras, "3": keras}
X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def classifier(version):
    module = KERAS[version]
    layers = module.layers
    start = module.Input((6,))
    hidden = layers.Dense(5, activation="relu")(start)
    return module.Model(start, layers.Dense(3)(layers.Concatenate()([hidden, start])))


def saved(version, path):
    model = classifier(version)
    model.compile("adam", "mse")
    model.save(path)
    return model


def rewritten(path, change):
    """The file with its config.json changed in place."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("version", KERAS)
def test_a_file_of_either_keras_loads(version, tmp_path):
    original = saved(version, tmp_path / "model.keras")
    loaded = ft_tf.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, keras.Model)
    np.testing.assert_allclose(loaded(X), np.asarray(original(X)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("version", KERAS)
def test_a_lambda_layer_does_not_run(version, tmp_path):
    """The layer's code would leave a file behind, whether it runs at loading or when called."""
    module, trace = KERAS[version], tmp_path / "it_ran"
    module.config.enable_unsafe_deserialization() if version == "3" else None
    code = eval(f"lambda x: (open({str(trace)!r}, 'w').close(), x)[1]")
    model = module.Sequential([module.Input((6,)), module.layers.Lambda(code, name="bomb")])
    model.save(tmp_path / "model.keras")
    trace.unlink(missing_ok=True)  # building the model ran it
    with pytest.raises(ModelError, match=r"layer 'bomb' \(Lambda\) holds Python code") as refusal:
        ft_tf.load_model(tmp_path / "model.keras")
    assert "\n" not in str(refusal.value)
    assert " needs " not in str(refusal.value)  # the code's own module is no second reason
    assert not trace.exists()


@pytest.mark.parametrize("version", KERAS)
def test_a_layer_of_the_users_own_is_refused_by_name(version, tmp_path):
    module = KERAS[version]

    class Doubling(module.layers.Layer):
        __module__ = "__main__"  # as in a script or a notebook

        def call(self, inputs):
            return 2 * inputs

    model = module.Sequential([module.Input((6,)), Doubling(name="twice"), module.layers.Dense(3)])
    model.save(tmp_path / "model.keras")
    wanted = r"layer 'twice' \(Doubling\) needs the class 'Doubling', which is not registered here"
    with pytest.raises(ModelError, match=wanted):
        ft_tf.load_model(tmp_path / "model.keras")


def set_activation(module, name):
    def change(config):
        dense = config["config"]["layers"][1]["config"]
        dense["activation"] = {
            "class_name": "function", "config": name, "module": module, "registered_name": name,
        }  # fmt: skip

    return change


def set_typespec(module, name):
    def change(config):
        dense = config["config"]["layers"][1]["config"]
        dense["units"] = {
            "class_name": "__typespec__", "spec_name": name, "module": module,
            "registered_name": None, "config": [],
        }  # fmt: skip

    return change


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("place", [set_activation, set_typespec])
def test_a_module_that_a_file_names_is_not_imported(version, place, tmp_path, monkeypatch):
    (tmp_path / "lurking_module.py").write_text(
        f"open({str(tmp_path / 'it_ran')!r}, 'w').close()\ndef act(x): return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.keras"
    saved(version, path)
    rewritten(path, place("lurking_module", "act"))
    with pytest.raises(ModelError, match="of the module 'lurking_module'"):
        ft_tf.load_model(path)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.src.layers.core.lambda_layer", "python_utils.func_load"),
    ],
)
def test_functions_that_do_not_make_up_models_are_refused(module, name, tmp_path):
    path = tmp_path / "model.keras"
    saved("2", path)
    rewritten(path, set_activation(module, name))
    with pytest.raises(ModelError, match=f"layer 'dense.*' .Dense. needs '{name}' of the module"):
        ft_tf.load_model(path)


def test_a_registered_layer_loads(tmp_path):
    model = faults.wrap(classifier("3"), target="units", rate=0.2)
    model.save(tmp_path / "model.keras")
    loaded = ft_tf.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))


def hdf5(path):
    classifier("2").save(path.with_suffix(".h5"))
    shutil.move(path.with_suffix(".h5"), path)


def truncated(path):
    saved("2", path)
    path.write_bytes(path.read_bytes()[:-300])


def without_weights(path):
    saved("2", path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if "weights" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def with_a_file(name, content):
    def make(path):
        parts = {"metadata.json": '{"keras_version": "3.1.0"}', "config.json": "{}", name: content}
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in parts.items():
                archive.writestr(member, text)

    return make


BAD = {
    "missing": (lambda path: None, "No such file"),
    "directory": (lambda path: path.mkdir(), "it is a directory"),
    "text": (lambda path: path.write_text("weights"), "it is not a .keras file"),
    "hdf5": (hdf5, "it is an HDF5 file"),
    "truncated": (truncated, "it is not a .keras file"),
    "no weights": (without_weights, "cannot be loaded: "),
    "no metadata": (with_a_file("metadata.json", "{}"), "damaged"),
    "bad json": (with_a_file("config.json", "{"), "damaged"),
    "empty": (with_a_file("other", ""), "cannot be loaded: "),
    "future": (with_a_file("metadata.json", '{"keras_version": "4.0"}'), "Keras '4.0'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gives_one_line_with_its_name(case, tmp_path):
    make, reason = BAD[case]
    path = tmp_path / "model.keras"
    make(path)
    with pytest.raises(ModelError, match=reason) as refusal:
        ft_tf.load_model(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_name_without_the_suffix_is_not_guessed_at(tmp_path):
    """Keras would read it in a format that has no safe mode."""
    saved("2", tmp_path / "model.keras")
    shutil.move(tmp_path / "model.keras", tmp_path / "model.zip")
    with pytest.raises(ModelError, match=r"it is not a \.keras file"):
        ft_tf.load_model(tmp_path / "model.zip")


@pytest.mark.parametrize("version", KERAS)
def test_an_hdf5_file_loads(version, tmp_path):
    path = tmp_path / "model.h5"
    original = classifier(version)
    original.save(path)
    np.testing.assert_allclose(ft_tf.load_model(path)(X), np.asarray(original(X)), atol=1e-6)


def test_functions_of_tensorflow_that_only_compute_load(tmp_path):
    keras = KERAS["2"]
    start = keras.Input((6,))
    moved = tf.nn.relu(tf.reshape(start + 1.0, [-1, 2, 3])) * 2.0
    joined = tf.concat([moved[:, :1], 1.0 - tf.math.softplus(moved)], axis=1)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.Flatten()(joined)))
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        loaded = ft_tf.load_model(tmp_path / name)
        np.testing.assert_allclose(loaded(X), model(X), rtol=1e-6, atol=1e-6)
        loaded.save(tmp_path / "again.keras")
        again = ft_tf.load_model(tmp_path / "again.keras")
        np.testing.assert_array_equal(again(X), loaded(X))


def layers_of_all_kinds(layers):
    image = (8, 8, 3)
    return {
        "preprocessing": (image, [
            layers.Rescaling(1 / 255), layers.Normalization(mean=[0.1] * 3, variance=[1.0] * 3),
            layers.Resizing(10, 10), layers.CenterCrop(6, 6),
        ]),
        "convolutions": (image, [
            layers.SeparableConv2D(4, 2, padding="same", depthwise_regularizer="l2"),
            layers.BatchNormalization(), layers.ReLU(max_value=6.0),
            layers.DepthwiseConv2D(2, depthwise_constraint="max_norm"),
            layers.LeakyReLU(), layers.GlobalAveragePooling2D(),
        ]),
        "recurrent": ((5, 4), [layers.LSTM(3, return_sequences=True), layers.GRU(3)]),
    }  # fmt: skip


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("kind", layers_of_all_kinds(keras.layers))
def test_layers_of_all_kinds_load(kind, version, tmp_path):
    module = KERAS[version]
    shape, layers = layers_of_all_kinds(module.layers)[kind]
    model = module.Sequential([module.Input(shape), *layers])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    loaded = ft_tf.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(x), np.asarray(model(x)), rtol=1e-5, atol=1e-5)


def test_a_vocabulary_in_the_file_loads(tmp_path):
    start = keras.Input((1,), dtype="string")
    found = keras.layers.StringLookup(vocabulary=["a/b", "c"], output_mode="one_hot")(start)
    model = keras.Model(start, keras.layers.Dense(2)(found))
    model.save(tmp_path / "model.keras")
    x = tf.constant([["c"], ["a/b"], ["d"]])
    np.testing.assert_array_equal(ft_tf.load_model(tmp_path / "model.keras")(x), model(x))


def test_a_compiled_model_inside_a_model_loads(tmp_path):
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    inner.compile("adam", "mse")
    start = keras.Input((6,))
    model = keras.Model(start, keras.layers.Add()([inner(start), inner(start * 2.0)]))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(ft_tf.load_model(tmp_path / "model.keras")(X), model(X))


def test_a_registered_layer_loads_under_its_own_name_only(tmp_path):
    @keras.saving.register_keras_serializable("hostile_test")
    class Doubling(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((6,)), Doubling(name="twice"), keras.layers.Dense(2)])
    model.save(path)
    np.testing.assert_array_equal(ft_tf.load_model(path)(X), model(X))
    rewritten(
        path,
        lambda config: config["config"]["layers"][1].update(registered_name="other>Doubling"),
    )
    wanted = r"not registered here as 'other>Doubling': register it with keras\.saving\.|of the mod"
    with pytest.raises(ModelError, match=wanted):
        ft_tf.load_model(path)


def test_outputs_arrays_and_numbers_of_a_registered_layer_load(tmp_path):
    @keras.saving.register_keras_serializable("many_test")
    class Scaling(keras.layers.Layer):
        def __init__(self, num, **options):
            super().__init__(**options)
            self.num = num

        def get_config(self):
            return super().get_config() | {"num": self.num}

        def call(self, inputs):
            return self.num * inputs

    start = keras.Input((6,))
    parts = [*keras.ops.unstack(start, axis=1), *keras.ops.unstack(start, 6, axis=1)]
    parts = [keras.ops.expand_dims(part, 1) for part in parts]
    parts += [*keras.ops.split(start, [1, 3], axis=1), *keras.ops.split(start, 3, axis=1)]
    end = Scaling(20_000)(keras.layers.Concatenate()(parts)) + np.arange(24.0)
    model = keras.Model(start, end)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(ft_tf.load_model(tmp_path / "model.keras")(X), model(X))


def old_models():
    """Models of Keras 2 whose files Keras 3 describes in another way."""
    layers, module = KERAS["2"].layers, KERAS["2"]

    def nested():
        inner = module.Sequential(
            [module.Input((6,)), layers.Dense(4), layers.BatchNormalization()]
        )
        start = module.Input((6,))
        both = layers.Add()([inner(start), inner(start * 2.0), layers.Dense(4)(start)])
        return module.Model(start, layers.Dense(3)(both))

    def sequences():
        start = module.Input((7,), dtype="int32")
        hidden = layers.Embedding(11, 5, mask_zero=True)(start)
        hidden = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(hidden)
        return module.Model(start, layers.Dense(3, "softmax")(layers.GRU(3)(hidden)))

    def attention():
        start = module.Input((5, 8))
        hidden = layers.MultiHeadAttention(2, 4)(start, value=start)
        hidden = layers.TimeDistributed(layers.Dense(4))(layers.LayerNormalization()(hidden))
        return module.Model(start, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden)))

    def shared():
        dense, first, second = layers.Dense(4, "tanh"), module.Input((4,)), module.Input((4,))
        both = layers.Concatenate()([dense(first), dense(dense(second))])
        return module.Model([first, second], layers.Dense(2)(both))

    def images():
        stack = [
            layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.LeakyReLU(alpha=0.2),
            layers.Conv2DTranspose(3, 3, strides=2), layers.PReLU(shared_axes=[1, 2]),
            layers.SpatialDropout2D(0.2), layers.GlobalMaxPooling2D(), layers.Dense(3),
        ]  # fmt: skip
        return module.Sequential([module.Input((12, 12, 3)), *stack])

    def bfloat16():
        dense = layers.Dense(8, "relu", dtype="mixed_bfloat16")
        return module.Sequential([module.Input((6,)), dense, layers.Dense(3, dtype="float32")])

    return {
        make.__name__: make for make in (nested, sequences, attention, shared, images, bfloat16)
    }


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", old_models())
def test_a_file_of_keras_2_computes_what_it_computed(kind, suffix, tmp_path):
    tf_keras.utils.set_random_seed(1)
    model = old_models()[kind]()
    rng = np.random.default_rng(2)
    moved = [w + 0.1 * rng.random(w.shape).astype(w.dtype) for w in model.get_weights()]
    model.set_weights(moved)
    model.save(tmp_path / f"model{suffix}")
    loaded = ft_tf.load_model(tmp_path / f"model{suffix}")
    assert loaded.output_shape == model.output_shape
    shapes = [tuple(part.shape[1:]) for part in model.inputs]
    x = [
        rng.integers(0, 11, (4, *s)) if kind == "sequences" else rng.random((4, *s)) for s in shapes
    ]
    x = [part.astype(t.dtype.as_numpy_dtype) for part, t in zip(x, model.inputs, strict=True)]
    x = x if len(x) > 1 else x[0]
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-5, atol=1e-5)


def test_what_keras_3_computes_otherwise_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    layers = tf_keras.layers
    options = {"layer 'l'.*has activation=hard_sigmoid": layers.Dense(3, "hard_sigmoid", name="l"),
               "layer 'l'.*no counterpart": layers.ThresholdedReLU(name="l")}  # fmt: skip
    for message, layer in options.items():
        tf_keras.Sequential([tf_keras.Input((6,)), layer]).save(path)
        with pytest.raises(ModelError, match=message):
            ft_tf.load_model(path)
