"""DPSGDModel: sampling, noise, replay, accumulation and what it reports, through fit."""

import numpy as np
import pytest

from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.training.dpsgd import DPSGDModel, PrivacyEvent

LOSS = "sparse_categorical_crossentropy"
RATE, CLIP, BATCH = 0.5, 1.0, 20


def tiny_model(seed=0):
    make = keras.initializers.GlorotUniform
    return keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            keras.layers.Conv2D(3, 2, activation="relu", kernel_initializer=make(seed)),
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_initializer=make(seed + 1)),
        ]
    )


def examples(count=100, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((count, 5, 5, 1), dtype=np.float32), rng.integers(0, 3, count)


def trained(*, epochs=2, batch_size=BATCH, data=None, model=None, optimizer=None, **options):
    model = model or tiny_model()
    options = {"l2_norm_clip": CLIP, "noise_multiplier": 1.0, "noise_seed": 5} | options
    private = DPSGDModel(model, **options)
    private.compile(optimizer or keras.optimizers.SGD(RATE), LOSS)
    x, y = data or examples()
    history = private.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
    return private, history


def weights_of(private):
    return np.concatenate([part.ravel() for part in private.model.get_weights()])


def test_a_noise_seed_replays_and_none_does_not():
    first, again = (weights_of(trained()[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, weights_of(trained(seed=9)[0]))  # seed plays no part
    assert not np.array_equal(first, weights_of(trained(noise_seed=6)[0]))
    assert not np.array_equal(*(weights_of(trained(noise_seed=None)[0]) for _ in range(2)))


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(sampling):
    momentum = lambda: keras.optimizers.SGD(RATE, momentum=0.9)  # noqa: E731
    whole, _ = trained(epochs=3, sampling=sampling, optimizer=momentum())
    first, _ = trained(epochs=1, sampling=sampling, optimizer=momentum())
    second = DPSGDModel(
        first.model, l2_norm_clip=CLIP, noise_multiplier=1.0, noise_seed=5, sampling=sampling
    )
    second.compile(first.optimizer, LOSS)
    second.fit(*examples(), batch_size=BATCH, epochs=2, verbose=0)
    np.testing.assert_array_equal(weights_of(second), weights_of(whole))
    assert second.privacy_events() == (PrivacyEvent(1.0, sampling, 100, BATCH, 10, True),)


def test_events_tell_what_was_executed():
    private, _ = trained(noise_seed=None, batch_size=30)
    assert private.privacy_events() == (PrivacyEvent(1.0, "poisson", 100, 30, 6, False),)
    assert private.privacy_events()[0].sampling_probability == 0.3


def test_zero_gradients_leave_noise_of_the_stated_variance():
    # Inputs of zeros and a loss that is flat: every update is noise alone.
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(100, use_bias=False)])
    model.set_weights([np.zeros((200, 100), np.float32)])
    x, y = np.zeros((40, 200), np.float32), np.zeros(40, np.int64)
    private = DPSGDModel(model, l2_norm_clip=0.7, noise_multiplier=1.3, noise_seed=1)
    private.compile(keras.optimizers.SGD(0.2), LOSS)
    private.fit(x, y, batch_size=8, epochs=2, verbose=0)
    expected = 10 * (0.2 * 1.3 * 0.7 / 8) ** 2
    ratio = np.var(model.get_weights()[0]) / expected
    assert abs(ratio - 1) < 5 * np.sqrt(2 / 20_000)


def test_unusable_arguments_are_refused_in_one_line():
    with pytest.raises(ArgumentError, match="l2_norm_clip=0"):
        DPSGDModel(tiny_model(), l2_norm_clip=0, noise_multiplier=1.0)
    with pytest.raises(ArgumentError, match="sampling='poisson'"):
        DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0, engine="reference")
    with pytest.raises(ArgumentError, match="noise_seed=3"):
        DPSGDModel(
            tiny_model(),
            l2_norm_clip=1.0,
            noise_multiplier=1.0,
            engine="reference",
            sampling="shuffle",
            noise_seed=3,
        )
