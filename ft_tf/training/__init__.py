"""Training: natural, Tikhonov, input noise, TRADES and DP-SGD."""

from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.natural import NaturalModel
from ft_tf.training.noise import AdditiveGaussian, MultiplicativeGaussian
from ft_tf.training.trades import TradesModel

__all__ = [
    "AdditiveGaussian",
    "DPSGDModel",
    "MultiplicativeGaussian",
    "NaturalModel",
    "TradesModel",
]
