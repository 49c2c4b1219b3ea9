"""Files of a run: written whole, once, and nothing left behind."""

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import stat
import tempfile

import numpy as np
import pytest
from example_records import ATTACK, RUN, failed, run

from ft_tf import records
from ft_tf.errors import RunError


def test_a_record_survives_writing_and_loading(tmp_path):
    for name, record in (("run", run()), ("failed", failed())):
        path = records.write(tmp_path / name, record)
        assert path == tmp_path / name / "record.json"
        assert records.load(path) == records.load(tmp_path / name) == record


def test_a_record_is_written_once(tmp_path):
    records.write(tmp_path, run())
    before = (tmp_path / "record.json").read_bytes()
    with pytest.raises(RunError, match="written once"):
        records.write(tmp_path, run(name="other"))
    assert (tmp_path / "record.json").read_bytes() == before


def test_an_invalid_record_leaves_nothing_behind(tmp_path):
    broken = records.Accuracy(train=2.0, test=0.5, generalization_error=1.5)
    with pytest.raises(RunError, match=r"record.json is no valid record: accuracy.train=2.0 must"):
        records.write(tmp_path / "run", dataclasses.replace(run(), accuracy=broken))
    assert not (tmp_path / "run").exists()


def test_nan_and_infinity_become_null_and_numpy_becomes_plain(tmp_path):
    history = {"loss": [1.0, math.nan, math.inf, np.float32(0.5)], "epoch": (1, np.int64(2), 3, 4)}
    path = records.write(tmp_path, dataclasses.replace(run(), history=history))
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["history"] == {"loss": [1.0, None, None, 0.5], "epoch": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": 1} x', b"\xff\xfe", 200_000 * b"[", 200_000 * b'{"a":', 5000 * b"9"],
    ids=["empty", "cut", "longer", "no UTF-8", "deep list", "deep object", "long number"],
)
def test_a_damaged_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match="is not valid JSON") as caught:
        records.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_or_floats_do_not_have_are_refused(number, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(records.dumps(RUN).replace("0.75", number))
    with pytest.raises(RunError, match=r"accuracy.test=(nan|inf) must be finite"):
        records.load(path)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        records.load(tmp_path / "record.json")


def test_load_all_finds_records_at_any_depth_sorted_by_name(tmp_path):
    for place, name in (("z", "a"), ("a/deep/er", "c"), ("m", "b")):
        records.write(tmp_path / place, run(name=name))
    (tmp_path / "m" / "config.json").write_text("{}")
    for place in (tmp_path, str(tmp_path)):
        assert [record.name for record in records.load_all(place)] == ["a", "b", "c"]


def test_load_all_refuses_a_run_that_would_count_twice(tmp_path):
    for place in ("first", "copy"):
        records.write(tmp_path / place, run())
    with pytest.raises(RunError, match=r"first/record.json and .*copy/record.json have one name"):
        records.load_all(tmp_path)


def test_load_all_refuses_what_is_no_directory(tmp_path):
    with pytest.raises(RunError, match="is not a directory"):
        records.load_all(tmp_path / "nothing")


def test_load_all_of_an_empty_directory_is_empty(tmp_path):
    assert records.load_all(tmp_path) == []


def test_later_attacks_come_after_the_runs_own(tmp_path):
    path = records.write(tmp_path / "run", run(robustness=[{**ATTACK, "attack": "fgsm"}]))
    before = path.read_bytes()
    for name in ("b", "a"):
        entry = records.parse(records.Attack, {**ATTACK, "attack": name}, where="x")
        records.write_text(path.parent / records.ATTACKS / f"{name}.json", records.dumps(entry))
    assert [entry.attack for entry in records.load(path).robustness] == ["fgsm", "a", "b"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"attack": "pgd"}', "is no valid attack: epsilon is missing"),
        ("[]", r"is no valid attack: \[\] must be an object"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_damaged_later_attack_is_named_with_its_file(content, words, tmp_path):
    path = records.write(tmp_path / "run", run())
    damaged = path.parent / records.ATTACKS / "pgd.json"
    records.write_text(damaged, content)
    with pytest.raises(RunError, match=words) as caught:
        records.load(path)
    assert str(damaged) in str(caught.value)


def test_write_text_replaces_whole_files_and_leaves_no_others(tmp_path):
    path = tmp_path / "new" / "file.txt"
    records.write_text(path, "one")
    records.write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file.json"
    records.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        records.write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_a_part_that_was_taken_for_an_orphan_is_made_again(tmp_path, monkeypatch):
    """Another process of the same file may delete it between its making and its lock."""
    make, made = tempfile.mkstemp, []

    def make_and_lose(*arguments):
        made.append(make(*arguments))
        if len(made) == 1:
            os.unlink(made[0][1])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", make_and_lose)
    records.write_text(tmp_path / "file.txt", "one")
    assert len(made) == 2 and (tmp_path / "file.txt").read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_write_text_names_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        records.write_text(tmp_path / "file" / "below.txt", "x")


def _write_and_stop(path, end):
    """Writes a file; the process comes to `end` when the content is there and the name is not."""
    os.fsync = lambda descriptor: os.kill(os.getpid(), end)
    records.write_text(path, "lost")


def _stopped_while_writing(path, end):
    process = multiprocessing.get_context("fork").Process(target=_write_and_stop, args=(path, end))
    process.start()
    return process


def hidden(directory):
    return sorted(entry.name for entry in directory.iterdir() if entry.name.startswith("."))


def test_what_a_killed_write_left_is_deleted_by_the_next_one_of_the_same_file(tmp_path):
    path, other = tmp_path / "record.json", tmp_path / "record.json.bak"
    for place in (path, other):
        _stopped_while_writing(place, signal.SIGKILL).join()
    assert len(hidden(tmp_path)) == 2
    records.write_text(path, "new")
    assert path.read_text() == "new"
    (left,) = hidden(tmp_path)
    assert left.startswith(".record.json.bak.")


def test_a_write_that_is_still_going_on_is_left_alone(tmp_path):
    path = tmp_path / "record.json"
    process = _stopped_while_writing(path, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)  # it has stopped in the middle
    before = hidden(tmp_path)
    records.write_text(path, "ours")
    assert hidden(tmp_path) == before and len(before) == 1
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert path.read_text() == "lost"
    assert hidden(tmp_path) == []


def test_dumps_has_sorted_keys_and_one_newline():
    assert records.dumps({"b": 1, "a": [math.nan]}) == '{\n "a": [\n  null\n ],\n "b": 1\n}\n'
