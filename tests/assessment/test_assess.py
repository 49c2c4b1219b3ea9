"""`assess`: every figure is that of the underlying function, within the time, and resumable."""

import time

import numpy as np
import pytest
import subjects

from ft_tf import assess, assessment, attacks, faults, metrics
from ft_tf._compat import keras
from ft_tf.assessment.card import unpacked
from ft_tf.errors import ArgumentError, RunError
from ft_tf.faults.catalogue import named
from ft_tf.privacy import membership


def drawn(options):
    order = np.random.default_rng(options["seed"]).permutation(len(options["y_test"]))
    return options["x_test"][order], options["y_test"][order]


@pytest.mark.parametrize(
    ("key", "fault"), [("weights", "stuck_at_0"), ("units", "stuck_at_0"), ("bits", "bit_errors")]
)
def test_a_curve_is_what_sweep_gives(card, options, key, fault):
    curve = card.curves[key]
    frame = faults.sweep(
        subjects.classifier(), *drawn(options), target=curve.target, fault=named(fault, {}),
        rates=curve.rates, trials=curve.trials, seed=options["seed"],
        images_per_trial=options["images_per_trial"],
    )  # fmt: skip
    for rate, values, lost in zip(curve.rates, curve.accuracy, curve.lost, strict=True):
        rows = frame[frame["rate"] == rate]
        assert rows["accuracy"].tolist() == list(values)
        assert rows["accuracy_lost"].tolist() == list(lost)
    figures = faults.curve_figures(frame, classes=subjects.CLASSES)
    assert curve.half.value == pytest.approx(figures.half_rate, rel=1e-12)
    one_point, _ = faults.lost_rate(frame, points=0.01)
    assert curve.one_point.value == pytest.approx(one_point, rel=1e-12)
    assert curve.fault == named(fault, {}).name


def test_layers_are_what_sweep_gives_with_that_layer_selected(card, options):
    assert sorted(card.layers) == ["hidden", "logits"]
    for name, part in card.layers.items():
        frame = faults.sweep(
            subjects.classifier(), *drawn(options), target="weights", rates=part.rates,
            trials=part.trials, seed=options["seed"], images_per_trial=100,
            select=faults.Select(layers=(name,)),
        )  # fmt: skip
        assert frame["accuracy_lost"].tolist() == list(part.lost[0])


def test_the_highest_exponent_bit_matters_and_the_lowest_of_the_fraction_does_not(card):
    found = {name: part.mean[0] for name, part in card.bits.items()}
    assert set(found) == {*map(str, range(20, 32)), "0-19"}
    assert found["30"] > 0.1 > 0.01 > abs(found["0-19"])


def test_accuracies_are_those_of_the_model(card, options):
    model, x, y = subjects.classifier(), options["x_test"], options["y_test"]
    right = metrics.predicted_labels(metrics.predict_logits(model, x)) == y
    assert unpacked(card.clean.right, len(y)).tolist() == right.tolist()
    assert card.clean.accuracy == right.mean()
    assert 0.5 < card.clean.accuracy < 1  # or the rest would say nothing


def test_each_block_of_images_is_attacked_with_its_seed(card, options):
    robust, (x, y) = card.robust, drawn(options)
    survived = unpacked(robust.survived, robust.images)
    for number in range(2):
        place = slice(number * robust.block, (number + 1) * robust.block)
        result = attacks.evaluate(
            subjects.classifier(), x[place], y[place], attack=robust.attack, epsilon=8 / 255,
            seed=options["seed"] + number, sanity=False,
        )  # fmt: skip
        assert (~result.success).tolist() == survived[place].tolist()
    assert robust.accuracy == survived.mean()


def test_membership_is_that_of_the_losses(card, options):
    def log_odds(split):
        logits = metrics.predict_logits(subjects.classifier(), options[f"x_{split}"])
        return metrics.error_log_odds(logits, options[f"y_{split}"])

    order = np.random.default_rng(options["seed"]).permutation(len(options["y_train"]))
    found = membership.loss_threshold_attack(
        member_log_odds=log_odds("train")[order], other_log_odds=log_odds("test")
    )
    assert card.membership.advantage == found.advantage
    assert card.membership.true_positive_interval == found.true_positive_interval


def test_the_budget_is_kept(card, twice):
    assert 0.85 * subjects.BUDGET < card.spent < 1.15 * subjects.BUDGET
    assert 1.7 * subjects.BUDGET < twice.spent < 2.3 * subjects.BUDGET


@pytest.mark.exhaustive
def test_the_budget_is_kept_in_seconds(options):
    started = time.monotonic()
    found = assess(subjects.classifier(), **options, budget="40 s")
    assert 32 < found.spent < 48 and time.monotonic() - started < 60


def test_twice_the_budget_continues_where_intervals_are_widest(card, twice):
    widths = []
    for key, curve in card.curves.items():
        later = twice.curves[key]
        assert later.rates == curve.rates
        for before, after in zip(curve.accuracy, later.accuracy, strict=True):
            assert after[: len(before)] == before
        widths.append([max(np.array(c.high) - np.array(c.low)) for c in (curve, later)])
        assert widths[-1][1] <= widths[-1][0]
    before, after = max(widths)
    assert after < 0.8 * before


def test_the_weights_are_untouched(card):
    assert (
        assessment.run.weights_fingerprint(subjects.classifier()) == card.model.weights_fingerprint
    )


def test_a_directory_holds_the_card_of_one_model_and_setting(card, place, options):
    with pytest.raises(RunError, match="card.json is of another settings: name"):
        assess(
            subjects.classifier(),
            **{**options, "seed": 4},
            budget=1,
            output_dir=place,
            now=subjects.Ticks(),
        )
    with pytest.raises(RunError, match="card.json is of another model: name"):
        assess(
            subjects.classifier(seed=1), **options, budget=1, output_dir=place, now=subjects.Ticks()
        )


def test_what_is_missing_is_said(card):
    missing = {item.what: item.why for item in card.not_measured}
    assert missing["epsilon of the training"] == "no record of the training was given"
    assert "another training" in missing


def test_tokens_are_not_attacked_and_a_sigmoid_has_two_classes():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(7, 3), layers.Flatten(),
         layers.Dense(1, activation="sigmoid")]
    )  # fmt: skip
    generator = np.random.default_rng(0)
    x = generator.integers(0, 7, (60, 5)).astype(np.int32)
    y = (model.predict(x, verbose=0)[:, 0] > 0.5).astype(np.int64)
    found = assess(model, x, y, budget=1.5, now=subjects.Ticks())
    assert found.model.classes == 2 and found.clean.accuracy == 1.0
    why = {item.what: item.why for item in found.not_measured}["attack"]
    assert why == "inputs of dtype int32 cannot be changed a little"
    assert found.robust is None and "weights" in found.curves


def test_a_protection_repeats_the_trials_of_bit_errors(card, options):
    part = card.protections["fraction only"]
    bits = card.curves["bits"]
    frame = faults.sweep(
        subjects.classifier(), *drawn(options), target="weights", rates=part.rates,
        trials=part.trials, seed=3, images_per_trial=100,
        fault=subjects.fraction_only(None, None)[1],
    )  # fmt: skip
    assert frame["accuracy_lost"].tolist() == list(part.lost[0])
    assert part.mean[0] < np.mean(bits.lost[bits.rates.index(part.rates[0])])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "soon"}, "budget='soon' must be a time such as '10 min'"),
        ({"budget": 0}, "budget=0 must be a finite number > 0"),
        ({"storage": "int9"}, "storage='int9' must be one of"),
        ({"attack": "rays"}, "attack='rays' must be one of"),
        ({"x_train": np.zeros((2, 6, 6, 1))}, "x_train and y_train must be given together"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(options, given, message):
    options = {key: options[key] for key in ("x_test", "y_test")} | given
    with pytest.raises(ArgumentError) as caught:
        assess(subjects.classifier(), **options)
    assert str(caught.value).startswith(message)
