"""The engine under audit: many canaries in one run must not reveal more than was accounted for."""

import numpy as np
import pytest

from ft_tf import privacy
from ft_tf._compat import keras
from ft_tf.privacy import audit
from ft_tf.training import DPSGDModel

CANARIES = 2000
CLIP = 0.05
SIGMA = 4.0
STEPS = 20
DELTA = 1e-5


def audited(*, l2_norm_clip, noise_multiplier):
    """Lower bound on epsilon of a run on canaries whose gradients are orthogonal.

    Canary i is the i-th unit vector with label 1: only row i of the kernel learns from it, so the
    difference of the row's logits tells whether it took part. Its unclipped gradient has norm 0.7.
    """
    included = audit.draw_inclusion(CANARIES, seed=3)
    x = np.eye(CANARIES, dtype=np.float32)[included]
    model = keras.Sequential(
        [
            keras.Input((CANARIES,)),
            keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    private = DPSGDModel(
        model, l2_norm_clip=l2_norm_clip, noise_multiplier=noise_multiplier, noise_seed=11
    )
    private.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    batch_size = len(x) // 2
    epochs = STEPS // round(len(x) / batch_size)
    private.fit(x, np.ones(len(x), np.int64), batch_size=batch_size, epochs=epochs, verbose=0)
    kernel = model.get_weights()[0]
    scores = kernel[:, 1] - kernel[:, 0]
    assert private.privacy_events()[0].steps == STEPS
    return audit.audit_one_run(scores, included, delta=DELTA)


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
