"""A run from its training to faults and attacks, and the same for a model file; flags are kept."""

import json
import subprocess
import sys

import forked
import keras as keras_3
import numpy as np
import pandas as pd
import pytest

from ft_tf import records
from ft_tf._compat import tf
from ft_tf.study import config as c

TRAIN = [
    "experiments.train", "--epochs=2", "--batch_size=50", "--learning_rate=0.1", "--momentum=0.5",
    "--train_limit=400", "--test_limit=200", "--fault_trials=2", "--tensorboard", "--nocurve",
    "--output_dir=runs",
]  # fmt: skip
RATES = "--rates=0,0.5"
LAYERS = """import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("own_model")
    (result,) = forked.run_all({"train": TRAIN}, directory).values()
    assert result[0] == 0, result
    (run,) = (directory / "runs").iterdir()
    return directory, run


@pytest.fixture(scope="module")
def used(trained):
    """Everything that works on a run or a model file, after one start of TensorFlow."""
    directory, run = trained
    layers = keras_3.layers
    model = keras_3.Sequential(
        [
            keras_3.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.save(directory / "mine.keras")
    (directory / "my_layers.py").write_text(LAYERS)
    (directory / "my_broken_layers.py").write_text("import my")
    save = (
        "import keras, my_layers; keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), "
    )
    save += "my_layers.Doubled(), keras.layers.Dense(10)]).save('doubled.keras')"
    subprocess.run([sys.executable, "-c", save], cwd=directory, check=True)
    small = keras_3.Sequential([keras_3.Input((32, 32, 3)), layers.Flatten(), layers.Dense(10)])
    small.save(directory / "colour.keras")
    saturated = {"activation": "sigmoid", "kernel_initializer": keras_3.initializers.Constant(9.0)}
    flat = [keras_3.Input((28, 28)), layers.Flatten(), layers.Dense(8, **saturated)]
    keras_3.Sequential([*flat, layers.Dense(10)]).save(directory / "flat.keras")
    place = str(run.relative_to(directory))
    inject, attack = "experiments.inject_faults", "experiments.attack"
    mine = ["--model=mine.keras", "--dataset=fashion_mnist"]
    commands = {
        "again": [TRAIN[0], f"--flagfile={place}/train.flags", "--output_dir=again"],
        "run": [inject, f"--run={place}", "--target=units", RATES, "--trials=2"],
        "run_attack": [attack, f"--run={place}", "--steps=2", "--images=20"],
        "file": [inject, *mine, "--target=units", RATES, "--trials=2"],
        "file_again": [inject, "--flagfile=mine-fashion_mnist-faults-units-stuck_at_0-seed_0.flags",
                       "--output=again.csv"],
        "file_attack": [attack, *mine, "--attack=fgsm", "--images=20"],
        "auto": [attack, *mine, "--attack=autoattack", "--epsilon=8/255", "--steps=2",
                 "--queries=20", "--images=20"],
        "table": [attack, *mine, "--attack=fgsm,square", "--queries=20", "--images=20",
                  "--fault_rates=0,0.2", "--fault_trials=2", "--fault_target=units"],
        "masked": [attack, "--model=flat.keras", mine[1], "--attack=pgd,square", "--steps=2",
                   "--queries=9", "--images=20", "--fault_rates=0,0.1"],
        "no_steps": [attack, *mine, "--attack=fgsm,square", "--steps=7", "--images=20",
                     "--fault_rates=0"],
        "no_queries": [attack, *mine, "--attack=pgd", "--queries=9", "--images=20",
                       "--fault_rates=0"],
        "two": [attack, *mine, "--attack=fgsm,pgd"],
        "foreign": [attack, *mine, "--attack=pgd", "--queries=20", "--images=20"],
        "colour": [inject, "--model=colour.keras", "--dataset=fashion_mnist"],
        "own_layer": [inject, "--model=doubled.keras", *mine[1:], "--import=my_layers",
                      "--rates=0", "--trials=1", "--layer_rate=0"],
        "unknown_layer": [inject, "--model=doubled.keras", *mine[1:]],
        "no_module": [inject, *mine, "--import=my_other_layers"],
        "broken_module": [inject, *mine, "--import=my_broken_layers"],
        "no_dataset": [inject, "--model=mine.keras"],
        "both": [attack, f"--run={place}", *mine],
        "no_file": [attack, "--model=nothing.keras", "--dataset=cifar10"],
        "run_dataset": [inject, f"--run={place}", "--dataset=cifar10"],
    }  # fmt: skip
    return directory, run, forked.run_all(commands, directory)


@pytest.mark.slow
def test_a_saved_flagfile_repeats_its_run(used):
    directory, run, results = used
    assert results["again"][0] == 0, results["again"]
    (again,) = (directory / "again").iterdir()
    configs = [
        c.from_dict(json.loads((place / "config.json").read_text())["config"])
        for place in (run, again)
    ]
    assert configs[0] == configs[1]
    first, second = (records.comparable(records.load(place)) for place in (run, again))
    assert {**first, "robustness": []} == {**second, "robustness": []}  # an attack came later


def test_a_flagfile_holds_what_was_given_and_no_more(trained):
    _, run = trained
    comment, *lines = (run / "train.flags").read_text().splitlines()
    assert comment.startswith("# python -m experiments.train --flagfile=runs/")
    assert sorted(lines) == sorted(TRAIN[1:])


def test_the_events_of_a_run_are_in_its_directory(trained):
    _, run = trained
    tags = {
        value.tag
        for path in (run / "tensorboard").glob("events.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"epoch/loss", "epoch/learning_rate"} <= tags
    assert any(tag.startswith("weights/") for tag in tags)
    assert {place.name for place in (run / "tensorboard/faults").iterdir()} == {
        "mean", "low", "high",
    }  # fmt: skip


def test_a_runs_results_stand_in_its_directory(used):
    _, run, results = used
    assert results["run"][0] == results["run_attack"][0] == 0, results
    frame = pd.read_csv(run / "faults-units-stuck_at_0-seed_0.csv")
    assert list(frame.columns) == ["target", "rate", "trial", "seed", "faults", "accuracy"]
    assert sorted(frame["faults"]) == [0, 0, 512, 512]
    (entry,) = records.load(run).robustness
    assert entry.images == 20
    assert {path.suffix for path in (run / "attacks").iterdir()} == {".json", ".flags"}


def test_a_model_file_is_tested_like_a_run(used):
    directory, _, results = used
    assert results["file"][0] == results["file_attack"][0] == 0, results
    for name in ("file", "file_attack"):
        assert "the model ends in softmax" in results[name][1]
        assert "images are reshaped from (28, 28, 1) to (28, 28)" in results[name][1]
    frame = pd.read_csv(directory / "mine-fashion_mnist-faults-units-stuck_at_0-seed_0.csv")
    assert sorted(frame["faults"]) == [0, 0, 4, 4]
    (entry,) = directory.glob("mine-fashion_mnist-fgsm-*.json")
    assert json.loads(entry.read_text())["images"] == 20


def test_autoattack_tells_its_stages_and_leaves_its_outcome_alone(used):
    directory, _, results = used
    code, stdout, stderr = results["auto"]
    assert code == 0, stderr
    said = [line for line in stdout.splitlines() if not line.startswith("warning")]
    assert [line.split(":")[0] for line in said[:4]] == ["APGD-CE", "APGD-T", "FAB-T", "Square"]
    assert said[4].startswith(
        "accuracy under autoattack, l_inf epsilon 8/255, 2 steps, 20 queries, on the first 20 "
    )
    (entry,) = directory.glob("mine-fashion_mnist-autoattack-*-queries_20-*.json")
    assert json.loads(entry.read_text())["epsilon"] == 8 / 255
    assert not list(directory.glob("*.resume.npz"))


def test_a_table_of_faults_by_attacks_is_printed_and_written(used):
    directory, _, results = used
    code, stdout, stderr = results["table"]
    assert code == 0, stderr
    (path,) = directory.glob("mine-*fgsm-square-*-stuck_at_0_units_0_0.2-trials_2-*.csv")
    frame = pd.read_csv(path)
    assert frame["attack"].tolist() == ["fgsm", "square"] * 3
    assert frame["faults"].tolist() == [0, 0, 2, 2, 2, 2]
    header, *lines = stdout[stdout.index("accuracy under attack and faults") :].splitlines()[1:]
    assert header.split() == ["fgsm", "square", "worst"]
    shown = [line.split()[-3:] for line in lines[1:5]]
    for row, cells in zip(frame["robust_accuracy"].to_numpy().reshape(3, 2), shown, strict=False):
        assert cells[:2] == [f"{value:.2%}" for value in row]


def test_reasons_to_doubt_an_attack_under_faults_are_printed_and_written(used):
    directory, _, results = used
    code, stdout, stderr = results["masked"]
    assert code == 0, stderr
    doubt = "the gradient is exactly zero for "
    assert doubt in stdout + stderr
    (path,) = directory.glob("flat-*.csv")
    warnings = pd.read_csv(path, keep_default_na=False).set_index("attack")["warnings"]
    assert warnings["pgd"].str.contains(doubt).any() and set(warnings["square"]) == {""}


def test_a_campaign_is_repeated_from_its_flagfile(used):
    directory, _, results = used
    assert results["file_again"][0] == 0, results["file_again"]
    again = pd.read_csv(directory / "again.csv")
    first = pd.read_csv(directory / "mine-fashion_mnist-faults-units-stuck_at_0-seed_0.csv")
    np.testing.assert_array_equal(again.to_numpy(), first.to_numpy())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two", "--attack=fgsm,pgd needs --fault_rates"),
        ("foreign", "queries=20 is no argument of pgd"),
        ("no_steps", "steps=7 must be 1 for fgsm"),
        ("no_queries", "queries=9 is no argument of pgd"),
        ("colour", "takes inputs of shape (32, 32, 3), dataset='fashion_mnist'"),
        ("no_dataset", "--model=mine.keras needs --dataset"),
        ("both", "--model=mine.keras: give one"),
        ("no_file", "model='nothing.keras' cannot be loaded: No such file"),
        ("run_dataset", "--dataset=cifar10 is for --model"),
    ],
)
def test_bad_combinations_get_one_line(used, name, message):
    code, _, stderr = used[2][name]
    assert code == 2
    assert stderr.startswith("error: ") and len(stderr.splitlines()) == 1
    assert message in stderr


def test_a_custom_layer_is_imported_first(used):
    _, _, results = used
    code, stdout, stderr = results["own_layer"]
    assert (code, stderr) == (0, ""), stderr
    assert "without faults" in stdout
    code, _, stderr = results["unknown_layer"]
    assert code == 2 and stderr.count("\n") == 1
    assert "Doubled" in stderr and "--import=MODULE" in stderr
    code, _, stderr = results["no_module"]
    assert code == 2 and stderr.count("\n") == 1
    assert stderr.startswith("error: import='my_other_layers' cannot be imported (ModuleNotFound")
    assert "name a Python module in this directory" in stderr
    code, _, stderr = results["broken_module"]
    assert code == 2 and stderr.count("\n") == 1
    assert "No module named 'my'" in stderr and "the error is in the module" in stderr
