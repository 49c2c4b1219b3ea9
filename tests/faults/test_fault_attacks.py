"""Attacks on a model under faults."""

import numpy as np
import pytest

from ft_tf import attacks, faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError


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


def test_the_table_of_faults_by_attacks_is_the_closed_form_of_a_linear_model():
    """Under l_inf an image survives if its margin exceeds epsilon |w_y - w_other|_1."""
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(2, use_bias=False)])
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(30, 2))
    model.set_weights([weights - weights.mean(axis=0)])  # both classes are there
    clean = model.get_weights()[0]
    x = generator.uniform(0.3, 0.7, (200, 30)).astype(np.float32)
    y = (x @ clean).argmax(axis=1)
    seen = []
    found = faults.attack_under_faults(
        model, x, y, attacks={"fgsm": {}, "pgd": {"steps": 40, "restarts": 2}}, epsilon=0.01,
        rates=[0, 0.1, 0.3], trials=2, seed=5, progress=seen.append,
    )  # fmt: skip
    np.testing.assert_array_equal(model.get_weights()[0], clean)
    sets = [(0, 0), (0.1, 0), (0.1, 1), (0.3, 0), (0.3, 1)]
    survivors = []
    for rate, trial in sets:
        with faults.inject(model, target="weights", rate=rate, seed=5, trial=trial):
            (w,) = model.get_weights()
        margins = np.where(y == 1, 1, -1) * (x @ (w[:, 1] - w[:, 0]))
        survivors.append(margins > 0.01 * np.abs(w[:, 1] - w[:, 0]).sum())
    survivors = np.array(survivors)
    np.testing.assert_array_equal(found.survived[:, 0], survivors)
    np.testing.assert_array_equal(found.survived[:, 1], survivors)
    table = found.table()
    assert list(table.columns) == ["fgsm", "pgd", "worst"]
    assert [*table.index] == [*sets, ("worst", "")]
    np.testing.assert_allclose(table["fgsm"].iloc[:-1], survivors.mean(axis=1))
    worst = survivors.all(axis=0).mean()
    assert found.worst == table["worst"].iloc[-1] == pytest.approx(worst)
    assert worst < survivors.mean(axis=1).min()
    assert found.frame["faults"].tolist() == [0, 0, *[6] * 4, *[18] * 4]
    assert seen == found.frame.to_dict("records")


def test_nothing_to_attack_with_is_named():
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(ArgumentError, match=r"attacks=\[\]"):
        faults.attack_under_faults(sigmoid_net(), x, [0], attacks=[], epsilon=0.1, rates=[0])
    with pytest.raises(ArgumentError, match="attack='frog'"):
        faults.attack_under_faults(sigmoid_net(), x, [0], attacks=["frog"], epsilon=0.1, rates=[0])


def test_images_without_a_prediction_count_as_misclassified_as_in_a_sweep():
    """The highest bit of the exponent makes weights of 1 to 2 infinite or NaN."""
    model = sigmoid_net()
    x = np.random.default_rng(1).random((40, 4)).astype(np.float32)
    x[:10] = 0  # an infinite weight times 0 is NaN, times the others inf
    y = model(x).numpy().argmax(axis=1)
    faulty = {
        "rates": [0, 0.05, 0.2], "trials": 3, "target": "weights", "seed": 2,
        "fault": faults.BitErrors("float32", bits=(30, 30)),
    }  # fmt: skip
    options = {"fgsm": {}, "square": {"queries": 60}}
    found = faults.attack_under_faults(model, x, y, attacks=options, epsilon=0.05, **faulty)
    frame = faults.sweep(model, x, y, **faulty)
    wanted = frame.set_index(["rate", "trial"])["accuracy"]
    rows = found.frame.set_index(["rate", "trial"])
    unknown = rows["warnings"].str.contains("logits of NaN for .* of 40 images")
    assert 0 < unknown.sum() < len(rows)
    for name, group in rows.groupby("attack"):
        np.testing.assert_allclose(group["clean_accuracy"], wanted[group.index], err_msg=name)
        assert (group["robust_accuracy"] <= group["clean_accuracy"]).all()
    np.testing.assert_allclose(rows["robust_accuracy"], found.survived.mean(axis=2).ravel())


def test_what_makes_an_attack_doubtful_is_kept_with_its_row():
    """Logits that are rounded have gradient 0, with faults and without."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, keras.ops.round(10 * dense(inputs)))
    dense.set_weights([np.random.default_rng(0).normal(0, 4, (4, 3))])
    x = np.random.default_rng(1).random((40, 4)).astype(np.float32)
    y = model(x).numpy().argmax(axis=1)
    found = faults.attack_under_faults(
        model, x, y, attacks={"pgd": {"steps": 2}, "square": {"queries": 9}}, epsilon=0.1,
        rates=[0, 0.1],
    )  # fmt: skip
    warnings = found.frame.set_index(["attack", "rate"])["warnings"]
    for rate in (0, 0.1):
        assert warnings["pgd", rate].startswith("the gradient is exactly zero for ")
        assert warnings["square", rate] == ""
