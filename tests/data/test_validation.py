import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ft_tf.data import check_labels, check_pixels, check_same_length
from ft_tf.errors import ArgumentError


@given(
    labels=hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(-3, 12)),
    num_classes=st.integers(1, 10),
)
def test_labels_pass_exactly_when_all_are_in_range(labels, num_classes):
    if all(0 <= label < num_classes for label in labels.tolist()):
        check_labels(num_classes, y=labels)
    else:
        with pytest.raises(ArgumentError, match=r"y\[\d+\]="):
            check_labels(num_classes, y=labels)


def test_labels_name_the_first_offender():
    with pytest.raises(ArgumentError, match=r"^y_test\[2\]=10 must be a label in 0..9$"):
        check_labels(10, y_train=np.array([0]), y_test=np.array([0, 9, 10, -1]))


@pytest.mark.parametrize("labels", [np.zeros((3, 1), int), np.zeros(3), np.array([True])])
def test_labels_of_another_shape_or_type_are_refused(labels):
    with pytest.raises(ArgumentError):
        check_labels(10, y=labels)


@pytest.mark.parametrize("value", [-1e-6, 1.0000002, np.nan, np.inf, -np.inf])
def test_one_pixel_outside_is_found(value):
    images = np.full((2, 3, 3, 1), 0.5, np.float32)
    check_pixels(x=images)
    images[1, 2, 0, 0] = value
    with pytest.raises(ArgumentError, match="x ranges over"):
        check_pixels(x=images)


def test_both_ends_are_pixels_and_integers_are_not():
    check_pixels(x=np.array([0.0, 1.0]).reshape(2, 1, 1, 1))
    check_pixels(x=np.zeros((0, 2, 2, 1)))
    with pytest.raises(ArgumentError, match="dtype=uint8"):
        check_pixels(x=np.zeros((1, 2, 2, 1), np.uint8))
    with pytest.raises(ArgumentError, match=r"shape=\(2, 2\)"):
        check_pixels(x=np.zeros((2, 2)))


def test_lengths_must_agree():
    check_same_length(x=np.zeros((3, 2)), y=np.zeros(3))
    with pytest.raises(ArgumentError, match="x has 3 rows, y has 4 rows"):
        check_same_length(x=np.zeros((3, 2)), y=np.zeros(4))
