"""What holds for all tests."""

import hypothesis
import pytest
from canary import Canary

# How long an example takes depends on what else the machine does: no test measures time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A directory, first on the path of modules, that a hostile file must leave alone."""
    monkeypatch.syspath_prepend(tmp_path)
    return Canary(tmp_path)
