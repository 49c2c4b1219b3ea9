"""Records: what is accepted, what is refused in which words; nothing is overwritten."""

import copy
import json
import math

import numpy as np
import pytest

from ft_tf import records
from ft_tf.errors import RunError

RUN = {
    "schema_version": 1,
    "kind": "run",
    "name": "b",
    "status": "finished",
    "failure": None,
    "rows": [],
    "config": {"seed": 0},
    "data": {
        "name": "fashion_mnist",
        "source": "tfds:fashion_mnist:3.0.1",
        "fingerprint": "ab12",
        "train_examples": 60_000,
        "test_examples": 10_000,
        "notes": [],
    },
    "environment": {"python": "3.11", "processor": "x", "threads": 2, "packages": {}},
    "deviations": [],
    "timing": {"seconds": 1.0, "sessions": 1},
    "model": {"architecture": "fmnist_dnn", "parameters": 669_706},
    "training": {"epochs": 10, "steps": 240},
    "history": {},
    "accuracy": {"train": 0.9, "test": 0.8, "generalization_error": 0.1},
    "parameters": None,
    "faults": {},
    "robustness": [],
    "privacy": None,
}


LOST = ("mean", "low", "high")
CAMPAIGN = {
    "rates": [0.0, 0.5],
    "faults": [0, 10],
    "mean": [0.8, 0.5],
    "standard_deviation": [0.0, 0.1],
    "low": [0.8, 0.4],
    "high": [0.8, 0.6],
    "trials": 5,
    "images": 1000,
    "seed": 0,
    "sites": 20,
    "method": "Student t, mean",
    "unit": "fault set",
    "level": 0.95,
    "drop_50_to_90": None,
    "epsilon_ft": [],
}
ATTACK = {
    "attack": "pgd",
    "epsilon": 0.1,
    "steps": 20,
    "images": 1000,
    "clean_accuracy": 0.8,
    "robust_accuracy": 0.2,
    "robust_interval": [0.18, 0.22],
    "parameters": {},
    "warnings": [],
}


def changed(**changes):
    return {**copy.deepcopy(RUN), **changes}


def without(key):
    return {name: value for name, value in RUN.items() if name != key}


def test_a_record_survives_writing_and_loading(tmp_path):
    path = records.write(tmp_path / "b", RUN)
    assert path == tmp_path / "b" / "record.json"
    assert records.load(path) == RUN
    assert records.load(tmp_path / "b") == RUN


def test_a_circles_record_needs_its_own_keys_only():
    common = {key: value for key, value in RUN.items() if key not in records._OF_A_RUN}
    circles = {**common, "kind": "circles", "replicates": 2, "form": "fixed_data", "results": {}}
    assert records.validate(circles, where="x") == circles
    with pytest.raises(RunError, match="results is missing"):
        records.validate({**common, "kind": "circles", "replicates": 2, "form": ""}, where="x")


def test_a_record_is_written_once(tmp_path):
    records.write(tmp_path, RUN)
    before = (tmp_path / "record.json").read_bytes()
    with pytest.raises(RunError, match="written once"):
        records.write(tmp_path, changed(name="other"))
    assert (tmp_path / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([], "no record"),
        (changed(schema_version=2), "schema_version=2; this ft_tf reads 1"),
        (without("schema_version"), "schema_version=None"),
        (changed(kind="other"), "kind='other'; known are run, circles"),
        (without("history"), "history is missing"),
        (changed(faults=[]), r"faults=\[\] has a wrong type"),
        (changed(status="done"), "status='done' must be finished or failed"),
        (changed(accuracy=None), "accuracy is missing from a finished run"),
        (
            changed(accuracy={**RUN["accuracy"], "train": 98.2}),
            r"accuracy.train must lie in \[0, 1\]",
        ),
        (
            changed(accuracy={**RUN["accuracy"], "test": -0.1}),
            r"accuracy.test must lie in \[0, 1\]",
        ),
        (
            changed(faults={"weights": {**CAMPAIGN, "mean": [0.8, 1.2]}}),
            r"faults.weights.mean must lie",
        ),
        (changed(faults={"weights": {}}), "faults.weights.rates is missing"),
        (changed(faults={"units": {**CAMPAIGN, "low": None}}), "faults.units.low=None has a wrong"),
        (
            changed(faults={"units": {**CAMPAIGN, "low": [0.8]}}),
            "faults.units has lists of different lengths",
        ),
        (
            changed(faults={"units": {**CAMPAIGN, "lost": {"mean": [0, 0.1], "low": [0, 0.1]}}}),
            "faults.units.lost.high is missing",
        ),
        (
            changed(faults={"units": {**CAMPAIGN, "lost": {key: [0.1] for key in LOST}}}),
            "faults.units has lists of different lengths",
        ),
        (
            changed(faults={"units": {**CAMPAIGN, "mean": [0.8, "0.5"]}}),
            "faults.units has '0.5' among its figures",
        ),
        (changed(robustness=[ATTACK, {"attack": "pgd"}]), r"robustness\[1\].epsilon is missing"),
        (
            changed(robustness=[{**ATTACK, "robust_accuracy": 20.0}]),
            r"robustness\[0\].robust_accuracy must lie",
        ),
        (changed(accuracy={"train": 0.9}), "accuracy.test is missing"),
        (changed(data={"name": "cifar10"}), "data.source is missing.*data.notes is missing"),
        (changed(parameters={"standard_deviation": 0.1}), "parameters.equation_10 is missing"),
        (changed(training={"epochs": "10", "steps": 2}), "training.epochs='10' has a wrong type"),
        (changed(history={"loss": [1.0], "epoch": [1, 2]}), "history must hold lists of one"),
        (changed(failure={"reason": "NaN"}), "failure.epoch is missing"),
    ],
)
def test_what_breaks_the_schema_is_named_in_one_line(record, words, tmp_path):
    with pytest.raises(RunError, match=words) as caught:
        records.validate(record, where="place/record.json")
    assert "place/record.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(RunError, match="config is missing.*history is missing"):
        records.validate(
            {key: value for key, value in RUN.items() if key not in ("history", "config")},
            where="x",
        )


def test_an_invalid_record_leaves_nothing_behind(tmp_path):
    with pytest.raises(RunError):
        records.write(tmp_path / "run", changed(status="done"))
    assert not (tmp_path / "run" / "record.json").exists()


def test_a_failed_run_needs_no_accuracy(tmp_path):
    failed = changed(
        status="failed", accuracy=None, failure={"reason": "NaN", "epoch": 1, "step": 3}
    )
    records.write(tmp_path, failed)
    assert records.load(tmp_path) == failed


def test_nan_and_infinity_become_null_and_numpy_becomes_plain(tmp_path):
    history = {"loss": [1.0, math.nan, math.inf, np.float32(0.5)], "epoch": (1, np.int64(2), 3, 4)}
    records.write(tmp_path, changed(history=history))
    text = (tmp_path / "record.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["history"] == {"loss": [1.0, None, None, 0.5], "epoch": [1, 2, 3, 4]}


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} x', b"\xff\xfe"])
def test_a_damaged_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not valid JSON") as caught:
        records.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        records.load(tmp_path / "record.json")


def test_load_all_finds_records_at_any_depth_sorted_by_name(tmp_path):
    for place, name in (("z", "a"), ("a/deep/er", "c"), ("m", "b")):
        records.write(tmp_path / place, changed(name=name))
    (tmp_path / "m" / "config.json").write_text("{}")
    assert [record["name"] for record in records.load_all(tmp_path)] == ["a", "b", "c"]


def test_later_attacks_stand_behind_the_runs_own(tmp_path):
    path = records.write(tmp_path / "run", changed(robustness=[{**ATTACK, "attack": "fgsm"}]))
    before = path.read_bytes()
    for name in ("b", "a"):
        entry = json.dumps({**ATTACK, "attack": name})
        records.write_text(path.parent / records.ATTACKS / f"{name}.json", entry)
    found = [entry["attack"] for entry in records.load(path)["robustness"]]
    assert found == ["fgsm", "a", "b"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"attack": "pgd"}', "is no valid attack: the attack.epsilon is missing"),
        ("[]", r"the attack=\[\] has a wrong type"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_damaged_later_attack_is_named_with_its_file(content, words, tmp_path):
    path = records.write(tmp_path / "run", RUN)
    damaged = path.parent / records.ATTACKS / "pgd.json"
    records.write_text(damaged, content)
    with pytest.raises(RunError, match=words) as caught:
        records.load(path)
    assert str(damaged) in str(caught.value)


def test_a_result_of_circles_has_all_its_parts(tmp_path):
    common = {key: value for key, value in RUN.items() if key not in records._OF_A_RUN}
    result = {"noise": "natural", "sigma": 0.0, "train": [1.0], "test": [0.5]}
    circles = {**common, "kind": "circles", "replicates": 1, "form": "", "results": {"a": result}}
    assert records.validate(circles, where="x") == circles
    result["test"] = [[0.5]]
    with pytest.raises(RunError, match=r"results\[a\] has \[0.5\] among its figures"):
        records.validate(circles, where="x")
    del result["test"]
    with pytest.raises(RunError, match=r"results\[a\].test is missing"):
        records.validate(circles, where="x")


def test_load_all_refuses_what_is_no_directory(tmp_path):
    with pytest.raises(RunError, match="is not a directory"):
        records.load_all(tmp_path / "nothing")


def test_load_all_of_an_empty_directory_is_empty(tmp_path):
    assert records.load_all(tmp_path) == []


def test_comparable_leaves_out_timing_only():
    slow = changed(timing={"seconds": 99.0, "sessions": 3})
    assert records.comparable(slow) == records.comparable(RUN)
    assert records.comparable(changed(name="c")) != records.comparable(RUN)


def test_write_text_replaces_whole_files_and_leaves_no_others(tmp_path):
    path = tmp_path / "new" / "file.txt"
    records.write_text(path, "one")
    records.write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_write_text_names_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        records.write_text(tmp_path / "file" / "below.txt", "x")


def test_dumps_has_sorted_keys_and_one_newline():
    assert records.dumps({"b": 1, "a": [math.nan]}) == '{\n "a": [\n  null\n ],\n "b": 1\n}\n'
