"""Campaigns as a whole: repeatability, restoration, stopping, summaries."""

import os
import signal
import threading

import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.faults.campaign import image_rows
from ft_tf.faults.measures import Measures, OutputChange

layers = keras.layers


@pytest.fixture(scope="module")
def trained():
    """A small network that has learned: two noisy rings of points in 8 dimensions."""
    keras.utils.set_random_seed(0)
    generator = np.random.Generator(np.random.Philox(1))
    y = generator.integers(0, 3, 300)
    x = (np.eye(8)[y] * 3 + generator.normal(size=(300, 8))).astype(np.float32)
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(24, activation="relu"), layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss=loss, metrics=["accuracy"])
    model.fit(x, y, epochs=6, verbose=0)
    return model, x, y


def weight_bytes(model):
    return [weight.tobytes() for weight in model.get_weights()]


@pytest.mark.parametrize("target", ["weights", "units"])
def test_any_split_and_order_gives_the_same_rows(trained, target):
    model, x, y = trained
    where = {"target": target, "seed": 4, "batch_size": 100}
    whole = faults.sweep(model, x, y, rates=[0.1, 0.5, 0.9], trials=6, **where)
    for rate in (0.1, 0.5, 0.9):
        for trials in ([5, 2], [0, 4], [3, 1]):
            part = faults.sweep(model, x, y, rates=[rate], trials=trials, **where)
            rows = whole[(whole["rate"] == rate) & whole["trial"].isin(trials)]
            assert part.equals(rows.reset_index(drop=True))


def test_subsets_are_unbiased_and_reproducible(trained):
    model, x, y = trained
    where = {"target": "weights", "rates": [0.4], "trials": 150, "seed": 4}
    full = faults.sweep(model, x, y, **where)
    some = faults.sweep(model, x, y, images_per_trial=30, **where)
    assert some["faults"].equals(full["faults"])
    difference = some["accuracy"] - full["accuracy"]
    assert abs(difference.mean()) < 4 * difference.sem()
    assert 0 < difference.std() < 0.12
    assert some.equals(faults.sweep(model, x, y, images_per_trial=30, **where))


@pytest.mark.parametrize("target", ["weights", "units"])
def test_images_are_drawn_apart_from_the_faults(trained, target):
    plan = faults.make_plan(trained[0], target=target, fault=faults.GaussianNoise(0.1))
    masks = plan.trial(seed=4, trial=3).masks(0.3)
    rows = image_rows(seed=4, trial=3, images=plan.sites, count=masks.count)
    words = masks.words[target].view(np.uint64).ravel()
    for drawn in (np.flatnonzero(masks.faulty[target]), np.argsort(words)[: masks.count]):
        assert len(np.intersect1d(rows, drawn)) < 0.6 * masks.count  # 0.3 by chance


class Stop(Exception):
    pass


def test_weights_come_back_after_an_exception(trained):
    model, x, y = trained
    before = weight_bytes(model)

    def fail(row):
        raise Stop

    with pytest.raises(Stop):
        faults.sweep(model, x, y, target="both", rates=[0.5], trials=3, seed=0, progress=fail)
    assert weight_bytes(model) == before
    with pytest.raises(Stop), faults.inject(model, target="both", rate=0.5, seed=0):
        assert weight_bytes(model) != before
        raise Stop
    assert weight_bytes(model) == before


def test_weights_come_back_after_sigint(trained):
    model, x, y = trained
    before = weight_bytes(model)
    is_over = threading.Event()

    def press_ctrl_c():
        # Python drops an interrupt that reaches it within a weak reference's callback: press again.
        wait = 0.3
        while not is_over.wait(wait):
            os.kill(os.getpid(), signal.SIGINT)
            wait = 3.0

    with pytest.raises(KeyboardInterrupt):
        threading.Thread(target=press_ctrl_c, daemon=True).start()
        try:
            faults.sweep(model, x, y, target="weights", rates=[0.5], trials=10**6, seed=0)
        finally:
            is_over.set()
    assert weight_bytes(model) == before


def test_a_stale_callback_leaks_nothing(trained, tmp_path):
    model, x, y = trained
    clean = model.evaluate(x, y, verbose=0)
    before = weight_bytes(model)

    class Failing(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise Stop

    injection = faults.FaultInjection(target="both", rate=1.0, seed=0)
    with pytest.raises(Stop):
        model.evaluate(x, y, verbose=0, callbacks=[injection, Failing()])
    assert weight_bytes(model) == before
    assert model.evaluate(x, y, verbose=0) == clean
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert weight_bytes(loaded) == before


def test_validation_runs_clean_unless_asked(trained):
    model, x, y = trained
    model = keras.models.clone_model(model)
    model.set_weights(trained[0].get_weights())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss=loss, metrics=["accuracy"])
    clean = model.evaluate(x, y, verbose=0)[1]
    found = {}
    for asked in (False, True):
        callback = faults.FaultInjection(target="units", rate=1.0, seed=0, during_validation=asked)
        history = model.fit(
            x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=[callback]
        ).history
        found[asked] = history["val_accuracy"][0]
        assert history["accuracy"][0] == pytest.approx(clean)
    assert found[False] == pytest.approx(clean)
    assert found[True] < clean - 0.2


def test_stop_rule_stops_and_its_interval_is_short(trained):
    model, x, y = trained
    frame = faults.sweep(model, x, y, target="units", rates=[0.3], trials=2000, seed=0, margin=0.04)
    assert 5 < len(frame) < 2000
    row = faults.summarize(frame, method="anytime", half_width=0.04).iloc[0]
    assert row["high"] - row["low"] <= 0.08 + 1e-9
    assert row["method"] == "betting confidence sequence"


def test_summary_by_hand(trained):
    model, x, y = trained
    frame = faults.sweep(model, x, y, target="weights", rates=[0, 0.5, 0.9], trials=8, seed=1)
    summary = faults.summarize(frame)
    for row in summary.itertuples():
        values = frame[frame["rate"] == row.rate]["accuracy"].to_numpy()
        assert row.accuracy == pytest.approx(values.mean())
        half = 2.364624 * values.std(ddof=1) / np.sqrt(8)  # t quantile of 7 degrees of freedom
        assert row.high - row.low == pytest.approx(2 * half, rel=1e-5)
    clean = frame[frame["rate"] == 0]
    assert (clean["sdc_rate"] == 0).all()
    assert (clean["retention"] == 1).all()
    assert (clean["total_variation_95"] == 0).all()
    figures = faults.curve_figures(frame, classes=3)
    means = summary.set_index("rate")["accuracy"]
    assert figures.drop == pytest.approx(means[0.5] - means[0.9])
    assert figures.levels == (pytest.approx(means[0.5]), pytest.approx(means[0.9]))
    above = means - 1 / 3
    area = (0.5 * (above[0] + above[0.5]) / 2 + 0.4 * (above[0.5] + above[0.9]) / 2) / 0.9
    assert figures.area == pytest.approx(area / above[0])
    assert 0 < figures.half_rate < 0.9
    assert np.interp(figures.half_rate, means.index, above) == pytest.approx(above[0] / 2)
    assert len(faults.summarize(frame, method="band")) == 3


def test_layers_are_faulted_one_at_a_time(trained):
    model, x, y = trained
    table = faults.layer_vulnerability(model, x, y, target="weights", rate=0.5, trials=4, seed=0)
    names = [layer.name for layer in model.layers]
    assert table["layer"].tolist() == ["whole model", *names]
    assert table["sites"].tolist() == [291, 216, 75]
    assert table["faults"].tolist() == [146, 108, 38]  # 145.5 and 37.5: halves to even


def test_outcomes_that_are_not_finite_are_counted(trained):
    model, x, y = trained
    fault = faults.StuckAt(3e38)
    frame = faults.sweep(model, x, y, target="weights", rates=[1.0], trials=1, seed=0, fault=fault)
    assert frame["non_finite"].iloc[0] > 0.5
    assert frame["logit_change_95"].iloc[0] == np.inf


def test_measures_by_hand():
    clean = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]], np.float32)
    faulty = np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0], [np.nan, 2.0]], np.float32)
    figures = Measures(clean, np.array([0, 0, 1, 0])).of(faulty)
    assert figures["accuracy"] == 0.5  # a NaN is no prediction
    assert figures["accuracy_lost"] == 0.25  # three of four were right
    assert figures["sdc_rate"] == 0.5
    assert figures["retention"] == pytest.approx(2 / 3)
    assert figures["non_finite"] == 0.25
    assert figures["logit_change_50"] == 2.0  # changes 0, 2, 0 and infinity; the upper middle
    assert figures["logit_change_95"] == np.inf


def test_accuracy_is_lost_on_the_images_of_the_trial():
    """Right without faults on rows 0 to 2; of rows 2 and 3, one, and none with faults."""
    clean = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]], np.float32)
    measures = Measures(clean, np.array([0, 0, 1, 0]))
    figures = measures.of(np.array([[2.0, 0.0], [0.0, 2.0]], np.float32), np.array([2, 3]))
    assert (figures["accuracy"], figures["accuracy_lost"]) == (0.0, 0.5)


def test_subsets_without_a_changed_prediction_lose_nothing(trained):
    """A rate of 1e-9 is no fault at all here; on 7 images a trial has an accuracy of its own."""
    model, x, y = trained
    frame = faults.sweep(
        model, x, y, target="weights", rates=[1e-9, 0.9], trials=6, seed=0, images_per_trial=7
    )
    still, hit = (frame[frame["rate"] == rate] for rate in (1e-9, 0.9))
    assert still["accuracy"].std() > 0
    assert (still["accuracy_lost"] == 0).all()
    np.testing.assert_allclose(
        hit["accuracy_lost"].to_numpy(),
        still["accuracy"].to_numpy() - hit["accuracy"].to_numpy(),
        atol=1e-12,
    )


def test_epsilon_by_hand():
    clean = np.array([[np.log(3.0), 0.0], [2.0, 0.0]])
    faulty = np.array([[0.0, 0.0], [np.nan, 0.0]])
    change = OutputChange(clean)
    np.testing.assert_allclose(change.total_variation(faulty), [0.25, 1.0])
    np.testing.assert_allclose(change.logit_change(faulty), [2.0, np.inf])
    one = OutputChange(np.array([[0.0]])).total_variation(np.array([[np.log(3.0)]]))
    np.testing.assert_allclose(one, [0.25])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": [1.5]}, "rate=1.5"),
        ({"rates": []}, r"rates=\[\]"),
        ({"trials": 0}, "trials=0"),
        ({"trials": [1, 1]}, r"trials=\[1, 1\]"),
        ({"seed": -1}, "seed=-1"),
        ({"target": "bits"}, "target='bits'"),
        ({"allocation": "row"}, "allocation='row'"),
        ({"images_per_trial": 301}, "images_per_trial=301"),
        ({"fault": "stuck"}, "fault='stuck'"),
        ({"rates": 0.5}, "rates=0.5 must be a list"),
    ],
)
def test_bad_arguments_are_named(trained, options, message):
    model, x, y = trained
    given = {"target": "weights", "rates": [0.5], "trials": 1, "seed": 0} | options
    with pytest.raises(ArgumentError, match=message):
        faults.sweep(model, x, y, **given)


class Scaled(keras.layers.Layer):
    """A layer made of a layer, with a parameter itself."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = keras.layers.Dense(6, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.gain = self.add_weight(name="gain", shape=(6,), initializer="ones")

    def call(self, inputs):
        return self.inner(inputs) * self.gain


class Shifted(keras.Model):
    """A model with a parameter itself."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scaled, self.end = Scaled(name="scaled"), keras.layers.Dense(3, name="end")
        self.shift = self.add_weight(name="shift", shape=(5,), initializer="ones")

    def call(self, inputs):
        return self.end(self.scaled(inputs + self.shift))


def test_parameters_of_models_and_of_layers_made_of_layers_are_faulted_by_themselves():
    model, x = Shifted(name="own"), np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    y = model(x).numpy().argmax(axis=1)
    where = {"target": "weights", "rate": 1.0, "trials": 2, "seed": 0}
    table = faults.layer_vulnerability(model, x, y, fault={"*": faults.SignFlip()}, **where)
    expected = {"whole model": 5 + 36 + 6 + 21, "inner": 36, "scaled": 6, "end": 21, "own": 5}
    assert table.set_index("layer")["sites"].to_dict() == expected
    assert table["faults"].tolist() == list(expected.values())
    found = table.set_index("layer")["accuracy"]
    logits = -model(x).numpy()  # biases are 0
    assert found["inner"] == found["scaled"] == found["end"] == np.mean(logits.argmax(axis=1) == y)
    assert found["own"] == np.mean(model(x - 2).numpy().argmax(axis=1) == y) < 1
