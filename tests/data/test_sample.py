import dataclasses
import os

import numpy as np
import pytest

from ft_tf.data import load
from ft_tf.data.sample import SAMPLE_PATH, SAMPLE_SOURCE, _select, read_sample, write_sample
from ft_tf.errors import ArgumentError, DataError

FULL_DATA_DIR = os.environ.get("FT_TF_TEST_DATA_DIR")
"""A TFDS directory with the full data sets, for the tests that need them; optional."""


@pytest.fixture(scope="module")
def sample():
    return read_sample()


def test_it_is_real_small_and_says_what_it_is(sample):
    assert SAMPLE_PATH.stat().st_size < 3.5e6
    assert sample.source == SAMPLE_SOURCE == "embedded-sample:fashion_mnist:6000+1000"
    assert sample.is_sample and "SAMPLE" in sample.describe()
    # Any change to the file changes every result on it, and has to be meant.
    assert sample.fingerprint.startswith("f6738f0403a2")


def test_it_is_stratified(sample):
    np.testing.assert_array_equal(np.bincount(sample.y_train), [600] * 10)
    np.testing.assert_array_equal(np.bincount(sample.y_test), [100] * 10)
    # Mixed, so that even a batch taken in order sees most classes.
    first = sample.y_train[:100]
    assert len(np.unique(first)) == 10


def test_its_pixels_are_images(sample):
    for x, n in ((sample.x_train, 6000), (sample.x_test, 1000)):
        assert x.shape == (n, 28, 28, 1) and x.dtype == np.float32
        assert x.min() == 0.0 and x.max() == 1.0
        np.testing.assert_array_equal(np.rint(x * 255) / np.float32(255), x)
        # The published mean and standard deviation of the training set: 0.2860 and 0.3530.
        assert x.mean() == pytest.approx(0.2860, abs=0.01)
        assert x.std() == pytest.approx(0.3530, abs=0.01)


def test_no_image_occurs_twice(sample):
    images = np.concatenate([sample.x_train, sample.x_test]).reshape(7000, -1)
    assert len(np.unique(images, axis=0)) == 7000


def test_the_notice_travels_with_it():
    notice = SAMPLE_PATH.with_name("LICENSE-fashion-mnist").read_text()
    assert "MIT" in notice and "2017 Zalando SE" in notice


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:9999] + bytes([data[9999] ^ 0xFF]) + data[10000:],
        lambda data: b"",
        lambda data: b"something else",
    ],
    ids=["truncated", "one byte", "empty", "not a zip"],
)
def test_a_corrupt_file_is_named(tmp_path, spoil):
    path = tmp_path / "sample.npz"
    path.write_bytes(spoil(SAMPLE_PATH.read_bytes()))
    with pytest.raises(DataError, match=r"sample.npz.*reinstall"):
        read_sample(path)


def test_a_missing_or_wrong_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"sample.npz.*reinstall"):
        read_sample(tmp_path / "sample.npz")
    np.savez(tmp_path / "other.npz", **dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), 1))
    with pytest.raises(DataError, match="wrong shape"):
        read_sample(tmp_path / "other.npz")


def test_selection_depends_on_the_images_not_on_their_order():
    random = np.random.Generator(np.random.Philox(3))
    labels = np.repeat(np.arange(10), 30)
    images = random.integers(0, 256, (300, 4, 4, 1), dtype=np.uint8)
    order = random.permutation(300)
    taken = set()
    rows = _select(images, labels, 7, taken)
    shuffled = _select(images[order], labels[order], 7, set())
    np.testing.assert_array_equal(images[rows], images[order][shuffled])
    np.testing.assert_array_equal(np.bincount(labels[rows]), [7] * 10)
    assert set(_select(images, labels, 7, taken)).isdisjoint(rows)


def test_selection_takes_an_image_once():
    images = np.zeros((20, 2, 2, 1), np.uint8)
    images[10:] = np.arange(1, 11)[:, None, None, None]
    labels = np.zeros(20, int)
    rows = _select(images, labels, 20, set())
    assert len(np.unique(images[rows], axis=0)) == len(rows) == 11


def test_only_the_full_data_set_can_be_sampled(sample, tmp_path):
    with pytest.raises(ArgumentError, match="must be the full Fashion-MNIST"):
        write_sample(sample, tmp_path / "again.npz")
    with pytest.raises(ArgumentError):
        write_sample(dataclasses.replace(sample, name="cifar10"), tmp_path / "again.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not FULL_DATA_DIR, reason="FT_TF_TEST_DATA_DIR names no full data")
def test_the_embedded_file_can_be_rebuilt_from_the_full_data_set(sample, tmp_path):
    write_sample(load("fashion_mnist", data_dir=FULL_DATA_DIR), tmp_path / "again.npz")
    assert read_sample(tmp_path / "again.npz").fingerprint == sample.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["again.npz"]
