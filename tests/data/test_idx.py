import gzip
import os

import numpy as np
import pytest
from published_files import TINY_FASHION_MNIST, idx_bytes, random_arrays, write_idx

from ft_tf.data.idx import read_idx, read_idx_directory
from ft_tf.errors import DataError

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx_bytes(VALUES)


@pytest.mark.parametrize("compress", [True, False])
def test_a_directory_comes_back_as_it_was_written(tmp_path, compress):
    arrays = random_arrays(TINY_FASHION_MNIST)
    write_idx(tmp_path, arrays, compress=compress)
    found = read_idx_directory(tmp_path, TINY_FASHION_MNIST)
    assert found.keys() == arrays.keys()
    for key, values in arrays.items():
        np.testing.assert_array_equal(found[key], values)


def test_hand_written_bytes(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(b"\0\0\x08\x01\0\0\0\x03\x07\0\xff")
    np.testing.assert_array_equal(read_idx(path, (3,)), [7, 0, 255])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG" + GOOD[4:], "begins with 89504e47, expected 00000803"),
        (b"\0\0\x0d\x03" + GOOD[4:], "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\x01" + GOOD[4:], "with 3 dimensions"),
        (GOOD[:10], "truncated in its header"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"\0", "longer than its header says"),
        (idx_bytes(VALUES.reshape(3, 2, 4)), r"shape \(3, 2, 4\), expected \(2, 3, 4\)"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "expected"),
    ],
)
@pytest.mark.parametrize("compress", [True, False])
def test_bad_files_are_named(tmp_path, data, message, compress):
    path = tmp_path / ("images.gz" if compress else "images")
    path.write_bytes(gzip.compress(data) if compress else data)
    with pytest.raises(DataError, match=message) as raised:
        read_idx(path, VALUES.shape)
    assert str(raised.value).startswith(os.fspath(path)) and "\n" not in str(raised.value)


def test_every_truncation_of_a_gzip_file_is_caught(tmp_path):
    path = tmp_path / "images.gz"
    whole = gzip.compress(GOOD)
    for size in range(len(whole) - 8):  # the last 8 bytes are the checksum and the length
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"images.gz"):
            read_idx(path, VALUES.shape)


def test_a_corrupt_gzip_file_is_caught(tmp_path):
    path = tmp_path / "images.gz"
    noise = np.random.Generator(np.random.Philox(1)).integers(0, 256, VALUES.shape, dtype=np.uint8)
    whole = bytearray(gzip.compress(idx_bytes(noise)))
    whole[len(whole) // 2] ^= 0x10
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"images.gz"):
        read_idx(path, VALUES.shape)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path, VALUES.shape)


def test_missing_files_counts_and_labels(tmp_path):
    arrays = random_arrays(TINY_FASHION_MNIST)
    with pytest.raises(DataError, match="neither train-images-idx3-ubyte nor"):
        read_idx_directory(tmp_path, TINY_FASHION_MNIST)
    write_idx(tmp_path, {**arrays, "x_test": arrays["x_test"][:-1]})
    with pytest.raises(DataError, match=r"t10k-images.*\(69, 28, 28\), expected \(70, 28, 28\)"):
        read_idx_directory(tmp_path, TINY_FASHION_MNIST)
    write_idx(tmp_path, {**arrays, "y_train": arrays["y_train"] + 1})
    with pytest.raises(DataError, match=r"train-labels.*labels range over .*10"):
        read_idx_directory(tmp_path, TINY_FASHION_MNIST)
