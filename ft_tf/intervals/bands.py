"""Simultaneous bands: intervals that hold for all points of a curve at once."""

import numpy as np
from scipy import stats

from ft_tf.checks import check_non_negative_integer, check_probability, numbers_in
from ft_tf.errors import ArgumentError
from ft_tf.intervals.basic import Interval

_DRAWS = 20_000


def simultaneous(
    curves: np.ndarray, *, level: float = 0.95, unit: str = "trial", seed: int = 0
) -> list[Interval]:
    """Band around a mean curve: with probability `level` it holds at all its points.

    mean_j +- c s_j / sqrt(n), where c is the `level` quantile of max_j |T_j| for a multivariate t
    with n - 1 degrees of freedom and the curves' own correlations (Monte Carlo, 20,000 draws from
    `seed`). Curves from nested faults are strongly correlated, which makes c much smaller than
    Bonferroni's. Points without any spread get an interval of length 0.

    Args:
        curves: float [n, points], one replicate a row, n >= 3.
        level: nominal coverage of the whole band.
        unit: what a row is.
        seed: fixes the Monte Carlo draws.
    """
    check_probability(level=level)
    check_non_negative_integer(seed=seed)
    try:
        shape = np.shape(curves)
    except ValueError:  # rows of different lengths
        shape = ()
    if len(shape) != 2 or shape[0] < 3:
        raise ArgumentError(f"curves.shape={shape} must be [replicates >= 3, points]")
    curves = numbers_in(curves=np.ravel(curves)).reshape(shape)
    count = len(curves)
    centre, spread = curves.mean(axis=0), curves.std(axis=0, ddof=1)
    varying = spread > 0
    critical = 0.0
    if varying.any():
        standardized = (curves[:, varying] - centre[varying]) / spread[varying]
        critical = _max_t_quantile(standardized, level, seed)
    reach = critical * spread / np.sqrt(count)
    return [
        Interval(float(c - r), float(c + r), level, "simultaneous max-t band", unit)
        for c, r in zip(centre, reach, strict=True)
    ]


def _max_t_quantile(standardized: np.ndarray, level: float, seed: int) -> float:
    """Quantile of max |T|; normal vectors of the sample correlation are sums over the rows."""
    count = len(standardized)
    generator = np.random.Generator(np.random.Philox(seed))
    normal = generator.standard_normal((_DRAWS, count)) @ standardized / np.sqrt(count - 1)
    scale = np.sqrt(generator.chisquare(count - 1, _DRAWS) / (count - 1))
    quantile = float(np.quantile(np.abs(normal).max(axis=1) / scale, level))
    # Never narrower than the interval of a single point, whatever the Monte Carlo error.
    return max(quantile, float(stats.t.ppf((1 + level) / 2, count - 1)))
