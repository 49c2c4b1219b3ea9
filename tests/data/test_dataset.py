import hashlib

import numpy as np
import pytest

from ft_tf.data import fingerprint, from_arrays
from ft_tf.errors import ArgumentError

ROWS = np.random.Generator(np.random.Philox(7))
X = ROWS.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def make(**changes):
    arguments = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2], "source": "mine"}
    return from_arrays("toy", **{**arguments, **changes})


def test_fingerprint_is_the_sha256_of_name_type_shape_and_bytes():
    values = np.array([[1, 2], [3, -4]], np.int16)
    by_hand = hashlib.sha256(b"a|<i2|(2, 2)|" + bytes([1, 0, 2, 0, 3, 0, 0xFC, 0xFF])).hexdigest()
    assert fingerprint(a=values) == by_hand
    assert fingerprint(a=values.astype(">i2")) == by_hand
    assert fingerprint(a=np.asfortranarray(values)) == by_hand


def test_fingerprint_does_not_depend_on_the_order_of_the_arguments():
    assert fingerprint(a=X, b=Y) == fingerprint(b=Y, a=X)


@pytest.mark.parametrize(
    "other",
    [
        {"a": X.reshape(6, 5, 4, 3)},
        {"a": X[::-1]},
        {"a": X.view(np.int8)},
        {"a": np.where(np.arange(X.size).reshape(X.shape) == 17, X ^ 1, X)},
        {"b": X},
    ],
    ids=["shape", "row order", "type", "one bit", "name"],
)
def test_fingerprint_sees(other):
    assert fingerprint(**other) != fingerprint(a=X)


@pytest.mark.parametrize("array", ["x_train", "y_train", "x_test", "y_test"])
def test_a_dataset_s_fingerprint_covers_each_array(array):
    values = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}[array].copy()
    values.flat[-1] = 1 - min(values.flat[-1], 1)
    assert make().fingerprint == make().fingerprint
    assert make(**{array: values}).fingerprint != make().fingerprint


def test_bytes_become_fractions_and_labels_int64():
    dataset = make(y_train=Y.astype(np.uint8))
    assert dataset.x_train.dtype == np.float32 and dataset.y_train.dtype == np.int64
    np.testing.assert_array_equal(dataset.x_train, (X / 255).astype(np.float32))
    np.testing.assert_array_equal(np.rint(dataset.x_train * 255), X)
    assert dataset.num_classes == 3


def test_arrays_are_read_only_and_not_the_caller_s():
    mine = (X / 255).astype(np.float32)
    dataset = make(x_train=mine)
    mine[:] = 0
    assert dataset.x_train.any()
    for values in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_describe_is_one_line_with_sizes_source_fingerprint_and_notes():
    dataset = make(notes=("lossy",))
    line = dataset.describe()
    assert "\n" not in line
    for part in ("toy", "6 training", "2 test", "mine", dataset.fingerprint[:12], "lossy"):
        assert part in line
    assert not dataset.is_sample
    assert make(source="embedded-sample:toy:6+2").is_sample


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X.astype(np.float32)}, r"x_train ranges over .* \[0, 1\]"),
        ({"x_train": X[:, 0]}, r"x_train.shape=\(6, 5, 3\)"),
        ({"x_test": X[:2, :3]}, "must agree after the first dimension"),
        ({"y_train": Y[:5]}, "x_train has 6 rows, y_train has 5 rows"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "at least 1"),
        ({"y_train": Y - 1}, r"y_train\[0\]=-1"),
        ({"y_train": Y.astype(float)}, "y_train.dtype=float64"),
        ({"kind": "text"}, "kind='text'"),
        ({"kind": "points"}, "x_train.shape"),
        (
            {"kind": "points", "x_train": np.full((6, 2), np.nan), "x_test": np.zeros((2, 2))},
            "finite",
        ),
    ],
)
def test_bad_arrays_are_refused_by_name(changes, message):
    with pytest.raises(ArgumentError, match=message):
        make(**changes)
