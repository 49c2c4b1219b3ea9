"""All knowledge of dp-accounting and of its releases (0.4.3 on Python 3.11, 0.6 from 3.12 on).

It is not in `ft_tf._compat`, which imports TensorFlow: the accountants do not need it.
dp-accounting is imported at first use, since it takes more than a second.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ft_tf.errors import StackError

TAIL_MASS = 1e-15
"""Probability mass that dp-accounting moves to an infinite loss in each self-composition."""


def _modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from dp_accounting import rdp
        from dp_accounting.pld import pld_pmf, privacy_loss_distribution
    except ImportError as error:
        raise StackError(
            f"dp-accounting cannot be imported ({error}): pip install 'dp-accounting>=0.4.3'"
        ) from None
    return rdp, pld_pmf, privacy_loss_distribution


def epsilon_of_rdp(orders: Sequence[float], rdp: np.ndarray, delta: float) -> tuple[float, float]:
    """Epsilon and best order by dp-accounting's conversion of a Rényi curve."""
    library, _, _ = _modules()
    epsilon, order = library.compute_epsilon(orders, rdp, delta)  # 0.6 answers in NumPy scalars
    return float(epsilon), float(order)


def composed_pld(*curves: tuple[np.ndarray, int], interval: float, steps: int) -> Any:
    """Pessimistic privacy loss distribution of a step composed with itself.

    Args:
        curves: hockey-stick divergences of one step, not increasing, in [0, 1], and the grid index
            of the first: entry i is at a loss of (first + i) * interval. One curve for a pair that
            is its own mirror image; otherwise remove, then add.
        interval: distance of grid points, in nats.
        steps: how often the step is taken.
    """
    _, pmf, library = _modules()
    single = [
        pmf.create_pmf_pessimistic_connect_dots_fixed_gap(
            interval, lowest, lowest + len(deltas) - 1, deltas
        ).to_dense_pmf()  # the sparse form raises its size to the power of `steps`: minutes
        for deltas, lowest in curves
    ]
    return library.PrivacyLossDistribution(*single).self_compose(steps, TAIL_MASS)


def epsilon_of_pld(pld: Any, delta: float) -> float:
    """Smallest epsilon at `delta`; infinite when the truncated tails already exceed it.

    Between 700 and 745, where exp(-epsilon) is a subnormal number, it may be infinite as well.
    """
    with np.errstate(over="ignore"):
        return float(pld.get_epsilon_for_delta(delta))


def deltas_of_pld(pld: Any, epsilons: np.ndarray) -> np.ndarray:
    """Delta in [0, 1] at each of the increasing `epsilons`."""
    deltas = np.asarray(pld.get_delta_for_epsilon(epsilons))
    return np.clip(np.where(np.isfinite(deltas), deltas, 1.0), 0.0, 1.0)
