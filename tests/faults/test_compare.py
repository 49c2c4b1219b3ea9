"""Two models under faults, against trials that were injected one by one and scipy's tests."""

import numpy as np
import pytest
from scipy import stats

from ft_tf import faults, metrics
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError

RATES, TRIALS = [0.0, 0.4], 6


def network(units, seed):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(units, activation="relu"), keras.layers.Dense(3)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(90, 6)).astype(np.float32), rng.integers(0, 3, 90)


def accuracies(model, data, target, rate):
    found = []
    for trial in range(TRIALS):
        with faults.inject(model, target=target, rate=rate, seed=5, trial=trial):
            found.append(np.mean(model(data[0]).numpy().argmax(axis=1) == data[1]))
    return found


@pytest.mark.parametrize("target", ["weights", "units"])
@pytest.mark.parametrize("units", [8, 11])
def test_differences_are_those_of_single_trials(data, target, units):
    first, second = network(8, seed=1), network(units, seed=2)
    frame = faults.compare(
        first, second, *data, target=target, rates=RATES, trials=TRIALS, seed=5, level=0.9
    )
    assert list(frame["rate"]) == RATES
    row = frame.iloc[1]
    one, other = (accuracies(model, data, target, 0.4) for model in (first, second))
    assert row["accuracy_first"] == pytest.approx(np.mean(one))
    assert row["difference"] == pytest.approx(np.mean(one) - np.mean(other))
    same = units == 8
    test = stats.ttest_rel(one, other) if same else stats.ttest_ind(one, other, equal_var=False)
    expected = test.confidence_interval(0.9)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["same_sites"] == same
    assert row["unit"] == ("pair of trials" if same else "independent trial")
    assert (row["faults_first"] == row["faults_second"]) == same


def test_without_faults_the_difference_is_that_of_the_models(data):
    first, second = network(8, seed=1), network(8, seed=2)
    frame = faults.compare(first, second, *data, target="units", rates=[0.0], trials=3, seed=0)
    expected = metrics.accuracy(first, *data) - metrics.accuracy(second, *data)
    assert tuple(frame.loc[0, ["difference", "low", "high"]]) == pytest.approx((expected,) * 3)


def test_a_model_does_not_differ_from_its_copy(data):
    model = network(8, seed=1)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    frame = faults.compare(model, copy, *data, target="weights", rates=[0.5], trials=4, seed=0)
    assert tuple(frame.loc[0, ["difference", "low", "high"]]) == (0.0, 0.0, 0.0)
    assert 0 < frame.loc[0, "accuracy_first"] < 1


def test_pairing_shortens_the_interval(data):
    """Of nearly equal models, each trial hurts both alike."""
    first = network(8, seed=1)
    second = keras.models.clone_model(first)
    second.set_weights([w + 0.01 for w in first.get_weights()])
    options = {"target": "units", "rates": [0.4], "trials": 12}
    paired = faults.compare(first, second, *data, seed=0, **options).iloc[0]
    apart = [
        faults.sweep(model, *data, seed=seed, **options)["accuracy"]
        for seed, model in enumerate((first, second))
    ]
    independent = stats.ttest_ind(*apart, equal_var=False).confidence_interval()
    assert paired["high"] - paired["low"] < (independent.high - independent.low) / 3


def test_a_bad_level_is_refused(data):
    model = network(8, seed=1)
    with pytest.raises(ArgumentError, match=r"level=1\.5"):
        faults.compare(
            model, model, *data, target="units", rates=[0.5], trials=2, seed=0, level=1.5
        )


def test_other_words_are_other_sites(data):
    """Stored as they are, a float32 has 32 bits and a bfloat16 has 16."""
    first = network(8, seed=1)
    hidden = keras.layers.Dense(8, activation="relu", dtype="bfloat16")
    second = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, dtype="bfloat16")])
    second.set_weights(first.get_weights())
    options = {"target": "weights", "rates": [0.01], "trials": 3, "seed": 0}
    fault = faults.BitErrors("as_stored")
    (row,) = faults.compare(first, second, *data, fault=fault, **options).to_dict("records")
    assert (row["faults_first"], row["faults_second"]) == (round(83 * 0.32), round(83 * 0.16))
    assert (row["same_sites"], row["unit"]) == (False, "independent trial")
    frames = [faults.sweep(model, *data, fault=fault, **options) for model in (first, second)]
    with pytest.raises(ArgumentError, match="their models have not the same sites"):
        faults.paired_difference(*frames)
    fault = faults.BitErrors("float32", bits=(0, 29))
    assert faults.compare(first, second, *data, fault=fault, **options)["same_sites"].all()
