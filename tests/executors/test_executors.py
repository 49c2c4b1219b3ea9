"""Runs and trials on workers: the records and rows of one process, whatever dies on the way."""

import dataclasses
import io
import os
import pickle
import re
import signal
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

from ft_tf import data, executors, faults, records
from ft_tf._compat import threads
from ft_tf.errors import ArgumentError, DataError, StackError
from ft_tf.executors import progress
from ft_tf.executors.ray_cluster import require_ray
from ft_tf.executors.tasks import perform
from ft_tf.study import (
    algorithms,
    circles,
    datasets,
    distributed,
    execution,
    schedule,
    trained_models,
)
from ft_tf.study import config as c
from ft_tf.study import directory as runs
from ft_tf.study.datasets import DatasetRef

pytestmark = pytest.mark.slow

BASE = c.RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    epochs=1,
    batch_size=50,
    learning_rate=0.05,
    train_limit=300,
    test_limit=100,
    evaluation=c.Evaluation(fault_targets=()),
)
WHOLE = c.Evaluation(fault_targets=("weights",), fault_rates=(0.0, 0.5), fault_trials=2)
VICTIM = dataclasses.replace(BASE, seed=5, epochs=30)
CONFIGS = [
    *(dataclasses.replace(BASE, seed=seed, evaluation=WHOLE) for seed in (0, 1)),
    dataclasses.replace(BASE, seed=2, learning_rate=1e30, label="fails"),
    *(dataclasses.replace(BASE, seed=seed) for seed in (3, 4)),
    VICTIM,
    dataclasses.replace(BASE, algorithm=algorithms.DPSGD(noise_multiplier=1.1, noise_seed=6)),
    *(dataclasses.replace(BASE, seed=seed) for seed in (7, 8, 9, 10, 11)),
]
SETTINGS = {"target": "weights", "rates": (0.7, 0.0, 0.3), "seed": 3, "batch_size": 64}
NUMBERS = [23, 4, 0, 11, 7, *range(30, 49)]


@pytest.fixture(scope="module")
def sample():
    return data.load("fashion_mnist", source="embedded-sample")


def study(sample, output_dir):
    return [schedule.training_job(config, sample, output_dir) for config in CONFIGS]


@pytest.fixture(scope="module")
def alone(sample, tmp_path_factory):
    """The output directory and the records of the study in one process."""
    output_dir = tmp_path_factory.mktemp("alone")
    return output_dir, schedule.execute(study(sample, output_dir), stream=io.StringIO())


def assert_same_records(found, alone):
    assert len(found) == len(alone[1]) == 12
    assert [record.status for record in found].count("failed") == 1
    for record, expected in zip(found, alone[1], strict=True):
        assert records.comparable(record) == records.comparable(expected)


def holder(directory):
    """The process that holds a run's directory."""
    return int(re.search(r"pid (\d+)", (directory / runs.LOCK).read_text()).group(1))


class Killer(threading.Thread):
    """Kills the worker that trains the victim, once, in the middle of it."""

    def __init__(self, output_dir, sample):
        super().__init__(daemon=True)
        self.directory = output_dir / VICTIM.name(is_sample=sample.is_sample)
        self.killed = None

    def run(self):
        deadline = time.monotonic() + 300
        while runs.epochs_started(self.directory) < 5 and time.monotonic() < deadline:
            time.sleep(0.002)
        self.killed = holder(self.directory)
        os.kill(self.killed, signal.SIGKILL)
        self.began = runs.epochs_started(self.directory)


def assert_only_the_victim_ran_twice(output_dir, killer):
    assert 5 <= killer.began < VICTIM.epochs
    found = sorted(output_dir.glob("*/record.json"))
    assert len(found) == 12
    for path in found:
        record = records.load(path)
        expected = 2 if path.parent == killer.directory else 1
        assert record.timing.sessions == expected, record.name
        assert holder(path.parent) != os.getpid()
    assert holder(killer.directory) != killer.killed


class Interrupted(io.StringIO):
    """A terminal whose user presses Ctrl-C when the first run is done."""

    def write(self, text):
        if "test " in text:
            raise KeyboardInterrupt
        return super().write(text)


def test_local_workers_give_the_records_of_one_process_though_one_is_killed(
    sample, alone, tmp_path, monkeypatch
):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    executor = executors.LocalProcesses(workers=2, threads=threads())
    stream, killer = io.StringIO(), Killer(tmp_path, sample)
    killer.start()
    found = schedule.execute(
        study(sample, tmp_path), executor=executor, output_dir=tmp_path, stream=stream
    )
    assert_same_records(found, alone)
    assert_only_the_victim_ran_twice(tmp_path, killer)
    lost = f"{killer.directory.name}: its worker was lost (signal 9); another one goes on"
    assert stream.getvalue().count(lost) == 1
    assert re.search(rf"{killer.directory.name} +\d+%  elapsed", stream.getvalue())  # it was heard
    for number, record in enumerate(found, 1):
        assert stream.getvalue().count(f"[run {number} of 12] {record.name}:") == 1


def test_ctrl_c_ends_the_workers_and_the_same_study_goes_on(sample, alone, tmp_path):
    executor = executors.LocalProcesses(workers=1, threads=threads())
    part = [4, 3]

    def chosen():
        whole = study(sample, tmp_path)
        return [whole[number] for number in part]

    with pytest.raises(KeyboardInterrupt):
        schedule.execute(chosen(), executor=executor, output_dir=tmp_path, stream=Interrupted())
    left = [path.parent for path in tmp_path.glob(f"*/{runs.LOCK}")]
    assert left
    for directory in left:
        with pytest.raises(ProcessLookupError):
            os.kill(holder(directory), 0)
    assert len(list(tmp_path.glob("*/record.json"))) == 1
    stream = io.StringIO()
    found = schedule.execute(chosen(), executor=executor, output_dir=tmp_path, stream=stream)
    assert stream.getvalue().count("(done before)") == 1
    for number, record in zip(part, found, strict=True):
        assert records.comparable(record) == records.comparable(alone[1][number])


def test_jobs_travel_and_what_they_cannot_do_comes_back_as_its_one_line(sample, tmp_path):
    table = circles.CirclesConfig(form="fixed_data", rows=(("row", "natural", 0.0),))
    job = circles.job(table, tmp_path)
    assert pickle.loads(pickle.dumps(job.execute)).args == job.execute.args
    wrong = dataclasses.replace(BASE, batch_size=301)
    task = pickle.loads(pickle.dumps(schedule.training_job(wrong, sample, tmp_path).execute))
    with pytest.raises(ArgumentError) as raised:
        perform(task, float, again=False)
    error = pickle.loads(pickle.dumps(raised.value))
    assert type(error) is ArgumentError
    assert str(error) == "batch_size=301 must be at most the 300 training examples"


def test_data_that_differ_in_a_worker_are_refused(sample):
    here = DatasetRef(sample, None)
    assert here.get() is sample
    there = DatasetRef(dataclasses.replace(sample, fingerprint="0" * 64), None)
    arrived = pickle.loads(pickle.dumps(there))
    with pytest.raises(DataError, match="all must see the same files"):
        arrived.get()
    arrived = pickle.loads(pickle.dumps(here))
    assert arrived.get().fingerprint == sample.fingerprint
    assert len(pickle.dumps(here)) < 1000


@pytest.fixture(scope="module")
def campaign(alone):
    """A finished run, and one process's campaigns of it: whole, stopped, and in order."""
    output_dir, found = alone
    run = trained_models.load_run(output_dir / found[0].name)
    options = {**SETTINGS, "trials": NUMBERS}
    arguments = (run.model, run.data.x_test, run.data.y_test)
    seen = []
    whole = faults.sweep(*arguments, **options)
    stopped = faults.sweep(*arguments, **options, margin=0.15, progress=seen.append)
    assert stopped["rate"].value_counts()[0.0] == 1
    assert 3 <= stopped["rate"].value_counts()[0.3] < 20
    return run.directory, whole, stopped, seen


def assert_same_table(frame, expected):
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert frame.attrs == expected.attrs
    assert frame.to_csv(index=False) == expected.to_csv(index=False)


def test_trials_on_local_workers_make_the_same_table_and_stop_at_the_same_trial(campaign):
    directory, _, stopped, expected = campaign
    executor = executors.LocalProcesses(workers=2, threads=threads())
    seen = []
    frame = distributed.sweep(
        directory, executor, **SETTINGS, trials=NUMBERS, margin=0.15, progress=seen.append
    )
    assert_same_table(frame, stopped)
    order = [[(row["trial"], row["rate"]) for row in rows] for rows in (seen, expected)]
    assert order[0] == order[1]


def test_workers_find_data_of_ones_own(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 4, 4, 1)), np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    file = str(tmp_path / "mine.npz")
    own = datasets.register_own(file, name="mine")
    config = dataclasses.replace(
        BASE, dataset="mine", architecture="dnn", train_limit=0, test_limit=0
    )
    execution.run(config, own.load(), tmp_path)
    directory = tmp_path / config.name(is_sample=False)
    settings = {**SETTINGS, "trials": 2, "data_file": file}
    frame = distributed.sweep(
        directory, executors.LocalProcesses(workers=1, threads=threads()), **settings
    )
    run = trained_models.load_run(directory, data_file=file)
    assert_same_table(frame, faults.sweep(run.model, *run.data.test, **SETTINGS, trials=2))


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of this machine: a head that works not, and two nodes with room for one."""
    pytest.importorskip("ray")
    ray = require_ray()
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
    for _ in range(2):
        cluster.add_node(num_cpus=threads(), object_store_memory=80 << 20)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_ray_cluster_gives_the_records_of_one_process_though_a_worker_is_killed(
    sample, alone, cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    executor = executors.RayCluster(threads=threads(), address=cluster.address)
    stream, killer = io.StringIO(), Killer(tmp_path, sample)
    killer.start()
    found = schedule.execute(
        study(sample, tmp_path), executor=executor, output_dir=tmp_path, stream=stream
    )
    assert_same_records(found, alone)
    assert_only_the_victim_ran_twice(tmp_path, killer)
    assert f"{killer.directory.name}: its worker was lost" in stream.getvalue()
    assert re.search(rf"{killer.directory.name} +\d+%  elapsed", stream.getvalue())  # it was heard
    assert len({holder(path.parent) for path in tmp_path.glob("*/record.json")}) == 3


def test_trials_on_a_ray_cluster_make_the_same_table(campaign, cluster):
    directory, whole, *_ = campaign
    executor = executors.RayCluster(threads=threads(), workers=2, address=cluster.address)
    assert_same_table(distributed.sweep(directory, executor, **SETTINGS, trials=NUMBERS), whole)


def test_a_worker_that_no_node_has_room_for_is_refused(cluster, tmp_path):
    executor = executors.RayCluster(threads=threads() + 1, address=cluster.address)
    with pytest.raises(ArgumentError, match=f"threads={threads() + 1} is more than"):
        executor.open(tmp_path)


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StackError, match=r"needs Ray.*pip install 'ft_tf\[ray\]'"):
        executors.RayCluster(threads=1).open(tmp_path)
