"""Builders of hostile model files, for tests: a good file with one part replaced."""

import functools
import json
import pickle
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import tf_keras

from ft_tf._compat import keras

KERAS = {"2": tf_keras, "3": keras}
OP_MODULE = "tf_keras.src.layers.core.tf_op_layer"


def build(version):
    module = KERAS[version]
    start = module.Input((6,), name="start")
    hidden = module.layers.Dense(5, activation="relu", name="hidden")(start)
    return module.Model(start, module.layers.Dense(3, name="end")(hidden))


@functools.cache
def _saved(version, suffix):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"model{suffix}"
        build(version).save(path)
        return path.read_bytes()


def good(version, path):
    path.write_bytes(_saved(version, path.suffix))


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_parts(path, parts, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def replaced(version, path, **parts):
    """A good file with members replaced or added; "." is written as "__" in their names."""
    good(version, path)
    write_parts(path, parts_of(path) | {n.replace("__", "."): c for n, c in parts.items()})


def configured(version, path, change):
    """A good file whose configuration `change` has changed."""
    good(version, path)
    parts = parts_of(path)
    config = json.loads(parts["config.json"])
    change(config)
    write_parts(path, parts | {"config.json": json.dumps(config).encode()})


def hidden(config):
    return config["config"]["layers"][1]


def with_hidden(**options):
    """Options of the hidden Dense layer, replaced."""
    return lambda config: hidden(config)["config"].update(options)


def with_layer(class_name, module="keras.layers", **options):
    """The hidden layer, replaced by another class."""

    def change(config):
        layer = hidden(config)
        layer.update(
            {"class_name": class_name, "module": module, "registered_name": None},
            config={"name": "hidden", **options},
        )
        layer.pop("build_config", None)

    return change


def with_operation(function, first, node=None, **arguments):
    """A layer of Keras 2 that calls a function of TensorFlow on constants."""

    def change(config):
        options = {"name": "evil", "trainable": True, "dtype": "float32", "function": function}
        config["config"]["layers"].append(
            {
                "module": OP_MODULE, "class_name": "TFOpLambda", "config": options,
                "registered_name": "TFOpLambda", "name": "evil",
                "inbound_nodes": [node or ["_CONSTANT_VALUE", -1, first, arguments]],
            }
        )  # fmt: skip

    return change


def function(name, module, registered=None):
    return {
        "class_name": "function", "config": name, "module": module,
        "registered_name": registered or name,
    }  # fmt: skip


def weights(version, path, change, target="model.weights.h5"):
    """A good .keras file whose weights `change` has changed; or a .h5 file, changed in place."""
    if path.suffix == ".h5":
        good(version, path)
        with h5py.File(path, "a") as file:
            change(file)
        return
    good(version, path)
    parts = parts_of(path)
    inside = path.with_name("inside.h5")
    inside.write_bytes(parts[target])
    with h5py.File(inside, "a") as file:
        change(file)
    write_parts(path, parts | {target: inside.read_bytes()})
    inside.unlink()


def first_weight(file):
    """The parent and the name of a dataset that Keras reads."""
    found = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    parent, _, name = found[0].rpartition("/")
    return file[parent], name


def in_place_of_a_weight(make):
    def change(file):
        parent, name = first_weight(file)
        shape = parent[name].shape
        del parent[name]
        make(parent, name, shape)

    return change


def external_storage(secret):
    def make(parent, name, shape):
        size = int(np.prod(shape)) * 4
        parent.create_dataset(name, shape, "f4", external=[(str(secret), 0, size)])

    return in_place_of_a_weight(make)


def external_link(target):
    def make(parent, name, shape):
        parent[name] = h5py.ExternalLink(str(target), "/values")

    return in_place_of_a_weight(make)


def soft_link(parent, name, shape):
    parent[name] = h5py.SoftLink("/nowhere/else")


def virtual(target):
    def make(parent, name, shape):
        layout = h5py.VirtualLayout(shape, "f4")
        layout[...] = h5py.VirtualSource(str(target), "values", shape)
        parent.create_virtual_dataset(name, layout)

    return in_place_of_a_weight(make)


def never_written(parent, name, shape):
    parent.create_dataset(name, (1 << 36,), "f4", fillvalue=1.0)


def compressed(parent, name, shape):
    parent.create_dataset(name, (1 << 24,), "f4", compression="gzip", fillvalue=1.0)


def references(parent, name, shape):
    parent.create_dataset(name, shape, h5py.ref_dtype)


def regions(parent, name, shape):
    parent.create_dataset(name, shape, h5py.regionref_dtype)


def lists(parent, name, shape):
    parent.create_dataset(name, shape, h5py.vlen_dtype(np.float32))


def circle(file):
    file["round"] = file["/"]


def one_text_many_times(file):
    """An attribute whose thousands of texts are one long text in the file."""
    file.attrs["long"] = "x" * (8 << 20)
    names = np.array(["y"] * 1000, dtype=h5py.string_dtype())
    file.create_group("names").attrs["layer_names"] = names


def symbolic_link(version, path):
    good(version, path)
    parts = parts_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name)
            if name == "model.weights.h5":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = b"/etc/passwd"
            archive.writestr(info, content)


def twice(version, path):
    good(version, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")


def packed_zeros(member, size):
    def make(version, path):
        good(version, path)
        parts = parts_of(path) | {member: b"\0" * size}
        write_parts(path, parts, compression=zipfile.ZIP_DEFLATED)

    return make


def many_members(version, path):
    good(version, path)
    write_parts(path, parts_of(path) | {f"{number}": b"" for number in range(5000)})


def huge_directory(version, path):
    """The directory's size is a lie, which `zipfile` would try to read."""
    good(version, path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"PK\5\6") + 12, 0xFFFFFF00)
    path.write_bytes(content)


def huge_zip64_directory(version, path):
    """The same in a file that says to be over 4 GiB."""
    good(version, path)
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    record = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 3, 3, 1 << 30, 0)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, end, 1)
    path.write_bytes(content[:end] + record + locator + content[end:])


def pickled(target):
    """Bytes that create a file when they are unpickled."""

    class Bomb:
        def __reduce__(self):
            return open, (str(target), "w")

    return pickle.dumps(Bomb())
