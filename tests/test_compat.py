import os
import platform
import subprocess
import sys

import pytest

from ft_tf import _compat
from ft_tf.errors import ModelError, StackError


def in_a_new_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_keras_is_keras_2():
    assert _compat.keras.__version__.startswith("2.")


def test_a_layer_is_no_model():
    with pytest.raises(ModelError, match="is not a Keras model"):
        _compat.require_keras2_model("model")


def test_a_keras_3_model_is_refused_by_what_it_is():
    code = (
        "import keras; m = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "from ft_tf._compat import require_keras2_model\n"
        "require_keras2_model(m)"
    )
    done = in_a_new_process(code, KERAS_BACKEND="tensorflow")
    assert done.returncode != 0
    assert "is a Keras 3 model and ft_tf works on Keras 2" in done.stderr.splitlines()[-1]


def test_keras_3_already_in_use_gets_one_line():
    code = (
        "import tensorflow as tf; tf.keras.Model\n"
        "from ft_tf._compat import require_tensorflow_privacy\n"
        "require_tensorflow_privacy()"
    )
    done = in_a_new_process(code, TF_USE_LEGACY_KERAS="0")
    assert "Keras 3 is already in use as tf.keras" in done.stderr.splitlines()[-1]


def test_missing_tensorflow_privacy_gets_one_line(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "tensorflow_privacy.privacy.optimizers.dp_optimizer_keras", None
    )
    with pytest.raises(StackError, match="pip install tensorflow-privacy==0.9.0"):
        _compat.require_tensorflow_privacy()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's default is for x86-64")
def test_onednn_is_on_unless_the_user_turns_it_off():
    code = "from ft_tf import _compat; print(_compat.uses_onednn())"
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    for setting, expected in (({}, "True"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "False")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**environment, **setting},
        )
        assert done.stdout.strip() == expected, done.stderr


def test_threads_cannot_change_once_tensorflow_runs():
    _compat.tf.constant(1) + 1
    with pytest.raises(StackError, match="threads=97 cannot be set"):
        _compat.set_threads(97)


def test_versions_name_what_is_missing(monkeypatch):
    from importlib import metadata

    real = metadata.version

    def version(name):
        if name == "pandas":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    versions = _compat.package_versions()
    assert versions["pandas"] is None
    assert versions["tensorflow"].startswith("2.")
