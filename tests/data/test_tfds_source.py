"""Preparing and reading TFDS directories; TFDS's own pipeline is the reference for both."""

import dataclasses
import json
import os
import shutil
import stat

import numpy as np
import pytest
import tensorflow_datasets as tfds
from published_files import (
    TINY_CIFAR10,
    TINY_FASHION_MNIST,
    random_arrays,
    write_cifar_binary,
    write_idx,
)

from ft_tf._compat import tf
from ft_tf.data import load, loading, prepare, tfds_source
from ft_tf.data.specs import CIFAR10
from ft_tf.errors import ArgumentError, DataError, DataNotFoundError

SPECS = {"fashion_mnist": TINY_FASHION_MNIST, "cifar10": TINY_CIFAR10}
WRITERS = {"fashion_mnist": write_idx, "cifar10": write_cifar_binary}
FULL_DATA_DIR = os.environ.get("FT_TF_TEST_DATA_DIR")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """By name: the arrays, and the TFDS directory that `prepare` made of their files."""
    data_dir = tmp_path_factory.mktemp("tfds")
    made = {}
    for name, spec in SPECS.items():
        arrays = random_arrays(spec)
        source = tmp_path_factory.mktemp(name)
        WRITERS[name](source, arrays)
        directory = prepare.prepare(name, source_dir=source, data_dir=data_dir, spec=spec)
        made[name] = arrays, directory
    return made


@pytest.fixture
def copied(prepared, tmp_path):
    """A copy of the prepared Fashion-MNIST that a test may damage."""
    directory = tmp_path / "fashion_mnist" / "3.0.1"
    shutil.copytree(prepared["fashion_mnist"][1], directory)
    return directory


def refused(directory, match, spec=TINY_FASHION_MNIST):
    with pytest.raises(DataError, match=match) as raised:
        tfds_source.read(directory, spec)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", SPECS)
def test_tfds_itself_reads_what_was_prepared(prepared, name):
    arrays, directory = prepared[name]
    for split in ("train", "test"):
        data = tfds.load(name, data_dir=directory.parent.parent, download=False, split=split)
        rows = list(data.as_numpy_iterator())
        np.testing.assert_array_equal([row["image"] for row in rows], arrays[f"x_{split}"])
        np.testing.assert_array_equal([row["label"] for row in rows], arrays[f"y_{split}"])
        if name == "cifar10":
            assert rows[1]["id"] == f"{split}_00001".encode()
    builder = tfds.builder(name, data_dir=directory.parent.parent)
    assert builder.info.features["label"].names == list(SPECS[name].class_names)
    assert str(builder.version) == directory.name
    pairs = builder.as_dataset(split="test", as_supervised=True)
    assert len(next(iter(pairs))) == 2


@pytest.mark.parametrize("name", SPECS)
def test_read_gives_the_same_arrays(prepared, name, capfd):
    arrays, directory = prepared[name]
    stored = tfds_source.read(directory, SPECS[name])
    for key, values in arrays.items():
        np.testing.assert_array_equal(stored.arrays[key], values)
    assert stored.version == directory.name and stored.notes == ()
    assert capfd.readouterr() == ("", "")


def test_load_reads_the_highest_version_and_names_it(prepared, tmp_path, monkeypatch):
    monkeypatch.setitem(loading.IMAGE_SPECS, "cifar10", TINY_CIFAR10)
    arrays, directory = prepared["cifar10"]
    for version in ("3.0.2", "3.0.10"):
        shutil.copytree(directory, tmp_path / "cifar10" / version)
    for given in ({"data_dir": tmp_path}, {}):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        dataset = load("cifar10", **given)
        assert dataset.source == "tfds:cifar10:3.0.10"
        np.testing.assert_array_equal(np.rint(dataset.x_train * 255), arrays["x_train"])
    assert str(tmp_path) not in dataset.describe()


def test_load_refuses_another_number_of_rows(prepared):
    data_dir = prepared["cifar10"][1].parent.parent
    with pytest.raises(DataError, match="holds 20 train examples, cifar10 has 50000"):
        load("cifar10", data_dir=data_dir)


def test_no_downloading_unless_asked(monkeypatch, tmp_path, prepared):
    asked = []

    class Builder:
        data_dir = prepared["cifar10"][1]

        def download_and_prepare(self):
            asked.append("download_and_prepare")

    def builder(name, *, data_dir):
        asked.append((name, data_dir))
        return Builder()

    monkeypatch.setattr(tfds, "builder", builder)
    monkeypatch.setitem(loading.IMAGE_SPECS, "cifar10", TINY_CIFAR10)
    with pytest.raises(DataError):
        load("cifar10", data_dir=tmp_path)
    assert not asked
    assert load("cifar10", data_dir=tmp_path, download=True).source == "tfds:cifar10:3.0.2"
    assert asked == [("cifar10", str(tmp_path)), "download_and_prepare"]


def test_a_failed_download_is_one_line(monkeypatch, tmp_path):
    def builder(name, *, data_dir):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(tfds, "builder", builder)
    with pytest.raises(
        DataNotFoundError, match=r"cannot be downloaded to data_dir=.* \(no route\)"
    ):
        load("cifar10", data_dir=tmp_path, download=True)


def write_shards(directory, arrays, encode, shards):
    """Replaces the training records by `shards` files; `encode` gives an image's bytes."""
    for old in directory.glob("*-train.tfrecord-*"):
        old.unlink()
    info = json.loads((directory / "dataset_info.json").read_text())
    rows = np.array_split(np.arange(len(arrays["y_train"])), shards)
    for number, part in enumerate(rows):
        path = directory / f"fashion_mnist-train.tfrecord-{number:05d}-of-{shards:05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in part:
                image = tf.train.BytesList(value=[encode(arrays["x_train"][row]).numpy()])
                label = tf.train.Int64List(value=[int(arrays["y_train"][row])])
                feature = {
                    "image": tf.train.Feature(bytes_list=image),
                    "label": tf.train.Feature(int64_list=label),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    info["splits"][0]["shardLengths"] = [str(len(part)) for part in rows]
    (directory / "dataset_info.json").write_text(json.dumps(info))


def test_shards_are_read_in_order_and_a_short_one_is_named(copied, prepared):
    arrays, _ = prepared["fashion_mnist"]
    write_shards(copied, arrays, tf.io.encode_png, shards=3)
    stored = tfds_source.read(copied, TINY_FASHION_MNIST)
    np.testing.assert_array_equal(stored.arrays["x_train"], arrays["x_train"])
    np.testing.assert_array_equal(stored.arrays["y_train"], arrays["y_train"])

    first, second = sorted(copied.glob("*-train*"))[:2]
    shutil.copy(first, second)  # as many rows: only its contents are wrong, which nobody can see
    second.write_bytes(second.read_bytes() + first.read_bytes())
    refused(copied, f"{second.name}: holds more than the 50 examples")


def test_jpeg_images_are_noted(copied, prepared):
    arrays, _ = prepared["fashion_mnist"]
    write_shards(copied, arrays, lambda image: tf.io.encode_jpeg(image, quality=95), shards=1)
    stored = tfds_source.read(copied, TINY_FASHION_MNIST)
    assert len(stored.notes) == 1 and "JPEG" in stored.notes[0]


@pytest.mark.parametrize("description", ["Made from a JPEG re-encoding.", "read as jpg files"])
def test_a_jpeg_past_is_noted(copied, description):
    path = copied / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "description": description}))
    assert "JPEG" in tfds_source.read(copied, TINY_FASHION_MNIST).notes[0]


def test_every_kind_of_damage_to_a_record_file_names_the_file(copied):
    path = copied / "fashion_mnist-train.tfrecord-00000-of-00001"
    whole = path.read_bytes()
    first_record = 8 + 4 + int.from_bytes(whole[:8], "little") + 4
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (
        whole[: len(whole) // 2],  # in the middle of a record
        whole[:-first_record],  # in the middle of another
        whole[:first_record],  # after a whole record
        whole + whole[:first_record],
        bytes(flipped),
        b"",
        b"not a record file, but long enough to look like one",
    ):
        path.write_bytes(damaged)
        refused(copied, path.name)
    path.unlink()
    refused(copied, path.name)


def test_records_with_other_contents_name_the_file(copied, prepared):
    arrays, _ = prepared["fashion_mnist"]
    name = "fashion_mnist-train.tfrecord-00000-of-00001"
    write_shards(copied, arrays, lambda image: tf.io.encode_png(image[:20]), shards=1)
    refused(copied, name)
    write_shards(copied, arrays, lambda image: tf.constant(b"not an image"), shards=1)
    refused(copied, name)
    wrong = {**arrays, "y_train": np.full_like(arrays["y_train"], 10)}
    write_shards(copied, wrong, tf.io.encode_png, shards=1)
    refused(copied, f"{name}: labels range over 10..10")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"nothing": 1}'])
def test_broken_descriptions_are_named(copied, name, content):
    (copied / name).write_text(content)
    refused(copied, "json|not a TFDS data set")


def test_missing_descriptions_are_named(copied):
    (copied / "features.json").unlink()
    refused(copied, "features.json")


def test_another_shape_is_refused(prepared):
    _, directory = prepared["fashion_mnist"]
    spec = dataclasses.replace(TINY_FASHION_MNIST, shape=(32, 32, 3))
    refused(directory, r"\(28, 28, 1\) and dtype='uint8', .* \(32, 32, 3\)", spec)


def test_another_set_of_features_is_refused(copied):
    path = copied / "features.json"
    stored = json.loads(path.read_text())
    named = stored["featuresDict"]["features"]
    named["photo"] = named.pop("image")
    path.write_text(json.dumps(stored))
    refused(copied, "features.json.*Image `image`")


def test_prepare_never_overwrites(prepared, tmp_path):
    arrays, directory = prepared["fashion_mnist"]
    write_idx(tmp_path, arrays)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(DataError, match="exists and is never overwritten"):
        prepare.prepare(
            "fashion_mnist",
            source_dir=tmp_path,
            data_dir=directory.parent.parent,
            spec=TINY_FASHION_MNIST,
        )
    assert before == {path.name: path.read_bytes() for path in directory.iterdir()}


def test_prepare_leaves_nothing_beside_the_target(prepared):
    for _, directory in prepared.values():
        assert [path.name for path in directory.parent.iterdir()] == [directory.name]
        assert stat.S_IMODE(directory.stat().st_mode) & stat.S_IRUSR
        text = (directory / "dataset_info.json").read_text()
        assert "incomplete" not in text and str(directory) not in text


def test_prepare_refuses_before_it_writes(tmp_path):
    target = tmp_path / "data"
    with pytest.raises(DataError, match="from='nowhere' is not a directory"):
        prepare.prepare("cifar10", source_dir="nowhere", data_dir=target)
    with pytest.raises(DataError, match=r"holds no data_batch_1.bin"):
        prepare.prepare("cifar10", source_dir=tmp_path, data_dir=target)
    with pytest.raises(ArgumentError, match="dataset='circles'"):
        prepare.prepare("circles", source_dir=tmp_path, data_dir=target)
    assert not target.exists()


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    write_idx(tmp_path, random_arrays(TINY_FASHION_MNIST))
    full = OSError(28, "No space left on device")

    def fail(*_, **__):
        raise full

    monkeypatch.setattr(tfds.folder_dataset, "write_metadata", fail)
    with pytest.raises(DataError, match=r"data_dir=.* cannot be written .*No space left"):
        prepare.prepare(
            "fashion_mnist",
            source_dir=tmp_path,
            data_dir=tmp_path / "new" / "data",
            spec=TINY_FASHION_MNIST,
        )
    assert not (tmp_path / "new").exists()


def test_a_target_that_cannot_be_made_is_named(tmp_path):
    write_idx(tmp_path, random_arrays(TINY_FASHION_MNIST))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data_dir=.*file.* cannot be written"):
        prepare.prepare(
            "fashion_mnist",
            source_dir=tmp_path,
            data_dir=tmp_path / "file",
            spec=TINY_FASHION_MNIST,
        )


@pytest.mark.skipif(not FULL_DATA_DIR, reason="FT_TF_TEST_DATA_DIR names no full data")
def test_the_full_cifar10_is_the_one_that_tfds_reads():
    dataset = load("cifar10", data_dir=FULL_DATA_DIR)
    assert dataset.x_train.shape == (CIFAR10.num_train, *CIFAR10.shape)
    np.testing.assert_array_equal(np.bincount(dataset.y_train), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.y_test), [1000] * 10)
    builder = tfds.builder("cifar10", data_dir=FULL_DATA_DIR)
    rows = builder.as_dataset(split="test", shuffle_files=False).as_numpy_iterator()
    images = np.stack([row["image"] for row in rows])
    np.testing.assert_array_equal(np.rint(dataset.x_test * 255), images)
