"""The training algorithms: one class each, which carries everything known of the algorithm.

Configurations, names of runs, flags of `experiments.train`, jobs and the report ask the object;
`register` adds an algorithm. Importing this brings no TensorFlow: only `Algorithm.build` does.
"""

from ft_tf.study.algorithms.base import ADDED, FAMILIES, Algorithm, from_dict, get, names, register
from ft_tf.study.algorithms.dpsgd import DPSGD, UNCLIPPED
from ft_tf.study.algorithms.natural import (
    AdditiveGaussian,
    JacobianPenalty,
    MultiplicativeGaussian,
    Natural,
    Tikhonov,
)
from ft_tf.study.algorithms.trades import Trades

__all__ = [
    "ADDED", "DPSGD", "FAMILIES", "UNCLIPPED", "AdditiveGaussian", "Algorithm", "JacobianPenalty",
    "MultiplicativeGaussian", "Natural", "Tikhonov", "Trades", "from_dict", "get", "names",
    "register",
]  # fmt: skip
