"""Where errors go, by hand on a small network."""

import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError

RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(30, 5)).astype(np.float32)


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    shared = keras.layers.Dense(5, "tanh", name="shared")
    hidden = keras.layers.Dense(4, "relu", name="b")(shared(shared(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3, name="c")(hidden))


def outputs(model):
    a = np.tanh(X @ model.layers[1].kernel.numpy() + model.layers[1].bias.numpy())
    a2 = np.tanh(a @ model.layers[1].kernel.numpy() + model.layers[1].bias.numpy())
    b = np.maximum(a2 @ model.layers[2].kernel.numpy() + model.layers[2].bias.numpy(), 0)
    return [a, a2, b, b @ model.layers[3].kernel.numpy() + model.layers[3].bias.numpy()]


def test_weight_faults_by_hand():
    model = network()
    options = {"target": "weights", "rate": 0.2, "seed": 7, "select": faults.Select(layers=("b",))}
    table = faults.propagation(model, X, trials=3, **options)
    assert table["layer"].tolist() == ["shared", "shared", "b", "c"] * 3
    assert table["call"].tolist() == [0, 1, 0, 0] * 3
    assert table["values"].tolist() == [150, 150, 120, 90] * 3
    clean = outputs(model)
    for trial in range(3):
        with faults.inject(model, trial=trial, **options) as injection:
            faulty = outputs(model)
        rows = table[table["trial"] == trial].reset_index()
        assert (rows["faults"] == injection.faults).all()
        assert (rows["changed"][:2] == 0).all() and (rows["relative_size"][:2] == 0).all()
        for place in (2, 3):
            size = np.linalg.norm(faulty[place] - clean[place]) / np.linalg.norm(clean[place])
            assert rows["relative_size"][place] == pytest.approx(size, rel=1e-4)
        moved = np.mean(np.abs(faulty[2] - clean[2]) > 1e-6)
        assert rows["changed"][2] == pytest.approx(moved, abs=1e-9)
    assert (table["non_finite"] == 0).all()


def test_unit_faults_are_seen_at_their_layer_and_after():
    model = network()
    table = faults.propagation(
        model, X, target="units", rate=0.5, trials=1, seed=0, fault=faults.StuckAt(9.0),
        select=faults.Select(layers=("b",)),
    )  # fmt: skip
    assert table["changed"].tolist()[:3] == [0, 0, 0.5]  # 2 of 4 units, 9 at every image
    assert table["changed"].tolist()[3] == 1.0
    assert table["relative_size"][3] > 0


def test_non_finite_values_are_counted():
    model = network()
    select = faults.Select(layers=("b",), parameters="kernels")
    fault = faults.StuckAt(3e38)  # a2 @ kernel overflows where |sum(a2)| > 1.13
    options = {"rate": 1.0, "trials": 1, "seed": 0, "fault": fault, "select": select}
    table = faults.propagation(model, X, target="weights", **options)
    sums = outputs(model)[1].sum(1).astype(np.float64)
    infinite = np.mean(sums * 3e38 > np.finfo(np.float32).max)
    assert infinite > 0
    assert table["non_finite"].tolist()[:3] == [0, 0, pytest.approx(infinite, abs=0.04)]
    assert table["non_finite"][3] > 0


def test_no_fault_changes_nothing_and_the_weights_come_back():
    model = network()
    before = model.get_weights()
    table = faults.propagation(
        model, X, target="weights", rate=0.0, trials=2, seed=0, fault=faults.BitErrors("int4")
    )
    assert (table["changed"] == 0).all() and (table["faults"] == 0).all()
    faults.propagation(model, X, target="weights", rate=0.5, trials=1, seed=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    with pytest.raises(ArgumentError, match="trials=0"):
        faults.propagation(model, X, target="weights", rate=0.5, trials=0, seed=0)
