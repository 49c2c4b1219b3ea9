"""Attacks on a model under faults."""

import numpy as np

from ft_tf import attacks, faults
from ft_tf._compat import keras


def sigmoid_net():
    """Its units need hooks: a sigmoid does not map 0 to 0."""
    generator = np.random.default_rng(0)
    hidden = keras.layers.Dense(8, activation="sigmoid", use_bias=False)
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(3, use_bias=False)])
    model.set_weights([generator.normal(0, 4, weight.shape) for weight in model.get_weights()])
    return model


def test_an_attack_sees_the_units_that_are_faulty_now_whatever_was_attacked_before():
    model = sigmoid_net()
    x = np.random.default_rng(1).random((40, 4)).astype(np.float32)
    y = model(x).numpy().argmax(axis=1)
    ball = {"epsilon": 0.3, "num_steps": 5}
    before = attacks.pgd(model, x, y, **ball)
    assert before.clean_accuracy == 1.0 > before.robust_accuracy
    for seed, rate in ((0, 1.0), (1, 0.5)):
        with faults.inject(model, target="units", rate=rate, seed=seed):
            inside = attacks.pgd(model, x, y, **ball)
            attacked = model(inside.adversarial).numpy().argmax(axis=1)
        np.testing.assert_array_equal(inside.success, attacked != y)
        untouched = sigmoid_net()  # nothing was ever compiled of this one
        with faults.inject(untouched, target="units", rate=rate, seed=seed):
            fresh = attacks.pgd(untouched, x, y, **ball)
        np.testing.assert_array_equal(inside.adversarial, fresh.adversarial)
    # All hidden units dead: a constant, which no attack moves.
    with faults.inject(model, target="units", rate=1.0, seed=0):
        constant = attacks.pgd(model, x, y, **ball)
    assert constant.robust_accuracy == constant.clean_accuracy
    after = attacks.pgd(model, x, y, **ball)
    np.testing.assert_array_equal(after.adversarial, before.adversarial)
