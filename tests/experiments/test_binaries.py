"""The binaries from training to report, as a user runs them: files, lines and exit codes."""

import csv
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time

import forked
import pytest

from ft_tf import data, records
from ft_tf.study import directory as runs

pytestmark = pytest.mark.slow

TRAIN, REPRODUCE = "experiments.train", "experiments.reproduce"
FAULTS, ATTACK = "experiments.inject_faults", "experiments.attack"
SMALL = ["--train_limit=200", "--test_limit=100", "--batch_size=50", "--fault_trials=2"]
PLAIN = [TRAIN, "--epochs=1", *SMALL]
NAME = "fashion_mnist_sample_200-fmnist_dnn-natural-epochs_1-seed_0"
RUN = f"runs/{NAME}"
SMOKE = [REPRODUCE, "--scale=smoke", "--tables=8", "--only=natural", "--seeds=2"]
# So many epochs that a fast machine does not finish them before the signal comes.
RESUMED = [TRAIN, "--algorithm=dpsgd", "--epochs=80", *SMALL, "--output_dir=stopped"]
RESUMED_NAME = "fashion_mnist_sample_200-fmnist_dnn-dpsgd-sigma_1.1-clip_1-epochs_80-seed_0"

MY_REPORT = """
from ft_tf import report

class Steps(report.Exhibit):
    name, title, columns = "steps", "Steps of each run", (report.Column("steps", "steps"),)

    def frame(self, study):
        return study.runs

report.register(Steps())
"""
COMMANDS = {
    "train": [*PLAIN, "--output_dir=runs"],
    "again": [*PLAIN, "--output_dir=runs"],
    "faults": [FAULTS, f"--run={RUN}", "--target=both", "--rates=0,0.5", "--trials=3"],
    "attack": [ATTACK, f"--run={RUN}", "--attack=pgd", "--steps=3", "--images=40"],
    "round": [
        ATTACK, f"--run={RUN}", "--attack=pgd", "--steps=3", "--images=40", "--distance=l_2",
    ],
    "report": ["experiments.report", "--output_dir=runs", "--print=all", "--import=my_report"],
    "nan": [*PLAIN, "--output_dir=runs", "--learning_rate=1e30", "--seed=1"],
    "nan_again": [*PLAIN, "--output_dir=runs", "--learning_rate=1e30", "--seed=1"],
    "after_nan": [*PLAIN, "--output_dir=runs", "--learning_rate=0.1", "--seed=1"],
    "other": [*PLAIN, "--output_dir=runs", "--learning_rate=0.01"],
    "held": [*PLAIN, "--output_dir=held"],
    "corrupt": [*PLAIN, "--output_dir=never", "--data_dir=corrupt"],
    "corrupt_other": [REPRODUCE, "--tables=4", "--data_dir=corrupt", "--output_dir=never"],
    "resumed": RESUMED,
    "smoke": [*SMOKE, "--output_dir=whole"],
    "smoke_again": [*SMOKE, "--output_dir=killed"],
    "absent": [
        REPRODUCE, "--scale=smoke", "--tables=3,4,8", "--data_dir=empty", "--output_dir=circles",
    ],
}  # fmt: skip


def start(arguments, directory):
    """A binary as a process of its own, to be sent signals."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(forked.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("binaries")
    (directory / "empty").mkdir()
    for name, version in (("fashion_mnist", "3.0.1"), ("cifar10", "3.0.2")):
        broken = directory / "corrupt" / name / version
        broken.mkdir(parents=True)
        (broken / "dataset_info.json").write_text("{")
    (directory / "held" / NAME).mkdir(parents=True)
    (directory / "my_report.py").write_text(MY_REPORT)
    return directory


@pytest.fixture(scope="module")
def interrupted(place):
    """Ctrl-C in the middle of a training that keeps every epoch."""
    process = start(RESUMED, place)
    directory = place / "stopped" / RESUMED_NAME
    wait_for(lambda: runs.epochs_started(directory) >= 4, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=100)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def killed(place):
    """SIGKILL to a study when its second training has begun."""
    process = start([*SMOKE, "--output_dir=killed"], place)
    wait_for(lambda: len(list((place / "killed").glob("*/epochs_started.log"))) >= 2, process)
    process.kill()
    process.communicate(timeout=100)
    return {path.parent.name for path in (place / "killed").glob("*/record.json")}


@pytest.fixture(scope="module")
def results(place, interrupted, killed):
    with open(place / "held" / NAME / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return forked.run_all(COMMANDS, place)


def test_a_training_says_its_data_and_what_it_found(results, place):
    code, stdout, stderr = results["train"]
    assert (code, stderr) == (0, "")
    record = records.load(place / RUN)
    assert record.status == "finished"
    sample = data.load("fashion_mnist", source="embedded-sample")
    assert record.data.source == sample.source
    assert record.data.fingerprint == sample.fingerprint
    assert f"from {sample.source}, sha256 {sample.fingerprint[:12]}" in stdout
    assert f"test {100 * record.accuracy.test:.2f}%" in stdout
    assert f"record: {RUN}/record.json" in stdout


def test_the_same_command_again_trains_nothing(results):
    code, stdout, _ = results["again"]
    assert code == 0
    assert "loss:" in results["train"][1] and "loss:" not in stdout
    assert stdout.splitlines()[-1] == results["train"][1].splitlines()[-1]


def test_faults_leave_a_row_for_each_rate_and_trial(results, place):
    code, stdout, stderr = results["faults"]
    assert (code, stderr) == (0, "")
    path = place / RUN / "faults-both-stuck_at_0-seed_0.csv"
    assert f"written: {path.relative_to(place)}" in stdout
    header, *rows = list(csv.reader(path.read_text().splitlines()))
    assert header == ["target", "rate", "trial", "seed", "faults", "accuracy"]
    assert len(rows) == 2 * 3
    clean = records.load(place / RUN).accuracy.test
    assert {float(row[5]) for row in rows if float(row[1]) == 0} == {clean}
    faults = {(row[0], float(row[1])): int(row[4]) for row in rows}
    assert faults == {("both", 0.0): 0, ("both", 0.5): 334_853 + 512}


def test_attacks_join_the_record_and_norms_stay_apart(results, place):
    robustness = records.load(place / RUN).robustness
    assert [entry.parameters["distance"] for entry in robustness] == ["l_2", "l_inf"]
    for name, entry in zip(("round", "attack"), robustness, strict=True):
        code, stdout, _ = results[name]
        assert code == 0
        assert (entry.attack, entry.steps, entry.images) == ("pgd", 3, 40)
        assert entry.robust_accuracy <= entry.clean_accuracy
        head = stdout.splitlines()[0]
        assert head.startswith(f"accuracy under pgd, {entry.parameters['distance']} epsilon 0.1, 3")
        assert f"40 test images: {entry.robust_accuracy:.2%} [" in head
        written = re.search(r"written: (.*)", stdout)[1]
        assert json.loads((place / written).read_text()) == records.to_dict(entry)
    assert "robustness" in json.loads((place / RUN / "record.json").read_text())
    assert json.loads((place / RUN / "record.json").read_text())["robustness"] == []


def test_the_report_shows_them(results, place):
    code, stdout, stderr = results["report"]
    assert (code, stderr) == (0, "")
    assert "Steps of each run" in stdout
    assert (place / "runs" / "tables" / "steps.csv").exists()
    with open(place / "runs" / "tables" / "robustness.csv") as file:
        lines = list(csv.DictReader(file))
    assert sorted(line["distance"] for line in lines) == ["l_2", "l_inf"]
    assert "Accuracy under attack" in stdout
    assert (place / "runs" / "report.html").is_file()


def test_a_training_that_turns_nan_ends_with_1(results, place):
    for name in ("nan", "nan_again"):
        code, stdout, _ = results[name]
        assert code == 1
        assert re.search(r"FAILED: .* at epoch 1, step \d", stdout)
    record = records.load(place / "runs" / NAME.replace("seed_0", "seed_1"))
    assert (record.status, record.accuracy) == ("failed", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", f"output_dir='{RUN}' belongs to another config (learning_rate: 0.15 there, 0.01"),
        ("after_nan", "0.1 here): choose another, or delete this one, whose training failed"),
        ("held", f"output_dir='held/{NAME}' is in use by another process"),
        ("corrupt", "corrupt/fashion_mnist/3.0.1/dataset_info.json: cannot be read"),
        ("corrupt_other", "corrupt/cifar10/3.0.2/dataset_info.json: cannot be read"),
    ],
)
def test_what_stands_in_the_way_is_one_line(name, message, results, place):
    code, _, stderr = results[name]
    assert code == 2
    (line,) = stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert "not there" not in line
    assert not (place / "never").exists()


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(interrupted, results, place):
    code, _, stderr = interrupted
    assert code == 130
    assert stderr == "interrupted; the same command goes on from here\n"
    code, stdout, _ = results["resumed"]
    assert code == 0
    assert re.search(r"going on after epoch ([3-9]|[1-7]\d) of 80", stdout)
    record = records.load(place / "stopped" / RESUMED_NAME)
    assert record.training == records.Training(epochs=80, steps=320)
    assert record.timing.sessions == 2
    assert record.privacy.steps in (320, 324)  # the lost epoch's steps count, if one was


def test_a_study_says_where_it_is(results):
    code, stdout, _ = results["smoke"]
    assert code == 0
    for number in (1, 2):
        assert re.search(rf"\[run {number} of 2\] \S*natural\S*: train \d.*%, test \d", stdout)
    assert re.search(r"from embedded-sample:fashion_mnist:6000\+1000, sha256 [0-9a-f]{12}", stdout)
    assert "compared with nothing" in stdout and "report.html" in stdout
    assert len(stdout.splitlines()) <= 80


def test_a_study_killed_and_started_again_ends_with_the_same_records(killed, results, place):
    assert len(killed) == 1
    code, stdout, _ = results["smoke_again"]
    assert code == 0
    assert stdout.count("(done before)") == 1
    whole, again = (records.load_all(place / name) for name in ("whole", "killed"))
    assert len(whole) == 2
    assert list(map(records.comparable, again)) == list(map(records.comparable, whole))


def test_an_exhibit_whose_data_is_not_there_does_not_fail_the_rest(results, place):
    code, stdout, _ = results["absent"]
    assert code == 0
    for text, name in (("Table 8", "fashion_mnist"), ("Table 4", "cifar10")):
        reason = f"{text} not run: data_dir='empty' does not hold {name}"
        assert stdout.count(reason) == 1  # what to do stands before the work
        command = f"experiments.prepare_data --dataset={name} --from=DIR --data_dir=DIR"
        (line,) = [line for line in stdout.splitlines() if reason in line]
        assert line.count(command) == 1 and line.count("--download") == 1
        assert f"{text} not run: data not there" in stdout[stdout.index("[run 1") :]
    assert [record.kind for record in records.load_all(place / "circles")] == ["circles"]
