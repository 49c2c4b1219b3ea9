"""The binary of single faults, on a model file: rate, heat map, plan and worst case."""

import forked
import keras as keras_3
import numpy as np
import pandas as pd
import pytest

SINGLE = "experiments.single_faults"
COMMON = ["--model=mine.keras", "--data=mine.npz", "--seed=1"]
INT8 = ["--storage=int8_per_channel", "--failure=any_image", "--margin=0.1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("single_faults")
    keras_3.utils.set_random_seed(0)
    layers = keras_3.layers
    model = keras_3.Sequential(
        [keras_3.Input((6, 6, 1)), layers.Flatten(), layers.Dense(9, "relu"), layers.Dense(3)]
    )
    model.save(directory / "mine.keras")
    draw = np.random.default_rng(0)
    x = draw.random((80, 6, 6, 1)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(axis=1)
    y[:3] = range(3)
    np.savez(directory / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    commands = {
        "rate": [SINGLE, *COMMON, *INT8, "--images=50", "--stratum_trials=2"],
        "plan": [SINGLE, *COMMON, *INT8, "--plan"],
        "worst": [SINGLE, *COMMON, *INT8, "--budget=1 s", "--target_accuracy=0.4", "--bits=4-7"],
        "units": [SINGLE, *COMMON, "--fault=stuck_at_0", "--target=units", "--margin=0.01"],
        "random": [SINGLE, *COMMON, "--fault=gaussian"],
        "bits": [SINGLE, *COMMON, "--bits=high"],
        "tflite": [SINGLE, "--model=mine.tflite", "--data=mine.npz"],
    }
    return forked.run_all(commands, directory), directory


def test_the_rate_and_its_files(done):
    (code, stdout, stderr), directory = done[0]["rate"], done[1]
    assert code == 0, stderr
    assert stdout.startswith("failure rate ") and "95% interval" in stdout.splitlines()[0]
    assert stdout.count("failure rate ") == 1
    assert "ended by: margin" in stdout
    (path,) = directory.glob("*int8_per_channel-failure_any_image-seed_1.csv")
    table = pd.read_csv(path)
    assert len(table) == 2 * 8 and table["trials"].min() >= 2
    assert table["sites"].sum() == 8 * (36 * 9 + 9 + 9 * 3 + 3)
    for ending in (".png", ".flags", "-faults.csv"):
        assert path.with_name(path.stem + ending).stat().st_size > 0


def test_a_plan_runs_nothing(done):
    code, stdout, stderr = done[0]["plan"]
    assert code == 0, stderr
    assert stdout.startswith("about ") and "trials" in stdout and "minutes" in stdout
    assert "failure rate" not in stdout


def test_the_worst_case_names_its_bits(done):
    (code, stdout, stderr), directory = done[0]["worst"], done[1]
    assert code == 0, stderr
    assert "an upper bound on the fewest" in stdout
    (path,) = directory.glob("*-worst.csv")
    found = pd.read_csv(path)
    assert found["accuracy"].iloc[-1] <= 0.4 and found["bit"].between(4, 7).all()


def test_stuck_units(done):
    code, stdout, stderr = done[0]["units"]
    assert code == 0, stderr
    assert "9 of 9 single faults tried" in stdout and "ended by: all sites" in stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("random", "sigma=None must be given"),
        ("bits", "bits='high' must be"),
        ("tflite", "--model=mine.tflite must be a .keras or .h5 file"),
    ],
)
def test_bad_flags_are_one_line(done, name, said):
    code, _, stderr = done[0][name]
    assert code == 2 and said in stderr and len(stderr.splitlines()) == 1
