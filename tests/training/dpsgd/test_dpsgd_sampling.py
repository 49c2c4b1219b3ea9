"""Batches: binomial counts, independent examples, permutations, and their layout in memory."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ft_tf._compat import tf
from ft_tf.training.dpsgd.randomness import (
    Layout,
    poisson_batches,
    poisson_sample,
    shuffled_batches,
)

SIZE, STEPS = 60, 4000


def samples(probability, *, key=3, size=SIZE, steps=STEPS):
    """Membership, bool [steps, size]."""
    draw = tf.function(lambda step: poisson_sample(key, step, size, probability))
    member = np.zeros((steps, size), bool)
    for step in range(steps):
        indices = draw(tf.constant(step, tf.int64)).numpy()
        assert len(set(indices)) == len(indices)
        member[step, indices] = True
    return member


@pytest.mark.parametrize("probability", [0.05, 0.5])
def test_counts_are_binomial_and_examples_independent(probability):
    member = samples(probability)
    counts = np.bincount(member.sum(axis=1), minlength=SIZE + 1)
    expected = stats.binom.pmf(np.arange(SIZE + 1), SIZE, probability) * STEPS
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert stats.chisquare(observed, wanted).pvalue > 1e-3
    spread = np.sqrt(probability * (1 - probability) / STEPS)
    # Each example's rate, and each pair's correlation, within the extremes of so many normals.
    assert np.abs(member.mean(axis=0) - probability).max() < 4.5 * spread
    correlations = np.corrcoef(member.T)[np.triu_indices(SIZE, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(STEPS)


def test_steps_are_independent():
    member = samples(0.3)
    repeats = (member[1:] & member[:-1]).mean()
    assert abs(repeats - 0.09) < 5 * np.sqrt(0.09 * 0.91 / member[1:].size)


def test_certain_examples_are_all_drawn():
    assert samples(1.0, steps=3).all()


def taken(draw, key, *, first_step, count, **options):
    """The batches of `count` steps, epoch after epoch."""
    epoch, steps = draw(key, **options)
    starts = range(first_step, first_step + count, steps)
    batches = itertools.chain.from_iterable(epoch(tf.constant(s, tf.int64)) for s in starts)
    return [(pieces.numpy(), int(number)) for pieces, number in itertools.islice(batches, count)]


@pytest.mark.parametrize("draw", [poisson_batches, shuffled_batches])
def test_batches_are_functions_of_the_step(draw):
    options = {"size": 50, "batch_size": 8, "layout": Layout(4, 16)}
    whole = taken(draw, 5, first_step=0, count=20, **options)
    later = taken(draw, 5, first_step=9, count=11, **options)
    for (left, left_count), (right, right_count) in zip(whole[9:], later, strict=True):
        np.testing.assert_array_equal(left, right)
        assert left_count == right_count
    other = taken(draw, 6, first_step=0, count=20, **options)
    assert any(
        a[0].shape != b[0].shape or (a[0] != b[0]).any() for a, b in zip(whole, other, strict=True)
    )


def test_an_epoch_of_shuffled_batches_is_a_permutation():
    options = {"size": 48, "batch_size": 8, "layout": Layout(1, 512)}
    assert shuffled_batches(5, **options)[1] == 6
    first, second = (
        np.concatenate(
            [
                pieces.ravel()
                for pieces, _ in taken(shuffled_batches, 5, first_step=start, count=6, **options)
            ]
        )
        for start in (0, 6)
    )
    assert sorted(first) == sorted(second) == list(range(48))
    assert (first != second).any()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 33, 100])
def test_layout_keeps_all_examples_in_pieces_that_fit(count):
    layout = Layout(bucket=4, largest_piece=16)
    pieces, number = layout.arrange(tf.range(100, 100 + count))
    assert int(number) == count
    assert pieces.shape[1] <= 16 and pieces.shape[1] % 4 == 0
    assert pieces.shape[0] == max(1, -(-count // 16))
    flat = pieces.numpy().ravel()
    np.testing.assert_array_equal(flat[:count], np.arange(100, 100 + count))
    assert (flat[count:] == 0).all()
