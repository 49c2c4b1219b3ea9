"""Every binary takes --flagfile, and what a study leaves in a run's directory repeats that run."""

import json

import forked
import pytest

from experiments import presets, scales

REPRODUCE = "experiments.reproduce"
SETTINGS = {
    "assess": ("--budget=90 s\n--nocompare", "budget", "90 s"),
    "attack": ("--epsilon=0.25", "epsilon", 0.25),
    "benchmark": ("--architecture=fmnist_cnn_1", "architecture", "fmnist_cnn_1"),
    "compute_epsilon": ("--noise_multiplier=1.5", "noise_multiplier", ["1.5"]),
    "inject_faults": ("--rates=0,0.25", "rates", ["0", "0.25"]),
    "prepare_data": ("--dataset=cifar10\n--from=there", "from", "there"),
    "report": ("--output_dir=somewhere", "output_dir", "somewhere"),
    "store_zoo": ("--runs=somewhere", "runs", "somewhere"),
    "reproduce": ("--tables=3,5", "tables", ["3", "5"]),
    "run_plan": ("--plan=remedies", "plan", "remedies"),
    "single_faults": ("--margin=0.02", "margin", 0.02),
    "train": ("# a comment\n--noaugment\n--epochs=7", "epochs", 7),
}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("flagfiles")
    for name, (content, _, _) in SETTINGS.items():
        (directory / f"{name}.flags").write_text(content + "\n")
    commands = {n: [f"experiments.{n}", f"--flagfile={n}.flags"] for n in SETTINGS}
    commands["missing"] = ["experiments.train", "--flagfile=missing.flags"]
    commands["later"] = ["experiments.train", "--flagfile=train.flags", "--epochs=9"]
    return forked.run_all(commands, directory, parse_only=True)


@pytest.mark.parametrize("name", SETTINGS)
def test_flags_come_from_a_file(parsed, name):
    code, stdout, stderr = parsed[name]
    assert code == 0, stderr
    _, flag, value = SETTINGS[name]
    assert json.loads(stdout)[flag] == value


def test_every_binary_is_tried():
    binaries = {
        path.stem
        for path in (forked.ROOT / "experiments").glob("*.py")
        if "_app.run(" in path.read_text()
    }
    assert binaries == set(SETTINGS)


def test_a_later_flag_wins(parsed):
    assert json.loads(parsed["later"][1])["epochs"] == 9


def test_a_missing_file_is_one_line(parsed):
    code, _, stderr = parsed["missing"]
    assert code == 2
    assert stderr.startswith("error: ") and len(stderr.splitlines()) == 1
    assert "missing.flags" in stderr


@pytest.mark.slow
def test_a_study_leaves_in_each_run_what_repeats_it(tmp_path):
    (config,) = presets.table_3(scales.SMOKE)
    commands = {
        "study": [REPRODUCE, "--tables=3", "--scale=smoke", "--output_dir=study"],
        "again": [REPRODUCE, f"--flagfile=study/{config.name}/reproduce.flags",
                  "--output_dir=again"],
    }  # fmt: skip
    commands["part"] = [REPRODUCE, "--flagfile=study/reproduce.flags", "--only=circles"]
    commands["part_again"] = commands["part"]
    results = forked.run_all(commands, tmp_path)
    for name, (code, _, stderr) in results.items():
        assert code == 0, f"{name}: {stderr}"
    first, second = (
        json.loads((tmp_path / place / config.name / "record.json").read_text())
        for place in ("study", "again")
    )
    assert first["config"] == second["config"]
    assert first["results"] == second["results"]
    assert "--scale=smoke" in (tmp_path / "study" / "reproduce.flags").read_text().splitlines()
    assert "--only" not in (tmp_path / "study" / "reproduce.flags").read_text()
    assert "--only=circles" in (tmp_path / "study" / "reproduce-2.flags").read_text().splitlines()
    for name, flagfile in (("study", ""), ("part", "-2"), ("part_again", "-2")):
        last = results[name][1].splitlines()[-1]
        assert last.endswith(f"--flagfile=study/reproduce{flagfile}.flags")
