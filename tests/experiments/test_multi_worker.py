"""One training by two processes: the model of one process, one record, nothing from the other."""

import json
import os
import socket
import subprocess
import sys

import forked
import numpy as np
import pytest

from ft_tf import records
from ft_tf.study import finished

FLAGS = (
    "--epochs=2", "--batch_size=70", "--train_limit=300", "--test_limit=100", "--momentum=0.9",
    "--learning_rate=0.05", "--fault_trials=2", "--threads=1",
)  # fmt: skip


def start(output_dir, flags=(), **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *FLAGS, f"--output_dir={output_dir}", *flags],
        cwd=forked.ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Output directories of one process and of two, and what the two printed."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    cluster = {"worker": free_addresses(2)}
    processes = [
        start(
            together,
            ["--strategy=multi_worker"],
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    said = [process.communicate(timeout=180) for process in processes]
    single = start(alone)
    assert single.wait(timeout=120) == 0
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return alone, together, [out for out, _ in said]


def test_the_chief_leaves_the_record_of_a_training_by_one_process(trained):
    alone, together, (chief, other) = trained
    (one,), (two,) = records.load_all(alone), records.load_all(together)
    assert two["environment"]["strategy"] == "multi_worker"
    assert two["environment"]["replicas"] == 2
    assert two["training"] == one["training"] == {"epochs": 2, "steps": 10}
    np.testing.assert_allclose(two["history"]["loss"], one["history"]["loss"], rtol=1e-4)
    assert two["accuracy"]["train"] == pytest.approx(one["accuracy"]["train"], abs=0.011)
    models = [
        finished.load_model(place / one["name"] / "model.keras") for place in (alone, together)
    ]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert "record:" in chief
    assert "trained along" in other


def test_a_finished_training_is_not_begun_again(trained):
    _, together, _ = trained
    (record,) = records.load_all(together)
    assert record["timing"]["sessions"] == 1
    assert [path.name for path in together.iterdir()] == [record["name"]]
