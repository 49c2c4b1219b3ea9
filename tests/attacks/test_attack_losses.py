"""Losses against values computed by hand."""

import numpy as np
import pytest

from ft_tf._compat import tf
from ft_tf.attacks.losses import cross_entropy, dlr, margin, targeted_dlr

LOGITS = tf.constant([[4.0, 2.0, 1.0, -1.0], [4.0, 2.0, 1.0, -1.0]])
LABELS = tf.constant([0, 2], tf.int64)


def test_cross_entropy():
    total = np.exp([4.0, 2.0, 1.0, -1.0]).sum()
    np.testing.assert_allclose(
        cross_entropy(LOGITS, LABELS), [np.log(total) - 4, np.log(total) - 1], rtol=1e-6
    )


def test_margin():
    np.testing.assert_allclose(margin(LOGITS, LABELS), [2 - 4, 4 - 1])


def test_dlr():
    np.testing.assert_allclose(
        dlr(LOGITS, LABELS), [-(4 - 2) / (4 - 1), -(1 - 4) / (4 - 1)], rtol=1e-6
    )


def test_targeted_dlr():
    targets = tf.constant([1, 3], tf.int64)
    scale = 4 - (1 + -1) / 2
    np.testing.assert_allclose(
        targeted_dlr(LOGITS, LABELS, targets), [-(4 - 2) / scale, -(1 - -1) / scale], rtol=1e-6
    )


@pytest.mark.parametrize("shift, factor", [(100.0, 1.0), (0.0, 1e-3), (-3.0, 1e4)])
def test_dlr_is_unchanged_by_shift_and_scale(shift, factor):
    changed = factor * LOGITS + shift
    targets = tf.constant([1, 3], tf.int64)
    np.testing.assert_allclose(dlr(changed, LABELS), dlr(LOGITS, LABELS), rtol=2e-3)
    np.testing.assert_allclose(
        targeted_dlr(changed, LABELS, targets), targeted_dlr(LOGITS, LABELS, targets), rtol=2e-3
    )


def test_equal_logits_are_finite():
    flat = tf.zeros((2, 4))
    assert np.isfinite(dlr(flat, LABELS)).all()
    assert np.isfinite(targeted_dlr(flat, LABELS, tf.constant([1, 3], tf.int64))).all()
