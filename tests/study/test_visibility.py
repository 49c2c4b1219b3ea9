import pickle

import pytest

from ft_tf.errors import RunError, StackError
from ft_tf.study.executors import visibility


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(visibility, "_SECONDS", 0.0)


def test_a_directory_is_seen_by_a_file_that_is_taken_away_again(tmp_path):
    witness = visibility.witness(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    pickle.loads(pickle.dumps(witness)).check()
    witness.forget()
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match=rf"output_dir='{tmp_path}' is not there, or is another one"):
        witness.check()


def test_another_file_at_the_same_place_is_another_place(tmp_path):
    file = tmp_path / "record.json"
    file.write_text("{}")
    witness = visibility.witness(file)
    witness.check()
    file.write_text("{ }")
    with pytest.raises(RunError, match="all nodes share"):
        witness.check()
    witness.forget()
    assert file.exists()


def test_other_packages_are_named(monkeypatch):
    here = visibility.versions()
    visibility.check_versions(here)
    monkeypatch.setattr(
        visibility, "versions", lambda: {**here, "tensorflow": "2.0", "numpy": None}
    )
    expected = f"has tensorflow 2.0 instead of {here['tensorflow']}, numpy None instead of"
    with pytest.raises(StackError, match=expected):
        visibility.check_versions(here)
