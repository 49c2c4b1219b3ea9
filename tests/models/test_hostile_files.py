"""Hostile model files: each gets one line, and nothing is run, written, read or imported."""

import json
import sys
import types
from pathlib import Path

import h5py
import hostile_files as hostile
import numpy as np
import pytest
from hostile_files import KERAS, OP_MODULE, function, with_hidden, with_layer, with_operation

import ft_tf
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError

sys.path.insert(0, str(Path(__file__).parent.parent))
from canary import MODULE, Canary

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return Canary(tmp_path)


def refused(canary, path, match):
    with canary.refuses(ModelError, match):
        ft_tf.load_model(path)


def operations(canary):
    """Functions of TensorFlow that Keras 2 called while it read the file."""
    secret, written = str(canary.secret), canary.written()
    node = ["start", 0, 0, {"contents": "x"}]
    return {
        "write": with_operation("io.write_file", written, contents="x"),
        "write from an input": with_operation("io.write_file", written, node=node),
        "copy": with_operation("io.gfile.copy", secret, dst=written),
        "rename": with_operation("io.gfile.rename", secret, dst=written),
        "remove": with_operation("io.gfile.remove", secret),
        "remove all": with_operation("io.gfile.rmtree", str(canary.directory / "empty")),
        "make": with_operation("io.gfile.makedirs", written),
        "read": with_operation("io.read_file", secret),
        "print": with_operation("print", "x", output_stream=f"file://{written}"),
        "raw": with_operation("raw_ops.WriteFile", written, contents="x"),
        "python": with_operation("numpy_function", MODULE),
        "load": with_operation("saved_model.load", written),
    }


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", operations(types.SimpleNamespace(
    secret="", written=str, directory=Path()
)))  # fmt: skip
def test_functions_of_tensorflow_that_do_more_than_compute(case, suffix, canary):
    change = operations(canary)[case]
    path = canary.directory / f"model{suffix}"
    if suffix == ".keras":
        hostile.configured("2", path, change)
    else:
        hostile.good("2", path)
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config).encode()
    refused(canary, path, r"layer 'evil' \(TFOpLambda\) calls tf\.[\w.]+, which is not among")


def lambda_value():
    return {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}


BY_NAME = {
    "lambda": (with_hidden(activation=lambda_value()), "hidden.*holds Python code"),
    "lambda layer": (with_layer("Lambda", function=lambda_value()), "hidden.*holds Python code"),
    "foreign function": (
        with_hidden(activation=function("act", MODULE)), f"needs 'act' of the module '{MODULE}'",
    ),
    "foreign class": (with_layer("Act", MODULE), f"needs 'Act' of the module '{MODULE}'"),
    "foreign regularizer": (
        with_hidden(kernel_regularizer={"class_name": "Act", "module": MODULE, "config": {}}),
        f"needs 'Act' of the module '{MODULE}'",
    ),
    "get_file": (
        with_hidden(activation=function("get_file", "keras.utils")), "needs 'get_file' of",
    ),
    "get_file as relu": (
        with_hidden(activation=function("relu", "keras.utils", "get_file")), "needs 'relu' of",
    ),
    "module of a module": (with_layer("system", "keras.src.layers.os"), "needs 'system' of"),
    "module in a name": (with_layer("os.system", "keras.layers"), "needs 'os.system' of"),
    "any class of Keras": (
        with_layer("BackupAndRestore", "keras.callbacks", backup_dir="written"), "needs 'BackupAnd",
    ),
    "any function of layers": (with_layer("deserialize"), "needs 'deserialize' of"),
    "another registered name": (
        lambda config: hostile.hidden(config).update(registered_name=f"{MODULE}>Act"),
        "needs 'Dense' of",
    ),
    "a type": (
        with_hidden(units={
            "class_name": "__typespec__", "spec_name": "Act", "module": MODULE,
            "registered_name": None, "config": [],
        }),
        "needs '__typespec__' of",
    ),
    "text as activation": (with_hidden(activation="deserialize"), "activation='deserialize'"),
    "text as size": (with_hidden(units="10"), "units='10', where no text is expected"),
    "PyTorch": (with_layer("TorchModuleWrapper", module="gASV"), "pickled PyTorch module"),
    "JAX": (with_layer("JaxLayer", call_fn="x"), "holds JAX code"),
    "SavedModel": (with_layer("TFSMLayer", filepath="/x"), "reads a SavedModel"),
    "raw operation": (
        with_layer("TensorFlowOpLayer", node_def="x", constants={}), "raw bytes",
    ),
    "constants alone": (
        lambda config: hostile.hidden(config).update(
            inbound_nodes=[["_CONSTANT_VALUE", -1, [[1.0] * 6], {}]]
        ),
        "called on constants alone",
    ),
    "no model": (lambda config: config.pop("class_name"), "names no model"),
    "not a model": (lambda config: config.update(hostile.hidden(config)), "."),
}  # fmt: skip


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("case", BY_NAME)
def test_names_of_what_is_no_part_of_a_model(case, version, canary):
    change, reason = BY_NAME[case]
    path = canary.directory / "model.keras"
    hostile.configured(version, path, change)
    refused(canary, path, reason)


def test_an_older_format_has_the_same_rules(canary):
    """Keras 2 takes a layer without a module for one of a format that has no safe mode."""
    path = canary.directory / "model.keras"
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="hidden")])
    model.save(path)
    parts = hostile.parts_of(path)
    config = json.loads(parts["config.json"])
    layer = hostile.hidden(config)
    for key in ("module", "registered_name", "build_config"):
        layer.pop(key, None)
    written = canary.written()
    code = keras.src.utils.generic_utils.func_dump(eval(f"lambda x: open({written!r}, 'w') and x"))
    layer.update(class_name="Lambda", config={"name": "hidden", "function": code})
    hostile.write_parts(path, parts | {"config.json": json.dumps(config).encode()})
    refused(canary, path, r"layer 'hidden' \(Lambda\) holds Python code")


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("layer", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_vocabulary_in_another_file(layer, version, canary):
    path = canary.directory / "model.keras"
    change = with_layer(layer, vocabulary=str(canary.secret), max_tokens=None)
    hostile.configured(version, path, change)
    refused(canary, path, rf"layer 'hidden' \({layer}\) reads its vocabulary from '.*secret.txt'")


@pytest.mark.parametrize("version", KERAS)
def test_a_vocabulary_unpacked_to_disk(version, canary):
    path = canary.directory / "model.keras"
    hostile.replaced(version, path, **{"assets/hidden/vocabulary__txt": b"a\nb\n"})
    refused(canary, path, "holds 'assets/hidden/vocabulary.txt', a vocabulary that `adapt` learned")


def giants(version):
    ops = {"ragged": False} if version == "2" else {}
    shape = "batch_input_shape" if version == "2" else "batch_shape"

    def input_of(*sizes):
        return lambda config: config["config"]["layers"][0]["config"].update(
            {shape: [None, *sizes], **ops}
        )

    def chain(config):
        """Each width alone is stored; their product is not."""
        with_hidden(units=100_000)(config)
        config["config"]["layers"][2]["config"]["units"] = 100_000
        for layer in config["config"]["layers"]:
            layer.pop("build_config", None)

    return {
        "units": (with_hidden(units=10**12), "units=1000000000000, and the file holds"),
        "fractional units": (with_hidden(units=1e12), r"units=1000000000000\.0, and the file"),
        "embedding": (
            with_layer("Embedding", input_dim=10**12, output_dim=8), "input_dim=1000000000000",
        ),
        "input": (input_of(1 << 20, 1 << 20), r"shape=\[None, 1048576, 1048576\], more than"),
        "padding": (
            with_layer("ZeroPadding1D", padding=1 << 40), "padding=1099511627776, which is too",
        ),
        "repeats": (with_layer("RepeatVector", n=1 << 30), r"\(None, 1073741824, 6\)"),
        "chain": (chain, r"more weights than the .* \(one has the shape \(100000, 100000\)\)"),
    }  # fmt: skip


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("case", giants("2"))
def test_shapes_that_would_fill_the_memory(case, version, canary):
    change, reason = giants(version)[case]
    path = canary.directory / "model.keras"
    hostile.configured(version, path, change)
    if case == "chain":
        parts = hostile.parts_of(path)

        def grow(file):
            file.create_dataset("grown", data=np.zeros(1_000_000, np.float32))

        other = canary.directory / "other.keras"
        hostile.weights(version, other, grow)
        weights = hostile.parts_of(other)["model.weights.h5"]
        hostile.write_parts(path, parts | {"model.weights.h5": weights})
        other.unlink()
    with canary.refuses(ModelError, reason):
        ft_tf.load_model(path)


@pytest.mark.parametrize("version", KERAS)
def test_layers_that_wait_for_each_other(version, canary):
    """Keras 2 waits with them, for ever."""

    def change(config):
        _, layer, end = config["config"]["layers"]
        layer["inbound_nodes"] = json.loads(json.dumps(end["inbound_nodes"]).replace(
            '"hidden"', '"end"'
        ))  # fmt: skip

    path = canary.directory / "model.keras"
    hostile.configured(version, path, change)
    refused(canary, path, "wait for each other")


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("member", ["config__json", "metadata__json"])
def test_json_of_any_depth(member, version, canary):
    path = canary.directory / "model.keras"
    hostile.replaced(version, path, **{member: b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"})
    refused(canary, path, r"nested 20,001 levels deep; at most 200")
    hostile.replaced(version, path, **{member: b"[" * 200_000})
    refused(canary, path, r"nested 200,000 levels deep|config.json|metadata.json")


@pytest.mark.parametrize("version", KERAS)
def test_a_description_of_many_parts(version, canary):
    path = canary.directory / "model.keras"
    hostile.replaced(version, path, config__json=b"[" + b"[]," * 600_000 + b"[]]")
    refused(canary, path, "more than 500,000 lists and objects")

    def repeat(config):
        config["config"]["layers"] = [{"class_name": "Dense", "config": {}}] * 10_001

    hostile.configured(version, path, repeat)
    refused(canary, path, "more than 10,000 layers")


def changed_weights(canary):
    other = canary.directory / "other.h5"
    with h5py.File(other, "w") as file:
        file["values"] = np.full((6, 5), 7, np.float32)
    replace = hostile.in_place_of_a_weight
    return {
        "external storage": (hostile.external_storage(canary.secret), "values in another file"),
        "external link": (hostile.external_link(other), "ExternalLink to something else"),
        "soft link": (replace(hostile.soft_link), "SoftLink to something else"),
        "virtual": (hostile.virtual(other), "takes its values from elsewhere"),
        "never written": (replace(hostile.never_written), r"declares \(68719476736,\), more than"),
        "compressed": (replace(hostile.compressed), "is compressed"),
        "references": (replace(hostile.references), "and no numbers"),
        "regions": (replace(hostile.regions), "and no numbers"),
        "lists": (replace(hostile.lists), "and no numbers"),
        "circle": (hostile.circle, "can be reached twice"),
        "texts": (hostile.one_text_many_times, "may take too much memory"),
    }


NAMES_OF_WEIGHTS = (
    "external storage", "external link", "soft link", "virtual", "never written", "compressed",
    "references", "regions", "lists", "circle", "texts",
)  # fmt: skip


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", NAMES_OF_WEIGHTS)
def test_weights_that_are_not_simply_in_the_file(case, suffix, version, canary):
    change, reason = changed_weights(canary)[case]
    path = canary.directory / f"model{suffix}"
    hostile.weights(version, path, change)
    refused(canary, path, reason)


ARCHIVES = {
    "bomb": (hostile.packed_zeros("model.weights.h5", 100 << 20), "unpacks from"),
    "bomb of text": (hostile.packed_zeros("config.json", 10 << 20), "unpacks from"),
    "much text": (hostile.packed_zeros("metadata.json", 1 << 17), "131,072 bytes, too many"),
    "traversal": (
        lambda version, path: hostile.replaced(version, path, **{"../written": b""}),
        "holds '../written', which is no part",
    ),
    "absolute": (
        lambda version, path: hostile.replaced(
            version, path, **{str(path.with_name("written")): b""}
        ),
        "written', which is no part of",
    ),
    "symbolic link": (hostile.symbolic_link, "'model.weights.h5' in it is a symbolic link"),
    "twice": (hostile.twice, "holds 'config.json' more than once"),
    "many": (hostile.many_members, "more files than the three"),
    "huge directory": (hostile.huge_directory, "more files than the three"),
    "huge zip64 directory": (hostile.huge_zip64_directory, "more files than the three"),
    "other": (
        lambda version, path: hostile.replaced(version, path, code__py=b"1"),
        "holds 'code.py', which is no part",
    ),
    "pickled weights": (
        lambda version, path: hostile.replaced(
            version, path, model__weights__npz=hostile.pickled(path.with_name("written"))
        ),
        "holds 'model.weights.npz', which is no part",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_keras_does_not_write(case, version, canary):
    make, reason = ARCHIVES[case]
    path = canary.directory / "model.keras"
    make(version, path)
    refused(canary, path, reason)


@pytest.mark.parametrize("version", KERAS)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damage_anywhere_is_one_line(suffix, version, canary):
    """Bytes overwritten and files cut short at many places: a model, or one line."""
    path = canary.directory / f"model{suffix}"
    hostile.good(version, path)
    whole = path.read_bytes()
    for step, position in enumerate(range(0, len(whole), len(whole) // 24)):
        damaged = bytearray(whole)
        damaged[position : position + 8] = bytes((position * 37 + 11 * i) % 256 for i in range(8))
        path.write_bytes(damaged if step % 2 else whole[:position])
        try:
            ft_tf.load_model(path)
        except ModelError as error:
            assert "\n" not in str(error) and str(path) in str(error)


@pytest.mark.parametrize("version", KERAS)
def test_weights_alone_say_what_to_do(version, canary):
    path = canary.directory / "model.weights.h5"
    hostile.build(version).save_weights(path)
    refused(canary, path, "weights and no model: build the model in Python, call its load_weights")


@pytest.mark.parametrize("version", KERAS)
def test_an_hdf5_file_loads(version, tmp_path):
    path = tmp_path / "model.h5"
    original = hostile.build(version)
    original.save(path)
    np.testing.assert_allclose(ft_tf.load_model(path)(X), np.asarray(original(X)), atol=1e-6)


def test_functions_of_tensorflow_that_only_compute_load(tmp_path):
    start = keras.Input((6,))
    moved = tf.nn.relu(tf.reshape(start + 1.0, [-1, 2, 3])) * 2.0
    joined = tf.concat([moved[:, :1], 1.0 - tf.math.softplus(moved)], axis=1)
    model = keras.Model(start, keras.layers.Dense(3)(keras.layers.Flatten()(joined)))
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(ft_tf.load_model(tmp_path / name)(X), model(X))


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
    if version == "3" and kind == "preprocessing":
        layers = layers[:2]  # the others have no counterpart in Keras 2
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


def test_a_registered_layer_that_is_refused_is_told_the_true_reason(tmp_path):
    """It may load, and has no counterpart in Keras 2; a name that is not registered is shown."""

    @KERAS["3"].saving.register_keras_serializable("hostile_test")
    class Doubling(KERAS["3"].layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    path = tmp_path / "model.keras"
    module = KERAS["3"]
    module.Sequential([module.Input((6,)), Doubling(name="twice")]).save(path)
    with pytest.raises(ModelError, match=r"layer 'twice' \(Doubling\) is a class of its own"):
        ft_tf.load_model(path)
    parts = hostile.parts_of(path)
    parts["config.json"] = parts["config.json"].replace(b"hostile_test>", b"other>")
    hostile.write_parts(path, parts)
    wanted = r"not registered here as 'other>Doubling': register it with keras\.saving\.|of the mod"
    with pytest.raises(ModelError, match=wanted):
        ft_tf.load_model(path)


def test_operations_are_judged_under_any_name_of_their_module(canary):
    """Versions of Keras 2 differ in where they say that the layer is."""
    for module in (OP_MODULE, "keras.src.layers.core.tf_op_layer", "keras.layers"):

        def change(config, module=module):
            with_operation("io.write_file", canary.written(), contents="x")(config)
            config["config"]["layers"][-1]["module"] = module

        path = canary.directory / "model.keras"
        hostile.configured("2", path, change)
        refused(canary, path, "calls tf.io.write_file|needs 'TFOpLambda'|needs the class")
