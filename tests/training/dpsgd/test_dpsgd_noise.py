"""Noise: a Gaussian of the stated scale, and a function of the secret and the step."""

import numpy as np
import pytest
from scipy import stats

from ft_tf.training.dpsgd.randomness import _CHUNK, Secret, gaussian


def draw(seed=1, step=0, size=300_001, **options):
    return gaussian(Secret.of(seed).noise_generator(step), size, **options)


def test_ks_test_accepts_the_stated_scale_and_rejects_others():
    values = draw(standard_deviation=1.7)
    assert values.dtype == np.float32
    assert stats.kstest(values, stats.norm(scale=1.7).cdf).pvalue > 1e-3
    for factor in (2 / 3, 3 / 2):
        assert stats.kstest(values, stats.norm(scale=1.7 * factor).cdf).pvalue < 1e-12


def test_tails_and_pairs_are_gaussian():
    values = draw(size=2_000_000)
    for threshold in (3.0, 4.0):
        expected = 2 * stats.norm.sf(threshold) * len(values)
        assert abs((np.abs(values) > threshold).sum() - expected) < 5 * np.sqrt(expected)
    # Box-Muller makes pairs of values that lie a chunk apart.
    left, right = values[:-_CHUNK], values[_CHUNK:]
    for a, b in ((left, right), (left**2, right**2), (left[1:], left[:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_noise_is_a_function_of_secret_and_step():
    np.testing.assert_array_equal(draw(2, 3), draw(2, 3))
    for other in (draw(3, 3), draw(2, 4)):
        assert abs(np.corrcoef(draw(2, 3), other)[0, 1]) < 5 / np.sqrt(300_001)


def test_secrets_come_from_the_operating_system_and_stay_out_of_sight():
    first, second = Secret.of(None), Secret.of(None)
    assert first.entropy != second.entropy and not first.is_seed
    assert first.sampling_key() != second.sampling_key()
    assert str(first.entropy) not in repr(first)


@pytest.mark.parametrize("size", [1, 2, 3, 131_071, 131_073])
def test_any_size_is_filled(size):
    values = draw(size=size)
    assert values.shape == (size,) and np.isfinite(values).all() and (values != 0).all()
