"""Attacks on a faulty model: fault sets by attacks, and the worst over both."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ft_tf import attacks as known_attacks
from ft_tf import checks
from ft_tf._compat import keras
from ft_tf.attacks.validation import non_finite_logits_allowed
from ft_tf.errors import ArgumentError
from ft_tf.faults.arming import inject
from ft_tf.faults.models import FaultModel
from ft_tf.faults.rows import distinct_rates


@dataclasses.dataclass(frozen=True, eq=False)
class FaultsByAttacks:
    """What attacks found while fault sets were armed.

    Attributes:
        frame: a row per fault set and attack: target, rate, trial, seed, faults, attack,
            clean_accuracy and robust_accuracy, both of the faulty model, and the attack's warnings,
            one in each line.
        survived: bool [fault sets, attacks, n]: right on the image and on every point tried.
    """

    frame: pd.DataFrame
    survived: npt.NDArray[np.bool_]

    @property
    def worst(self) -> float:
        """Share of images that survive every attack under every fault set."""
        return float(self.survived.all(axis=(0, 1)).mean())

    def table(self) -> pd.DataFrame:
        """Robust accuracy: a row per fault set and a column per attack, with the worst of each.

        "worst" is of images: those that survive all attacks, or one attack under all fault sets.
        """
        sets = self.frame[["rate", "trial"]].drop_duplicates()
        names = self.frame["attack"].unique()
        cells = self.survived.mean(axis=2)
        table = pd.DataFrame(cells, index=pd.MultiIndex.from_frame(sets), columns=names)
        table["worst"] = self.survived.all(axis=1).mean(axis=1)
        table.loc[("worst", ""), :] = [*self.survived.all(axis=0).mean(axis=1), self.worst]
        return table


def attack_under_faults(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    attacks: Sequence[str] | Mapping[str, Mapping[str, Any]],
    epsilon: float,
    rates: Sequence[float],
    target: str = "weights",
    fault: FaultModel | None = None,
    trials: int = 1,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> FaultsByAttacks:
    """Attacks a model while faults are armed: the attacker sees the gradients of the faulty model.

    `attacks` are names of `ft_tf.attacks.ATTACKS`, or names with the options of `attacks.evaluate`,
    among them a seed; `epsilon` is the radius of the ball, in units of x. Fault sets, and arguments
    for them, are those of `sweep`, with one trial at rate 0. As there, images with logits of NaN
    count as misclassified. `progress` receives each row when its attack ends.

    Raises:
        ModelError: the model does not give logits, or cannot be made faulty.
    """
    if not isinstance(attacks, Mapping):
        checks.check_types(str, attacks=attacks)
        attacks = {name: {} for name in attacks}
    if not attacks:
        raise ArgumentError("attacks=[] must name at least one")
    checks.check_positive_integer(trials=trials)
    rows, survived = [], []
    for rate in distinct_rates(rates):
        for trial in range(trials if rate else 1):
            where = {"target": target, "rate": rate, "seed": seed, "trial": trial}
            with inject(model, fault=fault, **where) as injected, non_finite_logits_allowed():
                for name, given in attacks.items():
                    found = known_attacks.evaluate(
                        model, x, y, attack=name, epsilon=epsilon, **{"sanity": False} | dict(given)
                    )
                    survived.append(~found.success)
                    row = {**where, "faults": injected.faults, "attack": name}
                    row["clean_accuracy"] = found.clean_accuracy
                    row["robust_accuracy"] = found.robust_accuracy
                    row["warnings"] = "\n".join(found.warnings)
                    rows.append(row)
                    if progress:
                        progress(rows[-1])
    shape = (-1, len(attacks), len(survived[0]))
    return FaultsByAttacks(pd.DataFrame(rows), np.reshape(survived, shape))
