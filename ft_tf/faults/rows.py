"""The rows of a campaign: which there are, when enough are there, and the table that they make."""

import dataclasses
import math
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import intervals
from ft_tf.checks import (
    check_choice,
    check_fraction,
    check_non_negative_integer,
    check_positive,
    check_positive_integer,
    check_probability,
    check_range,
    check_type,
    shown,
)
from ft_tf.errors import ArgumentError
from ft_tf.faults.measures import COLUMNS as MEASURES

STOP_METHODS = ("anytime", "stein")
PILOT = 30
STEIN_IMAGES = 200
"""Images of a trial of "stein" unless something else is asked for. A fixed number, because one
chosen from measured times would make rows depend on the machine. Two hundred images add less than
(1/2)^2 / 200 to the variance of a trial, at most some 210 trials at half a point, and usually cost
little more than drawing the faults; `intervals.allocate` gives the cheapest for given costs."""

SMALLEST_HALF_WIDTH = 1e-5
"""Betting on a half-width takes twice its inverse of trials, and as many candidate means."""
_CANDIDATES = 10  # within a half-width: fewer round the ends of an interval too far outwards

MAX_TRIALS = 2**32  # a trial's number is one word of its seed
COLUMNS = ("target", "rate", "trial", "seed", "faults", *MEASURES)

Row = dict[str, Any]


def distinct_rates(rates: Sequence[float]) -> list[float]:
    """The rates in order, each once.

    Raises:
        ArgumentError: there is none, or one is not in [0, 1].
    """
    if not isinstance(rates, Iterable) or isinstance(rates, str):
        raise ArgumentError(
            f"rates={rates!r} must be a list of numbers in [0, 1], such as [0, 0.1]"
        )
    rates = list(rates)
    for rate in rates:
        check_fraction(rate=rate)
    if not rates:
        raise ArgumentError("rates=[] must have at least one rate")
    return sorted({float(rate) for rate in rates})


def trial_numbers(trials: int | Iterable[int]) -> Sequence[int]:
    """The numbers of a campaign's trials: 0 to trials - 1, or those given.

    Raises:
        ArgumentError: none; a number that is no integer, below 0, too large or given twice.
    """
    if isinstance(trials, Iterable) and not isinstance(trials, str | bytes):
        numbers: Sequence[int] = list(trials)
        for number in numbers:
            check_non_negative_integer(trial=number)
        if not numbers or len(set(numbers)) != len(numbers):
            raise ArgumentError(f"trials={numbers} must have at least one number, and none twice")
        largest = max(numbers)
    else:
        check_positive_integer(trials=trials)
        numbers, largest = range(trials), trials - 1
    if largest >= MAX_TRIALS:
        raise ArgumentError(f"trials={trials} must be at most {MAX_TRIALS}")
    return numbers


class StopRule:
    """Ends each rate of a campaign by itself, as soon as its accuracy is known well enough.

    - "anytime": when the rate's `intervals.BettingInterval` is short enough; it may be looked at
      after every trial.
    - "stein": after as many trials as Stein's two-stage procedure asks for. It looks once, after
      the pilot (`PILOT` trials, or all if there are fewer), and takes the scale of the interval
      from the pilot alone, so the coverage is that of an interval over a fixed number of trials.
      A pilot whose trials all agree has no scale: most likely nothing happens, or a failure is
      rare. Such a rate goes on as with "anytime".

    At rate 0 there is nothing random: one trial, on all images, is the answer. What a rule decides
    on a rate depends on that rate's rows alone, so that any set of rates gives the same rows.
    Rows of a rate must come in the order of the trials.

    Args:
        rates: of the campaign.
        half_width: of the accuracy's interval; None never stops.
        level: coverage of the intervals.
        method: one of `STOP_METHODS`.
        most: trials that there may be; a pilot is no longer than that.

    Attributes:
        facts: what a summary must know of the rule; None if it never stops.
    """

    def __init__(
        self,
        rates: list[float],
        *,
        half_width: float | None,
        level: float = 0.95,
        method: str = "anytime",
        most: int | None = None,
    ) -> None:
        rates = distinct_rates(rates)
        if most is not None:
            check_positive_integer(most=most)
        check_choice(STOP_METHODS, method=method)
        check_probability(level=level)
        check_half_width(least=SMALLEST_HALF_WIDTH, half_width=half_width)
        self._half_width, self._level, self._method = half_width, level, method
        self._pilot = PILOT if most is None else max(2, min(PILOT, most))
        self.facts: dict[str, Any] | None = None
        if half_width is not None:
            self.facts = {"method": method, "half_width": half_width}
            self.facts |= {"level": level, "pilot": self._pilot}
        self._open = set(rates)
        self._values: dict[float, list[float]] = {rate: [] for rate in rates}
        self._needed: dict[float, int] = {}
        self._betting: dict[float, intervals.BettingInterval] = {}
        if half_width is not None and method == "anytime":
            self._betting = {rate: _betting((), level, half_width) for rate in rates if rate}

    @property
    def done(self) -> bool:
        """Whether every rate has its trials."""
        return not self._open

    def wants(self, rate: float) -> bool:
        """Whether the rate needs another trial; once it does not, it never does again."""
        return rate in self._open

    def take(self, row: Row) -> None:
        """Takes the next row of its rate."""
        rate, values = row["rate"], self._values[row["rate"]]
        values.append(row["accuracy"])
        if self._half_width is not None and self._is_settled(rate, values):
            self._open.discard(rate)

    def _is_settled(self, rate: float, values: list[float]) -> bool:
        if rate == 0:
            return True
        if rate not in self._betting and len(values) == self._pilot:
            if intervals.has_spread(values):
                question = {"half_width": self._half_width, "level": self._level}
                self._needed[rate] = _stein_trials(values, **question)
            else:
                self._betting[rate] = _betting(values[:-1], self._level, self._half_width)
        if rate in self._betting:
            self._betting[rate].add(values[-1])
            return self._betting[rate].settled
        return len(values) >= self._needed.get(rate, math.inf)

    def trials_left(self, most: int) -> int:
        """How many rows may come yet, if no rate has more than `most`."""
        return sum(
            min(most, self._needed.get(rate, most)) - len(self._values[rate]) for rate in self._open
        )

    def interval(self, rate: float) -> intervals.Interval:
        """What holds of a rate's mean accuracy so far, although the rule has looked."""
        values = self._values[rate]
        if rate in self._betting:
            return self._betting[rate].interval
        method = "student" if self._half_width is None else self._method
        return interval_of(rate, values, level=self._level, method=method, pilot=self._pilot)


def check_half_width(*, least: float = 0.0, **widths: float | None) -> None:
    """Raises ArgumentError for a half-width that no interval of a campaign can have."""
    for name, width in widths.items():
        if width is not None:
            check_positive(**{name: width})
            check_range(least, 0.5, **{name: width})


_NO_RULE = {"level": 0.95, "method": "student", "half_width": 0.005, "pilot": PILOT}


def interval_settings(frame: pd.DataFrame, **given: Any) -> dict[str, Any]:
    """How the intervals of a campaign are computed, for `interval_of`.

    As its stop rule says, or `given` where that is not None; without either by Student at 95%.
    """
    check_type(pd.DataFrame, frame=frame)
    rule = frame.attrs.get("stop_rule") or {}
    given = {name: value for name, value in given.items() if value is not None}
    settings = {name: {**rule, **given}.get(name, default) for name, default in _NO_RULE.items()}
    check_probability(level=settings["level"])
    return settings


def interval_of(
    rate: float,
    values: Sequence[float],
    *,
    level: float,
    method: str,
    half_width: float = 0.005,
    pilot: int = PILOT,
    least: float = 0.0,
    most: float = 1.0,
) -> intervals.Interval:
    """The interval of the mean accuracy at one rate, or of another figure of its trials.

    Args:
        rate: the rate.
        values: accuracies, in the order of the trials, or figures in [least, most].
        level: nominal coverage.
        method: "student", or how the campaign was stopped: "anytime" or "stein".
        half_width: what "anytime" was aimed at.
        pilot: trials of the pilot of "stein"; with fewer trials it is Student's interval, and
            where those of the pilot agree that of "anytime".
        least: 0 for accuracies.
        most: 1 for accuracies.
    """
    if rate == 0:
        return intervals.Interval(values[0], values[0], level, "no faults: exact", "trial")
    if method == "student":
        return intervals.mean(values, level=level, unit="trial")
    if method == "stein" and intervals.has_spread(values[:pilot]):
        if len(values) < pilot:
            return intervals.mean(values, level=level, unit="trial")
        return intervals.stein(values, pilot_trials=pilot, level=level)
    span = most - least
    shares = (np.clip(values, least, most) - least) / span
    found = _betting(shares, level, half_width / span).interval
    return dataclasses.replace(found, low=least + span * found.low, high=least + span * found.high)


def _betting(values: Iterable[float], level: float, half_width: float) -> intervals.BettingInterval:
    resolution = max(10_000, math.ceil(_CANDIDATES / half_width)) + 1
    betting = intervals.BettingInterval(level=level, half_width=half_width, resolution=resolution)
    for value in values:
        betting.add(float(value))
    return betting


def _stein_trials(values: Sequence[float], *, half_width: float, level: float) -> int:
    variance, pilot = float(np.var(values, ddof=1)), len(values)
    return intervals.stein_trials(variance, half_width=half_width, pilot_trials=pilot, level=level)


def trials_for(
    rate: float, values: Sequence[float], *, half_width: float, level: float
) -> int | None:
    """How many trials of a rate give its mean accuracy to +- `half_width`.

    Of trials that differ, those that Stein's procedure asks for; of some that all agree, what
    `BettingInterval` takes if they go on to agree. At least the trials that there are, whose
    accuracies are `values`; 1 at rate 0; None of a single trial, which shows no spread.
    """
    check_half_width(least=SMALLEST_HALF_WIDTH, margin=half_width)
    if rate == 0:
        return 1
    if len(values) < 2:
        return None
    if intervals.has_spread(values):
        return _stein_trials(values, half_width=half_width, level=level)
    betting, count = _betting(values, level, half_width), len(values)
    while not betting.settled:
        betting.add(float(values[0]))
        count += 1
    return count


class Budget:
    """The time that a campaign may take, as for `seconds_of`, counted from here; None: no limit."""

    def __init__(self, budget: float | str | None) -> None:
        self.seconds = math.inf if budget is None else seconds_of(budget)
        self._start = time.monotonic()

    @property
    def used(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._start

    @property
    def spent(self) -> bool:
        """Whether the time is over."""
        return self.used >= self.seconds


def seconds_of(budget: float | str) -> float:
    """Returns a budget in seconds.

    Raises:
        ArgumentError: it is neither a positive number nor a text such as "90 s" or "1.5 h".

    >>> seconds_of("10 min"), seconds_of("1.5 h"), seconds_of(30)
    (600.0, 5400.0, 30.0)
    """
    seconds = budget
    if isinstance(budget, str):
        try:
            is_number = re.fullmatch(r"\s*[\d.]+\s*", budget)
            seconds = pd.Timedelta(f"{budget} s" if is_number else budget).total_seconds()
        except ValueError:
            raise ArgumentError(f"budget={shown(budget)} must be a time such as '10 min'") from None
    check_positive(budget=seconds)
    return float(seconds)


def frame_of(rows: list[Row], facts: dict[str, Any]) -> pd.DataFrame:
    """The table of a campaign: sorted by rate and trial, with the campaign's facts as `attrs`."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.sort_values(["rate", "trial"], ignore_index=True)
    frame.attrs.update(facts)
    return frame


def images_of_trial(asked: int | None, images: int, rule: StopRule) -> int | None:
    """How many images each trial takes: what was asked for, or the rule's own number."""
    if asked is None and rule.facts and rule.facts["method"] == "stein":
        return min(STEIN_IMAGES, images)
    return asked
