import os
import pickle

import numpy as np
import pytest
from published_files import (
    TINY_CIFAR10,
    random_arrays,
    write_cifar_binary,
    write_cifar_python,
)

from ft_tf.data.cifar import read_cifar_directory, read_python_batch
from ft_tf.errors import DataError

ARRAYS = random_arrays(TINY_CIFAR10)


def assert_read(directory):
    found = read_cifar_directory(directory, TINY_CIFAR10)
    assert found.keys() == ARRAYS.keys()
    for key, values in ARRAYS.items():
        assert found[key].dtype == np.uint8
        np.testing.assert_array_equal(found[key], values)


@pytest.mark.parametrize("subfolder", ["", "cifar-10-batches-bin"])
def test_binary_batches(tmp_path, subfolder):
    (tmp_path / subfolder).mkdir(exist_ok=True)
    write_cifar_binary(tmp_path / subfolder, ARRAYS)
    assert_read(tmp_path)


@pytest.mark.parametrize("python", [2, 3])
@pytest.mark.parametrize("subfolder", ["", "cifar-10-batches-py"])
def test_python_batches(tmp_path, subfolder, python):
    (tmp_path / subfolder).mkdir(exist_ok=True)
    write_cifar_python(tmp_path / subfolder, ARRAYS, python)
    assert_read(tmp_path)


def test_planes_are_red_green_blue(tmp_path):
    write_cifar_binary(tmp_path, ARRAYS)
    row = bytes([3]) + bytes([1] * 1024) + bytes([2] * 1024) + bytes([3] * 1024)
    (tmp_path / "test_batch.bin").write_bytes(row * 3)
    found = read_cifar_directory(tmp_path, TINY_CIFAR10)
    np.testing.assert_array_equal(found["x_test"][2, 31, 0], [1, 2, 3])
    np.testing.assert_array_equal(found["y_test"], [3, 3, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "truncated: 12291 bytes"),
        (lambda data: data + b"\0", "too long"),
        (lambda data: b"\x0a" + data[1:], r"labels range over .*10, cifar10 has 0..9"),
    ],
)
def test_bad_binary_batches_are_named(tmp_path, change, message):
    write_cifar_binary(tmp_path, ARRAYS)
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as raised:
        read_cifar_directory(tmp_path, TINY_CIFAR10)
    assert str(raised.value).startswith(os.fspath(path))


def test_a_missing_batch_is_named(tmp_path):
    write_cifar_binary(tmp_path, ARRAYS)
    (tmp_path / "data_batch_5.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_5.bin"):
        read_cifar_directory(tmp_path, TINY_CIFAR10)


def test_an_archive_gets_advice(tmp_path):
    with pytest.raises(DataError, match=r"holds no data_batch_1.bin") as raised:
        read_cifar_directory(tmp_path, TINY_CIFAR10)
    assert "unpack" not in str(raised.value)
    (tmp_path / "cifar-10-binary.tar.gz").touch()
    with pytest.raises(DataError, match=r"unpack the .tar.gz first"):
        read_cifar_directory(tmp_path, TINY_CIFAR10)


class _Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        lambda marker: _Call(os.system, f"touch {marker}"),
        lambda marker: _Call(eval, f"open({str(marker)!r}, 'w')"),
        lambda marker: _Call(open, str(marker), "w"),
        lambda marker: _Call(np.save, str(marker), 1),
        lambda marker: _Call(np.memmap, str(marker), "uint8", "w+", 0, (1,)),
    ],
    ids=["os.system", "eval", "open", "numpy.save", "numpy.memmap"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_calls_is_refused_before_the_call(tmp_path, call, nested):
    marker = tmp_path / "called.npy"
    attack = call(marker)
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": [attack], b"labels": []} if nested else attack, 2))
    with pytest.raises(DataError, match=r"data_batch_1.*refused.*take the binary version"):
        read_python_batch(path, 4, TINY_CIFAR10)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the attack works where nothing stops it
    assert marker.exists()


def _batch(**changes):
    data = np.zeros((4, 3072), np.uint8)
    batch = {"data": data, "labels": [0, 1, 2, 3], **changes}
    return {key.encode(): value for key, value in batch.items()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps(_batch())[:-100],
        pickle.dumps([1, 2]),
        pickle.dumps({}),
        pickle.dumps(_batch(data=np.zeros((4, 3071), np.uint8))),
        pickle.dumps(_batch(data=np.zeros((4, 3072), np.int32))),
        pickle.dumps(_batch(data=[0] * 3072)),
        pickle.dumps(_batch(labels=[0, 1, 2])),
        pickle.dumps(_batch(labels=[0, 1, 2, "3"])),
        pickle.dumps(_batch(labels=[0, 1, 2, 10])),
        pickle.dumps(_batch(labels=[0, 1, 2, 2**80])),
        pickle.dumps(_batch(labels=[0, 1, 2, -1])),
    ],
)
def test_bad_python_batches_are_named(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1: ") as raised:
        read_python_batch(path, 4, TINY_CIFAR10)
    assert "\n" not in str(raised.value)
