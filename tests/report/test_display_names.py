"""Names of runs, where a record has less or other things than ours have."""

import pytest

from ft_tf.report import display_names


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5000", "5,000 training images held out"), ("", "no training images held out"),
     ("0", "no training images held out"), ("None", "holdout None")],
)  # fmt: skip
def test_images_held_out_are_counted_or_named_as_they_stand(value, expected):
    assert display_names._setting("holdout", value) == expected


@pytest.mark.parametrize(
    ("config", "name"),
    [({"optimizer": "adam", "learning_rate": 5e-4}, "natural by Adam at rate 0.0005"),
     ({"optimizer": "adam"}, "natural by Adam"), ({"optimizer": None}, "natural"), ({}, "natural")],
)  # fmt: skip
def test_an_optimizer_other_than_sgd_is_named(config, name):
    config = {"algorithm": {"name": "natural"}, "epochs": 1, "architecture": "a", **config}
    assert display_names.describe_run(config, {}).split(";")[0] == name
