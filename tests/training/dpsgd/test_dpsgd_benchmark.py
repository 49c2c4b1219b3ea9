"""The benchmark's rows: every contender runs, and the arithmetic of its columns."""

import numpy as np
import pytest

from ft_tf import architectures
from ft_tf.errors import RunError
from ft_tf.training.dpsgd import memory
from ft_tf.training.dpsgd.benchmark import CONTENDERS, benchmark_dpsgd, training_operations

pytestmark = pytest.mark.slow


def test_operations_of_a_dense_network():
    # 784*512 twice (no gradient of the input), 512*512 and 512*10 three times, 2 operations each.
    expected = 2 * (2 * 784 * 512 + 3 * (512 * 512 + 512 * 10))
    assert training_operations(architectures.build("fmnist_dnn")) == expected


def test_rows():
    rows = benchmark_dpsgd(
        architecture="fmnist_dnn",
        batch_size=4,
        steps=2,
        rounds=2,
        seconds=0.1,
        contenders=CONTENDERS[:6],
    )
    names = ["plain", "fit", "plain_l2", "tikhonov", "fast", "reference"]
    assert [row["contender"] for row in rows] == names
    assert rows[0]["ratio"] == rows[0]["ratio_low"] == 1
    by_name = {row["contender"]: row for row in rows}
    assert {name: row["against"] for name, row in by_name.items() if row["against"] != "plain"} == {
        "tikhonov": "plain_l2"
    }
    fastest = by_name["tikhonov"]["high"] / by_name["plain_l2"]["low"]
    assert 0 < by_name["tikhonov"]["ratio_low"] <= by_name["tikhonov"]["ratio_high"] <= fastest
    for row in rows:
        assert row["low"] <= row["examples_per_second"] <= row["high"]
        assert 0 < row["peak_fraction"] < 1


def test_peak_memory_holds_what_was_there_and_is_gone():
    before = memory.peak_memory()
    block = np.ones(400_000_000 // 8)
    grown = memory.peak_memory()
    del block
    # The kernel sums its counters lazily: the peak may be told some pages short.
    assert memory.peak_memory() > 0.99 * grown
    assert grown >= 400_000_000
    assert grown >= before


def test_memory_is_that_of_one_training_each():
    rows = memory.benchmark_memory(architecture="fmnist_dnn", batch_size=64, rounds=1)
    assert [(row["contender"], row["batch_size"]) for row in rows] == [("plain", 64), ("fast", 64)]
    plain, fast = rows
    assert plain["above_plain_mb"] == 0
    assert fast["above_plain_mb"] == fast["peak_mb"] - plain["peak_mb"]
    weights_mb = 4 * 669_706 / 1e6
    assert all(row["peak_mb"] > 3 * weights_mb for row in rows)


def test_a_training_that_fails_is_named():
    with pytest.raises(RunError, match="contender=plain at batch_size=64 ended early: .*vgg"):
        memory._peak_of_child("plain", "vgg", 64, 128)
