"""What holds for all tests."""

import os
import signal

import hypothesis
import pytest
from canary import Canary

# A job in the background may have SIGINT ignored, and hands that on to its children.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TF Privacy's optimizer, the reference of DP-SGD

# How long an example takes depends on what else the machine does: no test measures time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A directory, first on the path of modules, that a hostile file must leave alone."""
    monkeypatch.syspath_prepend(tmp_path)
    return Canary(tmp_path)
