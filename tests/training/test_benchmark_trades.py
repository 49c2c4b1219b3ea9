"""The benchmark's rows: every part runs, and its arithmetic is that of the network."""

import pytest

from ft_tf.errors import ArgumentError
from ft_tf.training.benchmark_trades import benchmark_trades

pytestmark = pytest.mark.slow

DENSE = 784 * 512 + 512 * 512 + 512 * 10


@pytest.fixture(scope="module")
def rows():
    found = benchmark_trades(architecture="fmnist_dnn", batch_size=4, seconds=0.01, rounds=2)
    return {row["part"]: row for row in found}


def test_every_part_is_timed(rows):
    assert list(rows) == [
        "plain step", "TRADES step", "TRADES fit", "natural pass", "attack step", "outer passes",
        "update",
    ]  # fmt: skip
    for row in rows.values():
        assert 0 < row["low"] <= row["milliseconds"] <= row["high"]
        assert row["examples_per_second"] == pytest.approx(4e3 / row["milliseconds"])


def test_the_arithmetic_of_a_step_of_ten_attack_steps(rows):
    # Plain training has no gradient by the input: 3 passes, less the first layer's.
    plain = (3 * DENSE - 784 * 512) / DENSE
    passes = {name: row["forward_passes"] for name, row in rows.items()}
    assert passes["natural pass"] == 1
    assert passes["attack step"] == 2
    assert passes["plain step"] == pytest.approx(plain)
    assert passes["outer passes"] == pytest.approx(2 * plain)
    assert passes["TRADES step"] == passes["TRADES fit"] == pytest.approx(20 + 2 * plain)
    assert passes["update"] is None


def test_shares_are_of_the_step(rows):
    step = rows["TRADES step"]["milliseconds"]
    assert rows["attack step"]["in_step"] == 10
    assert rows["attack step"]["share"] == pytest.approx(
        10 * rows["attack step"]["milliseconds"] / step
    )
    assert rows["plain step"]["share"] is None


@pytest.mark.parametrize(
    ("change", "message"), [({"batch_size": 0}, "batch_size=0"), ({"seconds": 0.0}, "seconds=0.0")]
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ArgumentError, match=message):
        benchmark_trades(architecture="fmnist_dnn", **change)
