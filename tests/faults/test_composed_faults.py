"""Faults per layer, transient ones, bursts, words and patterns: by hand and by closed forms."""

import itertools
import math

import numpy as np
import pytest

from ft_tf import faults
from ft_tf._compat import keras
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.composed import PATTERNS
from ft_tf.faults.plan import _mean_events

layers = keras.layers
DRAW = np.random.default_rng(2)
X = DRAW.normal(size=(90, 6)).astype(np.float32)
Y = DRAW.integers(0, 3, 90)


def dense():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(20, activation="relu", name="first"),
            layers.Dense(3, name="second"),
        ]
    )
    model.set_weights([DRAW.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


MODEL = dense()


def forward(weights, x, dead=None):
    """The model in NumPy; `dead` units [20] or [n, 20] of the first layer give 0."""
    hidden = np.maximum(x @ weights[0] + weights[1], 0)
    hidden = hidden if dead is None else np.where(dead, 0, hidden)
    return hidden @ weights[2] + weights[3]


def accuracy(logits):
    return np.mean(logits.argmax(axis=1) == Y)


def split(flat, shapes):
    parts, start = [], 0
    for shape in shapes:
        parts.append(flat[start : start + math.prod(shape)].reshape(shape))
        start += math.prod(shape)
    return parts


def test_each_layer_has_its_own_fault():
    fault = {"first": faults.StuckAt(2.0), "second/kernel": faults.SignFlip()}
    plan = faults.make_plan(MODEL, target="weights", fault=fault)
    assert [(g.name, g.fault) for g in plan.groups] == [
        ("first/kernel", faults.StuckAt(2.0)),
        ("first/bias", faults.StuckAt(2.0)),
        ("second/kernel", faults.SignFlip()),  # the bias of the second is left out
    ]
    clean = MODEL.get_weights()
    masks = plan.trial(seed=1, trial=0).masks(0.25)
    assert masks.count == round(0.25 * (120 + 20 + 60)) == np.count_nonzero(masks.faulty["weights"])
    one, two, three = split(masks.faulty["weights"], [(6, 20), (20,), (20, 3)])
    expected = [
        np.where(one, np.float32(2), clean[0]), np.where(two, np.float32(2), clean[1]),
        np.where(three, -clean[2], clean[2]), clean[3],
    ]  # fmt: skip
    with faults.inject(MODEL, target="weights", rate=0.25, seed=1, fault=fault) as injection:
        for found, wanted in zip(MODEL.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert injection.faults == masks.count
    frame = faults.sweep(MODEL, X, Y, target="weights", rates=[0.25], trials=1, seed=1, fault=fault)
    assert frame["accuracy"].tolist() == [accuracy(forward(expected, X))]
    for found, wanted in zip(MODEL.get_weights(), clean, strict=True):
        assert found.tobytes() == wanted.tobytes()


def test_bits_in_weights_and_dead_units_at_once():
    fault = {"weights:*kernel": faults.BitErrors("float32", (31, 31)), "units:*": faults.StuckAt()}
    options = {"target": "both", "fault": fault}
    plan = faults.make_plan(MODEL, **options)
    masks = plan.trial(seed=5, trial=2).masks(0.4)
    signs = split(masks.faulty["weights"], [(6, 20), (20, 3)])
    clean = MODEL.get_weights()
    weights = [clean[0] * np.where(signs[0], -1, 1), clean[1], clean[2] * np.where(signs[1], -1, 1),
               clean[3]]  # fmt: skip
    expected = accuracy(forward(weights, X, masks.faulty["units"]))
    frame = faults.sweep(MODEL, X, Y, rates=[0.4], trials=[2], seed=5, **options)
    assert frame["accuracy"].tolist() == [expected]
    assert frame["faults"].tolist() == [round(0.4 * 180) + round(0.4 * 20)]


def test_the_first_pattern_that_fits_counts():
    fault = faults.PerLayer({"first/bias": faults.SignFlip(), "first": faults.StuckAt()})
    plan = faults.make_plan(MODEL, target="weights", fault=fault)
    assert [g.fault for g in plan.groups] == [faults.StuckAt(), faults.SignFlip()]
    table = faults.layer_vulnerability(
        MODEL, X, Y, target="weights", rate=0.5, trials=2, seed=0, fault=fault
    )
    assert table[["layer", "sites"]].values.tolist() == [["whole model", 140], ["first", 140]]
    with pytest.raises(ModelError, match=r"faults='conv\*' fits no layer .* weights:first"):
        faults.make_plan(MODEL, target="weights", fault={"conv*": faults.SignFlip()})
    with pytest.raises(ModelError, match="faults='first' fits no layer or parameter that is left"):
        twice = (("fir*", faults.SignFlip()), ("first", faults.StuckAt()))
        faults.make_plan(MODEL, target="weights", fault=faults.PerLayer(twice))


@pytest.mark.parametrize("persistence", ["batch", "image"])
def test_transient_units_are_drawn_for_each_batch_or_image(persistence):
    options = {"target": "units", "persistence": persistence}
    plan = faults.make_plan(MODEL, **options)
    size = 40 if persistence == "batch" else 1
    dead = np.zeros((90, 20), bool)
    for number, first in enumerate(range(0, 90, size)):
        masks = plan.trial(seed=3, trial=1, draw=number).masks(0.3)
        assert masks.count == 6
        dead[first : first + size] = masks.faulty["units"]
    expected = accuracy(forward(MODEL.get_weights(), X, dead))
    frame = faults.sweep(MODEL, X, Y, rates=[0, 0.3], trials=[1], seed=3, batch_size=40, **options)
    assert frame["accuracy"].tolist() == [accuracy(forward(MODEL.get_weights(), X)), expected]
    assert frame["faults"].tolist() == [0, 6 * (3 if persistence == "batch" else 90)]
    assert frame.attrs["persistence"] == persistence
    some = faults.sweep(
        MODEL, X, Y, rates=[0.3], trials=[1], seed=3, images_per_trial=7, batch_size=3, **options
    )
    if persistence == "image":  # an image has its faults whichever others are tested
        rows = faults.campaign.image_rows(seed=3, trial=1, images=90, count=7)
        right = forward(MODEL.get_weights(), X, dead).argmax(axis=1) == Y
        assert some["accuracy"].tolist() == [np.mean(right[rows])]


def test_transient_weights_and_images_of_a_convolution():
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
         layers.Dense(3)]
    )  # fmt: skip
    x = DRAW.normal(size=(30, 6, 6, 1)).astype(np.float32)
    options = {
        "target": "units",
        "rates": [0.5],
        "trials": 1,
        "seed": 0,
        "fault": faults.SignFlip(),
    }
    frame = faults.sweep(model, x, Y[:30], persistence="image", **options)
    plan = faults.make_plan(model, target="units", fault=faults.SignFlip())
    first, rest = keras.Model(model.inputs, model.layers[0].output), model.layers[-1].get_weights()
    maps = first.predict(x, verbose=0)
    for image in range(30):
        mask = plan.trial(seed=0, trial=0, draw=image).masks(0.5).faulty["units"]
        maps[image] *= np.where(mask, -1, 1)
    logits = maps.reshape(30, -1) @ rest[0] + rest[1]
    assert frame["accuracy"].tolist() == [np.mean(logits.argmax(axis=1) == Y[:30])]
    weights = faults.sweep(
        model, x, Y[:30], target="weights", rates=[0.1], trials=2, seed=0, persistence="batch",
        batch_size=10, fault=faults.BitFlip("float32", (0, 29)),
    )  # fmt: skip
    plan = faults.make_plan(model, target="weights")
    assert weights["faults"].tolist() == [3 * round(0.1 * plan.sites)] * 2
    with pytest.raises(ArgumentError, match="persistence='image' is for target='units'"):
        faults.make_plan(model, target="weights", persistence="image")


def test_draws_of_a_trial_are_independent():
    plan = faults.make_plan(MODEL, target="weights", allocation="bernoulli")
    masks = np.stack([
        plan.trial(seed=0, trial=0, draw=draw).masks(0.3).faulty["weights"] for draw in range(400)
    ]).astype(float)  # fmt: skip
    same = np.mean(masks[1:] * masks[:-1])  # of neighbours: 0.3^2
    assert abs(same - 0.09) < 5 * math.sqrt(0.09 * 0.91 / masks[1:].size)
    permanent = plan.trial(seed=0, trial=0).masks(0.3).faulty["weights"]
    np.testing.assert_array_equal(masks[0], permanent)


def runs(flat):
    """Lengths of the runs of true entries, around the end."""
    if flat.all():
        return [len(flat)]
    start = int(np.argmin(flat))
    text = "".join("x" if bit else " " for bit in np.roll(flat, -start))
    return [len(run) for run in text.split()]


@pytest.mark.parametrize("length", [2, 5])
def test_bursts_are_adjacent_and_their_rate_is_that_of_bits(length):
    rate, trials = 0.1, 3000
    select = faults.Select(layers=("second",), parameters="kernels")
    fault = faults.BurstErrors("int8", length=length)
    plan = faults.make_plan(
        MODEL, target="weights", fault=fault, select=select, allocation="bernoulli"
    )
    hits = np.zeros(480)
    for trial in range(trials):
        masks = plan.trial(seed=6, trial=trial).masks(rate)
        flat = masks.faulty["weights"]
        assert masks.count == np.count_nonzero(flat)
        assert min(runs(flat), default=length) >= length
        hits += flat
    assert abs(hits.mean() / trials - rate) < 5 * math.sqrt(rate * length / (480 * trials))
    spread = math.sqrt(rate * (1 - rate) / trials)
    assert np.abs(hits / trials - rate).max() < 5 * spread  # of 480 sites; no edge is preferred
    exact = faults.make_plan(MODEL, target="weights", fault=fault, select=select)
    counts = [exact.trial(seed=6, trial=trial).masks(rate).count for trial in range(500)]
    assert abs(np.mean(counts) / 480 - rate) < 4 * np.std(counts) / 480 / math.sqrt(500)


def test_bursts_invert_the_bits_of_neighbouring_words():
    select = faults.Select(layers=("first",), parameters="biases")
    fault = faults.BurstErrors("float32", length=40)
    plan = faults.make_plan(MODEL, target="weights", fault=fault, select=select)
    bits = plan.trial(seed=0, trial=0).masks(0.1).faulty["weights"].reshape(20, 32)
    clean = MODEL.get_weights()[1].view(np.uint32)
    expected = clean ^ (bits * (1 << np.arange(32, dtype=np.uint64))).sum(axis=1).astype(np.uint32)
    with faults.inject(MODEL, target="weights", rate=0.1, seed=0, fault=fault, select=select):
        np.testing.assert_array_equal(MODEL.get_weights()[1].view(np.uint32), expected)


def test_random_words():
    select = faults.Select(layers=("first",), parameters="kernels")
    fault = faults.WordErrors("float32", (0, 22), length=3)
    plan = faults.make_plan(MODEL, target="weights", fault=fault, select=select)
    clean = MODEL.get_weights()[0].view(np.uint32).ravel()
    flipped = []
    for trial in range(200):
        where = {"target": "weights", "rate": 0.3, "seed": 8, "fault": fault, "select": select}
        mask = plan.trial(seed=8, trial=trial).masks(0.3).faulty["weights"]
        with faults.inject(MODEL, trial=trial, **where) as injection:
            changed = MODEL.get_weights()[0].view(np.uint32).ravel() ^ clean
        assert injection.faults == np.count_nonzero(mask)
        assert not changed[~mask].any()
        assert min(runs(mask)) >= 3
        flipped.append(changed[mask])
    bits = (np.concatenate(flipped)[:, None] >> np.arange(32)) & 1
    assert not bits[:, 23:].any()
    assert np.abs(bits[:, :23].mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(len(bits))


def patterned_by_hand(pattern, shape, site, block):
    """The values that fail with one."""
    found = np.zeros(shape, bool)
    row, column, channel = site
    if pattern == "block":
        for i in range(min(block, shape[0])):
            for j in range(min(block, shape[1])):
                found[(row + i) % shape[0], (column + j) % shape[1], channel] = True
    else:
        found[{
            "point": site, "row": (row, slice(None), channel),
            "channel": (slice(None), slice(None), channel), "position": (row, column),
        }[pattern]] = True  # fmt: skip
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_on_an_output(pattern):
    shape, rate, trials = (4, 5, 3), 0.2, 4000
    fault = faults.Patterned(pattern, block=2)
    for site in np.ndindex(shape):
        event = np.zeros((1, *shape, 1), bool)
        event[(0, *site, 0)] = True
        expected = patterned_by_hand(pattern, shape, site, 2)
        np.testing.assert_array_equal(fault.spread(event)[0, ..., 0], expected)
        assert fault.together(shape) == expected.sum()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6, 7, 1)), layers.Conv2D(3, 3, name="conv"), layers.Flatten(),
         layers.Dense(2)]
    )  # fmt: skip
    options = {"target": "units", "fault": fault, "select": faults.Select(units="positions")}
    plan = faults.make_plan(model, allocation="bernoulli", **options)
    (group,) = plan.groups
    assert group.shape == shape
    hits = np.zeros(shape)
    for trial in range(trials):
        hits += plan.trial(seed=1, trial=trial).masks(rate).faulty["units"].reshape(shape)
    assert np.abs(hits / trials - rate).max() < 4.5 * math.sqrt(rate * (1 - rate) / trials)
    x = DRAW.normal(size=(20, 6, 7, 1)).astype(np.float32)
    mask = faults.make_plan(model, **options).trial(seed=0, trial=0).masks(0.4).faulty["units"]
    inner = keras.Model(model.inputs, model.get_layer("conv").output).predict(x, verbose=0)
    weights = model.layers[-1].get_weights()
    logits = np.where(mask, 0, inner.reshape(20, -1)) @ weights[0] + weights[1]
    y = np.zeros(20, int)
    frame = faults.sweep(model, x, y, rates=[0.4], trials=1, seed=0, **options)
    assert frame["accuracy"].tolist() == [np.mean(logits.argmax(axis=1) == 0)]


def test_what_patterns_and_bursts_are_not_for():
    with pytest.raises(ArgumentError, match=r"pattern='row' needs select=Select\(units='positions"):
        faults.make_plan(MODEL, target="units", fault=faults.Patterned("row"))
    with pytest.raises(ArgumentError, match="pattern='row' is for target='units'"):
        faults.make_plan(MODEL, target="weights", fault=faults.Patterned("row"))
    with pytest.raises(ArgumentError, match="must be a fault model of single values"):
        faults.Patterned("row", faults.BurstErrors())
    with pytest.raises(ArgumentError, match="is for inject, FaultInjection and sweep"):
        faults.wrap(MODEL, target="weights", rate=0.1, fault=faults.BurstErrors())


@pytest.mark.parametrize(
    "fault", [faults.BurstErrors("int8"), faults.WordErrors("int8", length=2)], ids=repr
)
def test_faults_at_a_rate_are_among_those_at_a_higher_one(fault):
    plan = faults.make_plan(MODEL, target="weights", fault=fault, allocation="layer")
    trial = plan.trial(seed=2, trial=0)
    low, high = (trial.masks(rate).faulty["weights"] for rate in (0.05, 0.3))
    assert low.any() and not (low & ~high).any()
    assert trial.masks(1.0).faulty["weights"].all() and not trial.masks(0.0).count


RATES = (0.005, 0.01, 0.02, 0.04, 0.3, 0.9)


def mean_shares(plan, trials):
    """Mean share of faulty values at each rate, whose faults must be nested in every trial."""
    shares = []
    for number in range(trials):
        trial = plan.trial(seed=4, trial=number)
        masks = [trial.masks(rate).faulty[plan.groups[0].target] for rate in RATES]
        assert not any((low & ~high).any() for low, high in itertools.pairwise(masks))
        shares.append([mask.mean() for mask in masks])
    return np.array(shares)


@pytest.mark.parametrize("allocation", ["model", "layer"])
@pytest.mark.parametrize("fault", [
    *(faults.Patterned(pattern) for pattern in PATTERNS[1:]),
    faults.BurstErrors("int8", length=32), faults.WordErrors("int8", length=9),
], ids=repr)  # fmt: skip
def test_every_value_is_faulty_at_the_rate_though_events_are_few(fault, allocation):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(6, 3, padding="same"), layers.Conv2D(4, 3),
         layers.Flatten(), layers.Dense(3)]
    )  # fmt: skip
    where = {"target": "weights"}
    if isinstance(fault, faults.Patterned):
        where = {"target": "units", "select": faults.Select(units="positions")}
    plan = faults.make_plan(model, fault=fault, allocation=allocation, **where)
    shares = mean_shares(plan, 400)
    error = shares.std(axis=0) / math.sqrt(len(shares))
    assert (np.abs(shares.mean(axis=0) - RATES) < 4 * error).all()
    again = [plan.trial(seed=4, trial=7).masks(rate).count / plan.sites for rate in RATES]
    np.testing.assert_allclose(again, shares[7])


def test_the_mean_number_of_events_is_exact():
    """Every set of events of a small circle, by enumeration."""
    sites, together = 7, 3
    covered = [np.isin(np.arange(sites), np.arange(e, e + together) % sites) for e in range(sites)]
    for rate in (0.0, 0.1, 0.45, 0.8, 0.95, 1.0):
        mean = _mean_events(rate, sites, together)
        share = {
            count: np.mean([np.any([covered[e] for e in events] + [np.zeros(sites)], axis=0).mean()
                            for events in itertools.combinations(range(sites), count)])
            for count in (math.floor(mean), math.ceil(mean))
        }  # fmt: skip
        above = mean - math.floor(mean)
        found = (1 - above) * share[math.floor(mean)] + above * share[math.ceil(mean)]
        assert found == pytest.approx(rate, abs=1e-12)
