"""A run = frozen configuration -> data -> model -> training -> evaluation -> one record."""

from ft_tf.study.config import (
    DPSGD,
    AdditiveGaussian,
    Evaluation,
    MultiplicativeGaussian,
    Natural,
    RunConfig,
    Tikhonov,
    Trades,
)
from ft_tf.study.describe import summary
from ft_tf.study.execution import check_fits, directory_of, limited, run

__all__ = [
    "DPSGD",
    "AdditiveGaussian",
    "Evaluation",
    "MultiplicativeGaussian",
    "Natural",
    "RunConfig",
    "Tikhonov",
    "Trades",
    "check_fits",
    "directory_of",
    "limited",
    "run",
    "summary",
]
