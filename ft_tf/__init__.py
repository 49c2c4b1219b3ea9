"""ft_tf: fault tolerance, adversarial robustness and privacy of Keras models, and their trade-off.

`ft_tf.load_model` is `ft_tf.models.load`, and `ft_tf.assess` is `ft_tf.assessment.assess`.
Submodules are imported when first used, so that `import ft_tf` prints nothing and costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "architectures",
    "assessment",
    "attacks",
    "data",
    "effects",
    "executors",
    "faults",
    "intervals",
    "metrics",
    "models",
    "privacy",
    "records",
    "report",
    "study",
    "training",
]


_FUNCTIONS = {"assess": ("assessment", "assess"), "load_model": ("models", "load")}
"""Functions of submodules that are reached from here too."""


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        module, function = _FUNCTIONS[name]
        return getattr(importlib.import_module(f"ft_tf.{module}"), function)
    if name in __all__:
        return importlib.import_module(f"ft_tf.{name}")
    raise AttributeError(f"module 'ft_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_FUNCTIONS])
