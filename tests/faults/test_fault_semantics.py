"""Faults against closed forms, hand-made networks and full enumeration."""

import gc
import itertools

import numpy as np
import pytest

from ft_tf import faults, intervals, metrics
from ft_tf._compat import keras
from ft_tf.faults.campaign import Campaign, drawn_ahead
from ft_tf.faults.plan import FaultMasks, make_plan
from ft_tf.faults.program import TrialProgram

layers = keras.layers


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def dense_net(sizes, *, use_bias=True, seed=0):
    keras.utils.set_random_seed(seed)
    stack = [keras.Input((sizes[0],))]
    for size in sizes[1:-1]:
        stack.append(layers.Dense(size, activation="relu", use_bias=use_bias))
    model = keras.Sequential([*stack, layers.Dense(sizes[-1], use_bias=use_bias)])
    generator = rng(seed)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


def all_trial_logits(model, x, *, target, rate, trials, seed=0, **options):
    plan = make_plan(model, target=target, **options)
    campaign = Campaign(model, plan, x, np.zeros(len(x), int), batch_size=len(x))
    with campaign.armed():
        return np.array(
            [
                campaign.logits(masks)
                for _, _, masks in drawn_ahead(plan, seed, list(range(trials)), [rate])
            ]
        )


def masks_of(plan, faulty_units):
    faulty = {"weights": np.zeros(0, bool), "units": faulty_units}
    words = {target: np.zeros((0, 2), np.uint32) for target in faulty}
    return FaultMasks(faulty, words, int(faulty_units.sum()))


def test_rate_0_is_bit_identical_and_rate_1_constant():
    model, x = dense_net([7, 9, 6, 4]), rng().normal(size=(50, 7)).astype(np.float32)
    clean = metrics.predict_logits(model, x)
    with faults.inject(model, target="weights", rate=0.0, seed=1):
        assert metrics.predict_logits(model, x).tobytes() == clean.tobytes()
    with faults.inject(model, target="weights", rate=1.0, seed=1) as injection:
        assert injection.faults == injection.sites == model.count_params()
        dead = metrics.predict_logits(model, x)
    assert (dead == dead[0]).all()


def test_a_faulty_unit_equals_zeroing_its_outgoing_weights_by_hand():
    model, x = dense_net([7, 9, 6, 4]), rng().normal(size=(50, 7)).astype(np.float32)
    plan = make_plan(model, target="units")
    assert [group.size for group in plan.groups] == [9, 6]  # the output layer is left out
    campaign = Campaign(model, plan, x, np.zeros(50, int))
    clean = model.get_weights()
    for faulty in (np.arange(15) == 4, np.arange(15) == 11, np.arange(15) % 3 == 0):
        with campaign.armed():
            ours = campaign.logits(masks_of(plan, faulty))
        by_hand = [weight.copy() for weight in clean]
        by_hand[2][faulty[:9]] = 0
        by_hand[4][faulty[9:]] = 0
        model.set_weights(by_hand)
        theirs = metrics.predict_logits(model, x)
        model.set_weights(clean)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])  # sigmoid needs a hook: f(0) = 1/2
def test_a_dead_unit_with_positive_bias_gives_0(activation):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation=activation)])
    model.set_weights([np.ones((2, 3)), np.full(3, 5.0)])
    x = np.ones((4, 2), np.float32)
    select = faults.Select(output_layer=True)
    for rate, zeros in ((0.0, 0), (1 / 3, 1), (1.0, 3)):
        with faults.inject(model, target="units", rate=rate, seed=0, select=select):
            output = model.predict(x, verbose=0)
        assert (output == 0).sum() == 4 * zeros


HUGE = faults.StuckAt(1e39)  # infinite in float32


@pytest.mark.parametrize(
    ("target", "rest"), [("both", {"weights:a": HUGE}), ("units", {"units:a": HUGE})]
)
def test_a_dead_unit_gives_0_although_other_faults_overflow(target, rest):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(8, activation="relu", name="a"),
         layers.Dense(6, activation="relu", name="b"), layers.Dense(3, name="c")]
    )  # fmt: skip
    model.set_weights([rng().normal(size=w.shape) for w in model.get_weights()])
    x = rng().uniform(1, 2, size=(20, 5)).astype(np.float32)
    bias = np.tile(model.layers[-1].bias.numpy(), (20, 1))
    where = {"target": target, "fault": {**rest, "units:b": faults.StuckAt(0.0)}, "rate": 1.0}
    with faults.inject(model, seed=0, **where):
        assert np.isinf(model.layers[0](x)).all()
        np.testing.assert_array_equal(model(x), bias)
        np.testing.assert_array_equal(model.predict(x, verbose=0), bias)
    np.testing.assert_array_equal(all_trial_logits(model, x, trials=1, **where)[0], bias)


def test_units_sit_behind_a_separate_activation():
    inputs = keras.Input((6, 6, 2))
    hidden = layers.Conv2D(5, 3, padding="same")(inputs)
    hidden = layers.BatchNormalization(gamma_initializer="ones", beta_initializer="ones")(hidden)
    hidden = layers.ReLU()(hidden)
    pooled = layers.MaxPooling2D()(hidden)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(pooled)))
    inside = keras.Model(inputs, hidden)
    x = rng().normal(size=(20, 6, 6, 2)).astype(np.float32)
    (group,) = faults.find_sites(model, target="units")
    assert group.size == 5
    assert group.name.startswith("re_lu")
    for fault in (faults.StuckAt(0.0), faults.StuckAt(1.5)):
        where = {"target": "units", "rate": 0.4, "seed": 3, "fault": fault}
        with faults.inject(model, **where):
            activations = inside.predict(x, verbose=0)
            logits = model.predict(x, verbose=0)
        in_trial = all_trial_logits(model, x, trials=1, **where)[0]
        np.testing.assert_allclose(in_trial, logits, atol=1e-5)
        if fault.value == 0.0:  # through weights: every model that shares the layer sees it
            assert (activations == 0.0).all(axis=(0, 1, 2)).sum() == 2


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_a_normalization_along_another_axis_than_the_units_is_not_zeroed(axis):
    hidden = layers.Dense(6)
    norm = layers.BatchNormalization(axis=axis)
    model = keras.Sequential(
        [keras.Input((6, 4)), hidden, norm, layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    )
    norm.set_weights([np.ones(6), rng().normal(size=6), np.zeros(6), np.ones(6)])
    x = rng(1).normal(size=(20, 6, 4)).astype(np.float32)
    plan = make_plan(model, target="units")
    assert bool(plan.groups[0].silencers) == (axis != 1)
    dead = plan.trial(seed=0, trial=0).masks(0.5).faulty["units"]
    alive = np.where(dead, 0, np.maximum(norm(hidden(x)).numpy(), 0))
    by_hand = model.layers[-1](alive.reshape(20, -1)).numpy()
    with faults.inject(model, target="units", rate=0.5, seed=0):
        np.testing.assert_allclose(model.predict(x, verbose=0), by_hand, atol=1e-6)
    in_trial = all_trial_logits(model, x, target="units", rate=0.5, trials=1)[0]
    np.testing.assert_allclose(in_trial, by_hand, atol=1e-6)


@pytest.mark.slow
def test_what_a_large_sweep_held_is_free_when_it_ends():
    """Compiled programs are cycles: without a collection those of all layers were alive at once."""
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    x, y = np.zeros((2500, 32, 32, 1), np.float32), np.zeros(2500, int)  # 72 MB of activations
    gc.collect()
    gc.disable()
    try:
        faults.sweep(model, x, y, target="units", rates=[0.5], trials=1, seed=0)
        alive = [found for found in gc.get_objects() if isinstance(found, TrialProgram)]
    finally:
        gc.enable()
    assert not alive


def test_kept_clean_activations_change_no_bit():
    inputs = keras.Input((8, 8, 1))
    hidden = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    hidden = layers.Dense(10, activation="relu")(layers.Flatten()(hidden))
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    x, y = rng().normal(size=(64, 8, 8, 1)).astype(np.float32), rng(1).integers(0, 3, 64)
    where = {"target": "units", "rates": [0.2, 0.5], "trials": 3, "seed": 0, "batch_size": 16}
    kept = faults.sweep(model, x, y, **where)
    computed = faults.sweep(model, x, y, cache_bytes=0, **where)
    assert kept.equals(computed)


def test_one_linear_layer_has_the_closed_forms():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    generator = rng(2)
    weight, bias = generator.normal(size=(6, 1)), generator.normal(size=1)
    model.set_weights([weight, bias])
    x = generator.normal(size=(1, 6)).astype(np.float32)
    rate, trials = 0.3, 1500
    parts = weight[:, 0] * x[0]
    kernels = faults.Select(parameters="kernels")
    options = {"target": "weights", "rate": rate, "trials": trials, "select": kernels}
    drawn = all_trial_logits(model, x, allocation="bernoulli", **options)[:, 0, 0]
    variance = rate * (1 - rate) * (parts**2).sum()
    mean = (1 - rate) * parts.sum() + bias[0]
    assert drawn.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / trials))
    assert drawn.var() == pytest.approx(variance, rel=0.15)
    exact = all_trial_logits(model, x, **{**options, "rate": 1 / 3})[:, 0, 0]  # 2 of 6
    finite = 2 * 4 / (6 * 5) * ((parts - parts.mean()) ** 2).sum()
    assert exact.mean() == pytest.approx(
        2 / 3 * parts.sum() + bias[0], abs=4 * np.sqrt(finite / trials)
    )
    assert exact.var() == pytest.approx(finite, rel=0.15)
    predicted = faults.first_order(model, x, target="weights", select=kernels)
    assert predicted.variance(1 / 3)[0, 0] == pytest.approx(finite, rel=1e-5)
    own = faults.first_order(model, x, target="weights", select=kernels, allocation="bernoulli")
    assert own.variance(rate)[0, 0] == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_first_order_shift_of_a_bias_free_relu_network_is_minus_p_l_z(depth):
    model = dense_net([6, *[9] * (depth - 1), 3], use_bias=False)
    x = rng(1).normal(size=(5, 6)).astype(np.float32)
    shift = faults.first_order(model, x, target="weights").mean_change(1e-3)
    np.testing.assert_allclose(shift, -1e-3 * depth * metrics.predict_logits(model, x), rtol=1e-4,
                               atol=1e-7)  # fmt: skip


def test_prediction_agrees_with_trials_at_small_rates_and_not_at_large_ones():
    model = dense_net([8, 30, 30, 4])
    x = rng(3).normal(size=(8, 8)).astype(np.float32)
    for target in ("weights", "units"):
        table = faults.compare_with_trials(
            model, x, target=target, rates=[0.02, 0.9], trials=150, seed=0, allocation="bernoulli"
        )
        assert table["holds"].tolist() == [True, False]
        assert faults.holds_up_to(table) == 0.02


def test_all_fault_sets_of_a_small_network_are_covered():
    model = dense_net([3, 4, 4, 2], seed=5)
    x, y = rng(4).normal(size=(40, 3)).astype(np.float32), rng(5).integers(0, 2, 40)
    plan = make_plan(model, target="units")
    campaign = Campaign(model, plan, x, y, batch_size=40)
    with campaign.armed():
        by_set = {
            chosen: campaign.run(masks_of(plan, np.isin(np.arange(8), chosen)))["accuracy"]
            for chosen in itertools.combinations(range(8), 3)
        }
    truth = np.mean(list(by_set.values()))
    frame = faults.sweep(model, x, y, target="units", rates=[3 / 8], trials=1200, seed=6)
    assert set(frame["faults"]) == {3}
    campaigns = frame["accuracy"].to_numpy().reshape(60, 20)
    found = [intervals.mean(values, unit="trial") for values in campaigns]
    assert np.mean([i.low <= truth <= i.high for i in found]) >= 0.95 - 3 * np.sqrt(0.0475 / 60)
    assert frame["accuracy"].mean() == pytest.approx(truth, abs=4 * frame["accuracy"].sem())


def test_rescaled_relu_layers_have_the_same_curve_to_the_bit():
    model, x = dense_net([7, 12, 10, 4]), rng().normal(size=(60, 7)).astype(np.float32)
    y = rng(1).integers(0, 4, 60)
    where = {"rates": [0, 0.3, 0.6, 0.9], "trials": 3, "seed": 2}
    before = [faults.sweep(model, x, y, target=target, **where) for target in ("weights", "units")]
    spread = metrics.parameter_spread(model.get_weights())
    weights = model.get_weights()
    weights[0], weights[1] = weights[0] * 2**6, weights[1] * 2**6
    weights[2] = weights[2] / 2**6
    model.set_weights(weights)
    after = [faults.sweep(model, x, y, target=target, **where) for target in ("weights", "units")]
    for one, other in zip(before, after, strict=True):
        assert one.equals(other)
    assert metrics.parameter_spread(weights).equation_10 > 3 * spread.equation_10


@pytest.mark.parametrize("target", ["weights", "units", "both"])
def test_counts_are_exact_over_the_model_and_per_layer(target):
    model = dense_net([7, 10, 6, 4])
    for rate in (0.0, 0.05, 0.25, 0.5, 0.77, 1.0):
        for allocation in ("model", "layer"):
            plan = make_plan(model, target=target, allocation=allocation)
            masks = plan.trial(seed=1, trial=0).masks(rate)
            populations = {}
            for group in plan.groups:
                key = (group.target, group.layer if allocation == "layer" else "")
                populations[key] = populations.get(key, 0) + group.size
            assert masks.count == sum(round(rate * size) for size in populations.values())


@pytest.mark.parametrize("target", ["weights", "units"])
def test_layers_of_one_name_in_two_nested_models_have_counts_of_their_own(target):
    def block(size):
        hidden = layers.Dense(5, activation="relu", name="hidden")
        return keras.Sequential([keras.Input((size,)), hidden])

    inputs = keras.Input((4,))
    first = layers.Dense(6, activation="relu", name="first")(inputs)
    model = keras.Model(inputs, layers.Dense(3, name="head")(block(5)(block(6)(first))))
    plan = make_plan(model, target=target, allocation="layer")
    for rate in (0.2, 0.4, 0.6, 0.8):
        faulty = plan.trial(seed=2, trial=0).masks(rate).faulty[target]
        by_layer = np.split(faulty, np.cumsum([g.size for g in plan.groups])[:-1])
        if target == "weights":  # kernel and bias of a layer are one population
            by_layer = [np.concatenate(by_layer[i : i + 2]) for i in range(0, len(by_layer), 2)]
        assert [part.sum() for part in by_layer] == [round(rate * len(part)) for part in by_layer]


def test_paired_models_share_their_sites():
    first, second = dense_net([7, 10, 4], seed=1), dense_net([7, 10, 4], seed=2)
    patterns = []
    for model in (first, second):
        with faults.inject(model, target="weights", rate=0.4, seed=9, trial=3):
            patterns.append(np.concatenate([w.ravel() == 0 for w in model.get_weights()]))
    np.testing.assert_array_equal(*patterns)


def test_the_first_order_effect_of_a_bit_is_that_of_what_it_does():
    """The highest bit of a float32 is its sign; a pattern of points is its fault."""
    model, x = dense_net([6, 9, 3]), rng(2).normal(size=(4, 6)).astype(np.float32)
    for target, select in (("weights", None), ("units", faults.Select(units="positions"))):
        where = {"target": target, "select": select}
        expected = faults.first_order(model, x, fault=faults.SignFlip(), **where)
        same = [faults.BitErrors(bits=(31, 31)), faults.BitErrors("as_stored", bits=(31, 31))]
        if target == "units":
            same.append(faults.Patterned("point", faults.SignFlip()))
        for fault in same:
            found = faults.first_order(model, x, fault=fault, **where)
            np.testing.assert_array_equal(found.shift, expected.shift)
            np.testing.assert_array_equal(found.squares, expected.squares)
    assert (expected.shift != 0).any()
