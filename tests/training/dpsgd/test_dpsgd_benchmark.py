"""The benchmark's rows: every contender runs, and the arithmetic of its columns."""

from ft_tf import architectures
from ft_tf.training.dpsgd.benchmark import CONTENDERS, benchmark_dpsgd, training_operations


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
        contenders=CONTENDERS[:4],
    )
    assert [row["contender"] for row in rows] == ["plain", "fit", "fast", "reference"]
    assert rows[0]["ratio"] == rows[0]["ratio_low"] == 1
    for row in rows:
        assert row["low"] <= row["examples_per_second"] <= row["high"]
        assert 0 < row["peak_fraction"] < 1
