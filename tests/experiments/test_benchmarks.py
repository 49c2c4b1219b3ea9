"""The benchmarks: the timer, the rows of every contender, and the arithmetic of the columns."""

import dataclasses
import sys
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.benchmarks import (
    campaigns,
    dpsgd,
    executors,
    faults,
    formats,
    gpu,
    memory,
    peers,
    scaling,
    timer,
    trades,
)
from experiments.benchmarks.faults import HALF_WIDTH, interval_figures
from experiments.benchmarks.operations import operations_of
from ft_tf import architectures
from ft_tf.errors import ArgumentError, DataError, RunError

DENSE = 784 * 512 + 512 * 512 + 512 * 10


def test_contenders_take_turns():
    order = []

    def contender(name, values):
        rest = iter(values)
        return lambda: order.append(name) or next(rest)

    found = timer.in_turn({"a": contender("a", [3, 1, 8]), "b": contender("b", [2, 4, 1])}, 3)
    assert order == list("ababab")
    assert (found["a"].median, found["a"].low, found["a"].high) == (3, 1, 8)
    ratio = {"ratio": 3 / 2, "ratio_low": 1 / 4, "ratio_high": 8}
    assert found["a"].ratio_to(found["b"]) == ratio


def test_seconds_are_those_of_one_unit():
    calls = []
    each = timer.seconds(lambda: calls.append(time.sleep(0.01)), units=2, at_least=0.035)
    assert len(calls) > 1
    assert 0.005 <= each < 0.05


def test_operations_of_a_dense_network():
    # 784*512 twice (no gradient of the input), 512*512 and 512*10 three times, 2 operations each.
    expected = 2 * (2 * 784 * 512 + 3 * (512 * 512 + 512 * 10))
    assert operations_of(architectures.build("fmnist_dnn")) == (2 * DENSE, expected)


@pytest.mark.slow
def test_rows_of_formats(monkeypatch):
    monkeypatch.setattr(formats, "STORAGES", ("float32", "int8"))
    monkeypatch.setattr(formats, "_AT_LEAST", 0.0)
    rows = formats.run(rounds=2, networks=("transformer", "fmnist_dnn"), images=20)
    names = [(row["network"], row["storage"]) for row in rows]
    assert names == [(n, s) for n in ("transformer", "fmnist_dnn") for s in formats.STORAGES]
    assert rows[2]["sites"] == DENSE + 512 + 512 + 10  # with biases
    for reference, other in (rows[:2], rows[2:]):
        assert reference["ratio"] == reference["ratio_low"] == reference["ratio_high"] == 1
        assert other["ratio"] == other["trial_seconds"] / reference["trial_seconds"]
    with pytest.raises(ArgumentError, match="network='resnet'"):
        formats.run(networks=("resnet",))


@pytest.mark.slow
def test_rows_of_dpsgd():
    rows = dpsgd.run(
        architecture="fmnist_dnn",
        batch_size=4,
        steps=2,
        rounds=2,
        seconds=0.1,
        contenders=dpsgd.CONTENDERS[:6],
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


@pytest.mark.slow
def test_peak_memory_includes_freed_memory():
    before = memory.peak_memory()
    block = np.ones(400_000_000 // 8)
    grown = memory.peak_memory()
    del block
    # The kernel sums its counters lazily: the peak may be some pages short.
    assert memory.peak_memory() > 0.99 * grown
    assert grown >= 400_000_000
    assert grown >= before


@pytest.mark.slow
def test_memory_is_that_of_one_training_each():
    rows = memory.run(architecture="fmnist_dnn", batch_size=64, rounds=1)
    assert [(row["contender"], row["batch_size"]) for row in rows] == [("plain", 64), ("fast", 64)]
    plain, fast = rows
    assert plain["above_plain_mb"] == 0
    assert fast["above_plain_mb"] == fast["peak_mb"] - plain["peak_mb"]
    weights_mb = 4 * 669_706 / 1e6
    assert all(row["peak_mb"] > 3 * weights_mb for row in rows)


@pytest.mark.slow
def test_a_training_that_fails_is_named():
    with pytest.raises(RunError, match="contender=plain at batch_size=64 ended early: .*vgg"):
        memory._peak_of_child("plain", "vgg", 64, 128)


@pytest.mark.slow
def test_rows_of_trades_and_the_arithmetic_of_a_step_of_ten_attack_steps():
    found = trades.run(architecture="fmnist_dnn", batch_size=4, seconds=0.01, rounds=2)
    rows = {row["part"]: row for row in found}
    assert list(rows) == [
        "plain step", "TRADES step", "TRADES fit", "natural pass", "attack step", "outer passes",
        "update",
    ]  # fmt: skip
    for row in rows.values():
        assert 0 < row["low"] <= row["milliseconds"] <= row["high"]
        assert row["examples_per_second"] == pytest.approx(4e3 / row["milliseconds"])
    # Plain training has no gradient by the input: 3 passes, less the first layer's.
    plain = (3 * DENSE - 784 * 512) / DENSE
    passes = {name: row["forward_passes"] for name, row in rows.items()}
    assert passes["natural pass"] == 1
    assert passes["attack step"] == 2
    assert passes["plain step"] == pytest.approx(plain)
    assert passes["outer passes"] == pytest.approx(2 * plain)
    assert passes["TRADES step"] == passes["TRADES fit"] == pytest.approx(20 + 2 * plain)
    assert passes["update"] is None
    step, attack = rows["TRADES step"], rows["attack step"]
    assert attack["in_step"] == 10
    share = 10 * attack["milliseconds"] / step["milliseconds"]
    assert attack["share"] == pytest.approx(share)
    assert rows["plain step"]["share"] is None


@pytest.mark.slow
def test_a_pair_without_a_peer_has_the_ratio_of_its_two_sides():
    pair = peers.Pair("dpsgd", "ours", "resnet_8", 4, floor=1e-9)
    (row,) = peers.run(rounds=2, seconds=0.01, pairs=(pair,))
    assert row["ratio"] == row["examples_per_second"] / row["peer_examples_per_second"]
    assert (row["peer"], row["reached"]) == ("our plain SGD", "yes")
    hard = dataclasses.replace(pair, floor=1e9)
    assert peers.run(rounds=1, seconds=0.01, pairs=(hard,))[0]["reached"] == "no"


def test_a_python_that_is_not_there_is_named():
    pair = peers.Pair("dpsgd", "plain", "fmnist_dnn", 250, floor=1.0)
    with pytest.raises(RunError, match="peer_python=/proc/nowhere cannot be started: .*No such"):
        peers.run(peer_python="/proc/nowhere", pairs=(pair,))
    with pytest.raises(RunError, match=f"peer_python={sys.executable} ended early: .*torch"):
        peers.run(peer_python=sys.executable, pairs=(pair,))


@pytest.mark.slow
def test_the_device_passes_its_checks_and_a_wrong_engine_would_not(monkeypatch):
    rows = gpu.run(rounds=1, seconds=0.01, trainings=gpu.TRAININGS[:1], faulty=())
    found = {row["check"]: row for row in rows if "check" in row}
    assert list(found) == list(gpu.CHECKS)
    assert {row["passed"] for row in found.values()} == {"yes"}
    assert rows[-1]["examples_per_second"] > 0
    noise = gpu._noise()
    for wrong, check in ((noise + 0.02, gpu.noise_mean), (noise * 1.02, gpu.noise_deviation)):
        monkeypatch.setattr(gpu, "_noise", lambda wrong=wrong: wrong)
        value, limit = check()
        assert value > limit
    monkeypatch.setattr(gpu, "CLIP", 0.51)
    once = gpu._update(0.0)
    monkeypatch.setattr(gpu, "CLIP", 0.5)
    monkeypatch.setattr(gpu, "_update", lambda sigma: once)
    value, limit = gpu.clipped_sum()
    assert value > limit


@pytest.mark.slow
def test_rows_and_figure_of_scaling(monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "VALUES", {"batch_size": (4,), "width": (8, 16), "depth": (1,)})
    output = tmp_path / "scaling.png"
    rows = scaling.run(rounds=1, seconds=0.01, output=str(output))
    assert [row["work"] for row in rows] == [work for work in scaling.WORKS for _ in range(4)]
    wide, wider = rows[1:3]
    assert (wide["varies"], wide["value"], wide["parameters"]) == ("width", 8, 6_442)
    first, hidden = 784 * 8, 8 * 8 + 8 * 10  # the first layer has no gradient by the input
    assert wide["gflop"] == pytest.approx(250 * 2 * (2 * first + 3 * hidden) / 1e9)
    assert wider["gflop"] > wide["gflop"]
    for row in rows:
        milliseconds = row["ms_per_gflop"] * row["gflop"]
        assert 0 < row["low"] <= row["milliseconds"] == pytest.approx(milliseconds)
        assert row["peak_mb"] > 100
    assert output.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArgumentError, match="work='nothing'"):
        scaling.run(rounds=1, works=("nothing",))


@pytest.mark.slow
def test_workers_give_the_records_of_one(monkeypatch):
    monkeypatch.setattr(executors, "EPOCHS", 1)
    rows = executors.run(rounds=1, runs=2)
    assert [(row["workers"], row["threads"]) for row in rows] == [(1, 2), (1, 1), (2, 1)]
    assert all(row["same_records"] for row in rows)
    assert rows[2]["speed_up"] == rows[0]["seconds"] / rows[2]["seconds"]
    assert rows[0]["networks_per_hour"] == pytest.approx(7200 / rows[0]["seconds"])


def test_both_contenders_pay_for_their_pilots_and_only_for_what_they_need():
    generator = np.random.Generator(np.random.Philox(1))
    between, images, some = 0.04**2, 10_000, 500
    sampling = 0.24 * (1 / some - 1 / images)
    accuracy = generator.normal(0.6, np.sqrt(between + sampling), 600)
    frame = pd.DataFrame(
        {"target": "units", "rate": 0.5, "trial": range(600), "faults": 5, "accuracy": accuracy}
    )
    rule = {"method": "stein", "half_width": HALF_WIDTH, "level": 0.95, "pilot": 30}
    frame.attrs.update(images=images, images_per_trial=some, stop_rule=rule)
    found = interval_figures(frame, 20.0, loop=0.5, full=0.2, small=0.02)
    assert found["trials"] == 600  # the pilot's are among them, and so is their time
    assert found["interval_seconds"] == 20.0
    needed = (stats.t.ppf(0.975, 29) / HALF_WIDTH) ** 2
    assert found["loop_trials"] == pytest.approx(needed * between, rel=0.2)
    assert found["interval_ratio"] == pytest.approx(found["loop_trials"] * 0.5 / 20.0)
    half = stats.t.ppf(0.975, 29) * np.std(accuracy[:30], ddof=1) / np.sqrt(600)
    assert found["half_width"] == pytest.approx(half)
    quiet = frame.assign(accuracy=0.6)
    quiet.attrs.update(frame.attrs)
    assert interval_figures(quiet, 20.0, loop=0.5, full=0.2, small=0.02)["loop_trials"] == 30


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trades.run(architecture="fmnist_dnn", batch_size=0), "batch_size=0"),
        (lambda: trades.run(architecture="fmnist_dnn", seconds=0.0), "seconds=0.0"),
        (lambda: faults.run(rounds=0), "rounds=0"),
        (peers.run, "peer_python=None"),
        (lambda: campaigns.run(networks=("cifar10_cnn",)), "architecture=cifar10_cnn must be one"),
        (lambda: scaling.run(output="figure.txt"), "output='figure.txt' must end in .png"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_workers_train_on_the_data_that_is_named():
    with pytest.raises(DataError, match="data_dir='/proc/nowhere' is not a directory"):
        executors.run(data_dir="/proc/nowhere")
