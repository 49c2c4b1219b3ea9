import numpy as np
import pytest
from sklearn.datasets import make_circles

from ft_tf.data import circles, load, redrawn_circles
from ft_tf.errors import ArgumentError


def test_defaults_are_table_3():
    x, y = make_circles(n_samples=100, noise=0.1, random_state=1)
    dataset = circles()
    np.testing.assert_array_equal(dataset.x_train, x[:30].astype(np.float32))
    np.testing.assert_array_equal(dataset.x_test, x[30:].astype(np.float32))
    np.testing.assert_array_equal(dataset.y_train, y[:30])
    np.testing.assert_array_equal(dataset.y_test, y[30:])
    assert dataset.x_train.dtype == np.float32 and dataset.y_train.dtype == np.int64
    assert dataset.num_classes == 2 and not dataset.is_sample
    assert dataset.source == "sklearn.make_circles:n_samples=100,noise=0.1,random_state=1"


def test_load_gives_the_same_circles_whatever_the_data_dir():
    assert load("circles").fingerprint == circles().fingerprint
    assert load("circles", data_dir="/proc/nowhere").fingerprint == circles().fingerprint


def test_redrawn_circles_are_a_function_of_the_seed():
    assert redrawn_circles(3, 500).fingerprint == redrawn_circles(3, 500).fingerprint
    assert redrawn_circles(3, 500).fingerprint != redrawn_circles(4, 500).fingerprint
    # More test points leave the training points as they are.
    np.testing.assert_array_equal(redrawn_circles(3, 500).x_train, redrawn_circles(3, 9).x_train)


def test_no_two_of_many_redraws_share_a_point():
    drawn = [redrawn_circles(seed, 100) for seed in range(50)]
    points = np.concatenate([part for d in drawn for part in (d.x_train, d.x_test)])
    assert len(np.unique(points, axis=0)) == len(points) == 50 * 130


def test_redrawn_test_points_have_the_population_s_moments():
    dataset = redrawn_circles(11)
    assert len(dataset.x_train) == 30 and len(dataset.x_test) == 10_000
    for label, radius in ((0, 1.0), (1, 0.8)):
        points = dataset.x_test[dataset.y_test == label].astype(np.float64)
        assert len(points) == 5_000
        # E|p|^2 = r^2 + 2 * 0.1^2, with a standard error of 2 r 0.1 / sqrt(5000) < 0.003.
        assert np.square(points).sum(axis=1).mean() == pytest.approx(radius**2 + 0.02, abs=0.015)
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.01)


def test_bad_redraws():
    with pytest.raises(ArgumentError, match="seed=-1"):
        redrawn_circles(-1)
    with pytest.raises(ArgumentError, match="n_test=0"):
        redrawn_circles(0, 0)
