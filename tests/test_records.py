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
    "data": {"name": "fashion_mnist"},
    "environment": {},
    "deviations": [],
    "timing": {"seconds": 1.0, "sessions": 1},
    "model": {},
    "training": {},
    "history": {},
    "accuracy": {"train": 0.9, "test": 0.8, "generalization_error": 0.1},
    "parameters": None,
    "faults": {},
    "robustness": [],
    "privacy": None,
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
        (changed(accuracy={"train": 98.2, "test": 0.9}), r"accuracy.train must lie in \[0, 1\]"),
        (changed(accuracy={"train": 0.9, "test": -0.1}), r"accuracy.test must lie in \[0, 1\]"),
        (changed(faults={"weights": {"mean": [0.8, 1.2]}}), r"faults.weights.mean must lie"),
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
    failed = changed(status="failed", accuracy=None, failure={"reason": "NaN", "epoch": 1})
    records.write(tmp_path, failed)
    assert records.load(tmp_path) == failed


def test_nan_and_infinity_become_null_and_numpy_becomes_plain(tmp_path):
    history = {"loss": [1.0, math.nan, math.inf, np.float32(0.5)], "epoch": (1, np.int64(2))}
    records.write(tmp_path, changed(history=history))
    text = (tmp_path / "record.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["history"] == {"loss": [1.0, None, None, 0.5], "epoch": [1, 2]}


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
    path = records.write(tmp_path / "run", changed(robustness=[{"attack": "fgsm"}]))
    before = path.read_bytes()
    for name in ("b", "a"):
        records.write_text(
            path.parent / records.ATTACKS / f"{name}.json", f'{{"attack": "{name}"}}'
        )
    found = [entry["attack"] for entry in records.load(path)["robustness"]]
    assert found == ["fgsm", "a", "b"]
    assert path.read_bytes() == before


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
