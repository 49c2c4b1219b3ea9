"""Plans of the studies that go on where the paper stops: one file each.

A plan's docstring states, before its first record exists, the question, the cells, the seeds, the
primary measure and the test. `cells()` returns the runs of one seed, those that matter most first.
`python -m experiments.run_plan --plan=NAME` trains what is missing.
"""

import importlib
from types import ModuleType

PLANS = (
    "remedies", "remedies_cnn", "dp_adam", "dp_adam_rows", "dp_adam_cnn", "normalized_trades",
    "tutorial_cnn", "cifar10_recipe", "cifar10_jpeg", "zoo", "walk", "proxy",
)  # fmt: skip


def plan(name: str) -> ModuleType:
    """Returns the module of a plan."""
    return importlib.import_module(f"experiments.plans.{name}")
