"""Gaps at equal training accuracy, by hand."""

import pytest

from ft_tf.report import equal_training

HISTORY = {
    "epoch": [1, 2, 3, 4],
    "train_accuracy": [0.80, 0.90, 0.95, 0.99],
    "test_accuracy": [0.79, 0.86, 0.87, 0.88],
}


def trades(run, **changes):
    return run(row="table_5/fmnist_dnn/trades", algorithm="trades", **changes)


def test_the_gap_is_interpolated_to_the_level(run):
    """After the first epoch above 91%, which ends at 95%, it is 8 points: of a better fit."""
    record = run(history=HISTORY)
    assert equal_training.gap_at(record, 0.90) == (2, pytest.approx(0.04))
    assert equal_training.gap_at(record, 0.91) == pytest.approx((2.2, 0.04 + 0.2 * 0.04))
    assert equal_training.gap_at(record, 0.999) is None
    assert equal_training.gap_at(record, 0.80) == (1, pytest.approx(0.01))
    assert equal_training.gap_at(record, 0.79) is None  # passed before anything was measured
    assert equal_training.gap_at(run(history={"accuracy": [0.9]}), 0.5) is None


def test_epochs_that_were_not_measured_are_stepped_over(run):
    history = {
        "epoch": [1, 2, 3],
        "train_accuracy": [0.8, None, 1.0],
        "test_accuracy": [0.8, None, 0.9],
    }
    assert equal_training.gap_at(run(history=history), 0.9) == pytest.approx((2, 0.05))


def test_a_level_that_is_passed_twice_counts_at_first(run):
    history = {
        "epoch": [1, 2, 3, 4],
        "train_accuracy": [0.8, 0.9, 0.7, 0.95],
        "test_accuracy": [0.8, 0.88, 0.7, 0.9],
    }
    assert equal_training.gap_at(run(history=history), 0.85) == pytest.approx((1.5, 0.01))


def test_a_short_robust_training_stands_beside_the_natural_one_at_its_level(run):
    records = [
        trades(run, train=0.91, test=0.86, history={}),
        run(train=0.99, test=0.88, history=HISTORY),
    ]
    records[0]["best_checkpoint"] = {
        "epoch": 3,
        "test_accuracy": 0.85,
        "robust_accuracy": 0.6,
        "attack_steps": 50,
    }
    (line,) = equal_training.equal_training_frame(records).to_dict("records")
    assert line["gap"] == pytest.approx(0.05)
    assert line["natural_gap"] == pytest.approx(0.11)
    assert line["natural_epoch"] == pytest.approx(2.2)
    assert line["natural_gap_there"] == pytest.approx(0.048)
    assert line["difference_there"] == pytest.approx(0.002)
    assert (line["best_epoch"], line["best_robust"], line["best_attack"]) == (3, 0.6, "PGD-50")


def test_table_6_is_compared_to_the_natural_row_of_table_4(run):
    cifar = {"architecture": "cifar10_cnn", "dataset": "cifar10"}
    records = [
        run(row="table_6/cifar10_cnn/trades/2_255", algorithm="trades", **cifar),
        run(row="table_4/cifar10_cnn/natural", **cifar),
        run(row="table_4/cifar10_cnn/natural", **cifar, label="augmented"),
    ]
    records[2]["config"]["augment"] = True
    ((row, robust, natural),) = equal_training.robust_pairs(records)
    assert row == "table_6/cifar10_cnn/trades/2_255"
    assert natural.names == records[1]["name"]
    assert robust.names == records[0]["name"]
