import numpy as np
import pytest
from scipy import stats

from ft_tf._compat import tf
from ft_tf.data.augment import crop_and_flip
from ft_tf.errors import ArgumentError

PADDING = 2
PLACES = 2 * PADDING + 1


def every_outcome(image, padding):
    """All crops of the padded image, plain and mirrored, by slicing."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    crops = [
        padded[top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return np.stack([*crops, *(crop[:, ::-1] for crop in crops)])


def outcome_numbers(images, augmented, padding):
    """Which of an image's outcomes came out; fails unless exactly one fits."""
    numbers = []
    for image, result in zip(images, augmented, strict=True):
        fits = (every_outcome(image, padding) == result).all(axis=(1, 2, 3))
        assert fits.sum() == 1
        numbers.append(int(fits.argmax()))
    return np.array(numbers)


def random_images(n, height=7, width=9, channels=3, seed=0):
    return np.random.Generator(np.random.Philox(seed)).random(
        (n, height, width, channels), dtype=np.float32
    )


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_example_is_one_of_its_own_crops(padding, channels):
    images = random_images(60, channels=channels)
    augmented = crop_and_flip(images, seed=tf.constant([1, 2]), padding=padding).numpy()
    assert augmented.dtype == np.float32 and augmented.shape == images.shape
    numbers = outcome_numbers(images, augmented, padding)
    assert len(np.unique(numbers)) > (1 if padding == 0 else 10)


def test_all_outcomes_are_equally_likely():
    images = random_images(4000, 5, 5, 1)
    numbers = outcome_numbers(
        images, crop_and_flip(images, seed=tf.constant([5, 6]), padding=PADDING).numpy(), PADDING
    )
    counts = np.bincount(numbers, minlength=2 * PLACES**2)
    assert len(counts) == 2 * PLACES**2
    assert stats.chisquare(counts).pvalue > 1e-4


def test_seeds_decide_and_nothing_else():
    images = random_images(50)
    first = crop_and_flip(images, seed=tf.constant([1, 2])).numpy()
    tf.random.set_seed(99)
    np.testing.assert_array_equal(first, crop_and_flip(images, seed=tf.constant([1, 2])).numpy())
    for other in ([1, 3], [2, 2]):
        changed = crop_and_flip(images, seed=tf.constant(other)).numpy()
        assert (first != changed).any(axis=(1, 2, 3)).mean() > 0.9


def test_it_runs_in_a_graph_with_an_unknown_batch_size():
    step = tf.function(
        lambda images, seed: crop_and_flip(images, seed=seed),
        input_signature=[
            tf.TensorSpec([None, 7, 9, 3]),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    for n in (0, 1, 33):
        images, seed = random_images(n), tf.constant([4, n])
        graph = step(images, seed)
        np.testing.assert_array_equal(graph, crop_and_flip(images, seed=seed))
    assert step.get_concrete_function().structured_outputs.shape.as_list() == [None, 7, 9, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float16])
def test_types_are_kept(dtype):
    images = (random_images(20) * 255).astype(dtype)
    augmented = crop_and_flip(images, seed=tf.constant([3, 3])).numpy()
    assert augmented.dtype == dtype
    outcome_numbers(images, augmented, 4)


def test_bad_padding():
    with pytest.raises(ArgumentError, match="padding=-1"):
        crop_and_flip(random_images(2), seed=tf.constant([1, 2]), padding=-1)
