import numpy as np
import pytest

from ft_tf.errors import ArgumentError
from ft_tf.privacy.audit import KINDS, draw_inclusion, make_canaries

LABELS = np.array([3, 7, 9] * 20)
IMAGES = (np.arange(60 * 4 * 5).reshape(60, 4, 5, 1) / 1200).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_canaries_look_like_the_data_and_are_a_function_of_the_seed(kind):
    images, labels = make_canaries(IMAGES, LABELS, count=20, seed=5, kind=kind)
    assert (images.shape, images.dtype) == ((20, 4, 5, 1), np.float32)
    assert (labels.shape, labels.dtype) == ((20,), np.int64)
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(labels) <= {3, 7, 9}
    again = make_canaries(IMAGES, LABELS, count=20, seed=5, kind=kind)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    other = make_canaries(IMAGES, LABELS, count=20, seed=6, kind=kind)
    assert not np.array_equal(images, other[0])


def test_mislabelled_canaries_are_distinct_images_with_every_wrong_label():
    images, labels = make_canaries(IMAGES, LABELS, count=60, seed=0)
    source = np.array(
        [np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))[0] for image in images]
    )
    assert len(set(source)) == 60
    assert (labels != LABELS[source]).all()
    assert len({(LABELS[i], label) for i, label in zip(source, labels, strict=True)}) == 6


def test_pixel_canaries_are_orthogonal():
    images, _ = make_canaries(IMAGES, LABELS, count=20, seed=0, kind="pixel")
    flat = images.reshape(20, -1)
    np.testing.assert_array_equal(flat @ flat.T, np.eye(20))


def test_coins_are_fair_and_seeded():
    coins = draw_inclusion(10_000, seed=1)
    assert coins.dtype == bool
    assert 4700 < coins.sum() < 5300
    np.testing.assert_array_equal(coins, draw_inclusion(10_000, seed=1))
    assert not np.array_equal(coins, draw_inclusion(10_000, seed=2))


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="count=61"):
        make_canaries(IMAGES, LABELS, count=61, seed=0)
    with pytest.raises(ArgumentError, match="count=21"):
        make_canaries(IMAGES, LABELS, count=21, seed=0, kind="pixel")
    with pytest.raises(ArgumentError, match="kind='cat'"):
        make_canaries(IMAGES, LABELS, count=1, seed=0, kind="cat")
    with pytest.raises(ArgumentError, match="1 class"):
        make_canaries(IMAGES[:1], LABELS[:1], count=1, seed=0)
    with pytest.raises(ArgumentError, match=r"images\.shape"):
        make_canaries(IMAGES[0], LABELS, count=1, seed=0)
