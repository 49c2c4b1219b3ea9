"""Hostile model files: each gets one line, and nothing is run, written, read or imported."""

import json
import types
from pathlib import Path

import h5py
import hostile_files as hostile
import numpy as np
import pytest
from canary import MODULE
from hostile_files import KERAS, OP_MODULE, function, with_hidden, with_layer, with_operation

import ft_tf
from ft_tf._compat import keras
from ft_tf.errors import ModelError
from ft_tf.models.archive import RefusedError
from ft_tf.models.keras2 import TensorFlowFunction


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
    keras_2 = KERAS["2"]
    model = keras_2.Sequential([keras_2.Input((6,)), keras_2.layers.Dense(3, name="hidden")])
    model.save(path)
    parts = hostile.parts_of(path)
    config = json.loads(parts["config.json"])
    layer = hostile.hidden(config)
    for key in ("module", "registered_name", "build_config"):
        layer.pop(key, None)
    written = canary.written()
    code = keras_2.src.utils.generic_utils.func_dump(
        eval(f"lambda x: open({written!r}, 'w') and x")
    )
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


def literal(kind, **config):
    return with_layer("Rescaling", scale={"class_name": kind, "config": config})


MANY = {"class_name": "__tuple__", "items": [1] * 10_001}
NODE = ["start", 0, 0]
OUTPUTS = {
    "unstack": ("3", with_layer("Unstack", "keras.src.ops.core", num=10_001, axis=1)),
    "split": ("3", with_layer("Split", "keras.src.ops.numpy", indices_or_sections=1e5, axis=1)),
    "places": ("3", with_layer("Split", "keras.src.ops.numpy", indices_or_sections=MANY)),
    "array": (
        "3", with_layer("Unstack", "keras.src.ops.core", num={
            "class_name": "__numpy__", "config": {"value": 10_001, "dtype": "int64"},
        }),
    ),
    "tf.unstack": ("2", with_operation("unstack", None, [*NODE, {"num": 10_001, "axis": 1}])),
    "tf.split": ("2", with_operation("split", None, [*NODE, {"num_or_size_splits": 10_001}])),
    "tf.split, sizes": (
        "2", with_operation("split", None, [*NODE, {"num_or_size_splits": [1] * 10_001}]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTPUTS)
def test_layers_of_many_outputs(case, canary):
    version, change = OUTPUTS[case]
    path = canary.directory / "model.keras"
    hostile.configured(version, path, change)
    refused(
        canary, path, r"has num\w*=.*, more than 10,000 outputs|has indices_or_sections=.*, more"
    )


@pytest.mark.parametrize("change", [
    with_layer("Unstack", "keras.src.ops.core", num=None, axis=1),
    with_layer("Split", "keras.src.ops.numpy", indices_or_sections=6, axis=1),
])  # fmt: skip
def test_outputs_that_the_description_does_not_count(change, canary, monkeypatch):
    """As many as the input is wide, or the same few again at each call."""
    monkeypatch.setattr("ft_tf.models.limits.MOST_TENSORS", 5)
    path = canary.directory / "model.keras"
    hostile.configured("3", path, change)
    refused(canary, path, "its layers have more than 5 outputs")
    keras.Input((6,))


@pytest.mark.parametrize("arguments", [
    {"num": None, "axis": 1}, {"num": 10_001}, {"num_or_size_splits": 10_001},
    {"num_or_size_splits": [1] * 10_001},
])  # fmt: skip
def test_a_function_of_tensorflow_with_many_outputs(arguments):
    """Counted where it is called too: by the shape, or in a file that names ft_tf's own layer."""
    name = "unstack" if "num" in arguments else "split"
    with pytest.raises(RefusedError, match="has 10,001 outputs, more than 10,000"):
        TensorFlowFunction(name)(keras.Input((10_001,)), **arguments)


TYPES = ("S2000000000", "U5", "V5", "O", "(500000000,)i4", "string", None, ["f4"], "datetime64[s]")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["__numpy__", "__tensor__", "__keras_tensor__"])
def test_values_are_numbers(kind, dtype, canary):
    if dtype == "string" and kind != "__numpy__":
        return  # of a fixed size, in TensorFlow
    path = canary.directory / "model.keras"
    hostile.configured("3", path, literal(kind, value=["a"], dtype=dtype))
    refused(canary, path, r"layer 'hidden' \(Rescaling\) has values of dtype=.*, which is no type")


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


def test_operations_are_judged_under_any_name_of_their_module(canary):
    """Versions of Keras 2 differ in where they say that the layer is."""
    for module in (OP_MODULE, "keras.src.layers.core.tf_op_layer", "keras.layers"):

        def change(config, module=module):
            with_operation("io.write_file", canary.written(), contents="x")(config)
            config["config"]["layers"][-1]["module"] = module

        path = canary.directory / "model.keras"
        hostile.configured("2", path, change)
        refused(canary, path, "calls tf.io.write_file|needs 'TFOpLambda'|needs the class")


def test_a_function_of_tensorflow_in_a_file_of_keras_3(canary):
    """ft_tf's own layer for such functions, which a file may name, has the same list."""

    def change(config):
        hostile.hidden(config).update(
            class_name="TensorFlowFunction", module="ft_tf.models.keras2",
            registered_name="ft_tf>TensorFlowFunction",
            config={"name": "hidden", "function": "io.write_file"},
        )  # fmt: skip

    path = canary.directory / "model.keras"
    hostile.configured("3", path, change)
    refused(canary, path, "calls tf.io.write_file, which is not allowed")


@pytest.mark.parametrize(
    "option",
    [
        {"quantization_config": {
            "class_name": "GPTQConfig", "module": "keras.quantizers", "registered_name": None,
            "config": {"dataset": None, "tokenizer": None},
        }},
        {"dtype": {
            "class_name": "DTypePolicy", "module": MODULE, "registered_name": "Act", "config": {},
        }},
    ],
)  # fmt: skip
def test_options_that_keras_3_alone_has(option, canary):
    path = canary.directory / "model.keras"
    hostile.configured("3", path, with_hidden(**option))
    refused(canary, path, "needs '(GPTQConfig|DTypePolicy)' of the module")
