"""Noise calibrated to a target epsilon, and weight decay, which bounds the walk of the noise."""

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.training import DPSGDModel

N, BATCH = 200, 20
TARGET = {"target_epsilon": 2.0, "delta": 1e-3}


def data(count=N):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 3, count)


def trainer(**options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    private = DPSGDModel(model, l2_norm_clip=1.0, **options)
    private.compile("sgd", "sparse_categorical_crossentropy")
    return private


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
@pytest.mark.parametrize("target", [0.1, 2.0, 30.0])
def test_a_run_spends_its_target_and_no_more(target, sampling):
    private = trainer(target_epsilon=target, delta=1e-3, sampling=sampling)
    assert private.noise_multiplier is None and private.private
    private.fit(*data(), batch_size=BATCH, epochs=3, verbose=0)
    account = private.privacy_account()
    assert account.cost.steps == 30 and account.delta == 1e-3
    assert account.cost.noise_multiplier == private.noise_multiplier > 0
    assert 0.999 * target <= account.epsilon <= target
    named = f"calibrated to spend at most epsilon={target:g} at delta=0.001"
    assert named in account.statement
    assert named not in private.privacy_account(delta=1e-5).statement


def test_the_noise_that_is_added_is_the_calibrated_one():
    def fitted(**options):
        private = trainer(noise_seed=5, **options)
        private.model.set_weights([np.ones((4, 3)), np.zeros(3)])
        private.fit(*data(), batch_size=BATCH, epochs=2, verbose=0)
        return private

    calibrated = fitted(**TARGET)
    given = fitted(noise_multiplier=calibrated.noise_multiplier)
    weights = calibrated.model.get_weights(), given.model.get_weights()
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_second_fit_says_what_it_needs():
    private = trainer(**TARGET)
    private.fit(*data(), batch_size=BATCH, epochs=2, verbose=0)
    with pytest.raises(ArgumentError, match="20 steps of .*, 20 of them taken: 10 more") as caught:
        private.fit(*data(), batch_size=BATCH, epochs=1, verbose=0)
    assert "\n" not in str(caught.value)
    assert private.privacy_account().cost.steps == 20


def test_an_interrupted_run_may_take_the_rest_of_its_steps():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    private = trainer(**TARGET)
    with pytest.raises(KeyboardInterrupt):
        private.fit(*data(), batch_size=BATCH, epochs=3, verbose=0, callbacks=[Stop()])
    noise = private.noise_multiplier
    with pytest.raises(ArgumentError, match="10 of them taken: 30 more"):
        private.fit(*data(), batch_size=BATCH, epochs=3, verbose=0)
    with pytest.raises(ArgumentError, match="on 200 examples"):
        private.fit(*data(100), batch_size=BATCH, epochs=1, verbose=0)
    private.fit(*data(), batch_size=BATCH, epochs=3, initial_epoch=1, verbose=0)
    assert private.noise_multiplier == noise
    assert 0.999 * 2 <= private.privacy_account().epsilon <= 2


def restored_at(step, **options):
    """A trainer whose optimizer another process has brought to a step."""
    private = trainer(**options)
    private.optimizer.iterations.assign(step)
    return private


def test_steps_of_another_process_are_in_the_budget():
    private = restored_at(14, **TARGET)
    with pytest.raises(ArgumentError, match="30 steps .* 14 of them taken: 20 more"):
        private.fit(*data(), batch_size=BATCH, epochs=3, initial_epoch=1, verbose=0)
    assert private.privacy_events() == ()
    private = restored_at(10, **TARGET)
    private.fit(*data(), batch_size=BATCH, epochs=3, initial_epoch=1, verbose=0)
    assert "had taken 10 steps before these" in private.privacy_account().statement
    assert "which this run does not keep to" in private.privacy_account().statement


def test_shuffled_steps_that_begin_within_a_pass_are_in_the_budget():
    private = restored_at(7, sampling="shuffle", **TARGET)
    with pytest.raises(ArgumentError, match="7 of them taken"):
        private.fit(*data(), batch_size=BATCH, epochs=3, verbose=0)


def test_more_examples_than_there_are_is_said_before_the_noise_is_calibrated():
    with pytest.raises(ArgumentError, match="batch_size=201 must be at most the 200 examples"):
        trainer(**TARGET).fit(*data(), batch_size=201, verbose=0)


def test_a_tiny_delta_is_kept_to_by_rdp():
    private = trainer(target_epsilon=2.0, delta=1e-12)
    private.fit(*data(), batch_size=BATCH, epochs=1, verbose=0)
    assert 1.9 <= private.privacy_account().epsilon <= 2


def test_a_run_that_was_refused_before_its_first_step_is_calibrated_again():
    private = trainer(**TARGET)
    with pytest.raises(ArgumentError, match="label"):
        private.fit(data()[0], data()[1] + 7, batch_size=BATCH, epochs=1, verbose=0)
    private.fit(*data(), batch_size=BATCH, epochs=5, verbose=0)
    assert 0.999 * 2 <= private.privacy_account().epsilon <= 2


def test_a_dataset_needs_its_length():
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)
    private = trainer(sampling="shuffle", **TARGET)
    with pytest.raises(ArgumentError, match="target_epsilon=2 needs num_examples"):
        private.fit(dataset, batch_size=BATCH, verbose=0)
    with pytest.raises(ArgumentError, match="target_epsilon=2 needs the number of steps"):
        endless = dataset.filter(lambda x, y: True)
        private.fit(endless, batch_size=BATCH, num_examples=N, verbose=0)
    private.fit(dataset, batch_size=BATCH, num_examples=N, epochs=2, verbose=0)
    assert 0.999 * 2 <= private.privacy_account().epsilon <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "noise_multiplier=None, target_epsilon=None: give exactly one"),
        ({"noise_multiplier": 1.0, **TARGET}, "target_epsilon=2.0: give exactly one"),
        ({"target_epsilon": 1.0}, "target_epsilon=1.0, delta=None: give both"),
        ({"noise_multiplier": 1.0, "delta": 1e-5}, "delta=1e-05: give both or neither"),
        ({"target_epsilon": -1.0, "delta": 1e-5}, "target_epsilon=-1.0"),
        ({"target_epsilon": 1.0, "delta": 2.0}, "delta=2.0"),
        ({**TARGET, "engine": "reference", "sampling": "shuffle"}, "target_epsilon=2.0 needs"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        trainer(**options)


def walk(*, steps, l2_norm_clip, noise_multiplier=3.0, weight_decay=0.1, rate=0.5):
    """40,000 weights after `steps` steps of DP-SGD whose examples all have zero gradients."""
    model = keras.Sequential(
        [keras.Input((200,)), keras.layers.Dense(200, kernel_initializer="ones", use_bias=False)]
    )
    private = DPSGDModel(
        model,
        l2_norm_clip=l2_norm_clip,
        noise_multiplier=noise_multiplier,
        weight_decay=weight_decay,
        noise_seed=3,
    )
    private.compile(keras.optimizers.SGD(rate), lambda y, outputs: 0 * outputs[:, 0])
    x = np.ones((50, 200), np.float32)
    private.fit(x, np.zeros(50), batch_size=10, epochs=steps // 5, verbose=0)
    return model.get_weights()[0]


@pytest.mark.parametrize("l2_norm_clip", [0.01, 2.0])
def test_decay_is_neither_clipped_nor_noised(l2_norm_clip):
    found = walk(steps=20, l2_norm_clip=l2_norm_clip, noise_multiplier=0.0)
    np.testing.assert_allclose(found, (1 - 0.5 * 0.1) ** 20, rtol=1e-5)


@pytest.mark.parametrize("l2_norm_clip", [0.5, 2.0])
def test_the_walk_of_the_noise_tends_to_the_deviation_that_decay_allows(l2_norm_clip):
    # w <- (1 - r lambda) w - r z, with z of deviation sigma C / L.
    found = walk(steps=200, l2_norm_clip=l2_norm_clip)
    step = 0.5 * 3.0 * l2_norm_clip / 10
    law = step / np.sqrt(2 * 0.5 * 0.1)
    exact = step / np.sqrt(1 - (1 - 0.5 * 0.1) ** 2)
    assert found.std() == pytest.approx(exact, rel=0.015)  # four deviations of the estimate
    assert found.std() == pytest.approx(law, rel=0.03)  # the law is that of small r lambda
    assert abs(found.mean()) < 4 * exact / 200 + 1e-4


def test_without_decay_the_noise_walks_on():
    found = walk(steps=200, l2_norm_clip=0.5, weight_decay=0.0)
    step = 0.5 * 3.0 * 0.5 / 10
    assert found.std() == pytest.approx(step * np.sqrt(200), rel=0.015)
