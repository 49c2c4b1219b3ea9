"""Ctrl-C while faults are taken out: nothing is cut in half, and the signal is not lost."""

import os
import signal
import threading

import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras, tf
from ft_tf.faults.guard import interrupts_held

layers = keras.layers


def interrupt():
    """Ctrl-C, as the terminal sends it: to the process, whichever thread takes it."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        np.add(1, 1)  # bytecode, in which Python would raise


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, activation="sigmoid"), layers.Dense(3)]
    )
    tf.linalg.matmul(tf.ones((300, 300)), tf.ones((300, 300)))  # TensorFlow's threads are there
    return model


def weight_bytes(model):
    return [weight.tobytes() for weight in model.get_weights()]


def test_the_block_runs_to_its_end_and_the_interrupt_comes_after_it():
    before = signal.getsignal(signal.SIGINT)
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        with interrupts_held():
            interrupt()
            steps.append("inner")
        steps.append("outer")  # the inner block hands its interrupt to the outer one
    assert steps == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before
    with interrupts_held():
        steps.append("calm")  # nothing is raised where nothing came


def test_another_thread_is_left_alone():
    found = []

    def work():
        with interrupts_held():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize("target", ["weights", "units"])
def test_a_second_ctrl_c_during_the_restoration_leaves_no_fault(model, target):
    before = weight_bytes(model)
    x = np.ones((2, 4), np.float32)
    clean = model(x).numpy()

    def interrupted_assign(variable):
        original = type(variable).assign

        def assign(value, **options):
            interrupt()
            return original(variable, value, **options)

        return assign

    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with faults.inject(model, target=target, rate=1.0, seed=0):
            assert weight_bytes(model) != before or target == "units"
            for variable in model.weights:
                vars(variable)["assign"] = interrupted_assign(variable)
            raise KeyboardInterrupt  # the first one
    for variable in model.weights:
        del vars(variable)["assign"]
    assert weight_bytes(model) == before
    np.testing.assert_array_equal(model(x).numpy(), clean)
    assert not any("call" in vars(layer) for layer in (model, *model.layers))
