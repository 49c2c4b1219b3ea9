"""What a second local worker gains: the same small runs by one process, then by two, in turn."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ft_tf import architectures, data, records
from ft_tf.study import config as c
from ft_tf.study import jobs
from ft_tf.study.executors.coordinator import run_tasks
from ft_tf.study.executors.local import LocalProcesses
from ft_tf.study.schedule import Job

RUNS = 6
EPOCHS = 6
WORKERS = (1, 2)


def benchmark_executors(
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
    times: dict[int, list[tuple[float, float]]] = {workers: [] for workers in WORKERS}
    found: dict[int, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds):
            for workers in WORKERS:
                output_dir = Path(place) / f"{number}-{workers}"
                study = [jobs.training_job(config, dataset, output_dir) for config in configs]
                whole, start, found[workers] = _timed(study, workers)
                times[workers].append((whole, start))
    seconds = {n: statistics.median(whole for whole, _ in times[n]) for n in WORKERS}
    return [
        {
            "workers": workers,
            "threads": 1,
            "runs": RUNS,
            "seconds": seconds[workers],
            "start_seconds": statistics.median(start for _, start in times[workers]),
            "speed_up": seconds[WORKERS[0]] / seconds[workers],
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


def _timed(study: Sequence[Job], workers: int) -> tuple[float, float, list[dict[str, Any]]]:
    """Seconds of the whole, seconds until the first run began, and what is comparable of each."""
    begun = 0.0
    found: dict[int, dict[str, Any]] = {}
    started = time.perf_counter()
    pool = LocalProcesses(workers=workers, threads=1).open()
    for event in run_tasks(pool, [job.execute for job in study]):
        if event.kind == "begun" and not begun:
            begun = time.perf_counter() - started
        elif event.kind == "done":
            found[event.task] = records.comparable(event.value)
    return time.perf_counter() - started, begun, [found[index] for index in sorted(found)]
