"""Hostile data files: each gets one line, and nothing is run, written, read or imported."""

import gzip
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from canary import MODULE, Call
from published_files import (
    TINY_CIFAR10,
    TINY_FASHION_MNIST,
    python2_batch,
    random_arrays,
    write_cifar_python,
    write_idx,
)

from ft_tf import records
from ft_tf.data import own, prepare, tfds_source
from ft_tf.data.cifar import read_binary_batch, read_python_batch
from ft_tf.data.idx import read_idx
from ft_tf.errors import DataError, RunError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data_dir, source = tmp_path_factory.mktemp("tfds"), tmp_path_factory.mktemp("idx")
    write_idx(source, random_arrays(TINY_FASHION_MNIST))
    return prepare.prepare(
        "fashion_mnist", source_dir=source, data_dir=data_dir, spec=TINY_FASHION_MNIST
    )


@pytest.fixture
def directory(prepared, canary):
    found = canary.directory / "fashion_mnist" / "3.0.1"
    shutil.copytree(prepared, found)
    return found


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(canary, directory, match):
    with canary.refuses(DataError, match):
        tfds_source.read(directory, TINY_FASHION_MNIST)


def features(**named):
    return lambda content: content["featuresDict"]["features"].update(named)


FOREIGN = {"pythonClassName": f"{MODULE}.Act", "image": {}}
OLD = {"type": f"{MODULE}.Act", "content": {}}
CLASSES = {
    "the image": features(image=FOREIGN),
    "another feature": features(other=FOREIGN),
    "an older format": features(other=OLD),
    "all": lambda content: content.update(pythonClassName=f"{MODULE}.Act"),
    "all, an older format": lambda content: content.update(OLD),
    "of this library": features(other={"pythonClassName": "ft_tf.data.Dataset", "x": {}}),
    "of TFDS": features(
        other={
            "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
            "sequence": {"feature": FOREIGN},
        }
    ),
    "of no kind": features(other={"text": {}}),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_that_features_name_is_not_imported(case, directory, canary):
    changed(directory / "features.json", CLASSES[case])
    refused(canary, directory, r"features\.json: names the class .*; of features, only images")


def test_an_older_description_of_features_is_read(directory):
    """What TFDS wrote before 2022, with the same meaning."""
    path = directory / "features.json"
    new = json.loads(path.read_text())["featuresDict"]["features"]
    content = {
        name: {
            "type": described["pythonClassName"],
            "content": next(v for k, v in described.items() if k != "pythonClassName"),
        }
        for name, described in new.items()
    }
    content["image"]["content"] = {"shape": [28, 28, 1], "dtype": "uint8"}
    name = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    path.write_text(json.dumps({"type": name, "content": content}))
    assert len(tfds_source.read(directory, TINY_FASHION_MNIST).arrays["x_train"]) == 150


def split(**changes):
    return lambda content: content["splits"][0].update(changes)


INFINITE = float("inf")
DESCRIPTIONS = {
    "endless shards": (split(shardLengths=[INFINITE]), "not a TFDS data set"),
    "shards of no number": (split(shardLengths=["9" * 4300] * 2), "not a TFDS data set"),
    "a path": (split(filepathTemplate="../../../secret.txt"), "file names must follow"),
    "an absolute path": (split(filepathTemplate="/etc/passwd"), "file names must follow"),
    "an address": (split(filepathTemplate="gs://bucket/{SPLIT}"), "file names must follow"),
    "negative shards": (split(shardLengths=["-150", "300"]), "holds 150 train"),
    "many shards": (split(shardLengths=["0"] * 200 + ["150"]), "holds 150 train"),
    "other lengths": (split(shardLengths="1e9"), "not a TFDS data set"),
    "no splits": (lambda content: content.update(splits=7), "not a TFDS data set"),
    "another format": (lambda content: content.update(fileFormat="riegeli"), "must be tfrecord"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_record_files_lie_in_the_directory(case, directory, canary):
    change, reason = DESCRIPTIONS[case]
    changed(directory / "dataset_info.json", change)
    refused(canary, directory, reason)


def image(**changes):
    return lambda content: content["featuresDict"]["features"]["image"]["image"].update(changes)


FEATURES = {
    "classes": lambda content: content["featuresDict"]["features"]["label"]["classLabel"].update(
        numClasses=INFINITE
    ),
    "shape": image(shape={"dimensions": [INFINITE, 1, 1]}),
    "shape of no list": image(shape=5),
    "type": image(shape=[1], dtype="a\nb" * 10_000),
    "shapes": image(shape=[1] * 10_000),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_of_no_image(case, directory, canary):
    changed(directory / "features.json", FEATURES[case])
    with canary.refuses(DataError, r"features\.json: must have an Image|images must have one size"):
        tfds_source.spec_of(directory, "unknown")
    if case != "classes":
        refused(canary, directory, r"features\.json: ")


@pytest.mark.parametrize("pattern", ["dataset_info.json", "features.json", "*-train.tfrecord*"])
def test_a_file_of_tfds_that_nobody_writes_to(pattern, directory, canary):
    path = next(directory.glob(pattern))
    path.unlink()
    os.mkfifo(path)
    refused(canary, directory, "not a regular file")


def test_other_files_that_nobody_writes_to(tmp_path):
    """Reading them waits for ever."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        os.mkfifo(tmp_path / "images" / name / "x.png")
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"x\.png: is no PNG, JPEG or BMP image"):
        own.read(tmp_path / "images")
    with pytest.raises(DataError, match=r"x\.npz' cannot be read \(not a regular file\)"):
        own.read(tmp_path / "x.npz")
    for read in (read_python_batch, read_binary_batch):
        with pytest.raises(DataError, match=r"x\.npz: "):
            read(tmp_path / "x.npz", 4, TINY_CIFAR10)
    with pytest.raises(RunError, match=r"x\.npz cannot be read \(not a regular file\)"):
        records.load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_descriptions_of_any_depth_and_size(name, directory, canary):
    (directory / name).write_text("[" * 200_000)
    refused(canary, directory, f"{name}.*nested 200,000 levels deep")
    (directory / name).write_text('{"a": "' + "x" * (17 << 20) + '"}')
    refused(canary, directory, f"{name}.*bytes, too many")


def crc32c(data):
    """The checksum of a TFRecord's length, masked as the format says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, 1 << 60, (1 << 64) - 20])
def test_a_record_longer_than_its_file(length, directory, canary):
    """TensorFlow ends the whole process at a length of 2**60."""
    path = next(directory.glob("*-train.tfrecord*"))
    header = struct.pack("<Q", length)
    path.write_bytes(header + crc32c(header) + b"x" * 100)
    refused(canary, directory, rf"{path.name}.*a record of {length:,} bytes")


def test_a_record_that_could_unpack_to_much(directory, canary):
    """An image of 10,000 x 10,000 pixels takes 100 kB as PNG, and 100 MB of memory."""
    path = next(directory.glob("*-train.tfrecord*"))
    header = struct.pack("<Q", 100_000)
    path.write_bytes(header + crc32c(header) + b"x" * 100_004)
    refused(canary, directory, "a record of 100,000 bytes")


def opcodes(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def object_array(_):
    """Eight bytes as the pointer of an array of objects, which its iterator follows."""
    integer = lambda value: b"J" + struct.pack("<i", value)  # noqa: E731
    ends = integer(3) + b"X\1\0\0\0|" + b"NNN" + integer(-1) * 2 + integer(0)
    dtype = b"cnumpy\ndtype\nX\2\0\0\0O8\x89\x88\x87R(" + ends + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"
    state = b"(K\1K\1\x85" + dtype + b"\x89C\x08AAAAAAAAtb"
    return opcodes(b"cnumpy\nndarray\n(", array, state, b"tR")


BATCHES = {
    "object array": object_array,
    "nested key": lambda _: opcodes(b"})", b"2\x86" * 60, b"K\1s"),
    "nested key by number": lambda _: opcodes(
        b"})", *(b"q%ch%c\x86" % (i, i) for i in range(60)), b"K\1s"
    ),
    "many instructions": lambda _: opcodes(b"]" * 20_000),
    "import": lambda _: pickle.dumps({b"data": 1})[:-1] + f"c{MODULE}\nAct\n.".encode(),
    "call": lambda canary: pickle.dumps(Call(open, canary.written(), "w"), 2),
    "stack global": lambda _: opcodes(b"\x8c\x0e" + MODULE.encode() + b"\x8c\x03Act\x93"),
    "copyreg": lambda _: opcodes(b"ccopyreg\n_reconstructor\n"),
    "memo": lambda _: opcodes(b"}r\xff\xff\xff\x7f"),
    "memo by text": lambda _: opcodes(b"}p2000000000\n"),
    "bytes": lambda _: opcodes(b"\x8e" + struct.pack("<Q", 1 << 60)),
    "frame": lambda _: opcodes(b"\x95" + struct.pack("<Q", 1 << 60)),
    "deep": lambda _: opcodes(b"]" * 100_000, b"a" * 99_999),
    "array": lambda _: pickle.dumps({b"data": Call(np.ndarray, (1 << 50,), "u1")}, 2),
    "large": lambda _: pickle.dumps({b"data": b"\0" * (1 << 22), b"labels": []}),
}  # fmt: skip


@pytest.mark.parametrize("case", BATCHES)
def test_pickled_batches_of_every_kind(case, canary):
    path = canary.directory / "data_batch_1"
    path.write_bytes(BATCHES[case](canary))
    with canary.refuses(DataError, "data_batch_1: not a CIFAR-10 batch", peak=32 << 20):
        read_python_batch(path, 4, TINY_CIFAR10)


@pytest.mark.parametrize("change", [
    (b"u1", b"i1"), (b"u1", b"O8"), (b"M\0\x0c\x86", b"M\0\x0b\x86"), (b"K\4M", b"K\5M"),
])  # fmt: skip
def test_arrays_other_than_the_bytes_they_hold(change, canary):
    path = canary.directory / "data_batch_1"
    content = python2_batch(np.zeros((4, 3072), np.uint8), [0] * 4)
    assert content.count(change[0]) == 1
    path.write_bytes(content.replace(*change))
    with canary.refuses(DataError, "data_batch_1: not a CIFAR-10 batch", peak=1 << 20):
        read_python_batch(path, 4, TINY_CIFAR10)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_that_python_3_has_saved_again(protocol, order, tmp_path):
    data = np.arange(4 * 3072).reshape(4, 3072).astype(np.uint8, order=order)
    batch = {b"data": data, b"labels": [3, 1, 2, 0], "filenames": ["a.png", b"b.png"]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    images, labels = read_python_batch(tmp_path / "data_batch_1", 4, TINY_CIFAR10)
    np.testing.assert_array_equal(images[..., 1].reshape(4, -1), data[:, 1024:2048])
    np.testing.assert_array_equal(labels, [3, 1, 2, 0])


def test_published_batches_are_read(tmp_path):
    arrays = random_arrays(TINY_CIFAR10)
    write_cifar_python(tmp_path, arrays)
    images, _ = read_python_batch(tmp_path / "data_batch_1", 4, TINY_CIFAR10)
    np.testing.assert_array_equal(images, arrays["x_train"][:4])


IDX_FILES = {
    "bomb": gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 10) + b"\0" * (64 << 20), 1),
    "declared": b"\0\0\x08\1" + struct.pack(">I", (1 << 32) - 1) + b"\0" * 10,
    "truncated": gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 10) + b"\0" * 10)[:-12],
}


@pytest.mark.parametrize("case", IDX_FILES)
def test_idx_files_that_are_not_what_they_say(case, canary):
    path = canary.directory / f"labels{'' if case == 'declared' else '.gz'}"
    path.write_bytes(IDX_FILES[case])
    with canary.refuses(DataError, "labels", peak=4 << 20):
        read_idx(path, (10,))


def test_reading_a_directory_imports_no_tfds(directory):
    code = (
        "import sys, pathlib; from ft_tf.data import tfds_source; import published_files as files;"
        f"tfds_source.read(pathlib.Path({str(directory)!r}), files.TINY_FASHION_MNIST);"
        "assert 'tensorflow_datasets' not in sys.modules"
    )
    here = Path(__file__).parent
    environment = {"PYTHONPATH": f"{here}:{here.parent.parent}", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
