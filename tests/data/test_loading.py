import socket
import subprocess
import sys

import numpy as np
import pytest
from published_files import TINY_FASHION_MNIST, random_arrays, write_idx

from ft_tf.data import load, loading
from ft_tf.errors import ArgumentError, DataError, DataNotFoundError


@pytest.fixture(autouse=True)
def fresh_machine(monkeypatch, tmp_path):
    """No data set in TFDS's default directory, none of Debian's, and no network."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    monkeypatch.setattr(loading, "DEBIAN_DIRECTORY", tmp_path / "debian")


def put_debian_files(directory, monkeypatch):
    directory.mkdir()
    monkeypatch.setitem(loading.IMAGE_SPECS, "fashion_mnist", TINY_FASHION_MNIST)
    arrays = random_arrays(TINY_FASHION_MNIST)
    write_idx(directory, arrays)
    return arrays


def test_a_fresh_machine_gets_the_sample():
    dataset = load("fashion_mnist")
    assert dataset.is_sample and len(dataset.x_train) == 6000
    assert load("fashion_mnist", source="embedded-sample").fingerprint == dataset.fingerprint
    assert load("fashion_mnist", source=dataset.source).fingerprint == dataset.fingerprint


def test_debian_s_files_come_before_the_sample(tmp_path, monkeypatch):
    arrays = put_debian_files(tmp_path / "debian", monkeypatch)
    dataset = load("fashion_mnist")
    assert dataset.source == "debian:dataset-fashion-mnist" and not dataset.is_sample
    np.testing.assert_array_equal(np.rint(dataset.x_test * 255), arrays["x_test"])
    np.testing.assert_array_equal(dataset.y_train, arrays["y_train"])
    assert load("fashion_mnist", source="embedded-sample").is_sample


def test_debian_s_files_must_be_the_whole_set(tmp_path, monkeypatch):
    directory = tmp_path / "debian"
    directory.mkdir()
    write_idx(directory, random_arrays(TINY_FASHION_MNIST))
    with pytest.raises(DataError, match=r"expected \(60000, 28, 28\)"):
        load("fashion_mnist")


def test_a_broken_place_is_not_skipped(tmp_path, monkeypatch):
    put_debian_files(tmp_path / "debian", monkeypatch)
    (tmp_path / "debian" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz"):
        load("fashion_mnist")


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_named_directory_never_falls_through(tmp_path, name):
    missing = tmp_path / "missing"
    with pytest.raises(DataError, match=rf"data_dir='{missing}' is not a directory") as caught:
        load(name, data_dir=missing)
    assert not isinstance(caught.value, DataNotFoundError)
    with pytest.raises(DataNotFoundError, match=rf"data_dir='{tmp_path}' does not hold {name}"):
        load(name, tmp_path)


def test_what_is_broken_is_not_called_absent(tmp_path):
    directory = tmp_path / "cifar10" / "3.0.2"
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="dataset_info.json: cannot be read") as caught:
        load("cifar10", tmp_path)
    assert not isinstance(caught.value, DataNotFoundError)


def test_an_unfinished_preparation_does_not_count(tmp_path):
    (tmp_path / "cifar10" / "incomplete.x_3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "incomplete.x_3.0.2" / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="does not hold cifar10"):
        load("cifar10", data_dir=tmp_path)


def test_absent_data_says_what_to_do(tmp_path):
    with pytest.raises(
        DataNotFoundError, match=r"dataset='cifar10' is not in .*default.*--download"
    ):
        load("cifar10")
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist"):
        load("fashion_mnist", source="debian")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mnist", {}, "dataset='mnist' must be one of fashion_mnist, cifar10, circles"),
        ("cifar10", {"source": "embedded-sample"}, "source='embedded-sample' must be one of tfds"),
        ("circles", {"source": "tfds"}, "source='tfds' must be one of sklearn.make_circles"),
        ("fashion_mnist", {"source": "debian", "data_dir": "d"}, "does not read data_dir='d'"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        load(name, **arguments)


def test_a_full_source_is_held_to():
    with pytest.raises(DataError, match=r"6001\+1000' was asked for, but .*6000\+1000"):
        load("fashion_mnist", source="embedded-sample:fashion_mnist:6001+1000")


def test_the_sample_needs_no_tensorflow(tmp_path):
    script = (
        "import sys, ft_tf.data as d; d.load('fashion_mnist', source='embedded-sample');"
        "d.load('circles'); assert not {'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
