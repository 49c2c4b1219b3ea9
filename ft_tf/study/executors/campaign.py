"""A fault campaign on a finished run's model, its trials spread over workers.

A row of a campaign depends on nothing but the model, the images, the seed and its own numbers, so
the table is that of `faults.sweep` in one process, to the bit, with the same number of threads and
the same batch size.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ft_tf import checks, faults, records
from ft_tf.errors import RunError
from ft_tf.faults.campaign import Campaign
from ft_tf.faults.plan import make_plan
from ft_tf.faults.rows import (
    Row,
    StopRule,
    distinct_rates,
    frame_of,
    images_of_trial,
    settings_facts,
    trial_numbers,
)
from ft_tf.study.executors.coordinator import run_tasks
from ft_tf.study.executors.execution import Executor
from ft_tf.study.finished import load_run

_PARTS = 4
"""Tasks for each worker: few, since each begins with masks that nothing is computed beside."""


@dataclasses.dataclass(frozen=True)
class SweepSettings:
    """The arguments of `faults.sweep` that stay the same for all trials; see there.

    Attributes:
        target: "weights", "units" or "both".
        rates: shares of faulty sites.
        seed: fixes the faults.
        fault: what a faulty value becomes; stuck at 0 by default.
        allocation: "model", "layer" or "bernoulli".
        select: which part of the model.
        images_per_trial: None for all.
        batch_size: images evaluated at once.
    """

    target: str
    rates: tuple[float, ...]
    seed: int
    fault: faults.FaultModel | None = None
    allocation: str = "model"
    select: faults.Select | None = None
    images_per_trial: int | None = None
    batch_size: int = 1000

    def __post_init__(self) -> None:
        distinct_rates(self.rates)
        checks.check_choice(("weights", "units", "both"), target=self.target)
        checks.check_non_negative_integer(seed=self.seed)


@dataclasses.dataclass(frozen=True)
class _Part:
    directory: Path
    data_dir: str | None
    settings: SweepSettings
    trials: tuple[int, ...]

    def __call__(self, report: Callable[[float], None]) -> tuple[list[Row], dict[str, Any]]:
        campaign = _prepared(self.directory, self.data_dir, self.settings)
        rates = distinct_rates(self.settings.rates)
        expected = len(self.trials) * len(rates)
        rows = []
        with campaign.armed():
            for row in campaign.rows(
                target=self.settings.target,
                seed=self.settings.seed,
                trials=list(self.trials),
                rates=rates,
                images_per_trial=self.settings.images_per_trial,
            ):
                rows.append(row)
                report(len(rows) / expected)
        return rows, campaign.facts


@functools.lru_cache(maxsize=1)
def _prepared(directory: Path, data_dir: str | None, settings: SweepSettings) -> Campaign:
    """The compiled campaign, which a worker keeps from one part to the next."""
    run = load_run(directory, data_dir=data_dir)
    plan = make_plan(
        run.model,
        target=settings.target,
        fault=settings.fault,
        allocation=settings.allocation,
        select=settings.select,
    )
    x, y = run.data.x_test, run.data.y_test
    return Campaign(run.model, plan, x, y, batch_size=settings.batch_size)


def sweep(
    directory: Path,
    settings: SweepSettings,
    executor: Executor,
    *,
    trials: int | Iterable[int],
    data_dir: str | None = None,
    half_width: float | None = None,
    method: str = "anytime",
    level: float = 0.95,
    progress: Callable[[Row], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """`faults.sweep` on the model of a finished run, by the workers of an executor.

    Args:
        directory: of the run.
        settings: of the campaign.
        executor: where workers come from.
        trials: how many trials, or their numbers.
        data_dir: where the run's data set is.
        half_width: as in `faults.sweep`: rows are looked at in the order of the trials whenever
            they came, so each rate ends at the trial where one process would have ended it.
            Trials beyond that were for nothing.
        method: of that rule, as in `faults.sweep`.
        level: coverage of the intervals that the stop rule looks at.
        progress: called with every row, in order.
        note: called with what else there is to tell, such as a lost worker.

    Returns:
        The table of `faults.sweep`, `attrs` included.

    Raises:
        RunError: the run cannot be loaded, or its trials killed each worker that began them.
        FtTfError: as `faults.sweep`.
    """
    numbers = trial_numbers(trials)
    rates = distinct_rates(settings.rates)
    rule = StopRule(rates, half_width=half_width, level=level, method=method, most=len(numbers))
    directory = directory.absolute()
    images = records.load(directory).data.test_examples
    per_trial = images_of_trial(settings.images_per_trial, images, rule)
    settings = dataclasses.replace(settings, images_per_trial=per_trial)
    pool = executor.open(must_see=[directory / records.FILE_NAME])
    place = None if data_dir is None else str(Path(data_dir).absolute())
    # A stop rule looks after every trial: what is in work when it stops is lost.
    size = 1 if half_width is not None else -(-len(numbers) // (_PARTS * pool.size))
    parts = [
        _Part(directory, place, settings, tuple(numbers[first : first + size]))
        for first in range(0, len(numbers), size)
    ]
    ordered = _InOrder(rule, progress)
    facts: dict[str, Any] = {}
    with contextlib.closing(run_tasks(pool, parts)) as events:
        for event in events:
            notice = event.notice(f"trials {parts[event.task].trials}")
            if notice and note is not None:
                note(notice)
            if event.kind == "given up":
                raise RunError(
                    f"run={str(directory)!r}: trials {parts[event.task].trials} killed each worker "
                    f"that began them ({event.value}); was there memory enough?"
                )
            if event.kind == "done":
                found, facts = event.value
                if ordered.add(event.task, found):
                    break
    facts |= settings_facts(
        settings.fault or faults.StuckAt(0.0),
        rule,
        target=settings.target,
        allocation=settings.allocation,
        images=images,
        images_per_trial=per_trial,
    )
    return frame_of(ordered.rows, facts)


class _InOrder:
    """Lets rows through in the order of their parts, until the stop rule has enough."""

    def __init__(self, rule: StopRule, progress: Callable[[Row], None] | None) -> None:
        self.rows: list[Row] = []
        self._rule = rule
        self._progress = progress
        self._ahead: dict[int, list[Row]] = {}
        self._next = 0

    def add(self, part: int, rows: list[Row]) -> bool:
        """Takes the rows of a part, and says whether no more are needed."""
        self._ahead[part] = rows
        while self._next in self._ahead:
            for row in self._ahead.pop(self._next):
                if not self._rule.wants(row["rate"]):
                    continue
                self.rows.append(row)
                if self._progress is not None:
                    self._progress(row)
                if self._rule.stops_after(row):
                    return True
            self._next += 1
        return False
