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


def test_keras_is_keras_3_on_tensorflow():
    assert _compat.keras.__version__.startswith("3.")
    assert _compat.keras.backend.backend() == "tensorflow"


def test_importing_leaves_tf_keras_as_it_is():
    code = (
        "from ft_tf import _compat; import os, tensorflow as tf\n"
        "print(os.environ.get('TF_USE_LEGACY_KERAS'), tf.keras.__version__[:2])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == ["None", "3."], done.stderr


def test_another_backend_gets_one_line():
    done = in_a_new_process("from ft_tf import _compat", KERAS_BACKEND="numpy")
    assert "KERAS_BACKEND=numpy is in use" in done.stderr.splitlines()[-1]


def test_a_layer_is_no_model():
    with pytest.raises(ModelError, match="is not a Keras model"):
        _compat.require_keras_model("model")


def test_a_keras_2_model_is_refused_by_what_it_is():
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
    with pytest.raises(ModelError, match="is a Keras 2 model and ft_tf works on Keras 3"):
        _compat.require_keras_model(model)


def test_keras_3_as_tf_keras_gets_one_line():
    code = "from ft_tf._compat import require_tensorflow_privacy as r; r()"
    done = in_a_new_process(code, TF_USE_LEGACY_KERAS="0")
    assert "TF_USE_LEGACY_KERAS=1" in done.stderr.splitlines()[-1]


def test_missing_tensorflow_privacy_gets_one_line():
    code = (
        "import sys; from ft_tf._compat import require_tensorflow_privacy as r\n"
        "sys.modules['tensorflow_privacy.privacy.optimizers.dp_optimizer_keras'] = None; r()"
    )
    done = in_a_new_process(code, TF_USE_LEGACY_KERAS="1")
    assert "pip install tensorflow-privacy==0.9.0" in done.stderr.splitlines()[-1]


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


_FAULTS_AFTER_A_FIT = """
import resource
import numpy as np
from ft_tf import _compat, architectures, training
_compat.set_threads(2)
model = training.TradesModel(
    architectures.build("fmnist_dnn"), epsilon=0.03, step_size=0.007, num_steps=10, beta=1.0
)
model.compile("sgd")
x = np.random.default_rng(0).random((2048, 28, 28, 1), np.float32)
batch, logits = _compat.tf.constant(x[:128]), model.model(x[:128])
step = _compat.tf.function(lambda: model.attack(batch, logits, _compat.tf.zeros([], "int64")))
step()
model.fit(x, np.zeros(2048, int), batch_size=128, verbose=0)
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_the_buffers_of_a_step_are_not_returned_to_the_system_after_a_fit():
    done = in_a_new_process(_FAULTS_AFTER_A_FIT)
    assert int(done.stdout) < 10_000, done.stderr  # 80,000 where glibc gives them back


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
