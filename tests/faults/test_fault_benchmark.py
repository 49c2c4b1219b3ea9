"""The benchmark's rows: both loops run on the same images, and its arithmetic adds up."""

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.faults.benchmark import IMAGES, benchmark_faults


@pytest.fixture(scope="module")
def rows():
    return benchmark_faults(architecture="fmnist_dnn", rounds=1, epochs=1)


def test_a_row_for_each_target_on_a_trained_model(rows):
    assert [row["target"] for row in rows] == ["weights", "units"]
    for row in rows:
        assert row["images"] == IMAGES
        assert row["data"]
        assert 0.5 < row["clean_accuracy"] < 1  # one epoch of Adam on Fashion-MNIST
    assert rows[0]["clean_accuracy"] == rows[1]["clean_accuracy"]  # the weights came back


def test_ratios_are_those_of_the_times_beside_them(rows):
    for row in rows:
        assert row["ratio"] == pytest.approx(row["loop_seconds"] / row["trial_seconds"])
        assert row["loop_interval_seconds"] == pytest.approx(
            row["loop_trials"] * row["loop_seconds"]
        )
        assert row["interval_ratio"] == pytest.approx(
            row["loop_interval_seconds"] / row["interval_seconds"]
        )
        assert row["loop_trials"] >= 12 and 2 <= row["images_per_trial"] <= IMAGES


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="rounds=0"):
        benchmark_faults(rounds=0)
