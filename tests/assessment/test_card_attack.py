"""The attack of a card: its bounds, images without logits, and two cards' accuracies."""

import dataclasses

import numpy as np
import pytest
import subjects

from ft_tf import assess, intervals
from ft_tf._compat import keras, tf
from ft_tf.assessment import comparison, page
from ft_tf.assessment.attack import RobustMeasurement, bounds_of
from ft_tf.assessment.card import packed, unpacked
from ft_tf.errors import ModelError

BARE = {"protections": {}, "attack": "fgsm", "budget": 20}


def pixels(highest, dtype=np.float32):
    return np.linspace(0, highest, 16).reshape(1, 4, 4, 1).astype(dtype)


@pytest.mark.parametrize(
    ("x", "bounds"),
    [
        (pixels(1.0), (0, 1)),
        (pixels(1.0000002), (0, 1)),  # as tf.image.resize rounds
        (pixels(1.0) - np.float32(2e-7), (0, 1)),
        (pixels(2.5), (0, 2.5)),  # over the standard deviation
        (pixels(1.01), (0, float(np.float32(1.01)))),
        (pixels(15.0), (0, 15)),
        (pixels(255.0), (0, 255)),
        (pixels(200.5), (0, 200.5)),
        (pixels(255, np.uint8), (0, 255)),
        (pixels(30, np.int64), (0, 255)),
        (pixels(1, np.uint8), (0, 1)),
        (pixels(1.0) - 0.5, (-0.5, 0.5)),
        (np.array([["text"]]), (0, 1)),
    ],
)
def test_bounds_are_those_of_pixels_or_what_occurs(x, bounds):
    assert bounds_of(x) == bounds


def test_a_pixel_that_rounding_put_above_1_changes_no_radius_and_the_card_says_its_bounds():
    x, y = subjects.images(60, seed=1)
    x[7, 3, 3, 0] = 1.0000002
    found = assess(subjects.classifier(), x, y, **BARE, now=subjects.Ticks())
    assert (found.settings.bounds, found.settings.epsilon) == ((0.0, 1.0), 8 / 255)
    row = next(row for row in page.rows_of(found) if row[0] == "accuracy under attack")
    assert row[3] == f"fgsm 8/255, {found.robust.images} images"
    wide = dataclasses.replace(found, settings=dataclasses.replace(found.settings, bounds=(0, 2.5)))
    row = next(row for row in page.rows_of(wide) if row[0] == "accuracy under attack")
    assert row[3] == f"fgsm 8/255 in [0, 2.5], {found.robust.images} images"


class Gap(keras.layers.Layer):
    """Logits of NaN for images whose first pixel is 0.125."""

    def call(self, pair):
        x, logits = pair
        return logits + tf.where(tf.equal(x[:, 0, 0, :1], 0.125), np.nan, 0.0)


@pytest.mark.parametrize("place", [2, 150])
def test_an_image_without_logits_counts_as_broken_in_whatever_block_it_is(place):
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, Gap()([inputs, subjects.classifier()(inputs)]))
    x, y = subjects.images(200, seed=1)
    order = np.random.default_rng(0).permutation(200)
    x[order[place], 0, 0, 0] = 0.125
    found = assess(model, x, y, **BARE | {"budget": 40}, now=subjects.Ticks())
    robust = found.robust
    assert "attack" not in [line.what for line in found.not_measured]
    assert robust.images == 200 > robust.block
    assert not unpacked(robust.survived, 200)[place]
    assert any("logits of NaN for 1 of " in line for line in robust.warnings)


def test_a_measurement_that_ends_in_an_error_keeps_what_it_has(monkeypatch):
    def fail(self, subject, deadline):
        raise ModelError("model=quarters has changed")

    monkeypatch.setattr(RobustMeasurement, "more", fail)
    x, y = subjects.images(200, seed=1)
    found = assess(subjects.classifier(), x, y, **BARE | {"budget": 40}, now=subjects.Ticks())
    why = {line.what: line.why for line in found.not_measured}
    assert why["attack"] == "ended early: model=quarters has changed"
    assert found.robust.images == found.robust.block < 200
    assert found.curves["weights"].trials > 10  # time went to the others


def attacked(card, images, right, block=20):
    """The card with the first images attacked, all of them right or none."""
    survived = packed(np.full(images, right))
    robust = dataclasses.replace(
        card.robust, images=images, survived=survived, accuracy=float(right), block=block
    )
    return dataclasses.replace(card, robust=robust)


def under_attack(first, second):
    return next(d for d in comparison.differences(first, second) if d.group == "attack")


def test_accuracies_under_attack_are_paired_by_image_whatever_the_block(card):
    line = under_attack(attacked(card, 40, True, block=20), attacked(card, 30, False, block=10))
    wanted = intervals.paired_proportions([True] * 30, [False] * 30)
    assert (line.low, line.high, line.paired) == (wanted.low, wanted.high, True)


@pytest.mark.parametrize("right", [True, False])
def test_unpaired_accuracies_have_an_interval_of_some_width(card, right):
    settings = dataclasses.replace(card.settings, seed=card.settings.seed + 1)
    second = dataclasses.replace(attacked(card, 20, right), settings=settings)
    line = under_attack(attacked(card, 40, True), second)
    wanted = intervals.independent_proportions([True] * 40, [right] * 20)
    assert (line.low, line.high, line.paired) == (wanted.low, wanted.high, False)
    assert line.high - line.low > 0.1
