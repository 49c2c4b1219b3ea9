"""ft_tf: fault tolerance, adversarial robustness and privacy of Keras models, and their trade-off.

Submodules are imported when first used, so that `import ft_tf` prints nothing and costs nothing.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

__all__ = [
    "architectures",
    "attacks",
    "data",
    "faults",
    "intervals",
    "metrics",
    "privacy",
    "records",
    "report",
    "study",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"ft_tf.{name}")
    raise AttributeError(f"module 'ft_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
