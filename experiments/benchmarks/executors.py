"""`benchmark executors`: many small networks, one by one and by several workers, in turn."""

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
from ft_tf.checks import check_positive_integer
from ft_tf.executors import LocalProcesses, run_tasks
from ft_tf.study import algorithms, schedule
from ft_tf.study import config as c
from ft_tf.study.schedule import Job

RUNS = 20
EPOCHS = 6


def run(
    *,
    architecture: str = "fmnist_dnn",
    batch_size: int = 128,
    rounds: int = 3,
    threads: int = 2,
    runs: int = RUNS,
    data_dir: str | None = None,
    download: bool = False,
) -> list[dict[str, Any]]:
    """Times a study of as many natural as DP-SGD trainings, with their evaluation.

    Args:
        architecture: of the models.
        batch_size: examples per step.
        rounds: turns; each case is timed once in every round.
        threads: of the machine: one worker with all of them, one with a single thread, and as many
            workers as there are threads, with one thread each.
        runs: trainings.
        data_dir: TFDS directory; else what `data.load` finds.
        download: whether to download what is missing.

    Returns:
        A row for each case: workers, threads, runs, seconds (median over the rounds, the start of
        the workers included), start_seconds (until the first run began), networks_per_hour,
        speed_up (over one worker with all threads) and same_records (whether the records are those
        of one worker with as many threads).
    """
    check_positive_integer(batch_size=batch_size, rounds=rounds, threads=threads, runs=runs)
    dataset, configs = _study(architecture, batch_size, runs, data_dir, download)
    cases = list(dict.fromkeys([(1, threads), (1, 1), (threads, 1)]))
    starts: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
    found: dict[tuple[int, int], list[dict[str, Any]]] = {case: [] for case in cases}

    def measure(case: tuple[int, int]) -> float:
        with tempfile.TemporaryDirectory() as place:
            study = [
                schedule.training_job(config, dataset, Path(place), data_dir=data_dir)
                for config in configs
            ]
            seconds, start, found[case] = _timed(study, *case, Path(place))
        starts[case].append(start)
        return seconds

    samples = timer.in_turn({case: functools.partial(measure, case) for case in cases}, rounds)
    return [
        {
            "workers": case[0],
            "threads": case[1],
            "runs": runs,
            "seconds": samples[case].median,
            "start_seconds": statistics.median(starts[case]),
            "networks_per_hour": 3600 * runs / samples[case].median,
            "speed_up": samples[cases[0]].median / samples[case].median,
            "same_records": found[case] == found[1, case[1]],
        }
        for case in cases
    ]


def _study(
    architecture: str, batch_size: int, runs: int, data_dir: str | None, download: bool
) -> tuple[data.Dataset, list[c.RunConfig]]:
    is_cifar = architectures.input_shape(architecture) == architectures.CIFAR10_SHAPE
    dataset = data.load(
        "cifar10" if is_cifar else "fashion_mnist", data_dir=data_dir, download=download
    )
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
    kinds = algorithms.Natural(), algorithms.DPSGD(noise_seed=0)  # equal records in each case
    return dataset, [
        dataclasses.replace(base, seed=seed // 2, algorithm=kinds[seed % 2]) for seed in range(runs)
    ]


def _timed(
    study: Sequence[Job], workers: int, threads: int, place: Path
) -> tuple[float, float, list[dict[str, Any]]]:
    """Seconds of the whole, seconds until the first run began, and what is comparable of each."""
    begun: list[float] = []
    found: dict[int, dict[str, Any]] = {}
    started = time.perf_counter()
    pool = LocalProcesses(workers=workers, threads=threads).open(place)

    def report(number: int, share: float | None) -> None:
        begun.append(time.perf_counter() - started)

    tasks, names = [job.execute for job in study], [job.name for job in study]
    for number, record in run_tasks(pool, tasks, names=names, report=report):
        found[number] = records.comparable(record)
    return time.perf_counter() - started, begun[0], [found[index] for index in sorted(found)]
