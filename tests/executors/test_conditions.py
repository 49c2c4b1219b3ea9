"""What a worker of a cluster must see and have."""

import pickle

import pytest

from ft_tf.errors import RunError, StackError
from ft_tf.executors import ray_cluster
from ft_tf.executors.ray_cluster import Conditions

THREADS = 2


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(ray_cluster, "_VISIBLE_SECONDS", 0.0)
    monkeypatch.setattr(ray_cluster, "set_threads", lambda threads: None)


def test_a_directory_is_seen_by_a_file_in_it(tmp_path):
    conditions = pickle.loads(pickle.dumps(Conditions(THREADS, tmp_path)))
    conditions.check()
    again = Conditions(THREADS, tmp_path)
    conditions.check()
    (file,) = tmp_path.iterdir()
    file.unlink()
    for one in (conditions, again):
        with pytest.raises(RunError, match=rf"output_dir='{tmp_path}' is not there, or is another"):
            one.check()


def test_another_file_at_the_same_place_is_another_place(tmp_path):
    file = tmp_path / "record.json"
    file.write_text("{}")
    conditions = Conditions(THREADS, file)
    conditions.check()
    assert list(tmp_path.iterdir()) == [file]
    file.write_text("{ }")
    with pytest.raises(RunError, match="all nodes share"):
        conditions.check()


def test_other_packages_are_named(monkeypatch, tmp_path):
    here = ray_cluster.versions()
    conditions = Conditions(THREADS, tmp_path)
    conditions.check()
    monkeypatch.setattr(
        ray_cluster, "versions", lambda: {**here, "tensorflow": "2.0", "numpy": None}
    )
    expected = f"has tensorflow 2.0 instead of {here['tensorflow']}, numpy None instead of"
    with pytest.raises(StackError, match=expected):
        conditions.check()
