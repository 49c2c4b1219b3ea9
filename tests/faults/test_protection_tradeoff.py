"""The table of protections: costs that are known exactly, and what Fashion-MNIST shows."""

import dataclasses

import numpy as np
import pytest

from ft_tf import architectures, data, faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.faults.protections import base
from ft_tf.faults.protections.base import protection_names

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(80, 16)).astype(np.float32)
RATES = [0, 0.03]
SETTINGS = {"rates": RATES, "trials": 4, "seed": 0, "x_train": X}


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([
        keras.Input((16,)),
        keras.layers.Dense(8, "relu", name="a"),
        keras.layers.Dense(4, name="b"),
    ])  # fmt: skip


def labels(model):
    return model.predict(X, verbose=0).argmax(1)


@pytest.mark.parametrize(("storage", "parity"), [("int8", 12.5), ("float32", 3.125)])
def test_memory_and_pairs(storage, parity):
    """172 values: kernels of 128 and 32, biases of 8 and 4; the last word of each is filled up."""
    model, fault = network(), faults.BitErrors(storage)
    y = labels(model)
    table = faults.compare_protections(model, X, y, fault=fault, **SETTINGS)
    assert table["protection"].unique().tolist() == ["none", *protection_names()]
    bits = fault.format.bits
    words = sum(-(-n * bits // 64) for n in (128, 8, 32, 4))
    memory = table.drop_duplicates("protection").set_index("protection")["memory"]
    assert memory["secded"] == pytest.approx(100 * 8 * words / (172 * bits))
    assert memory["parity"] == pytest.approx(parity)
    assert memory["triplication"] == pytest.approx(200.0)
    assert memory["range_restriction"] == pytest.approx(100 * 64 / (172 * bits))
    assert memory["weight_clipping"] == pytest.approx(100 * 4 * 64 / (172 * bits))
    assert memory["none"] == 0
    faulty = table[table["rate"] > 0]
    assert faulty["faults"].nunique() == 1
    plain = faults.sweep(model, X, y, target="weights", fault=fault, rates=RATES, trials=4, seed=0)
    none = table[table["protection"] == "none"]
    np.testing.assert_allclose(none["accuracy"], plain.groupby("rate")["accuracy"].mean())
    assert none["gained"].tolist() == [0, 0] and none["time_ratio"].tolist() == [1, 1]
    lost = faulty.set_index("protection")["lost"]
    recovered = faulty.set_index("protection")["recovered"]
    assert lost["none"] > 0 and lost["triplication"] < lost["none"]
    np.testing.assert_allclose(recovered, 1 - lost / lost["none"])
    gained = (
        faulty.set_index("protection")["accuracy"]
        - faulty.set_index("protection")["accuracy"]["none"]
    )
    np.testing.assert_allclose(faulty["gained"], gained, atol=1e-12)
    assert (table["time_ratio"] > 0).all()


def test_chosen_layers_cost_less():
    names = ["triplication:b", faults.Triplication(), faults.WeightClipping("zero")]
    model = network()
    table = faults.compare_protections(model, X, labels(model), protections=names, **SETTINGS)
    memory = table.drop_duplicates("protection")["memory"].tolist()
    assert memory == pytest.approx([0, 200 * 36 / 172, 200, 100 * 4 * 64 / (172 * 32)])


@pytest.mark.parametrize(
    ("dtype", "fault", "same"),
    [
        (None, faults.PerLayer({"*": faults.BitErrors("int8")}), faults.BitErrors("int8")),
        ("float16", faults.BitErrors("as_stored"), faults.BitErrors("float16")),
    ],
)
def test_memory_is_in_percent_of_the_words_that_each_layer_has(dtype, fault, same):
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, "relu", name="a", dtype=dtype)
    last = keras.layers.Dense(4, name="b", dtype=dtype)
    model = keras.Sequential([keras.Input((16,)), hidden, last])
    names = ["secded", "parity", "triplication", "weight_clipping"]
    found, expected = (
        faults.compare_protections(
            model, X, labels(model), protections=names, fault=one, **SETTINGS
        )["memory"].tolist()
        for one in (fault, same)
    )
    assert found == expected
    assert found[5] == pytest.approx(100 / same.format.bits) and found[7] == 200  # parity, copies


def test_bad_input():
    model, y = network(), np.zeros(80, int)
    for names, message in [
        ("parity", "must be a list of names"),
        (["ecc"], "protection='ecc' must be"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            faults.compare_protections(model, X, y, protections=names, **SETTINGS)


@pytest.mark.slow
def test_range_restriction_keeps_half_of_what_float32_bit_errors_cost():
    fashion = data.load("fashion_mnist")
    model = architectures.build("fmnist_dnn", seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss=loss)
    model.fit(fashion.x_train, fashion.y_train, batch_size=100, epochs=3, verbose=0)
    table = faults.compare_protections(
        model, fashion.x_test, fashion.y_test, fault=faults.BitErrors("float32"), rates=[1e-5],
        trials=20, seed=0, protections=["range_restriction", "secded"], x_train=fashion.x_train,
    ).set_index("protection")  # fmt: skip
    clean = table["clean_accuracy"]
    assert abs(clean["range_restriction"] - clean["none"]) <= 0.002
    assert table["lost"]["none"] > 0.05
    assert table["recovered"]["range_restriction"] >= 0.5
    assert table["recovered"]["secded"] > 0.95  # 1e-5 per bit: two errors in 72 bits are rare


@dataclasses.dataclass(frozen=True)
class Halves(faults.Protection):
    """A protection of one's own: a model of half the size, which keeps no accuracy."""

    arithmetic = "half of it"

    def on_model(self, model, x_train=None):
        copy = keras.models.clone_model(model)
        copy.set_weights([value / 2 for value in model.get_weights()])
        return copy

    def extra_bits(self, model, plan):
        return 172 * 16


def test_a_protection_of_ones_own():
    faults.register_protection("halves", Halves)
    try:
        model = network()
        table = faults.compare_protections(
            model, X, labels(model), protections=["halves"], **SETTINGS
        )
    finally:
        base._PROTECTIONS.pop("halves")
    assert table["memory"].tolist() == [0, 0, 50, 50]
    assert table["arithmetic"].tolist()[2:] == ["half of it"] * 2
    assert table["clean_accuracy"].tolist()[:2] == [1, 1]


def test_paths_of_parameters_hold_in_protected_copies(tmp_path):
    """There a layer is in another of its name, and layers in layers lose the outer names."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    start = keras.Input((16,))
    block = keras.Sequential([keras.Input((16,)), layers.Dense(8, "relu", name="d")], name="block")
    rows = layers.Reshape((2, 4))(block(layers.Dense(16, name="a")(start)))
    both = layers.Bidirectional(layers.LSTM(3, name="l"), name="both")
    model = keras.Model(start, layers.Dense(4, name="b")(both(rows)))
    paths = ["a/kernel", "block/d/bias", "both/forward_l/lstm_cell/kernel", "b/kernel"]
    fault = faults.PerLayer({f"weights:{path}": faults.BitErrors("int8") for path in paths})
    plan = faults.make_plan(model, target="weights", fault=fault)
    assert [group.name for group in plan.groups] == paths
    names = ["secded", "range_restriction", "weight_clipping"]
    table = faults.compare_protections(
        model, X, labels(model), fault=fault, protections=names, **SETTINGS
    )
    assert table[table["rate"] > 0]["faults"].unique().tolist() == [round(0.03 * plan.sites)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for whole, path in ((model, "a/a/kernel"), (loaded, "d/bias")):
        copy = faults.protect(whole, "weight_clipping")
        faults.make_plan(copy, target="weights", fault={path: faults.StuckAt()})
