"""Faults in any Keras 2 model: what they are, where they sit, and how accuracy falls with them."""

from ft_tf.faults.bitflips import BitErrors, BitFlip
from ft_tf.faults.callback import FaultInjection
from ft_tf.faults.campaign import sweep
from ft_tf.faults.comparison import compare
from ft_tf.faults.inject import Injection, inject
from ft_tf.faults.models import FaultModel, GaussianNoise, SignFlip, StuckAt
from ft_tf.faults.plan import make_plan
from ft_tf.faults.prediction import FirstOrder, compare_with_trials, first_order, holds_up_to
from ft_tf.faults.rescaling import rescalable_layers, rescaled, rescaled_spreads
from ft_tf.faults.sites import Select, find_sites
from ft_tf.faults.summary import CurveFigures, curve_figures, layer_vulnerability, summarize
from ft_tf.faults.wrappers import FaultWrapper, arm, disarm, unwrap, wrap

__all__ = [
    "BitErrors",
    "BitFlip",
    "CurveFigures",
    "FaultInjection",
    "FaultModel",
    "FaultWrapper",
    "FirstOrder",
    "GaussianNoise",
    "Injection",
    "Select",
    "SignFlip",
    "StuckAt",
    "arm",
    "compare",
    "compare_with_trials",
    "curve_figures",
    "disarm",
    "find_sites",
    "first_order",
    "holds_up_to",
    "inject",
    "layer_vulnerability",
    "make_plan",
    "rescalable_layers",
    "rescaled",
    "rescaled_spreads",
    "summarize",
    "sweep",
    "unwrap",
    "wrap",
]
