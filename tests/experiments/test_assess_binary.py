"""`assess` from the command line: a file, its card in four forms, two cards, bad input."""

import dataclasses
import json

import forked
import keras
import numpy as np
import PIL.Image
import pytest
import tflite_files

from ft_tf import assessment

ASSESS, FAULTS = "experiments.assess", "experiments.inject_faults"
LAYERS = """import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""
FUNCTION = """import numpy as np

def load():
    arrays = np.load("mine.npz")
    return arrays["x_test"], arrays["y_test"]
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A model with a custom layer and a softmax, on bytes, in a process that has its own layers."""
    directory = tmp_path_factory.mktemp("assess")
    (directory / "my_layers.py").write_text(LAYERS)
    source = {}
    exec(LAYERS, source)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((4, 4)), layers.Flatten(), source["Doubled"](),
         layers.Dense(3, activation="softmax")]
    )  # fmt: skip
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(16, 3))
    model.layers[-1].set_weights([kernel - kernel.mean(axis=0), np.zeros(3)])  # all classes occur
    model.save(directory / "mine.keras")
    x = generator.integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
    y = model.predict((x / 255).reshape(60, 4, 4), verbose=0).argmax(axis=1)
    np.savez(directory / "mine.npz", x_test=x, y_test=y)
    np.savez(directory / "half.npz", x_test=x)
    (directory / "file.tflite").write_bytes(tflite_files.converted("int8"))
    x, y = tflite_files.images(60)
    np.savez(directory / "file.npz", x_test=x[..., 0], y_test=y)
    (directory / "my_data.py").write_text(FUNCTION)
    arrays = np.load(directory / "mine.npz")
    for number, (image, label) in enumerate(zip(arrays["x_test"], arrays["y_test"], strict=True)):
        for place in (f"photos/test/class_{label}", f"photos/train/class_{label}", "two/" * 2):
            (directory / place).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image[..., 0]).save(directory / place / f"{number}.png")
    mine = [ASSESS, "--model=mine.keras", "--data=mine.npz", "--budget=4 s"]
    imported = [*mine, "--import=my_layers"]
    file = [ASSESS, "--model=file.tflite", "--data=file.npz", "--budget=4 s"]
    of_folder = [ASSESS, "--model=mine.keras", "--import=my_layers", "--budget=2 s"]
    commands = {
        "file": file,
        "gradients": [*file, "--attack=pgd"],
        "first": imported,
        "folder": [*of_folder, "--data=photos", "--output_dir=folder-card"],
        "function": [*of_folder, "--data=my_data:load", "--output_dir=function-card"],
        "two": [*of_folder, "--data=two"],
        "nowhere": [*of_folder, "--data=nowhere"],
        "no_tfds": [*of_folder, "--data=tfds:nothing", "--data_dir=."],
        "faults": [FAULTS, *of_folder[1:3], "--data=photos", "--rates=0", "--trials=1"],
        "train": [
            "experiments.train",
            "--data=photos",
            "--epochs=1",
            "--batch_size=20",
            "--output_dir=runs",
            "--fault_trials=1",
            "--fault_images=9",
            "--fault_rates=0,0.5",
        ],
        "second": [*imported, "--seed=1", "--output_dir=second", "--all"],
        "compared": [ASSESS, "--compare", "mine-card", "second/card.json", "--output_dir=both"],
        "no_layer": mine,
        "no_data": [ASSESS, "--model=mine.keras"],
        "no_model": [ASSESS],
        "no_labels": [*imported[:2], "--data=half.npz", "--import=my_layers"],
        "one_card": [ASSESS, "--compare", "mine-card"],
        "no_card": [ASSESS, "--compare", "mine-card", "nowhere"],
        "words": [*imported, "word"],
        "budget": [*mine[:3], "--budget=soon"],
        "other": [*imported, "--seed=2"],
    }
    return directory, forked.run_all(commands, directory)


def test_a_file_gets_its_card_in_four_forms(used):
    directory, results = used
    code, stdout, stderr = results["first"]
    assert (code, stderr) == (0, ""), stderr
    lines = stdout.splitlines()
    assert lines[0].startswith("100.00% of the test images are right.")
    assert lines[-1] == "written: mine-card/card.html, .md and .json"
    card = assessment.load(directory / "mine-card")
    assert card.model.name == "mine.keras" and card.model.classes == 3
    assert card.data.name == "mine" and card.data.examples == 60
    assert (directory / "mine-card/card.md").read_text().startswith("---\nmodel-index:\n")
    assert "<svg" in (directory / "mine-card/card.html").read_text()


def test_all_prints_the_settings_too(used):
    _, results = used
    assert "settings: seed 1;" in results["second"][1]
    assert "settings: seed" not in results["first"][1]


def test_a_tflite_file_gets_one_too(used):
    directory, results = used
    code, stdout, stderr = results["file"]
    assert (code, stderr) == (0, ""), stderr
    assert "int8 bit errors" in stdout and "a .tflite file gives no gradients" in stdout
    assert assessment.load(directory / "file-card").model.name == "file.tflite"


def test_folders_and_functions_give_the_same_card_as_a_file(used):
    directory, results = used
    for name, dataset, train in (("folder", "photos", 60), ("function", "my_data:load", 0)):
        code, stdout, stderr = results[name]
        assert (code, stderr) == (0, ""), stderr
        said, _, card = stdout.rpartition("100.00% of the test images are right.")
        order = "labels from 0 on are class_0, class_1, class_2"
        assert card and (order in said if name == "folder" else said == "")
        found = assessment.load(directory / f"{name}-card").data
        assert (found.name, found.examples, found.train_examples) == (dataset, 60, train)
    of_file = assessment.load(directory / "mine-card").data
    assert found == dataclasses.replace(of_file, name="my_data:load")


def test_a_folder_goes_to_the_other_binaries_too(used):
    directory, results = used
    code, stdout, stderr = results["faults"]
    assert (code, stderr) == (0, ""), stderr
    assert "photos: 60 training + 60 test examples from folder:photos" in stdout
    assert " 100.00% " in stdout
    code, stdout, stderr = results["train"]
    assert code == 0, stderr
    (record,) = (directory / "runs").rglob("record.json")
    assert json.loads(record.read_text())["data"]["source"] == "folder:photos"


def test_two_cards_are_set_against_each_other(used):
    directory, results = used
    code, stdout, stderr = results["compared"]
    assert (code, stderr) == (0, ""), stderr
    assert stdout.startswith("A is mine.keras on mine, B is mine.keras on mine. ")
    first, *_ = json.loads((directory / "both/comparison.json").read_text())
    assert first["what"] == "accuracy" and first["difference"] == 0 and first["paired"]
    assert (directory / "both/comparison.html").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_layer", "--import=MODULE"),
        ("gradients", "attack='pgd' needs gradients, which a .tflite file does not give"),
        ("no_data", "--model=mine.keras needs --dataset"),
        ("no_model", "--model must name a model file, or --run a finished run"),
        ("no_labels", "data='half.npz' cannot be used (it holds no array 'y_test')"),
        ("two", "'two' has 1 folders of classes, the model 3 classes; labels from 0 on are two"),
        ("nowhere", "data='nowhere' cannot be read (No such file or directory): name a .npz file"),
        ("no_tfds", "data='tfds:nothing' is not in . (no nothing/VERSION/dataset_info.json)"),
        ("one_card", "--compare needs two cards"),
        ("no_card", "nowhere cannot be read"),
        ("words", "'word' is not a flag"),
        ("budget", "budget='soon' must be a time such as '10 min'"),
        ("other", "mine-card/card.json is of another settings: name another output_dir"),
    ],
)
def test_bad_input_gets_one_line(used, name, message):
    code, _, stderr = used[1][name]
    assert code == 2 and stderr.startswith("error: ") and len(stderr.splitlines()) == 1
    assert message in stderr
