"""Measures what a second local worker gains: the same runs by one process, then by two, in turn."""

import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import timer
from ft_tf import architectures, data, records
from ft_tf.study import config as c
from ft_tf.study import schedule
from ft_tf.study.executors import LocalProcesses, run_tasks
from ft_tf.study.schedule import Job

RUNS = 6
EPOCHS = 6
WORKERS = (1, 2)


def run(
    *, architecture: str = "fmnist_dnn", batch_size: int = 128, rounds: int = 3
) -> list[dict[str, Any]]:
    """Times a study of six natural trainings, with one thread in each worker.

    Args:
        architecture: of the models.
        batch_size: examples per step.
        rounds: turns; each number of workers is timed once in every round.

    Returns:
        A row for each number of workers: workers, threads, runs, seconds (median over the rounds,
        the start of the workers included), start_seconds (until the first run began), speed_up
        (over one worker) and same_records (whether the records are those of one worker).
    """
    dataset, configs = _study(architecture, batch_size)
    starts: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    found: dict[int, list[dict[str, Any]]] = {}

    def measure(workers: int) -> float:
        with tempfile.TemporaryDirectory() as place:
            study = [schedule.training_job(config, dataset, Path(place)) for config in configs]
            seconds, start, found[workers] = _timed(study, workers, Path(place))
        starts[workers].append(start)
        return seconds

    samples = timer.in_turn({n: functools.partial(measure, n) for n in WORKERS}, rounds)
    return [
        {
            "workers": workers,
            "threads": 1,
            "runs": RUNS,
            "seconds": samples[workers].median,
            "start_seconds": statistics.median(starts[workers]),
            "speed_up": samples[WORKERS[0]].median / samples[workers].median,
            "same_records": found[workers] == found[WORKERS[0]],
        }
        for workers in WORKERS
    ]


def _study(architecture: str, batch_size: int) -> tuple[data.Dataset, list[c.RunConfig]]:
    is_cifar = architectures.input_shape(architecture) == architectures.CIFAR10_SHAPE
    dataset = data.load("cifar10" if is_cifar else "fashion_mnist")
    base = c.RunConfig(
        dataset=dataset.name,
        architecture=architecture,
        epochs=EPOCHS,
        batch_size=batch_size,
        learning_rate=0.05,
        train_limit=6000,
        test_limit=1000,
        evaluation=c.Evaluation(fault_rates=(0.0, 0.5, 0.9), fault_trials=2),
    )
    return dataset, [dataclasses.replace(base, seed=seed) for seed in range(RUNS)]


def _timed(
    study: Sequence[Job], workers: int, place: Path
) -> tuple[float, float, list[dict[str, Any]]]:
    """Seconds of the whole, seconds until the first run began, and what is comparable of each."""
    begun: list[float] = []
    found: dict[int, dict[str, Any]] = {}
    started = time.perf_counter()
    pool = LocalProcesses(workers=workers, threads=1).open(place)

    def report(number: int, share: float | None) -> None:
        begun.append(time.perf_counter() - started)

    tasks, names = [job.execute for job in study], [job.name for job in study]
    for number, record in run_tasks(pool, tasks, names=names, report=report):
        found[number] = records.comparable(record)
    return time.perf_counter() - started, begun[0], [found[index] for index in sorted(found)]
