"""The worst case: few bits that bring accuracy down, found by gradients and by trying."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import metrics
from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import check_fraction, check_positive_integer, check_type
from ft_tf.errors import ArgumentError
from ft_tf.examples import check_inputs, check_labels
from ft_tf.faults.bitflips import BitErrors
from ft_tf.faults.campaign import Campaign
from ft_tf.faults.gradients import loss_gradients
from ft_tf.faults.plan import FaultPlan, make_plan
from ft_tf.faults.rows import Row
from ft_tf.faults.sites import Select
from ft_tf.keras_layers import remember_input

_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class WorstCase:
    """Bits that a search found.

    Attributes:
        clean_accuracy: of the stored model without a fault.
        target_accuracy: what was to be reached.
        reached: whether it was.
        flips: a row for each bit, in the order found: layer, parameter, index, bit, before, after
            (the stored value), accuracy (with this bit and all before it).
    """

    clean_accuracy: float
    target_accuracy: float
    reached: bool
    flips: pd.DataFrame


def worst_case(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target_accuracy: float,
    fault: BitErrors | None = None,
    select: Select | None = None,
    most_bits: int = 100,
    candidates: int = 8,
    batch_size: int = 1000,
    progress: Callable[[Row], None] | None = None,
) -> WorstCase:
    """Searches for few flipped bits that bring the accuracy to a target.

    Progressive bit search (Rakin, He and Fan 2019, "Bit-Flip Attack"): in each variable the bits
    are ranked by the first-order change of the loss, (new value - value) dL/dw; the first
    `candidates` of each are tried, the one that leaves the lowest accuracy (then the highest loss)
    stays flipped, and the search goes on with the new gradients. The number of bits found is an
    upper bound on the fewest: other bits may do it with fewer, on these images too.

    The search ends at `target_accuracy` or below, or after `most_bits`; more candidates find fewer
    bits. `fault` is the storage format and the bits that may flip: float32 and all bits by default,
    where a single exponent bit often is enough. `progress` is called with every bit found. Other
    arguments are those of `sweep`, but for models of .tflite files, which have no gradients.

    Raises:
        ArgumentError: an argument is out of range, a variable has no gradient, or bits of `fault`
            fail together.
        ModelError: something asked for cannot be faulted; the model is not one of Keras.
    """
    check_fraction(target_accuracy=target_accuracy)
    check_positive_integer(most_bits=most_bits, candidates=candidates, batch_size=batch_size)
    fault = BitErrors() if fault is None else fault
    check_type(BitErrors, fault=fault)
    remember_input(require_keras_model(model), x)
    plan = make_plan(model, target="weights", fault=fault, select=select)
    if any(group.fault.together(group.shape) > 1 for group in plan.groups):
        raise ArgumentError(
            f"fault={fault!r} inverts several bits at once: give BitErrors(...), single bits of "
            "which are searched"
        )
    campaign = Campaign(model, plan, x, y, batch_size=batch_size)
    x, y = check_inputs(x), check_labels(y, classes=None, examples=campaign.images)
    gradients = loss_gradients(model, plan.groups)
    rows: list[Row] = []
    with campaign.armed():
        memory = _Memory(plan, candidates)
        clean = accuracy = memory.measured(campaign, y)[0]
        while accuracy > target_accuracy and len(rows) < most_bits:
            found = memory.best(gradients(x, y, batch_size), campaign, y)
            if found is None:
                break
            accuracy = found["accuracy"]
            rows.append(found)
            if progress is not None:
                progress(found)
    columns = ["layer", "parameter", "index", "bit", "before", "after", "accuracy"]
    flips = pd.DataFrame(rows, columns=columns)
    return WorstCase(clean, target_accuracy, accuracy <= target_accuracy, flips)


class _Memory:
    """The stored weights with the bits flipped so far; use it inside `campaign.armed()`."""

    def __init__(self, plan: FaultPlan, candidates: int) -> None:
        self._groups, self._candidates = plan.groups, candidates
        clean = [tf.convert_to_tensor(group.variable) for group in plan.groups]
        self._flipped = [
            group.fault.flipper(values) for group, values in zip(plan.groups, clean, strict=True)
        ]
        self._patterns = [np.zeros(group.shape, np.uint32) for group in plan.groups]
        self._values = [self._read(number) for number in range(len(clean))]
        for group, values in zip(plan.groups, self._values, strict=True):
            group.variable.assign(values)

    def _read(self, number: int, further: np.ndarray | int = 0) -> np.ndarray:
        """The values of a variable with its flipped bits, and `further` ones."""
        pattern = self._patterns[number] ^ np.asarray(further, np.uint32)
        return self._flipped[number](tf.constant(pattern)).numpy()

    def measured(self, campaign: Campaign, y: np.ndarray) -> tuple[float, float]:
        """Accuracy and mean cross-entropy (infinite with a NaN) of what is in the variables."""
        logits, loss = campaign.logits(None), np.inf
        if np.isfinite(logits).all():
            loss = float(np.logaddexp(0, metrics.error_log_odds(logits, y)).mean())
        return metrics.accuracy_from_logits(logits, y), loss

    def best(self, gradients: list[np.ndarray], campaign: Campaign, y: np.ndarray) -> Row | None:
        """Flips the best bit of the candidates; None if there is none left."""
        tried = []
        for number, gradient in enumerate(gradients):
            for _, bit, place, after in self._ranked(number, gradient):
                values = self._values[number].copy()
                values.flat[place] = after
                self._groups[number].variable.assign(values)
                accuracy, loss = self.measured(campaign, y)
                tried.append((accuracy, -loss, number, place, bit))
            self._groups[number].variable.assign(self._values[number])
        if not tried:
            return None
        accuracy, _, number, place, bit = min(tried)
        group, before = self._groups[number], float(self._values[number].flat[place])
        self._patterns[number].flat[place] ^= np.uint32(1 << bit)
        self._values[number] = self._read(number)
        group.variable.assign(self._values[number])
        index = tuple(int(i) for i in np.unravel_index(place, group.shape))
        where = {"layer": group.layer, "parameter": group.name, "index": index, "bit": bit}
        after = float(self._values[number].flat[place])
        return {**where, "before": before, "after": after, "accuracy": accuracy}

    def _ranked(self, number: int, gradient: np.ndarray) -> list[tuple[float, int, int, float]]:
        """The candidates of a variable: gain, bit, place and the value after it."""
        found = []
        slopes, current = np.nan_to_num(gradient).ravel(), self._values[number].ravel()
        for bit in self._groups[number].fault.bit_numbers:
            after = self._read(number, 1 << bit).ravel()
            with np.errstate(invalid="ignore", over="ignore"):
                change = after.astype(np.float64) - current
                # What becomes infinite or NaN may do anything: it comes first where it counts.
                change = np.where(np.isfinite(change), change, np.sign(slopes) * _LARGEST)
                gain = change * slopes
            gain[(self._patterns[number].ravel() >> np.uint32(bit)) & 1 == 1] = -np.inf  # flipped
            count = min(self._candidates, gain.size)
            first = np.argpartition(-gain, count - 1)[:count]
            found += [(float(gain[p]), bit, int(p), after[p]) for p in first if gain[p] > -np.inf]
        found.sort(key=lambda candidate: candidate[0], reverse=True)
        return found[: self._candidates]
