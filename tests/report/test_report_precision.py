"""Pairs of precisions: which runs are paired, and the interval by hand."""

import copy

import pytest

from ft_tf.report.precision import compare_precisions


def record(precision, seed, test, **changes):
    config = {
        "architecture": "fmnist_dnn",
        "algorithm": {"name": "dpsgd", "noise_seed": seed},
        "evaluation": {"fault_seed": seed},
        "precision": precision,
        "seed": seed,
        "epochs": 2,
    }
    return {
        "kind": "run",
        "status": "finished",
        "name": f"fmnist-dnn-epochs_2-seed_{seed}",
        "config": {**config, **changes},
        "data": {"fingerprint": "ab"},
        "accuracy": {"test": test},
    }


def pairs(*tests):
    return [
        record(precision, seed, test)
        for seed, both in enumerate(tests)
        for precision, test in zip(("float32", "mixed_bfloat16"), both, strict=True)
    ]


def test_the_interval_of_paired_differences_by_hand():
    # Differences 0.1, 0.2 and 0.3 points: mean 0.2, s = 0.1; t(0.975, 2) = 4.302653.
    (found,) = compare_precisions(pairs((0.80, 0.801), (0.90, 0.902), (0.85, 0.853)))
    assert found.seeds == (0, 1, 2)
    assert found.differences == pytest.approx((0.001, 0.002, 0.003))
    half = 4.302653 * 0.001 / 3**0.5
    assert (found.interval.low, found.interval.high) == pytest.approx((0.002 - half, 0.002 + half))
    assert found.is_equivalent
    assert str(found) == (
        "fmnist-dnn-epochs_2: mixed_bfloat16 minus float32, test accuracy: +0.20 points, 95% "
        "interval [-0.05, +0.45] over 3 paired seeds: within +-1 point"
    )


@pytest.mark.parametrize("shifts", [(0.015, 0.017, 0.016), (-0.01, 0.01, 0.012)])
def test_a_shift_and_a_wide_interval_are_no_equivalence(shifts):
    (found,) = compare_precisions(pairs(*((0.8, 0.8 + shift) for shift in shifts)))
    assert not found.is_equivalent
    assert "not shown to be within +-1 point" in str(found)


def test_one_pair_has_no_interval():
    (found,) = compare_precisions(pairs((0.8, 0.8)))
    assert found.interval is None and not found.is_equivalent


@pytest.mark.parametrize(
    ("count", "reason"), [(2, "replicates"), (4, "all replicates equal: no spread to judge by")]
)
def test_equal_differences_show_no_equivalence(count, reason):
    """Two bfloat16 runs that happen to test as their partners do: nothing is shown."""
    (found,) = compare_precisions(pairs(*[(0.8, 0.8)] * count))
    assert found.interval is None and not found.is_equivalent
    assert reason in str(found)


def test_only_what_differs_in_precision_alone_is_paired():
    plain, mixed = pairs((0.8, 0.8))
    for change in (
        {"epochs": 3},
        {"seed": 5},
        {"precision": "float32"},
        {"algorithm": {"name": "natural"}},
    ):
        other = copy.deepcopy(mixed)
        other["config"] |= change
        assert compare_precisions([plain, other]) == []
    for change in ({"data": {"fingerprint": "cd"}}, {"status": "failed"}, {"kind": "circles"}):
        assert compare_precisions([plain, {**mixed, **change}]) == []
