"""Faults all over the model: accuracy by their rate."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from ft_tf import faults, intervals
from ft_tf.assessment.card import PILOT, Curve, Rate, with_rule
from ft_tf.assessment.measurements import Measurement, NotPossible, Subject, Trials
from ft_tf.faults.keys import fault_count
from ft_tf.faults.rows import interval_of

_GRID = (*(float(f"{m}e{e}") for e in range(-9, 0) for m in (1, 2, 5)), 0.7, 0.9)
_DECADES = (*(float(f"1e{e}") for e in range(-9, 0)), 0.5, 0.9)
_PROBE_TRIALS = range(2**31, 2**31 + 4)  # numbers that no campaign reaches
_HARMLESS, _FATAL = 0.0025, 0.75
_MOST_BITS = 2**27
"""Sites from which on bits are not sites one by one: their masks would take gigabytes."""
NO_TIME = "a single trial takes longer than there was time"


def interval_of_lost(lost: Sequence[float], rate: float = 1.0) -> intervals.Interval:
    """Interval of the mean loss over trials, which were added after a pilot."""
    return interval_of(rate, lost, level=0.95, method="stein", pilot=PILOT)


def cut(value: float) -> float:
    """A change of accuracy, as far as there can be one."""
    return min(1.0, max(-1.0, value))


def bit_fault(subject: Subject) -> faults.FaultModel:
    """Bit errors in the stored weights; where these are very many, one error a word at most."""
    errors = faults.BitErrors(subject.storage)
    plan = faults.make_plan(subject.model, target="weights", fault=errors)
    return errors if plan.sites <= _MOST_BITS else faults.BitFlip(subject.storage)


class CurveMeasurement(Measurement):
    """Accuracy by the rate of faults all over the model.

    Args:
        name: of the measurement.
        target: "weights" or "units".
        fault: makes the fault model.
    """

    share = 2.0

    def __init__(
        self, name: str, target: str, fault: Callable[[Subject], faults.FaultModel]
    ) -> None:
        self.name, self._target, self._fault_of = name, target, fault
        self._rates: tuple[float, ...] = ()
        self._frame = pd.DataFrame()

    def restore(self, curve: Curve, subject: Subject) -> None:
        """Takes over the trials of a card."""
        self._prepare(subject)
        self._rates, self._frame = curve.rates, curve.frame(subject.settings.seed)

    def _prepare(self, subject: Subject) -> None:
        if subject.accuracy <= 1 / subject.classes:
            raise NotPossible("accuracy without faults is not above chance: nothing can be lost")
        self.fault = self._fault_of(subject)
        self._trials = Trials(subject, self._target, fault=self.fault)

    def begin(self, subject: Subject, deadline: float) -> None:
        """Finds the rates between which accuracy falls, and runs the pilot there."""
        self._prepare(subject)
        highest = 0.5 if self.name == "bits" else 0.9
        grid = [r for r in _GRID if r <= highest and fault_count(r, self._trials.sites) >= 1]
        decades = [rate for rate in _DECADES if grid and grid[0] <= rate <= highest] or grid
        if not grid:
            raise NotPossible(f"{self._trials.sites} sites are too few")
        fatal = _FATAL * (subject.accuracy - 1 / subject.classes)
        probe = pd.DataFrame(self._trials.until(deadline, _PROBE_TRIALS, decades, fatal))
        lost = probe.groupby("rate")["accuracy_lost"].mean()
        low = max(lost.index[lost < _HARMLESS], default=grid[0])
        high = min(lost.index[lost > fatal], default=highest)
        self._rates = (0.0, *(rate for rate in grid if min(low, high) <= rate <= high))
        self._add(deadline, range(PILOT))
        if self._frame.empty:
            raise NotPossible(NO_TIME)

    def more(self, subject: Subject, deadline: float) -> None:
        """Adds trials."""
        done = self._frame["trial"].nunique()
        self._add(deadline, range(done, done + 100_000))

    def _add(self, deadline: float, trials: Iterable[int]) -> None:
        rows = self._trials.until(deadline, trials, self._rates)
        columns = ["target", "rate", "trial", "seed", "faults", "accuracy", "accuracy_lost"]
        if rows:
            self._frame = pd.concat([self._frame, pd.DataFrame(rows)[columns]], ignore_index=True)

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
        """Half width of the widest interval of a mean loss."""
        lost = self._lists("accuracy_lost").items()
        return max(interval_of_lost(values, rate).half_width for rate, values in lost)

    @property
    def half(self) -> float | None:
        """The tested rate next to that where the pilot loses half of all that it loses."""
        if self._frame.empty:
            return None
        lost = {r: np.mean(v[:PILOT]) for r, v in self._lists("accuracy_lost").items() if r}
        return min(lost, key=lambda rate: abs(lost[rate] - max(lost.values()) / 2))

    def curve(self, subject: Subject) -> Curve | None:
        """The part of the card."""
        if self._frame.empty:
            return None
        frame, lost = with_rule(self._frame), self._lists("accuracy_lost")
        found = [interval_of_lost(values, rate) for rate, values in lost.items()]
        figures = faults.curve_figures(frame, classes=subject.classes)
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
            low=tuple(cut(interval.low) for interval in found),
            high=tuple(cut(interval.high) for interval in found),
            one_point=_rate(*faults.lost_rate(frame, points=0.01)),
            half=_rate(figures.half_rate, figures.half_rate_interval),
        )


def _rate(value: float | None, interval: intervals.Interval | None) -> Rate:
    if interval is None:
        return Rate(value, None, None)
    return Rate(value, interval.low, interval.high if math.isfinite(interval.high) else None)
