"""Differential privacy of a run: accounting, calibration, statements, bounds on the gap, auditing.

Nothing here imports TensorFlow. Noise multipliers are standard deviations over the clip norm,
epsilons are in nats, sampling probabilities and gap bounds are fractions.

>>> from ft_tf import privacy
>>> cost = privacy.privacy_cost(
...     noise_multiplier=5.0, sampling_probability=250 / 60_000, steps=14_400, delta=1e-5)
>>> round(cost.epsilon_paper, 3), round(cost.epsilon_pld, 3), round(cost.epsilon_shuffled, 2)
(0.492, 0.346, 7.33)
>>> round(privacy.gap_bounds(cost).gap_bound, 3)  # 8.0 points
0.08
"""

import importlib
from types import ModuleType

from ft_tf.privacy.accounting import (
    ACCOUNTANTS,
    PrivacyCost,
    epsilon_of,
    privacy_cost,
    privacy_cost_of_phases,
)
from ft_tf.privacy.bounds import GapBounds, gap_bounds, theorem_1
from ft_tf.privacy.calibration import noise_multiplier_for, noise_multiplier_for_advantage
from ft_tf.privacy.events import Account, PrivacyEvent, account_for
from ft_tf.privacy.phases import Phase, steps_per_pass
from ft_tf.privacy.pld import GridError, PrivacyLoss
from ft_tf.privacy.record import to_record
from ft_tf.privacy.statements import CLIPPING_RULES, check_engine, statement
from ft_tf.privacy.tradeoff import TradeOff, trade_off

__all__ = [
    "ACCOUNTANTS",
    "CLIPPING_RULES",
    "Account",
    "GapBounds",
    "GridError",
    "Phase",
    "PrivacyCost",
    "PrivacyEvent",
    "PrivacyLoss",
    "TradeOff",
    "account_for",
    "audit",
    "check_engine",
    "epsilon_of",
    "gap_bounds",
    "noise_multiplier_for",
    "noise_multiplier_for_advantage",
    "privacy_cost",
    "privacy_cost_of_phases",
    "statement",
    "steps_per_pass",
    "theorem_1",
    "to_record",
    "trade_off",
]


def __getattr__(name: str) -> ModuleType:
    if name == "audit":  # imported at first use: its statistics take a second to load
        return importlib.import_module("ft_tf.privacy.audit")
    raise AttributeError(f"module 'ft_tf.privacy' has no attribute {name!r}")
