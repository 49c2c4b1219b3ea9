"""Figures of one run that its record does not hold as such."""

import collections
import math
import re
from collections.abc import Sequence

from ft_tf.records import LayerFault, Record, Run
from ft_tf.report.display_names import CLASSES
from ft_tf.report.effects_runs import Trained

_AT_CHANCE = 0.1
"""A model is at chance where less than this share of its accuracy above chance is left."""


def chance(record: Record) -> float | None:
    """Returns the accuracy of guessing, 1 / number of classes; None where that is not known."""
    classes = record.data.classes or CLASSES.get(record.data.name)
    return 1 / classes if classes else None


def normalized_auc(record: Run, target: str) -> float | None:
    """Normalized accuracy under faults: share of accuracy above chance, averaged over 0 to 90%.

    The area (trapezoids) under the curve of accuracy minus chance, over that without faults: 1 is
    a model that no fault harms, 0 one that is at chance from the first fault on. From accuracy
    lost, paired where that is on record. None where the rates do not reach from 0 to 90%, where
    the model is at chance without faults, or where chance is not known.
    """
    if chance(record) is None or record.accuracy is None:
        return None
    area = Trained(record).normalized_area(target)
    return None if area is None else area / 100


def accuracy_at(record: Run, target: str, rate: float) -> float | None:
    """Returns the mean accuracy of one run at a fault rate; None where it was not measured."""
    campaign = record.faults.get(target)
    for place, measured in enumerate(campaign.rates if campaign else ()):
        if math.isclose(measured, rate, abs_tol=1e-9):
            return campaign.mean[place]
    return None


def is_at_chance(record: Run, target: str, rate: float = 0.5) -> bool:
    """Whether at a fault rate less than a tenth of the accuracy above chance is left."""
    clean, faulty = (accuracy_at(record, target, where) for where in (0.0, rate))
    guess = chance(record)
    if clean is None or faulty is None or guess is None:
        return False
    return faulty - guess < _AT_CHANCE * (clean - guess)


def layer_names(entries: Sequence[LayerFault]) -> list[str]:
    """Returns names of a run's layers that are the same for all runs of an architecture.

    Keras numbers layers through a whole process: the first Dense layer of a model may be "dense" or
    "dense_7"; here it is "dense 1".
    """
    made: collections.Counter[str] = collections.Counter()
    names = []
    for entry in entries:
        kind = re.sub(r"_\d+$", "", entry.layer).replace("2d", "")
        made[kind] += 1
        names.append(f"{kind} {made[kind]}" if kind in ("dense", "conv") else kind)
    return names
