"""Accuracy under faults, all over the model and in parts of it.

A measurement has `begin(subject, deadline)`, its pilot, which raises FtTfError where nothing can be
measured, `more(subject, deadline)`, `width`, the half width of its widest interval as a fraction (0
where time would not help), `size`, the number of results, and `share`, of the time for pilots. What
it measures depends on the model, the images and the seed; time decides only how much of it.
"""

import collections
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import faults, intervals
from ft_tf._compat import keras
from ft_tf.assessment.card import COLUMNS, PILOT, Curve, Rate, with_rule
from ft_tf.assessment.subject import NotPossible, Subject, Trials
from ft_tf.faults.keys import fault_count
from ft_tf.faults.protections.base import Protection, protection_names, protection_of
from ft_tf.faults.rows import interval_of
from ft_tf.faults.storage_formats import native_format

Protector = Callable[[keras.Model, faults.FaultModel], tuple[keras.Model, faults.FaultModel]]
"""Returns a protected model, and what the faults of the unprotected one become in it."""

_GRID = (*(float(f"{m}e{e}") for e in range(-9, 0) for m in (1, 2, 5)), 0.7, 0.9)
_DECADES = (*(float(f"1e{e}") for e in range(-9, 0)), 0.5, 0.9)
_PROBE_TRIALS = range(2**31, 2**31 + 4)  # numbers that no campaign reaches
_PART_TRIALS = 5
_HARMLESS, _FATAL = 0.0025, 0.75
_SINGLE_BITS = 12
"""Highest bits that are tried one by one; sign and exponent of a float32 are nine."""
_MOST_BITS = 2**27
"""Sites from which on bits are not sites one by one: their masks would take gigabytes."""


def interval_of_lost(lost: Sequence[float], rate: float = 1.0) -> intervals.Interval:
    """Interval of the mean loss over trials, which were added after a pilot."""
    return interval_of(rate, lost, level=0.95, method="stein", pilot=PILOT, least=-1.0)


class FaultMeasurement:
    """Trials of faults at several rates.

    Args:
        group: field of the card: curves, layers, bits or protections.
        name: key there.
        plan: gives what is faulty: arguments of `Trials`, and `rates` unless they are to be found.
        share: of the time for pilots.
    """

    def __init__(
        self, group: str, name: str, plan: Callable[[Subject], dict[str, Any]], share: float
    ) -> None:
        self.group, self.name, self.share, self._plan = group, name, share, plan
        self._rates: tuple[float, ...] = ()
        self._frame = pd.DataFrame()

    def restore(self, curve: Curve, subject: Subject) -> None:
        """Takes over the trials of a card."""
        self._prepare(subject)
        self._rates, self._frame = curve.rates, curve.frame(subject.settings.seed)

    def _prepare(self, subject: Subject) -> None:
        if subject.accuracy <= 1 / subject.classes:
            raise NotPossible("accuracy without faults is not above chance: nothing can be lost")
        plan = {"target": "weights", "fault": faults.StuckAt(0.0), **self._plan(subject)}
        self._rates = tuple(plan.pop("rates", ()))
        self.fault, self._target = plan["fault"], plan["target"]
        self._trials = Trials(subject, **plan)

    def begin(self, subject: Subject, deadline: float) -> None:
        """Runs the pilot, of the whole model between the rates at which accuracy falls."""
        self._prepare(subject)
        trials = _PART_TRIALS if self._rates else PILOT
        self._rates = self._rates or self._found_rates(subject, deadline)
        self._add(deadline, range(trials))
        if self._frame.empty:
            raise NotPossible("a single trial takes longer than there was time")

    def _found_rates(self, subject: Subject, deadline: float) -> tuple[float, ...]:
        highest = 0.5 if self.name == "bits" else 0.9
        grid = [r for r in _GRID if r <= highest and fault_count(r, self._trials.sites) >= 1]
        if not grid:
            raise NotPossible(f"{self._trials.sites} sites are too few")
        decades = [rate for rate in _DECADES if grid[0] <= rate <= highest]
        fatal = _FATAL * (subject.accuracy - 1 / subject.classes)
        probe = pd.DataFrame(self._trials.until(deadline, _PROBE_TRIALS, decades, fatal))
        lost = probe.groupby("rate")["accuracy_lost"].mean()
        low = max(lost.index[lost < _HARMLESS], default=grid[0])
        high = min(lost.index[lost > fatal], default=highest)
        return (0.0, *(rate for rate in grid if min(low, high) <= rate <= high))

    def more(self, subject: Subject, deadline: float) -> None:
        """Adds trials; to a part of the model as many as it has, so that its turn comes again."""
        done = self._frame["trial"].nunique()
        self._add(deadline, range(done, done + (100_000 if self.group == "curves" else done)))

    def _add(self, deadline: float, trials: Iterable[int]) -> None:
        rows = self._trials.until(deadline, trials, self._rates)
        if rows:
            parts = [self._frame, pd.DataFrame(rows)[COLUMNS]]
            self._frame = pd.concat(parts, ignore_index=True)
        if self.group != "curves":
            self._trials.release()

    @property
    def size(self) -> int:
        """Number of results so far."""
        return len(self._frame)

    def _lists(self, name: str) -> dict[float, tuple[float, ...]]:
        """A column at each rate, by trial."""
        groups = self._frame.sort_values("trial").groupby("rate")[name]
        return {float(rate): tuple(values.tolist()) for rate, values in groups}

    @property
    def width(self) -> float:
        """Half width of the widest interval of a mean loss; that of a part weighs half."""
        lost = self._lists("accuracy_lost").items()
        widest = max(interval_of_lost(values, rate).half_width for rate, values in lost)
        return min(1.0, widest) * (1.0 if self.group == "curves" else 0.5)

    @property
    def half(self) -> float:
        """The tested rate next to that where the pilot loses half of all that it loses."""
        if self._frame.empty:
            raise NotPossible(
                "the rate follows from the curve of the whole model, which is missing"
            )
        lost = {r: np.mean(v[:PILOT]) for r, v in self._lists("accuracy_lost").items() if r}
        return min(lost, key=lambda rate: abs(lost[rate] - max(lost.values()) / 2))

    def curve(self, subject: Subject) -> Curve:
        """The part of the card."""
        frame, lost = with_rule(self._frame), self._lists("accuracy_lost")
        found = [interval_of_lost(values, rate) for rate, values in lost.items()]
        crossings: dict[str, Rate] = {}
        if 0.0 in lost:
            figures = faults.curve_figures(frame, classes=subject.classes)
            crossings["half"] = _rate(figures.half_rate, figures.half_rate_interval)
            crossings["one_point"] = _rate(*faults.lost_rate(frame, points=0.01))
        per = {"BitErrors": "bit", "BitFlip": "word"}
        return Curve(
            target=self._target,
            fault=self.fault.name,
            per=per.get(type(self.fault).__name__, self._target.removesuffix("s")),
            sites=self._trials.sites,
            images=subject.images_per_trial,
            pilot=PILOT,
            rates=self._rates,
            faults=tuple(int(values[0]) for values in self._lists("faults").values()),
            accuracy=tuple(self._lists("accuracy").values()),
            lost=tuple(lost.values()),
            mean=tuple(float(np.mean(values)) for values in lost.values()),
            low=tuple(max(-1.0, interval.low) for interval in found),
            high=tuple(min(1.0, interval.high) for interval in found),
            **crossings,
        )


def _rate(value: float | None, interval: intervals.Interval | None) -> Rate:
    if interval is None:
        return Rate(value, None, None)
    return Rate(value, interval.low, interval.high if math.isfinite(interval.high) else None)


def whole_model() -> tuple[FaultMeasurement, ...]:
    """Weights and units stuck at 0, and bit errors in the stored weights, all over the model."""

    def bit_errors(subject: Subject) -> dict[str, Any]:
        errors = faults.BitErrors(subject.words)
        sites = faults.make_plan(subject.model, target="weights", fault=errors).sites
        return {"fault": errors if sites <= _MOST_BITS else faults.BitFlip(subject.words)}

    return (
        FaultMeasurement("curves", "weights", lambda subject: {}, 2.0),
        FaultMeasurement("curves", "units", lambda subject: {"target": "units"}, 2.0),
        FaultMeasurement("curves", "bits", bit_errors, 2.0),
    )


def all_protections(x_train: Any) -> dict[str, Protector]:
    """Every registered protection, by its name; ranges are recorded on `x_train`."""

    def protector(protection: Protection) -> Protector:
        return lambda model, fault: (
            protection.on_model(model, x_train),
            protection.on_fault(fault),
        )

    return {name: protector(protection_of(name)) for name in protection_names()}


def parts_of_model(
    subject: Subject,
    weights: FaultMeasurement,
    bits: FaultMeasurement,
    protections: Mapping[str, Protector],
) -> list[FaultMeasurement]:
    """One layer at a time, one bit of the words at a time, and one protection at a time."""
    found: dict[tuple[str, str], Callable[[Subject], dict[str, Any]]] = {}
    sites = faults.find_sites(subject.model, target="weights")
    for layer in dict.fromkeys(group.layer for group in sites if group.owner >= 0):
        select = faults.Select(layers=(layer,))
        found["layers", layer] = lambda _, select=select: {
            "select": select,
            "rates": [weights.half],
        }
    width = faults.format_of(native_format(subject.storage)).bits
    single = range(max(0, width - _SINGLE_BITS), width)
    for ends in [*((bit, bit) for bit in reversed(single)), (0, single[0] - 1)]:
        if ends[0] <= ends[1]:
            name = str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"
            found["bits", name] = lambda _, ends=ends: _of_bits(subject, ends, bits)
    for name, protect in protections.items():

        def protected(_: Subject, protect: Protector = protect) -> dict[str, Any]:
            rates = [bits.half]
            model, fault = protect(subject.model, bits.fault)
            return {"model": model, "fault": fault, "rates": rates}

        found["protections", name] = protected
    done = collections.Counter()

    def turn(key: tuple[str, str]) -> int:
        done[key[0]] += 1
        return done[key[0]]

    # In turns: where time ends among them, the first ones of each kind are known.
    return [FaultMeasurement(*key, found[key], 2.0 / len(found)) for key in sorted(found, key=turn)]


def _of_bits(subject: Subject, ends: tuple[int, int], whole: FaultMeasurement) -> dict[str, Any]:
    """As many errors in some bits of the words as at the half rate of all bits."""
    fault = faults.BitErrors(native_format(subject.storage), bits=ends)
    width = 1 if whole.fault.random else fault.format.bits
    plan = {"fault": fault, "rates": [min(0.5, whole.half * width / fault.sites_per_value)]}
    if subject.words == "as_stored":  # weights of other types have other bits
        plan["select"] = faults.Select(dtype=subject.storage)
    return plan
