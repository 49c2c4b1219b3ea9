"""Campaigns that stop by themselves: their coverage, their rows, and what they did not reach."""

import math

import numpy as np
import pytest
from scipy import stats

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.faults.rows import PILOT, StopRule, seconds_of, trials_for

layers = keras.layers


def stopped(generator, *, between, most, half_width, images=10_000, some=200):
    """One rate of a campaign under the rule of method="stein": the interval and the trials."""
    rule = StopRule([0.5], half_width=half_width, method="stein", most=most)
    count = 0
    while rule.wants(0.5) and count < most:
        level = np.clip(generator.normal(0.6, math.sqrt(between)), 0, 1)
        right = round(level * images)
        accuracy = generator.hypergeometric(right, images - right, some) / some
        rule.take({"rate": 0.5, "accuracy": accuracy})
        count += 1
    return rule.interval(0.5), count


@pytest.mark.parametrize("most", [2000, 70])
def test_the_two_stage_rule_covers_whether_it_reaches_its_width_or_not(most):
    generator = np.random.Generator(np.random.Philox(most))
    found = [stopped(generator, between=0.05**2, most=most, half_width=0.015) for _ in range(800)]
    covered = np.mean([interval.low <= 0.6 <= interval.high for interval, _ in found])
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.0475 / 800))
    reached = np.array([interval.half_width <= 0.015 + 1e-9 for interval, _ in found])
    counts = np.array([count for _, count in found])
    if most == 2000:
        assert reached.all()
        variance = 0.05**2 + 0.24 * (1 / 200 - 1 / 10_000)
        expected = (stats.t.ppf(0.975, PILOT - 1) / 0.015) ** 2 * variance
        assert counts.mean() == pytest.approx(expected, rel=0.1)
    else:
        assert 0.2 < reached.mean() < 0.95
        assert (reached == (counts < most)).mean() > 0.95


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(20, activation="relu")])
    model.add(layers.Dense(3))
    return model


@pytest.fixture(scope="module")
def images(model):
    x = np.random.Generator(np.random.Philox(2)).normal(size=(900, 6)).astype(np.float32)
    return x, model.predict(x, verbose=0).argmax(axis=1)


RATES = [0.0, 0.05, 0.6]


@pytest.fixture(scope="module")
def settled(model, images):
    return faults.sweep(
        model, *images, target="weights", rates=RATES, trials=3000, seed=3,
        margin=0.03, method="stein",
    )  # fmt: skip


def test_every_rate_ends_by_itself_and_reaches_its_width(settled):
    trials = settled.groupby("rate")["trial"].count()
    assert trials[0.0] == 1
    assert PILOT <= trials[0.05] < trials[0.6] < 3000
    table = faults.summarize(settled).set_index("rate")
    assert table["reached"].tolist() == [True] * 3
    assert ((table["high"] - table["low"]) / 2 <= 0.03 + 1e-9).all()
    assert table["method"].tolist() == ["no faults: exact", *["Stein two-stage"] * 2]
    assert table["low"][0.0] == table["high"][0.0] == settled.attrs["clean_accuracy"] == 1.0
    assert settled.attrs["images_per_trial"] == 200
    figures = faults.curve_figures(settled, classes=3, rates=(0.05, 0.6))
    assert figures.drop_interval.method == "Stein two-stage"
    assert figures.drop_interval.low < figures.drop < figures.drop_interval.high


def test_rows_do_not_depend_on_what_ran_beside_them(model, images, settled):
    where = {"target": "weights", "seed": 3}
    for rate in RATES:
        rows = settled[settled["rate"] == rate].reset_index(drop=True)
        alone = faults.sweep(
            model, *images, rates=[rate], trials=3000, margin=0.03, method="stein", **where
        )
        assert alone.equals(rows)
        plain = faults.sweep(
            model, *images, rates=[rate], trials=[0, len(rows) - 1], images_per_trial=200, **where
        ) if len(rows) > 1 else alone  # fmt: skip
        assert plain.equals(rows.iloc[[0, -1] if len(rows) > 1 else [0]].reset_index(drop=True))


def test_what_was_not_reached_is_said(model, images):
    where = {"target": "weights", "rates": RATES, "seed": 3, "trials": 50, "margin": 0.005}
    for method, name in (("stein", "Stein two-stage"), ("anytime", "betting")):
        frame = faults.sweep(model, *images, method=method, **where)
        assert frame.groupby("rate")["trial"].count().tolist() == [1, 50, 50]
        table = faults.summarize(frame)
        assert table["reached"].tolist() == [True, False, False]
        assert table["method"].str.startswith(name).tolist() == [False, True, True]


def test_a_rate_that_never_varies_does_not_wait_for_the_others(model, images):
    frame = faults.sweep(
        model, *images, target="weights", rates=[0.3, 1.0], trials=400, seed=0,
        margin=0.06, method="anytime",
    )  # fmt: skip
    counts = frame.groupby("rate")["trial"].count()
    assert counts[1.0] < counts[0.3] < 400


def test_the_running_interval_is_the_valid_one():
    values = np.random.Generator(np.random.Philox(5)).normal(0.5, 0.05, 80)
    rule = StopRule([0.1], half_width=0.01, method="stein", most=500)
    for value in values:
        rule.take({"rate": 0.1, "accuracy": float(value)})
    assert rule.interval(0.1).method == "Stein two-stage"
    spread = stats.t.ppf(0.975, PILOT - 1) * values[:PILOT].std(ddof=1) / math.sqrt(80)
    assert rule.interval(0.1).half_width == pytest.approx(spread)
    betting = StopRule([0.1], half_width=0.05, method="anytime")
    betting.take({"rate": 0.1, "accuracy": 0.5})
    assert betting.interval(0.1).method == "betting confidence sequence"
    plain = StopRule([0.1], half_width=None)
    for value in values[:3]:
        plain.take({"rate": 0.1, "accuracy": float(value)})
    assert plain.interval(0.1).method == "Student t, mean"
    assert plain.trials_left(10) == 7


def test_bad_rules_are_named():
    with pytest.raises(ArgumentError, match="method='guess'"):
        StopRule([0.1], half_width=0.01, method="guess")
    with pytest.raises(ArgumentError, match="half_width=0"):
        StopRule([0.1], half_width=0)


def rare_failure(generator, most=100_000):
    """A rate at which one trial in fifty loses 60 points: the interval of method="stein"."""
    rule, count = StopRule([0.5], half_width=0.01, method="stein", most=most), 0
    while rule.wants(0.5) and count < most:
        rule.take({"rate": 0.5, "accuracy": 0.3 if generator.random() < 0.02 else 0.9})
        count += 1
    return rule.interval(0.5)


def test_a_pilot_that_agrees_is_no_proof_that_nothing_happens():
    generator = np.random.Generator(np.random.Philox(11))
    found = [rare_failure(generator) for _ in range(150)]
    covered = [interval.low <= 0.9 - 0.02 * 0.6 <= interval.high for interval in found]
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.0475 / 150)
    assert {interval.method for interval in found} == {
        "Stein two-stage", "betting confidence sequence",
    }  # fmt: skip
    assert all(0 < interval.half_width <= 0.01 + 1e-9 for interval in found)


def test_a_fixed_campaign_says_how_many_trials_a_point_takes(model, images):
    frame = faults.sweep(model, *images, target="weights", rates=[0, 0.05, 1.0], trials=5, seed=3)
    table = faults.summarize(frame).set_index("rate")["trials_to_1_point"]
    variance = frame.loc[frame["rate"] == 0.05, "accuracy"].var()
    assert table[0.05] == math.ceil((stats.t.ppf(0.975, 4) / 0.01) ** 2 * variance)
    assert table[0.0] == 1
    assert 190 < table[1.0] < 800  # trials that agree: what betting on them takes
    one = faults.sweep(model, *images, target="weights", rates=[0.05], trials=1, seed=3)
    assert faults.summarize(one)["trials_to_1_point"].tolist() == [None]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10 min", 600), ("90s", 90), ("1.5 hours", 5400), ("2 m", 120), ("45", 45), (7.5, 7.5)],
)
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "ten min", "-5 s", "nan", 0, float("inf")])
def test_other_budgets_are_refused(text):
    with pytest.raises(ArgumentError, match="^budget="):
        seconds_of(text)


def test_a_summary_takes_the_confidence_of_the_campaign(model, images):
    frame = faults.sweep(
        model, *images, target="weights", rates=[0.3], trials=3000, seed=3, margin=0.01,
        method="stein", confidence=0.8,
    )  # fmt: skip
    (row,) = faults.summarize(frame).to_dict("records")
    assert (row["level"], row["reached"]) == (0.8, True)
    assert row["high"] - row["low"] <= 0.02
    (wider,) = faults.summarize(frame, level=0.95).to_dict("records")
    assert (wider["level"], wider["reached"]) == (0.95, True)  # for what it was stopped at
    assert wider["high"] - wider["low"] > 0.02
    frame.attrs["stop_rule"]["level"] = 0.99  # as if its trials had run out
    assert faults.summarize(frame, level=0.8)["reached"].tolist() == [False]
    (pair,) = faults.paired_difference(frame, frame)["level"]
    assert pair == faults.summarize(frame)["level"][0] == 0.99
    table = faults.sweep(
        model, *images, target="weights", rates=RATES, trials=50, seed=3, margin=0.01,
        method="stein", confidence=0.8,
    )  # fmt: skip
    figures = faults.curve_figures(table, classes=3, rates=(0.05, 0.6))
    assert figures.area_interval.level == figures.drop_interval.level == 0.8
    assert faults.lost_rate(table, points=0.1)[1].level == 0.8


@pytest.mark.parametrize("method", ["stein", "anytime"])
def test_vulnerable_layers_have_the_intervals_of_the_stop_rule(model, images, method):
    options = {"target": "weights", "trials": 60, "seed": 0, "margin": 0.05, "method": method}
    options |= {"confidence": 0.9}
    table = faults.layer_vulnerability(model, *images, rate=0.1, **options)
    summary = faults.summarize(faults.sweep(model, *images, rates=[0.1], **options))
    columns = ["accuracy", "low", "high"]
    assert table[columns].iloc[0].tolist() == summary[columns].iloc[0].tolist()
    clean = faults.layer_vulnerability(model, *images, rate=0.0, **options)
    assert (clean[["low", "high"]] == 1.0).all(axis=None)


def test_a_margin_finer_than_a_ten_thousandth_ends():
    rule = StopRule([0.1], half_width=9e-5, method="anytime")
    count = trials_for(0.1, [0.7] * 9, half_width=9e-5, level=0.95)
    assert count > 2 / 9e-5
    for _ in range(count):
        assert not rule.done
        rule.take({"rate": 0.1, "accuracy": 0.7})
    assert rule.done
    interval = rule.interval(0.1)
    assert interval.low <= 0.7 <= interval.high and interval.half_width <= 9e-5


def test_a_margin_that_cannot_be_resolved_is_refused(model, images):
    where = {"target": "weights", "rates": [0.1], "margin": 9e-6, "seed": 0}
    for campaign in (faults.sweep, faults.plan_campaign):
        with pytest.raises(ArgumentError, match=r"margin=9e-06 must be .*1e-05"):
            campaign(model, *images, **where)
    with pytest.raises(ArgumentError, match=r"half_width=9e-06 must be .*1e-05"):
        StopRule([0.1], half_width=9e-6)
