"""What a worker of a cluster must see and have."""

import pickle
from pathlib import Path

import pytest

from ft_tf.errors import RunError, StackError
from ft_tf.study.executors import ray_cluster
from ft_tf.study.executors.ray_cluster import Conditions, witness

THREADS = 2


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(ray_cluster, "_VISIBLE_SECONDS", 0.0)
    monkeypatch.setattr(ray_cluster, "set_threads", lambda threads: None)


def test_a_directory_is_seen_by_a_file_in_it(tmp_path):
    file = witness(tmp_path)
    assert list(tmp_path.iterdir()) == [Path(file.name)]
    conditions = pickle.loads(pickle.dumps(Conditions(THREADS, Path(file.name))))
    conditions.check()
    file.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match=rf"output_dir='{tmp_path}' is not there, or is another one"):
        conditions.check()


def test_a_killed_process_leaves_its_file_to_the_next_one(tmp_path):
    (tmp_path / ".witness-of-the-dead").touch()
    with witness(tmp_path) as first, witness(tmp_path) as second:
        assert sorted(map(str, tmp_path.iterdir())) == sorted([first.name, second.name])


def test_another_file_at_the_same_place_is_another_place(tmp_path):
    file = tmp_path / "record.json"
    file.write_text("{}")
    with witness(file) as opened:
        conditions = Conditions(THREADS, Path(opened.name))
    assert file.exists()
    conditions.check()
    file.write_text("{ }")
    with pytest.raises(RunError, match="all nodes share"):
        conditions.check()


def test_other_packages_are_named(monkeypatch, tmp_path):
    here = ray_cluster.versions()
    file = witness(tmp_path)
    conditions = Conditions(THREADS, Path(file.name))
    conditions.check()
    monkeypatch.setattr(
        ray_cluster, "versions", lambda: {**here, "tensorflow": "2.0", "numpy": None}
    )
    expected = f"has tensorflow 2.0 instead of {here['tensorflow']}, numpy None instead of"
    with pytest.raises(StackError, match=expected):
        conditions.check()
