"""Whatever ends a run at whatever moment, the same command goes on to the same record.

The loss of private steps is counted, and nothing of what was interrupted is left behind.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ft_tf import records

HERE = Path(__file__).parent
TRAIN = (
    "experiments.train", "--epochs=3", "--train_limit=300", "--test_limit=60", "--batch_size=50",
    "--fault_trials=1", "--threads=1", "--output_dir=runs",
)  # fmt: skip
REPRODUCE = (
    "experiments.reproduce", "--scale=smoke", "--tables=8", "--only=natural", "--threads=1",
    "--output_dir=runs",
)  # fmt: skip
TRADES = ("--algorithm=trades", "--num_steps=2", "--attack_images=20", "--attack_steps=2")
COMMANDS = {
    "natural": TRAIN,
    "trades": (*TRAIN, *TRADES),
    "seeded": (*TRAIN, "--algorithm=dpsgd", "--noise_seed=3"),
    "unseeded": (*TRAIN, "--algorithm=dpsgd"),
    "reproduce": REPRODUCE,
}
POINTS = (
    "start-up", "lock", "config", "epoch", "mid-epoch", "history", "checkpoint",
    "checkpoint written", "model", "model written", "record", "recorded",
)  # fmt: skip
LOSE_AN_EPOCH = ("mid-epoch", "history", "checkpoint", "checkpoint written")
QUICK = [("mid-epoch", "kill", "unseeded"), ("checkpoint", "full", "natural")]
ENDINGS = [
    *((point, "kill") for point in POINTS),
    *((point, "full") for point in ("lock", "epoch", "mid-epoch", "checkpoint", "model")),
    *((point, "full") for point in ("history", "checkpoint written", "model written")),
    *((point, "terminate") for point in ("start-up", "mid-epoch", "record")),
    *((point, "interrupt") for point in ("mid-epoch", "checkpoint written")),
    *((point, "torn") for point in ("history", "checkpoint", "model", "model written")),
]
ALGORITHMS = ("natural", "trades", "seeded", "unseeded")  # take turns
SLOW = [
    *((*ending, ALGORITHMS[(index + index // 12) % 4]) for index, ending in enumerate(ENDINGS)),
    *(("report", how, "reproduce") for how in ("kill", "terminate")),
    *(("record", how, "reproduce") for how in ("full", "torn")),
]


def run_all(scenarios, directory):
    """{(point, how, command): (place, outcome of the first try, of the second)}, and references."""
    named = {
        "-".join(scenario).replace(" ", "_"): {
            "arguments": COMMANDS[scenario[2]], "point": scenario[0], "how": scenario[1],
        }
        for scenario in scenarios
    }  # fmt: skip
    commands = {command for *_, command in scenarios}
    named |= {command: {"arguments": COMMANDS[command]} for command in commands}
    (directory / "scenarios.json").write_text(json.dumps(named))
    done = subprocess.run(
        [sys.executable, HERE / "crashing.py", directory / "scenarios.json"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads((directory / "scenarios.out.json").read_text())
    return {name: (directory / name, *outcome) for name, outcome in outcomes.items()}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run_all(QUICK, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_all(SLOW, tmp_path_factory.mktemp("whole"))


def files(place):
    """Every file that a study leaves, but for what tells that it was struck."""
    found = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    return found - {"died"}


def check(scenario, results):
    point, how, command = scenario
    place, first, second = results["-".join(scenario).replace(" ", "_")]
    reference, alone = results[command]
    assert alone[0] == second[0] == 0, second[2]
    check_end(how, *first)
    assert (place / "died").exists()
    check_same(place, reference, command)
    assert "Traceback" not in second[2]
    if command == "unseeded":
        (record,) = records.load_all(place / "runs")
        assert record.privacy.steps == 18 + 6 * (point in LOSE_AN_EPOCH)


def check_end(how, code, stdout, stderr):
    """How a command says that it was ended."""
    if how in ("kill", "torn"):
        assert (code, stderr) == (-9 if how == "kill" else -25, "")
    elif how == "full":
        assert code == 2
        assert stderr.count("\n") == 1
        assert stderr.startswith("error: ") and "File too large" in stderr
    else:
        assert code == {"terminate": 143, "interrupt": 130}[how]
        assert stderr in ("interrupted; the same command goes on from here\n", "interrupted\n")


def check_same(place, reference, command):
    """Record and files are those of a command that nothing ended."""
    found, expected = (records.load_all(path / "runs") for path in (place, reference))
    assert len(found) == len(expected) > 0
    for record, alone in zip(found, expected, strict=True):
        if command == "unseeded":
            assert record.training == alone.training
        else:
            assert records.comparable(record) == records.comparable(alone)
    assert files(place) == files(reference)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", QUICK, ids="-".join)
def test_the_same_command_goes_on_to_the_same_record(scenario, quick):
    check(scenario, quick)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scenario", SLOW, ids="-".join)
def test_whatever_ends_a_run_the_same_command_goes_on_to_the_same_record(scenario, whole):
    check(scenario, whole)


STUDY = (
    *REPRODUCE[:3], "--only=natural,tikhonov", *REPRODUCE[4:],
)  # fmt: skip


def run_study(place, *more, strikes=None):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    if strikes:
        environment["CRASHING"] = " ".join(strikes)
    return subprocess.run(
        [sys.executable, HERE / "crashing.py", *STUDY, *more],
        cwd=place, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study without workers."""
    place = tmp_path_factory.mktemp("alone")
    assert run_study(place).returncode == 0
    return place


def processes_of(place):
    """Processes that have held a run below `place` and still exist."""
    locks = [path.read_text() for path in place.rglob(".lock")]
    return [text for text in locks if Path("/proc", text.split()[1]).exists()]


@pytest.mark.exhaustive
@pytest.mark.parametrize("point", ["lock", "mid-epoch", "record"])
def test_a_killed_worker_is_replaced_within_the_command(point, study, tmp_path):
    done = run_study(tmp_path, "--workers=2", strikes=(point, "kill"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "died").exists()
    assert done.stdout.count("its worker was lost (signal 9); another one goes on") == 1
    check_same(tmp_path, study, "reproduce")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("point", "how"), [("mid-epoch", "terminate"), ("record", "orphan"), ("model", "full")]
)
def test_a_study_on_workers_that_is_ended_goes_on(point, how, study, tmp_path):
    done = run_study(tmp_path, "--workers=2", strikes=(point, how))
    assert (tmp_path / "died").exists()
    deadline = time.monotonic() + 30  # orphans end when they see it
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of(tmp_path)
    if how == "orphan":
        assert done.returncode == -9
    else:
        check_end(how, done.returncode, done.stdout, done.stderr)
    again = run_study(tmp_path, "--workers=2")
    assert (again.returncode, again.stderr) == (0, "")
    check_same(tmp_path, study, "reproduce")
