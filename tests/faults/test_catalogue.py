"""Fault models by name, and how tables and files call them."""

import pytest

from ft_tf import faults
from ft_tf.errors import ArgumentError
from ft_tf.faults import catalogue


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("stuck_at_0", {}, faults.StuckAt(0.0)),
        ("stuck_at", {"value": -2.5, "sigma": None}, faults.StuckAt(-2.5)),
        ("gaussian", {"sigma": 0.3}, faults.GaussianNoise(0.3)),
        ("sign_flip", {}, faults.SignFlip()),
        ("bit_flip", {"storage": "int8", "scale": 0.1, "bits": (0, 6), "flips": 2},
         faults.BitFlip("int8", (0, 6), 0.1, 2)),
        ("bit_errors", {"storage": "bfloat16"}, faults.BitErrors("bfloat16")),
    ],
)  # fmt: skip
def test_names_and_options(name, options, expected):
    assert catalogue.named(name, options) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stuck", {}, "fault='stuck'"),
        ("gaussian", {}, "sigma=None"),
        ("sign_flip", {"storage": "int8"}, "storage='int8' is not an option"),
        ("bit_errors", {"flips": 2}, "flips=2 is not an option"),
    ],
)
def test_what_does_not_fit_is_named(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        catalogue.named(name, options)


def test_a_fault_model_in_place_of_its_class_is_refused_at_once():
    with pytest.raises(ArgumentError, match="must be a class of fault models"):
        catalogue.register("mine", faults.SignFlip())
    assert "mine" not in catalogue.names()


def test_settings_state_bits_and_step():
    assert catalogue.settings(faults.BitFlip("int8")) == {
        "fault": "BitFlip(storage='int8', bits=None, scale=None, flips=1)",
        "storage": "int8",
        "bits": "0-7",
        "quantization_step": "max|w| / 127 of each tensor",
    }
    assert catalogue.settings(faults.BitErrors("int8", (7, 7), 0.5))["quantization_step"] == "0.5"
    assert catalogue.settings(faults.StuckAt(0.0))["storage"] is None


def test_labels_of_different_settings_differ():
    options = [{}, {"storage": "int8"}, {"storage": "int8", "bits": (0, 6)}, {"flips": 2}]
    assert len({catalogue.label("bit_flip", o) for o in options}) == 4
    assert catalogue.label("stuck_at_0", {"value": None}) == "stuck_at_0"
