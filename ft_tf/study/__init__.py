"""A run = frozen configuration -> data -> model -> training -> evaluation -> one record.

Names are imported when first used: `algorithms` and `datasets` need no TensorFlow, the rest does.
"""

import importlib
from typing import Any

_MODULES = {
    "algorithms": ("DPSGD", "AdditiveGaussian", "JacobianPenalty", "MultiplicativeGaussian",
                   "Natural", "Tikhonov", "Trades"),
    "config": ("Evaluation", "RunConfig"),
    "datasets": ("DataSource", "register", "register_own"),
    "execution": ("check_fits", "directory_of", "limited", "run"),
    "trained_models": ("load_run",),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"ft_tf.study.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ft_tf.study' has no attribute {name!r}")
