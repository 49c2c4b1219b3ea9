"""Hostile containers: zip, HDF5 and JSON that Keras does not write get one line, unopened."""

import h5py
import hostile_files as hostile
import numpy as np
import pytest
from hostile_files import KERAS

import ft_tf
from ft_tf.errors import ModelError


def refused(canary, path, match):
    with canary.refuses(ModelError, match):
        ft_tf.load_model(path)


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
