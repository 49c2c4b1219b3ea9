"""Random starts: uniform in the ball, and each example's own."""

import numpy as np
import pytest

from ft_tf.attacks.noise import random_perturbations


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_an_example_keeps_its_start_in_any_batch(distance):
    options = {"epsilon": 0.3, "distance": distance, "stream": (5, 1)}
    everything = random_perturbations(np.arange(10), (3, 2), **options)
    some = random_perturbations([7, 2], (3, 2), **options)
    np.testing.assert_array_equal(some, everything[[7, 2]])
    assert len(np.unique(everything)) == everything.size


@pytest.mark.parametrize("stream", [(5, 2), (6, 1), (5, 1, 1)])
def test_streams_differ(stream):
    options = {"epsilon": 0.3, "distance": "l_inf"}
    one = random_perturbations(range(4), (6,), stream=(5, 1), **options)
    assert not np.intersect1d(
        one, random_perturbations(range(4), (6,), stream=stream, **options)
    ).size


def test_no_two_streams_share_their_draws():
    """(seed, restart) of PGD and (seed, restart, loss, rank) of APGD, also for long seeds."""
    seeds = (0, 1, 2**32, 2**32 + 1)
    streams = [(seed,) for seed in seeds]
    streams += [(seed, restart) for seed in seeds for restart in (0, 1)]
    streams += [(s, r, n, k) for s in seeds for r in (0, 1) for n in (0, 1) for k in (0, 1)]
    draws = {
        random_perturbations([0], (6,), epsilon=1.0, distance="l_inf", stream=stream).tobytes()
        for stream in streams
    }
    assert len(draws) == len(streams)


def test_uniform_in_the_cube():
    draws = random_perturbations(range(4000), (2,), epsilon=0.5, distance="l_inf", stream=(0,))
    assert np.abs(draws).max() <= 0.5
    # A uniform variable on [-a, a] has mean 0 and standard deviation a / sqrt(3).
    np.testing.assert_allclose(draws.mean(), 0, atol=0.02)
    np.testing.assert_allclose(draws.std(), 0.5 / np.sqrt(3), rtol=0.03)


def test_uniform_in_the_disc():
    draws = random_perturbations(range(4000), (2,), epsilon=0.5, distance="l_2", stream=(0,))
    radius = np.linalg.norm(draws, axis=1)
    assert radius.max() <= 0.5 + 1e-6
    # A quarter of the disc's area lies within half of its radius.
    np.testing.assert_allclose(np.mean(radius < 0.25), 0.25, atol=0.03)
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.02)
