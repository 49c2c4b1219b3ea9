"""One training by two processes: the model of one process, one record, nothing from the other."""

import json
import os
import socket
import subprocess
import sys

import forked
import numpy as np
import pytest

from ft_tf import data, records, study
from ft_tf.study import config as configs
from ft_tf.study import finished

pytestmark = pytest.mark.slow

FLAGS = (
    "--strategy=multi_worker", "--threads=1", "--epochs=2", "--batch_size=70", "--momentum=0.9",
    "--learning_rate=0.05", "--train_limit=300", "--test_limit=100", "--fault_trials=2",
)  # fmt: skip


def start(output_dir, addresses, index):
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *FLAGS, f"--output_dir={output_dir}"],
        cwd=forked.ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CONFIG": json.dumps(task)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def test_two_processes_leave_the_record_of_one(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    addresses = free_addresses(2)
    processes = [start(together, addresses, index) for index in range(2)]
    said = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors[-3000:]
    assert "record:" in said[0][0]
    assert "trained along; the chief writes" in said[1][0]
    (two,) = records.load_all(together)
    assert [path.name for path in together.iterdir()] == [two.name]
    assert two.timing.sessions == 1
    assert two.environment.strategy == "multi_worker"
    assert two.environment.replicas == 2
    one = study.run(configs.from_dict(two.config), data.load("fashion_mnist"), alone)
    assert two.training == one.training == records.Training(epochs=2, steps=10)
    assert two.history.keys() == one.history.keys()
    np.testing.assert_allclose(two.history["loss"], one.history["loss"], rtol=1e-4)
    models = [finished.load_run(place / one.name).model for place in (alone, together)]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
