"""Faults in one layer or in one bit at a time, and with a protection at a time."""

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.assessment.card import Part
from ft_tf.assessment.curves import NO_TIME, CurveMeasurement, cut, interval_of_lost
from ft_tf.assessment.measurements import Measurement, NotPossible, Subject, Trials

Protector = Callable[[keras.Model, faults.FaultModel], tuple[keras.Model, faults.FaultModel]]
"""Returns a protected model, and what the faults of the unprotected one become in it."""
Variants = dict[str, dict[str, Any]]
"""By name, the arguments of a sweep that differ from the whole model's; `rates` among them."""

_TRIALS = 5
_SINGLE_BITS = 12
"""Highest bits that are tried one by one; sign and exponent of a float32 are nine."""


def layers(subject: Subject, curve: CurveMeasurement) -> Variants:
    """Weights stuck at 0 in one layer at a time, at the half rate of the whole model."""
    plan = faults.make_plan(subject.model, target="weights")
    names = dict.fromkeys(group.layer for group in plan.groups if group.owner >= 0)
    return {name: {"select": faults.Select(layers=(name,)), "rates": [curve.half]}
            for name in names}  # fmt: skip


def bits(subject: Subject, curve: CurveMeasurement) -> Variants:
    """As many bit errors as at the half rate of the whole model, all in one bit of the words."""
    width = faults.format_of(subject.storage).bits
    single = min(width, _SINGLE_BITS)
    ranges = [(bit, bit) for bit in reversed(range(width - single, width))]
    ranges += [(0, width - single - 1)] if width > single else []
    per_word = curve.half * (1 if curve.fault.random else width)
    return {
        str(low) if low == high else f"{low}-{high}": {
            "fault": faults.BitErrors(subject.storage, bits=(low, high)),
            "rates": [min(0.5, per_word / (high - low + 1))],
        }
        for low, high in ranges
    }


def protected(protections: Mapping[str, Protector]) -> Callable[..., Variants]:
    """The trials of bit errors at the half rate again, with one protection at a time."""

    def variants(subject: Subject, curve: CurveMeasurement) -> Variants:
        found = {name: make(subject.model, curve.fault) for name, make in protections.items()}
        return {name: {"model": model, "fault": fault, "rates": [curve.half]}
                for name, (model, fault) in found.items()}  # fmt: skip

    return variants


class PartsMeasurement(Measurement):
    """Accuracy lost to faults in variants of a curve's campaign.

    Args:
        name: of the measurement.
        curve: whose half rate decides the rates.
        variants: makes them.
    """

    def __init__(
        self,
        name: str,
        curve: CurveMeasurement,
        variants: Callable[[Subject, CurveMeasurement], Variants],
    ) -> None:
        self.name, self._curve, self._make = name, curve, variants
        self._variants: Variants = {}
        self._lost: dict[str, list[float]] = {}
        self._sites: dict[str, int] = {}

    def restore(self, parts: Sequence[Part], subject: Subject) -> None:
        """Takes over the trials of a card."""
        if parts:
            self._prepare(subject)
            self._lost |= {part.name: list(part.lost) for part in parts}
            self._sites |= {part.name: part.sites for part in parts}

    def _prepare(self, subject: Subject) -> None:
        if self._curve.half is None:
            raise NotPossible(
                "the rate follows from the curve of the whole model, which is missing"
            )
        self._variants = self._make(subject, self._curve)

    def begin(self, subject: Subject, deadline: float) -> None:
        """Tries each variant a few times."""
        self._prepare(subject)
        self._add(subject, deadline, _TRIALS)
        if not self._lost:
            raise NotPossible(NO_TIME)

    def more(self, subject: Subject, deadline: float) -> None:
        """Tries again the variants that were tried least."""
        least = min(len(self._lost.get(name, ())) for name in self._variants)
        self._add(subject, deadline, max(_TRIALS, 2 * least))

    def _add(self, subject: Subject, deadline: float, wanted: int) -> None:
        for name, settings in self._variants.items():
            lost = self._lost.get(name, [])
            if len(lost) >= wanted or subject.clock.now() > deadline:
                continue
            rates, plan = settings["rates"], {k: v for k, v in settings.items() if k != "rates"}
            trials = Trials(subject, "weights", **plan)
            rows = trials.until(deadline, range(len(lost), wanted), rates)
            if rows:
                self._lost[name] = lost + [row["accuracy_lost"] for row in rows]
                self._sites[name] = trials.sites
            del trials
            gc.collect()  # a compiled program is a cycle, which holds its images

    @property
    def why(self) -> str | None:
        """Which variants were not tried."""
        missing = [name for name in self._variants if name not in self._lost]
        return f"no time for {', '.join(missing)}" if missing else None

    @property
    def size(self) -> int:
        """Number of results so far."""
        return sum(map(len, self._lost.values()))

    @property
    def width(self) -> float:
        """Half width of the widest interval, at half its weight; 1 if one was not tried yet."""
        if self.why:
            return 1.0
        widths = [interval_of_lost(lost).half_width for lost in self._lost.values()]
        return 0.5 * min(1.0, max(widths))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The part of the card."""
        found = []
        for name, lost in self._lost.items():
            interval = interval_of_lost(lost)
            ends = [cut(end) if len(lost) > 1 else None for end in (interval.low, interval.high)]
            (rate,) = self._variants[name]["rates"]
            mean = float(np.mean(lost))
            found.append(Part(name, self._sites[name], rate, tuple(lost), mean, *ends))
        return tuple(found)
