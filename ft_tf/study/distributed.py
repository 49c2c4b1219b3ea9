"""A fault campaign on a finished run's model, its trials spread over workers.

A row of a campaign depends on nothing but the model, the images, the seed and its own numbers, so
the table is that of `faults.sweep` in one process, to the bit, with the same number of threads and
the same batch size.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ft_tf import records
from ft_tf.executors import Executor, run_tasks
from ft_tf.faults.campaign import Campaign
from ft_tf.faults.plan import make_plan
from ft_tf.faults.rows import (
    Row,
    StopRule,
    distinct_rates,
    frame_of,
    images_of_trial,
    trial_numbers,
)
from ft_tf.study.trained_models import load_run

_PARTS = 4
"""Tasks for each worker: few, since each begins with masks that nothing is computed beside."""


@functools.lru_cache(maxsize=1)
def _prepared(
    directory: Path, data_dir: str | None, data_file: str | None, batch_size: int, **plan: Any
) -> Campaign:
    """The compiled campaign, which a worker keeps from one part to the next."""
    run = load_run(directory, data_dir=data_dir, data_file=data_file)
    plan = make_plan(run.model, **plan)
    return Campaign(run.model, plan, *run.data.test, batch_size=batch_size)


def _rows(
    prepared: Callable[[], Campaign],
    settings: dict[str, Any],
    trials: Sequence[int],
    report: Callable[[float], None],
) -> tuple[list[Row], dict[str, Any]]:
    """The task of a worker: the rows of some trials, and the campaign's facts."""
    campaign, rows = prepared(), []
    with campaign.armed():
        for row in campaign.rows(trials=trials, **settings):
            rows.append(row)
            report(len(rows) / (len(trials) * len(settings["rates"])))
    return rows, campaign.facts


def sweep(
    directory: Path,
    executor: Executor,
    *,
    target: str,
    rates: Sequence[float],
    trials: int | Iterable[int],
    seed: int,
    images_per_trial: int | None = None,
    margin: float | None = None,
    method: str = "anytime",
    batch_size: int = 1000,
    data_dir: str | None = None,
    data_file: str | None = None,
    progress: Callable[[Row], None] = lambda row: None,
    note: Callable[[str], None] = lambda text: None,
    **plan: Any,
) -> pd.DataFrame:
    """`faults.sweep` on the model of a finished run, by the workers of an executor.

    Arguments are those of `faults.sweep`, and `plan` further ones of `faults.make_plan`. The run's
    data are found as by `load_run`. `progress` is called with every row in the order of the
    trials, and `note` with a line for the user, such as on a lost worker. The stop rule looks at
    rows in that order, so that each rate ends where it would have in one process; later trials are
    discarded.

    Returns:
        The table of `faults.sweep`, `attrs` included.

    Raises:
        RunError: the run cannot be loaded, or its trials killed their workers.
        FtTfError: as `faults.sweep`.
    """
    numbers = trial_numbers(trials)
    rates = distinct_rates(rates)
    rule = StopRule(rates, half_width=margin, method=method, most=len(numbers))
    directory = directory.absolute()
    images = records.load(directory).data.test_examples
    count = images_of_trial(images_per_trial, images, rule)
    settings = {"target": target, "rates": rates, "seed": seed, "images_per_trial": count}
    pool = executor.open(directory / records.FILE_NAME)
    # A worker may run in another directory. What is no path names a function or a TFDS data set.
    where = (data_dir, data_file)
    data = [str(Path(path).absolute()) if path and Path(path).exists() else path for path in where]
    prepared = functools.partial(_prepared, directory, *data, batch_size, target=target, **plan)
    # A stop rule looks after every trial: what is in work when it stops is lost.
    size = 1 if margin is not None else -(-len(numbers) // (_PARTS * pool.size))
    parts = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    results = run_tasks(
        pool,
        [functools.partial(_rows, prepared, settings, part) for part in parts],
        names=[f"run={str(directory)!r}, trials {tuple(part)}" for part in parts],
        note=note,
    )
    rows: list[Row] = []
    with contextlib.closing(results):
        for found, facts in _in_order(results):  # noqa: B007 (facts: they are those of all parts)
            for row in found:
                if rule.wants(row["rate"]):
                    rows.append(row)
                    progress(row)
                    rule.take(row)
            if rule.done:
                break
    facts |= {"target": target, "stop_rule": rule.facts, "images_per_trial": count or images}
    return frame_of(rows, facts)


def _in_order(results: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """The results of tasks, in the order of the tasks."""
    ahead = {}
    following = 0
    for number, result in results:
        ahead[number] = result
        while following in ahead:
            yield ahead.pop(following)
            following += 1
