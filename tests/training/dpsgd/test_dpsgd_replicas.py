"""DP-SGD on two virtual devices: the run of one device, to float rounding."""

import os
import subprocess
import sys
import textwrap

import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms
from ft_tf.training.dpsgd import DPSGDModel

SCRIPT = """
    import numpy as np
    from ft_tf._compat import keras, tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    from ft_tf import training
    from ft_tf.errors import ArgumentError
    from ft_tf.training import strategies
    from ft_tf.training.dpsgd import DPSGDModel

    L = keras.layers
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6, 6, 1), dtype=np.float32), rng.integers(0, 3, 40)
    sizes = []

    class Sized(keras.metrics.Metric):
        # Notes how many examples each replica gets.
        def update_state(self, y, outputs, sample_weight=None):
            tf.numpy_function(lambda n: sizes.append(int(n)), [tf.shape(y)[0]], [])
        def result(self):
            return tf.constant(0.0)

    def train(strategy, *, batch_size=3, metrics=(), **options):
        make = keras.initializers.GlorotUniform
        with strategies.scope(strategy):
            model = keras.Sequential([
                keras.Input((6, 6, 1)),
                L.Conv2D(3, 3, activation="relu", kernel_initializer=make(0)),
                L.Flatten(),
                L.Dense(3, kernel_initializer=make(1)),
            ])
            private = DPSGDModel(model, noise_multiplier=0.5, noise_seed=3, **(
                {"l2_norm_clip": 0.2, "averaging": training.TailAverage(0.3)} | options))
            private.compile(
                keras.optimizers.SGD(0.5, momentum=0.9), "sparse_categorical_crossentropy",
                metrics=["accuracy", *metrics])
        history = private.fit(x, y, batch_size=batch_size, epochs=3, verbose=0).history
        return private, history

    def compare(names=("loss", "accuracy"), **options):
        (one, first), (two, second) = train(None, **options), train(mirrored, **options)
        for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(one.averaged_weights(), two.averaged_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert one.privacy_events() == two.privacy_events()
        assert first.keys() == second.keys()
        for name in names:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-4, err_msg=name)
        return one, two, first

    mirrored = strategies.make("mirrored")
    assert mirrored.num_replicas_in_sync == 2
    compare(metrics=[Sized()])
    # Parts of the Poisson batches as they were drawn: some uneven, some with none for a replica.
    assert len(sizes) == 3 * 39
    pairs = np.reshape(sizes[39:], (39, 2))
    assert (pairs.sum(axis=1) == sizes[:39]).all(), sizes
    uneven = abs(pairs[:, 0] - pairs[:, 1])
    assert uneven.max() == 1 and (pairs == 0).any(), pairs
    one, two, _ = compare(batch_size=20, physical_batch_size=4, clipping="adaptive")
    np.testing.assert_allclose(one.clip_norm.numpy(), two.clip_norm.numpy(), rtol=1e-5)
    assert abs(np.log(one.clip_norm.numpy() / 0.2)) > 0.1
    # Whether the loss of an image of NaN is NaN depends on the kernel, and that on the batch.
    x[7] = np.nan
    *_, history = compare(["nonfinite_examples"], sampling="shuffle", weight_decay=0.1)
    assert sum(history["nonfinite_examples"]) > 2
    for call, message in [
        (lambda: two.fit(tf.data.Dataset.from_tensors((x, y)), batch_size=3), "give arrays"),
        (lambda: two.compile(keras.optimizers.SGD(clipnorm=1.0), two.loss), "clipnorm=1.0 of the"),
    ]:
        try:
            call()
        except ArgumentError as error:
            assert message in str(error) and len(str(error).splitlines()) == 1, error
        else:
            raise AssertionError(message)
    print("same")
"""


def test_two_devices_train_as_one():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.strip().endswith("same"), done.stderr[-3000:]


def test_what_cannot_be_distributed_is_refused_in_one_line():
    algorithms.DPSGD().check_strategy("mirrored")
    with pytest.raises(ArgumentError, match="strategy='multi_worker' cannot be used with DP-SGD"):
        algorithms.DPSGD().check_strategy("multi_worker")
    with pytest.raises(ArgumentError, match="strategy='mirrored' needs engine='fast'"):
        algorithms.DPSGD(engine="reference", sampling="shuffle").check_strategy("mirrored")
    inputs = keras.Input((2,))
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        with pytest.raises(ArgumentError, match="strategy='OneDeviceStrategy.*' cannot be used"):
            DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0)
