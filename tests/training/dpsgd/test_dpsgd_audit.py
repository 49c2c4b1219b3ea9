"""The engine under audit: canaries must not reveal more than was accounted for."""

import numpy as np
import pytest

from ft_tf import privacy
from ft_tf._compat import keras
from ft_tf.privacy import audit
from ft_tf.training import DPSGDModel

SHAPE = (50, 40, 1)
CANARIES = 2000
CLIP = 0.05
SIGMA = 4.0
STEPS = 20
DELTA = 1e-5


def canaries(count):
    """Black images but for one pixel, a different one each, with labels 0 and 1."""
    images = np.zeros((2, *SHAPE), np.float32)
    return audit.make_canaries(images, [0, 1], count=count, seed=3, kind="pixel")


def private_model(*, l2_norm_clip, noise_multiplier, noise_seed=11):
    """A linear classifier: only the row of a canary's pixel learns from it."""
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Flatten(),
            keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    private = DPSGDModel(
        model,
        l2_norm_clip=l2_norm_clip,
        noise_multiplier=noise_multiplier,
        noise_seed=noise_seed,
    )
    private.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return private


def scores_of(private, x, y):
    """How much the model prefers each canary's label: its unclipped gradient has norm 0.7."""
    logits = private.model(x).numpy()
    rows = np.arange(len(y))
    return logits[rows, y] - logits[rows, 1 - y]


def audited(*, l2_norm_clip, noise_multiplier):
    """Lower bound on epsilon of one run on canaries whose gradients are orthogonal."""
    x, y = canaries(CANARIES)
    included = audit.draw_inclusion(CANARIES, seed=3)
    private = private_model(l2_norm_clip=l2_norm_clip, noise_multiplier=noise_multiplier)
    batch_size = included.sum() // 2
    epochs = STEPS // round(included.sum() / batch_size)
    private.fit(x[included], y[included], batch_size=int(batch_size), epochs=epochs, verbose=0)
    assert private.privacy_events()[0].steps == STEPS
    return audit.audit_one_run(scores_of(private, x, y), included, delta=DELTA)


@pytest.fixture(scope="module")
def claimed():
    cost = privacy.privacy_cost(
        noise_multiplier=SIGMA, sampling_probability=0.5, steps=STEPS, delta=DELTA
    )
    return cost.epsilon_pld


def test_the_bound_stays_below_the_claim(claimed):
    result = audited(l2_norm_clip=CLIP, noise_multiplier=SIGMA)
    assert not result.contradicts(claimed)


def test_noise_left_out_is_found(claimed):
    result = audited(l2_norm_clip=CLIP, noise_multiplier=0.0)
    assert result.contradicts(claimed)


def test_broken_clipping_is_found(claimed):
    """Gradients ten times as long as claimed, under the noise that was claimed."""
    result = audited(l2_norm_clip=10 * CLIP, noise_multiplier=SIGMA / 10)
    assert result.contradicts(claimed)


def repeated(noise_multiplier):
    """Lower bound on epsilon of one step on all the data, from runs with fresh noise."""
    x, y = canaries(2)
    private = {
        included: private_model(
            l2_norm_clip=CLIP, noise_multiplier=noise_multiplier, noise_seed=int(included)
        )
        for included in (True, False)
    }
    initial = private[True].model.get_weights()
    # A black image has a gradient of zero: it keeps the place of a canary that is left out.
    images = {True: x, False: x * np.float32([0, 1]).reshape(2, 1, 1, 1)}

    def run(included, _):
        model = private[included]
        model.model.set_weights(initial)  # its steps count on, so each run has its own noise
        model.fit(images[included], y, batch_size=2, verbose=0)
        return scores_of(model, x[:1], y[:1])[0]

    return audit.audit_repeated(run, runs=16, delta=DELTA)


@pytest.mark.slow
def test_repeated_runs_of_the_engine_find_noise_left_out_and_nothing_else():
    step = {"sampling_probability": 1.0, "steps": 1, "delta": DELTA}
    claimed = privacy.privacy_cost(noise_multiplier=10.0, **step).epsilon_pld
    assert not repeated(10.0).contradicts(claimed)
    assert repeated(0.0).contradicts(claimed)
