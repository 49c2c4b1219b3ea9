"""Faults in any Keras 2 model: what they are, where they sit, and how accuracy falls with them."""

from ft_tf.faults.callback import FaultInjection
from ft_tf.faults.campaign import sweep
from ft_tf.faults.inject import Injection, inject
from ft_tf.faults.models import FaultModel, GaussianNoise, SignFlip, StuckAt
from ft_tf.faults.plan import make_plan
from ft_tf.faults.sites import Select, find_sites
from ft_tf.faults.summary import summarize
from ft_tf.faults.wrappers import FaultWrapper, arm, disarm, unwrap, wrap

__all__ = [
    "FaultInjection",
    "FaultModel",
    "FaultWrapper",
    "GaussianNoise",
    "Injection",
    "Select",
    "SignFlip",
    "StuckAt",
    "arm",
    "disarm",
    "find_sites",
    "inject",
    "make_plan",
    "summarize",
    "sweep",
    "unwrap",
    "wrap",
]
