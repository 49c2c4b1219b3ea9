"""The circles data of the paper's Table 3, as printed and redrawn."""

import numpy as np

from ft_tf.checks import (
    check_non_negative,
    check_non_negative_integer,
    check_positive_integer,
    check_range,
)
from ft_tf.data.dataset import Dataset, from_arrays
from ft_tf.errors import ArgumentError

PAPER_N_TRAIN = 30
PAPER_N_TEST = 70
PAPER_NOISE = 0.1
PAPER_SEED = 1
_MOST_POINTS = 10**7


def circles(
    *,
    n_samples: int = PAPER_N_TRAIN + PAPER_N_TEST,
    noise: float = PAPER_NOISE,
    seed: int = PAPER_SEED,
    n_train: int = PAPER_N_TRAIN,
) -> Dataset:
    """Two noisy circles: the first `n_train` points train, the others test.

    The defaults are Table 3's data: sklearn.datasets.make_circles(n_samples=100, noise=0.1,
    random_state=1), 30 training and 70 test points. Label 0 is the circle of radius 1, label 1
    that of radius 0.8; `noise` is the standard deviation of the Gaussian added to each coordinate.

    Raises:
        ArgumentError: a count, noise or seed that cannot be used.

    >>> circles().y_train[:8].tolist(), len(circles().x_test)
    ([1, 1, 0, 1, 1, 0, 0, 1], 70)
    """
    check_positive_integer(n_samples=n_samples, n_train=n_train)
    check_range(2, _MOST_POINTS, n_samples=n_samples)
    check_non_negative(noise=noise)
    check_non_negative_integer(seed=seed)
    check_range(0, 2**32 - 1, seed=seed)
    if n_train >= n_samples:
        raise ArgumentError(f"n_train={n_train} must be less than n_samples={n_samples}")
    x, y = _draw(n_samples, noise, seed)
    return from_arrays(
        "circles",
        x_train=x[:n_train],
        y_train=y[:n_train],
        x_test=x[n_train:],
        y_test=y[n_train:],
        source=f"sklearn.make_circles:n_samples={n_samples},noise={noise:g},random_state={seed}",
        kind="points",
    )


def redrawn_circles(seed: int, n_test: int = 10_000) -> Dataset:
    """Table 3's second form: training data drawn anew from `seed`, and a large test set.

    The training points are the first 30 of 100, as in the paper. The test points are a draw of
    their own, independent of the training points given the seed: `n_test` angles spread evenly over
    the circles, each with fresh noise. With 10,000 of them the test accuracy of a model is known
    to half a point, while one of the paper's 70 test points weighs 1.4 points.

    Args:
        seed: Any integer >= 0; different seeds give unrelated draws.
        n_test: The number of test points.

    Raises:
        ArgumentError: a seed or count that cannot be used.
    """
    check_non_negative_integer(seed=seed)
    check_positive_integer(n_test=n_test)
    check_range(1, _MOST_POINTS, n_test=n_test)
    # Hashed, so that seeds that follow one another share nothing with each other or the test draw.
    train_state, test_state = np.random.SeedSequence(seed).generate_state(2, dtype=np.uint32)
    x_train, y_train = _draw(PAPER_N_TRAIN + PAPER_N_TEST, PAPER_NOISE, int(train_state))
    x_test, y_test = _draw(n_test, PAPER_NOISE, int(test_state))
    return from_arrays(
        "circles",
        x_train=x_train[:PAPER_N_TRAIN],
        y_train=y_train[:PAPER_N_TRAIN],
        x_test=x_test,
        y_test=y_test,
        source=f"sklearn.make_circles:redrawn,n_test={n_test},noise={PAPER_NOISE:g},seed={seed}",
        kind="points",
    )


def _draw(n_samples: int, noise: float, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    # Imported here: scikit-learn takes most of a second, and only circles need it.
    from sklearn.datasets import make_circles

    return make_circles(n_samples=n_samples, noise=noise, random_state=random_state)
