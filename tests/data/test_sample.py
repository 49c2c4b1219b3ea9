import hashlib
import os

import numpy as np
import pytest

from ft_tf.data import load
from ft_tf.data.sample import SAMPLE_PATH, SAMPLE_SOURCE, read_sample
from ft_tf.errors import DataError

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


@pytest.mark.skipif(not FULL_DATA_DIR, reason="FT_TF_TEST_DATA_DIR names no full data")
def test_it_was_drawn_as_its_docstring_says(sample):
    full, taken = load("fashion_mnist", data_dir=FULL_DATA_DIR), set()
    for split, per_class in {"train": 600, "test": 100}.items():
        images = np.rint(getattr(full, f"x_{split}") * 255).astype(np.uint8)
        labels = getattr(full, f"y_{split}")
        ranks = [hashlib.sha256(b"ft_tf sample 1|" + image.tobytes()).digest() for image in images]
        room, rows = [per_class] * 10, []
        for row in sorted(range(len(images)), key=ranks.__getitem__):
            if room[labels[row]] and ranks[row] not in taken:
                room[labels[row]] -= 1
                taken.add(ranks[row])
                rows.append(row)
        drawn = np.rint(getattr(sample, f"x_{split}") * 255)
        np.testing.assert_array_equal(images[rows], drawn)
