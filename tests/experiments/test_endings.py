"""How the binaries end when someone stops them: by Ctrl-C at any moment, or by not reading on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import keras
import numpy as np
import pytest

from ft_tf import architectures, assessment


def start(arguments, directory, **options):
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(forked.ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_until(process, condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("binary", "library"),
    [("compute_epsilon", "multiarray"), ("compute_epsilon", "scipy"), ("train", "tensorflow")],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_imports_is_one_line(binary, library, number, tmp_path):
    process = start([f"experiments.{binary}"], tmp_path, stdout=subprocess.DEVNULL)
    wait_until(process, lambda: library in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(number)
    _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (128 + number, "interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_work_promises_no_more_than_is_true(number, tmp_path):
    """An attack keeps nothing of what it has done; test_binaries interrupts a training."""
    architectures.build("fmnist_dnn", seed=0).save(tmp_path / "model.keras")
    process = start(
        ["experiments.attack", "--model=model.keras", "--dataset=fashion_mnist", "--steps=1000000"],
        tmp_path,
        stdout=subprocess.PIPE,
    )
    try:
        assert "hardly above chance" in process.stdout.readline()  # loaded
        time.sleep(1.0)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=100)
    finally:
        process.kill()  # a million steps would outlive a test that fails
    assert (process.returncode, stderr) == (
        128 + number,
        "interrupted; the same command starts again\n",
    )


INTERRUPTED = """
import time
from experiments import _app, _interrupts
from ft_tf.errors import ArgumentError

class Drops:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(100)

def drops():
    try:
        Drops()
        time.sleep(100)
    finally:
        time.sleep(1.2)  # longer than until an interrupt is raised again
        print("cleaned up", flush=True)

def replaces(error):
    print("ready", flush=True)
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        raise error

_interrupts.end_process()  # as `python -m experiments.NAME` begins
_app.run(lambda argv: {}, lambda: None)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("work", "printed"),
    [
        ("drops()", "cleaned up\n"),
        ("replaces(ValueError('dropped'))", ""),
        ("replaces(ArgumentError('dropped'))", ""),
    ],
)
def test_an_interrupt_that_is_dropped_or_replaced_arrives(work, printed, number, tmp_path):
    """A finaliser prints and drops it; libraries raise another error in its place."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.replace("{}", work))
    process = start(["interrupted"], tmp_path, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=50)
    finally:
        process.kill()
    assert (process.returncode, stdout) == (128 + number, printed)
    assert stderr == "interrupted; the same command starts again\n"


@pytest.mark.slow
def test_an_interrupted_card_is_whole_and_the_same_command_goes_on(tmp_path):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3)])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((100, 4, 4, 1), np.float32)
    np.savez(tmp_path / "data.npz", x_test=x, y_test=model.predict(x, verbose=0).argmax(axis=1))
    command = ["experiments.assess", "--model=model.keras", "--data=data.npz", "--budget=8 s"]
    place, options = tmp_path / "model-card", {"stdout": subprocess.DEVNULL}
    process = start(command, tmp_path, **options)
    wait_until(process, (place / "card.json").exists)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    message = "interrupted; the same command goes on from here\n"
    assert (process.returncode, stderr) == (128 + signal.SIGINT, message)
    assert [path.name for path in place.iterdir()] == ["card.json"]
    before = assessment.load(place)
    process = start(command, tmp_path, **options)
    _, stderr = process.communicate(timeout=200)
    assert (process.returncode, stderr) == (0, "")
    after = assessment.load(place)
    assert before.spent < after.spent and before.curves
    for key, curve in before.curves.items():
        for kept, values in zip(curve.lost, after.curves[key].lost, strict=True):
            assert values[: len(kept)] == kept
    assert sorted(path.name for path in place.iterdir()) == ["card.html", "card.json", "card.md"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["compute_epsilon"],
        *([name, "--help"] for name in ("compute_epsilon", "prepare_data", "inject_faults")),
    ],
    ids=" ".join,
)
def test_a_reader_that_has_gone_is_no_error(arguments, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    process = start([f"experiments.{arguments[0]}", *arguments[1:]], tmp_path, stdout=writer)
    os.close(writer)
    _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (0, "")


CLOSED = "error: standard output is closed: redirect it, to /dev/null if nobody reads it\n"
FULL = "error: output cannot be written (No space left on device): make room\n"
EPSILON = "compute_epsilon --noise_multiplier=1.1 --epochs=1"
WRONG = "compute_epsilon --noise_multiplier=-1"


@pytest.mark.parametrize(
    ("command", "code", "stdout", "stderr"),
    [
        (f"{EPSILON} >&-", 2, "", CLOSED),
        (f"{EPSILON} >/dev/full", 2, "", FULL),
        (f"{EPSILON} 2>&-", 0, "epsilon", ""),
        (f"{EPSILON} 2>/dev/full", 0, "epsilon", ""),
        (f"{EPSILON} >&- 2>&- <&-", 2, "", ""),
        (f"{EPSILON} >/dev/full 2>/dev/full", 2, "", ""),
        (f"{WRONG} 2>&-", 2, "", ""),
        ("compute_epsilon --help >/dev/full", 2, "", FULL),
        ("train --epochs=0 2>&-", 2, "", ""),
    ],
)
def test_output_that_cannot_be_written_is_one_line_or_a_code(
    command, code, stdout, stderr, tmp_path
):
    done = subprocess.run(
        ["bash", "-c", f"exec {sys.executable} -m experiments.{command}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(forked.ROOT)},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, stderr)
    assert stdout in done.stdout and bool(stdout) == bool(done.stdout)
    assert not list(tmp_path.iterdir())


STUDY = """
import os, sys, time
from pathlib import Path
from ft_tf.executors import LocalProcesses, run_tasks

class Task:
    def __call__(self, report):
        Path(sys.argv[1]).write_text(str(os.getpid()))
        time.sleep(1000)

if __name__ == "__main__":
    list(run_tasks(LocalProcesses(workers=1, threads=1).open(Path()), [Task()], names=["task"]))
"""


@pytest.mark.slow
def test_a_worker_whose_study_was_killed_ends(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    process = start(["study", "pid"], tmp_path)
    wait_until(process, (tmp_path / "pid").exists)
    worker = Path("/proc") / (tmp_path / "pid").read_text()
    assert worker.exists()
    process.kill()
    process.communicate(timeout=100)
    deadline = time.monotonic() + 30
    while worker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
