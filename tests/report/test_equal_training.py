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


def test_the_first_epoch_that_reaches_it(run):
    record = run(history=HISTORY)
    assert equal_training.gap_at(record, 0.90) == (2, 0.90, pytest.approx(0.04))
    assert equal_training.gap_at(record, 0.91) == (3, 0.95, pytest.approx(0.08))
    assert equal_training.gap_at(record, 0.999) is None
    assert equal_training.gap_at(run(history={"accuracy": [0.9]}), 0.5) is None


def test_a_short_robust_training_stands_beside_the_natural_one_at_its_level(run):
    records = [
        trades(run, train=0.91, test=0.86, history={}),
        run(train=0.99, test=0.88, history=HISTORY),
    ]
    records[0]["best_checkpoint"] = {"epoch": 3, "test_accuracy": 0.85, "robust_accuracy": 0.6}
    (line,) = equal_training.equal_training_frame(records).to_dict("records")
    assert line["gap"] == pytest.approx(0.05)
    assert line["natural_gap"] == pytest.approx(0.11)
    assert line["natural_epoch"] == 3
    assert line["natural_gap_there"] == pytest.approx(0.08)
    assert line["difference_there"] == pytest.approx(-0.03)
    assert (line["best_epoch"], line["best_robust"]) == (3, 0.6)


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
