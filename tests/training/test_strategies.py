"""Strategies: what TF_CONFIG may say, and training on two replicas as on one device."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.training import strategies


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


TWO = {"worker": ["a:1", "b:1"]}


@pytest.fixture
def peers(monkeypatch):
    """strategies.peers in an environment with that TF_CONFIG."""

    def read(text):
        monkeypatch.delenv("TF_CONFIG", raising=False)
        if text is not None:
            monkeypatch.setenv("TF_CONFIG", text)
        return strategies.peers()

    return read


def test_the_chief_comes_first(peers):
    assert peers(config(TWO)) == strategies.Peers(count=2, index=0)
    assert peers(config({"chief": ["c:1"], **TWO}, "chief")).index == 0
    last = peers(config({"chief": ["c:1"], **TWO}, "worker", 1))
    assert last == strategies.Peers(count=3, index=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs TF_CONFIG in the environment of every process"),
        ("{", "must look like TF_CONFIG="),
        ("[]", "must look like"),
        (json.dumps({"cluster": TWO}), "must look like"),
        (config({**TWO, "ps": ["p:1"]}), "cluster may have chief and worker"),
        (config(TWO, "chief"), "task.type is of them"),
        (config({"worker": ["a"]}), "every address must be HOST:PORT"),
        (config({"worker": [1]}), "every address must be HOST:PORT"),
        (config(TWO, index=2), "task.index=2 must be 0 to 1"),
        (config(TWO, index="0"), "task.index='0'"),
    ],
)
def test_what_tf_config_lacks_is_said(peers, text, message):
    with pytest.raises(ArgumentError) as error:
        peers(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_names():
    assert strategies.make("none") is None
    with pytest.raises(ArgumentError, match="strategy='horovod' must be one of none, mirrored"):
        strategies.make("horovod")


REPLICAS = """
    import numpy as np
    from ft_tf._compat import keras, tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    from ft_tf.errors import ArgumentError
    from ft_tf.training import NaturalModel, TradesModel, strategies

    rng = np.random.default_rng(0)
    x, y = rng.random((17, 6), dtype=np.float32), rng.integers(0, 3, 17)

    class Shifted(TradesModel):
        # An attack without noise: replicas draw noise of their own.
        def attack(self, x, natural_logits, step):
            return tf.clip_by_value(x + 0.1 * tf.sign(x - 0.5), 0.0, 1.0)

    def natural(model):
        return NaturalModel(model, l2=0.01, weight_decay=0.02, seed=3)

    def trades(model):
        return Shifted(
            model, epsilon=0.1, step_size=0.1, num_steps=1, beta=6.0, weight_decay=0.02, seed=3
        )

    def train(make, strategy):
        with strategies.scope(strategy):
            weights = keras.initializers.GlorotUniform(0)
            model = keras.Sequential(
                [keras.Input((6,)), keras.layers.Dense(3, kernel_initializer=weights)]
            )
            trainer = make(model)
            trainer.compile(keras.optimizers.SGD(0.5, momentum=0.9), metrics=["accuracy"])
        # Batches of 7, 7 and 3: neither is even.
        history = trainer.fit(x, y, batch_size=7, epochs=4, verbose=0).history
        assert trainer.optimizer.iterations.numpy() == 12
        return model.get_weights(), history

    mirrored = strategies.make("mirrored")
    assert strategies.describe(mirrored) == {"strategy": "mirrored", "replicas": 2}
    for make in (natural, trades):
        one, two = train(make, None), train(make, mirrored)
        for a, b in zip(one[0], two[0], strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)
        assert one[1].keys() == two[1].keys()
        for name, values in one[1].items():
            # A KL of 0.002 is a sum of terms near 1, which round to 1e-7.
            np.testing.assert_allclose(values, two[1][name], rtol=2e-5, atol=2e-7, err_msg=name)
        assert abs(one[0][0]).max() > 0.5
    x, y = x[:15], y[:15]
    try:
        train(natural, mirrored)
    except ArgumentError as error:
        assert "a batch of 15 examples has 1, fewer than the 2 replicas" in str(error), error
    else:
        raise AssertionError("one example was shared out among two replicas")
    print("same")
"""


def test_two_replicas_train_as_one_device_also_on_uneven_parts():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REPLICAS)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip().endswith("same"), done.stderr[-3000:]
