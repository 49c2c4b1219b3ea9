"""The circles data of the paper's Table 3, as printed and redrawn."""

import numpy as np

from ft_tf.checks import check_non_negative_integer, check_positive_integer, check_range
from ft_tf.data.dataset import Dataset, from_arrays

PAPER_N_TRAIN = 30
PAPER_N_TEST = 70
PAPER_NOISE = 0.1
PAPER_SEED = 1
_POINTS = PAPER_N_TRAIN + PAPER_N_TEST
_MOST_POINTS = 10**7


def circles() -> Dataset:
    """Table 3's data: two noisy circles, the first 30 of 100 points for training, the rest to test.

    That is sklearn.datasets.make_circles(n_samples=100, noise=0.1, random_state=1). Label 0 is the
    circle of radius 1, label 1 that of radius 0.8; `noise` is the standard deviation of the
    Gaussian added to each coordinate.

    >>> circles().y_train[:8].tolist(), len(circles().x_test)
    ([1, 1, 0, 1, 1, 0, 0, 1], 70)
    """
    x, y = _draw(_POINTS, PAPER_SEED)
    return from_arrays(
        "circles",
        x_train=x[:PAPER_N_TRAIN],
        y_train=y[:PAPER_N_TRAIN],
        x_test=x[PAPER_N_TRAIN:],
        y_test=y[PAPER_N_TRAIN:],
        source=f"sklearn.make_circles:n_samples={_POINTS},noise={PAPER_NOISE:g},"
        f"random_state={PAPER_SEED}",
        kind="points",
    )


def redrawn_circles(seed: int, n_test: int = 10_000) -> Dataset:
    """Table 3's second form: training data redrawn from `seed`, and a large test set.

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
    x_train, y_train = _draw(_POINTS, int(train_state))
    x_test, y_test = _draw(n_test, int(test_state))
    return from_arrays(
        "circles",
        x_train=x_train[:PAPER_N_TRAIN],
        y_train=y_train[:PAPER_N_TRAIN],
        x_test=x_test,
        y_test=y_test,
        source=f"sklearn.make_circles:redrawn,n_test={n_test},noise={PAPER_NOISE:g},seed={seed}",
        kind="points",
    )


def _draw(n_samples: int, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    # Imported here: scikit-learn takes most of a second, and only circles need it.
    from sklearn.datasets import make_circles

    return make_circles(n_samples=n_samples, noise=PAPER_NOISE, random_state=random_state)
