"""Faults in any Keras model: what they are, where they sit, and how accuracy falls with them.

>>> from ft_tf import architectures, data, faults
>>> circles = data.load("circles")
>>> model = architectures.build("circles_mlp")  # or your own, trained
>>> frame = faults.sweep(
...     model, circles.x_test, circles.y_test, target="units", rates=[0, 0.5], trials=3, seed=0)
>>> faults.summarize(frame)["faults"].tolist()  # of 500 units
[0.0, 250.0]

Another model of the same shape has the same faulty sites in each trial:

>>> other = architectures.build("circles_mlp", seed=1)
>>> table = faults.compare(model, other, circles.x_test, circles.y_test,
...     target="weights", rates=[0.2], trials=3, seed=0)
>>> table[["faults_first", "faults_second", "same_sites"]].values.tolist()
[[400.0, 400.0, True]]
"""

from ft_tf.faults.arming import Injection, inject
from ft_tf.faults.attacked import FaultsByAttacks, attack_under_faults
from ft_tf.faults.bitflips import BitErrors, BitFlip, BurstErrors, WordErrors
from ft_tf.faults.callback import FaultInjection
from ft_tf.faults.campaign import sweep
from ft_tf.faults.comparison import compare, paired_difference, same_shape
from ft_tf.faults.composed import Patterned, PerLayer
from ft_tf.faults.models import FaultModel, GaussianNoise, SignFlip, StuckAt
from ft_tf.faults.plan import make_plan
from ft_tf.faults.planning import CampaignPlan, plan_campaign
from ft_tf.faults.prediction import (
    FirstOrder,
    compare_with_trials,
    first_order,
    holds_up_to,
    prediction_rates,
)
from ft_tf.faults.propagation import propagation
from ft_tf.faults.protections.base import Protection, protect, register_protection
from ft_tf.faults.protections.memory import Parity, Protected, Secded, Triplication
from ft_tf.faults.protections.ranges import RangeRestriction, WeightClipping
from ft_tf.faults.protections.tradeoff import compare_protections
from ft_tf.faults.rescaling import rescalable_layers, rescaled, rescaled_spreads
from ft_tf.faults.rows import StopRule
from ft_tf.faults.single_faults import FailureRate, failure_rate
from ft_tf.faults.sites import Select, find_sites
from ft_tf.faults.storage_formats import StorageFormat, format_of, register_format
from ft_tf.faults.summary import (
    CurveFigures,
    curve_figures,
    layer_vulnerability,
    lost_rate,
    summarize,
)
from ft_tf.faults.worst_case import WorstCase, worst_case
from ft_tf.faults.wrappers import FaultWrapper, limit_weights, unwrap, wrap

__all__ = [
    "BitErrors", "BitFlip", "BurstErrors", "CampaignPlan", "CurveFigures", "FailureRate",
    "FaultInjection", "FaultModel", "FaultWrapper", "FaultsByAttacks", "FirstOrder",
    "GaussianNoise", "Injection", "Parity", "Patterned", "PerLayer", "Protected", "Protection",
    "RangeRestriction", "Secded", "Select", "SignFlip", "StopRule", "StorageFormat", "StuckAt",
    "Triplication", "WeightClipping", "WordErrors", "WorstCase", "attack_under_faults", "compare",
    "compare_protections", "compare_with_trials", "curve_figures", "failure_rate", "find_sites",
    "first_order", "format_of", "holds_up_to", "inject", "layer_vulnerability", "limit_weights",
    "lost_rate", "make_plan", "paired_difference", "plan_campaign", "prediction_rates",
    "propagation", "protect", "register_format", "register_protection", "rescalable_layers",
    "rescaled", "rescaled_spreads", "same_shape", "summarize", "sweep", "unwrap", "worst_case",
    "wrap",
]  # fmt: skip
