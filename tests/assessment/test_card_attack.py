"""The attack of a card: its bounds, images without logits, and two cards' accuracies."""

import dataclasses

import numpy as np
import pytest
import subjects

from ft_tf import assess
from ft_tf.assessment import page
from ft_tf.assessment.attack import bounds_of

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
