"""Campaigns of single faults against every fault tried by NumPy alone."""

import dataclasses

import enumerated
import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.faults import planning

ALL = {"margin": 1e-4, "seed": 0}
FAULTS = {
    "float32": faults.BitErrors(),
    "int8": faults.BitErrors("int8_per_channel"),
}
LAYERS = ("first", "first", "second", "second")


def by_stratum(storage):
    found = {}
    for (number, _, bit), share in enumerated.outcomes(storage).items():
        found.setdefault((LAYERS[number], bit), []).append(share)
    return found


@pytest.fixture(scope="module")
def everything():
    """All single bits of the network in int8, tried one by one."""
    return faults.failure_rate(*enumerated.network(), fault=FAULTS["int8"], **ALL)


def test_every_fault_does_what_it_does_by_hand(everything):
    table, model = enumerated.outcomes("int8"), enumerated.network()[0]
    shapes = [weight.shape for weight in model.get_weights()]
    names = ["first/kernel", "first/bias", "second/kernel", "second/bias"]
    seen = set()
    for row in everything.faults.itertuples():
        number = next(n for n, name in enumerate(names) if row.parameter.endswith(name))
        place = int(np.ravel_multi_index(row.index, shapes[number]))
        assert row.outcome == pytest.approx(table[number, place, row.bit]), row
        seen.add((number, place, row.bit))
    assert seen == set(table)


def test_rates_of_all_sites_are_exact(everything):
    truth = np.mean(list(enumerated.outcomes("int8").values()))
    assert (everything.stopped_by, everything.trials) == ("all sites", everything.sites)
    assert [everything.rate, everything.low, everything.high] == pytest.approx([truth] * 3)
    strata = by_stratum("int8")
    assert len(everything.table) == len(strata) == 16
    for row in everything.table.itertuples():
        shares = strata[row.layer, row.bit]
        assert (row.sites, row.trials) == (len(shares),) * 2
        assert [row.rate, row.low, row.high] == pytest.approx([np.mean(shares)] * 3)


def test_the_model_comes_back_to_the_byte():
    model, x, y = enumerated.network()
    before = [weight.tobytes() for weight in model.get_weights()]
    faults.failure_rate(model, x, y, fault=FAULTS["int8"], trials=5, seed=0)
    with pytest.raises(KeyError):
        faults.failure_rate(model, x, y, seed=0, progress=lambda row: row["none such"])
    assert [weight.tobytes() for weight in model.get_weights()] == before


@pytest.mark.parametrize("storage", FAULTS)
@pytest.mark.parametrize("failure", ["image", "any_image"])
def test_a_campaign_ends_itself_with_the_truth_inside(storage, failure):
    shares = np.array(list(enumerated.outcomes(storage).values()))
    truth = shares.mean() if failure == "image" else (shares > 0).mean()
    found = faults.failure_rate(
        *enumerated.network(), fault=FAULTS[storage], failure=failure, margin=0.05, seed=1
    )
    assert found.stopped_by == "margin"
    assert found.trials < found.sites / 2
    assert (found.high - found.low) / 2 <= 0.05
    assert found.low <= truth <= found.high
    assert found.low <= found.rate <= found.high
    again = faults.failure_rate(
        *enumerated.network(), fault=FAULTS[storage], failure=failure, margin=0.05, seed=1
    )
    assert again.faults.equals(found.faults)


def test_predictions_save_trials_and_change_no_estimand():
    options = {"fault": FAULTS["float32"], "failure": "any_image", "margin": 0.03}
    truth = np.mean([share > 0 for share in enumerated.outcomes("float32").values()])
    counts = {}
    for predict in (True, False):
        found = [
            faults.failure_rate(*enumerated.network(), predict=predict, seed=s, **options)
            for s in range(3)
        ]
        assert all(one.low <= truth <= one.high for one in found)
        counts[predict] = np.median([one.trials for one in found])
    assert counts[True] < 0.8 * counts[False]


def test_accuracy_that_falls_by_more_than_a_threshold():
    model, x, y = enumerated.network()
    memory = [enumerated.stored(weight, "int8") for weight in model.get_weights()]
    base = [decoded(words) for words, decoded in memory]
    clean, failed = np.mean(enumerated.predictions(base, x) == y), []
    for number, (words, decoded) in enumerate(memory):
        for place in range(words.size):
            changed = words.copy()
            changed.flat[place] ^= np.uint64(1 << 7)
            weights = [*base[:number], decoded(changed), *base[number + 1 :]]
            failed.append(clean - np.mean(enumerated.predictions(weights, x) == y) > 0.05)
    found = faults.failure_rate(
        model, x, y, fault=dataclasses.replace(FAULTS["int8"], bits=(7, 7)),
        failure="accuracy", accuracy_loss=0.05, **ALL,
    )  # fmt: skip
    assert 0 < np.mean(failed) < 1
    assert found.rate == pytest.approx(np.mean(failed))


@pytest.mark.parametrize("wrong", range(6))
def test_a_loss_of_exactly_the_threshold_is_no_failure(wrong):
    """Of 60 images 0.05 are 3; as floats 57/60 - 54/60 is less and 54/60 - 51/60 is more."""
    model, x, y = enumerated.network()
    y = enumerated.predictions(model.get_weights(), x)
    y[:wrong] = (y[:wrong] + 1) % 3
    lost = []
    for number, weight in enumerate(model.get_weights()):
        for place in range(weight.size):
            weights = model.get_weights()
            weights[number].flat[place] *= -1
            lost.append(60 - wrong - np.sum(enumerated.predictions(weights, x) == y))
    found = faults.failure_rate(
        model, x, y, fault=faults.SignFlip(), failure="accuracy", accuracy_loss=0.05, **ALL
    )
    assert 3 in lost
    assert found.rate == pytest.approx(np.mean(np.array(lost) > 3))


def outcomes(found):
    table = found.faults.astype({"bit": "Int64"}).fillna({"bit": -1})
    keys = zip(table["parameter"], table["index"], table["bit"], strict=True)
    return dict(zip(keys, table["outcome"], strict=True))


def test_words_as_stored_are_those_of_each_variable():
    """In a model of float16 and float32 bits flip in the format that the variable has."""
    subject = enumerated.in_half_precision("first")
    options = {**ALL, "stratum_trials": 1000}  # all of them
    found = faults.failure_rate(*subject, fault=faults.BitErrors("as_stored"), **options)
    named = {"first": faults.BitErrors("float16"), "second": faults.BitErrors("float32")}
    assert faults.failure_rate(*subject, fault=named, **options).faults.equals(found.faults)
    alone = {}
    for layer, fault in named.items():
        select = faults.Select(layers=(layer,))
        alone |= outcomes(faults.failure_rate(*subject, fault=fault, select=select, **options))
        bits = found.table["bit"][found.table["layer"] == layer]
        assert bits.tolist() == list(fault.bit_numbers)
    assert outcomes(found) == pytest.approx(alone) and len(alone) == found.sites


def test_a_pattern_for_all_layers_is_the_fault_itself(everything):
    again = faults.failure_rate(*enumerated.network(), fault={"*": FAULTS["int8"]}, **ALL)
    assert again.faults.equals(everything.faults) and again.table.equals(everything.table)


def test_units_of_each_layer_have_their_own_faults():
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense
    hidden = [dense(4, "relu", name="a"), dense(5, "relu", name="b"), dense(6, "relu", name="c")]
    model = keras.Sequential([keras.Input((enumerated.INPUTS,)), *hidden, dense(3)])
    x, y = enumerated.network()[1:]
    per_layer = {
        "a": faults.BitErrors(bits=(30, 31)),
        "b": faults.StuckAt(9.0),
        "c": faults.BitErrors(bits=(31, 31)),
    }
    found = faults.failure_rate(model, x, y, target="units", fault=per_layer, **ALL)
    assert found.sites == 2 * 4 + 5 + 6
    alone = {}
    for layer, fault in per_layer.items():
        options = {"fault": fault, "select": faults.Select(layers=(layer,)), **ALL}
        alone |= outcomes(faults.failure_rate(model, x, y, target="units", **options))
    assert outcomes(found) == pytest.approx(alone) and len(alone) == found.sites


def test_a_plan_tests_as_many_images_as_the_campaign(monkeypatch):
    model, x, y = enumerated.network()
    frames = []

    def noted(*arguments, **options):
        frames.append(faults.sweep(*arguments, **options))
        return frames[-1]

    monkeypatch.setattr(planning, "sweep", noted)
    for repeats, given, images in ((1, {}, 60), (4, {}, 200), (4, {"images_per_trial": 30}, 30)):
        pair = np.tile(x, (repeats, 1)), np.tile(y, repeats)
        faults.plan_campaign(model, *pair, rates=[0.1], margin=0.1, seed=0, **given)
        assert frames[-1].attrs["images_per_trial"] == images


@pytest.mark.parametrize("target", ["weights", "units"])
def test_one_stuck_site_at_a_time(target):
    model, x, y = enumerated.network()
    weights = model.get_weights()
    clean, shares = enumerated.predictions(weights, x), []
    for number in range(4) if target == "weights" else (2,):
        for place in range(weights[number].size if target == "weights" else enumerated.HIDDEN):
            changed = [weight.copy() for weight in weights]
            if target == "weights":
                changed[number].flat[place] = 0
            else:  # what a dead unit delivers is what a row of zeros makes of it
                changed[number][place] = 0
            shares.append(np.mean(enumerated.predictions(changed, x) != clean))
    found = faults.failure_rate(model, x, y, target=target, fault=faults.StuckAt(0.0), **ALL)
    assert found.trials == len(shares)
    assert found.rate == pytest.approx(np.mean(shares))
    assert found.table["bit"].isna().all()
    assert found.table["layer"].tolist() == (
        ["first", "second"] if target == "weights" else ["first"]
    )


def test_every_layer_and_bit_has_its_trials_for_a_heat_map():
    found = faults.failure_rate(
        *enumerated.network(), fault=FAULTS["int8"], trials=20, stratum_trials=4, seed=0
    )
    assert found.trials == 20
    assert found.table["trials"].min() == 4
    assert len(found.faults) == found.table["trials"].sum() > 20
    strata = by_stratum("int8")
    for row in found.table.itertuples():
        assert row.low <= np.mean(strata[row.layer, row.bit]) <= row.high


def test_a_budget_ends_a_campaign():
    found = faults.failure_rate(*enumerated.network(), margin=1e-3, budget="0.01 s", seed=0)
    assert (found.stopped_by, found.trials) == ("budget", 1)


def test_quantised_models_are_faulted_in_their_own_integers():
    if not hasattr(keras.Model, "quantize"):
        pytest.fail("Keras 3 is what the tests run on")
    model, x, y = enumerated.network()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.quantize("int8")
    kernels = faults.Select(parameters="kernels", layers=("second",))
    found = faults.failure_rate(
        copy, x, y, fault=faults.BitErrors("int8"), select=kernels, trials=30, seed=0
    )
    assert found.sites == 8 * enumerated.HIDDEN * enumerated.CLASSES
    assert found.faults["outcome"].max() > 0


def test_plans_say_what_a_campaign_takes():
    model, x, y = enumerated.network()
    options = {"fault": FAULTS["float32"], "failure": "any_image", "seed": 0}
    plan = faults.plan_campaign(model, x, y, margin=0.03, **options)
    took = faults.failure_rate(model, x, y, margin=0.03, **options).trials
    assert took / 3 < plan.trials < 3 * took
    assert plan.sites == len(enumerated.outcomes("float32"))
    assert plan.seconds > plan.trials * plan.seconds_per_trial > 0
    short = faults.plan_campaign(model, x, y, margin=0.001, budget=2 * plan.seconds, **options)
    assert short.margin > 0.001 and short.seconds < 2.2 * plan.seconds
    assert "trials" in str(short)
    rates = faults.plan_campaign(model, x, y, rates=[0, 0.1], target="units", margin=0.02,
                                 fault=faults.StuckAt(0.0), seed=0)  # fmt: skip
    ran = faults.sweep(model, x, y, rates=[0, 0.1], target="units", margin=0.02, method="stein",
                       images_per_trial=len(x), seed=0)  # fmt: skip
    assert len(ran) / 4 < rates.trials < 4 * len(ran)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fault": faults.BitFlip()}, "is random: give BitErrors"),
        ({"fault": faults.BurstErrors()}, "makes sites fail together: give BitErrors"),
        (
            {"fault": faults.Protected(faults.StuckAt(0.0), faults.Secded())},
            "is for sweep: give failure_rate the fault without its protection",
        ),
        (
            {"fault": {"*": faults.Protected(faults.StuckAt(0.0), faults.Triplication())}},
            "is for sweep: give failure_rate the fault without its protection",
        ),
        ({"target": "both"}, "target='both' must be one of weights, units"),
        ({"failure": "none"}, "failure='none' must be one of image, any_image, accuracy"),
        ({"margin": 0}, "margin=0 must be"),
        ({"confidence": 95}, "confidence=95 must lie|confidence=95 must be"),
        ({"budget": "soon"}, "budget='soon' must be a time such as '10 min'"),
        ({"budget": -1}, "budget=-1 must be"),
        ({"trials": 0}, "trials=0 must be"),
        ({"accuracy_loss": 5}, "accuracy_loss=5 must be in"),
    ],
)
def test_what_cannot_be_run_is_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        faults.failure_rate(*enumerated.network(), **{"seed": 0, **options})


def test_a_sweep_ends_by_margin_or_budget_without_trials():
    model, x, y = enumerated.network()
    where = {"target": "units", "rates": [0.1, 0.5], "seed": 0}
    with pytest.raises(ArgumentError, match="trials=None needs margin"):
        faults.sweep(model, x, y, **where)
    with pytest.raises(ArgumentError, match="margin=0.7 must be in"):
        faults.sweep(model, x, y, margin=0.7, **where)
    by_time = faults.sweep(model, x, y, budget=0.2, **where)
    assert by_time.groupby("rate")["trial"].count().nunique() == 1
    by_margin = faults.sweep(model, x, y, margin=0.1, **where)
    assert faults.summarize(by_margin)["reached"].all()
