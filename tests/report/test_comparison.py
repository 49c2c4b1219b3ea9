"""Comparisons against scipy and by hand; who may be paired with whom."""

import math

import pytest
from scipy import stats

from ft_tf.report import comparison
from ft_tf.report.groups import groups_by_row


def test_two_groups_are_compared_by_welch():
    first, second = [0.1, 0.12, 0.16], [0.05, 0.06, 0.061, 0.09]
    found = comparison.unpaired(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.counts == (3, 4)


@pytest.mark.parametrize("few", [[0.30], [0.30, 0.32]])
@pytest.mark.parametrize("swap", [False, True])
def test_both_sides_take_three_seeds(swap, few):
    """Of one seed the spread is not known, and need not be that of the other side."""
    several = [0.18, 0.20, 0.22]
    found = comparison.unpaired(*((several, few) if swap else (few, several)))
    assert abs(found.difference) == pytest.approx(sum(few) / len(few) - 0.2)
    assert (found.p_value, found.low, found.high) == (None, None, None)
    assert found.why_undecided == "fewer than 3 replicates"


def test_one_against_one_cannot_be_decided():
    for found in (comparison.unpaired([0.3], [0.1]), comparison.paired([(0.3, 0.1)])):
        assert not found.is_decidable
        assert found.difference == pytest.approx(0.2)
        assert (found.low, found.high) == (None, None)


def test_pairs_are_compared_by_their_differences():
    pairs = [(0.8, 0.7), (0.9, 0.75), (0.7, 0.65)]
    found = comparison.paired(pairs)
    first, second = zip(*pairs, strict=True)
    assert found.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.parametrize(
    "found",
    [
        comparison.unpaired([0.1] * 3, [0.1] * 3),
        comparison.unpaired([0.2] * 3, [0.1] * 3),
        comparison.unpaired([0.2] * 3, [0.1] * 200),
        comparison.paired([(0.2, 0.1)] * 3),
        comparison.paired([(0.3, 0.2), (0.4, 0.3), (0.1 + 0.2, 0.2)]),  # equal but for rounding
    ],
)
def test_values_without_any_spread_decide_nothing(found):
    """Equal replicates of a small test set do not make a difference certain, nor its absence."""
    assert (found.p_value, found.low, found.high) == (None, None, None)
    assert found.why_undecided == "all replicates equal: no spread to judge by"


def test_two_replicates_that_both_gain_one_test_point_decide_nothing():
    """Of 70 test points one each: t was 1e14, p 5e-15."""
    found = comparison.paired([(51 / 70, 50 / 70), (49 / 70, 48 / 70)])
    assert found.difference == pytest.approx(1 / 70)
    assert not found.is_decidable
    assert "no spread" in found.why_undecided


def test_a_verdict_takes_three_replicates():
    few = "fewer than 3 replicates"
    assert comparison.paired([(0.2, 0.1), (0.4, 0.1)]).why_undecided == few
    assert comparison.unpaired([0.2, 0.3], [0.1, 0.2]).why_undecided == few
    assert comparison.unpaired([0.1], [0.1, 0.2]).why_undecided == few
    # Two values that nearly agree are no spread, however many equal ones stand against them.
    assert comparison.unpaired([0.2, 0.2001], [0.1] * 9).why_undecided == few


def test_one_side_with_a_spread_is_enough():
    """A constant of four against a mean: t = 0.1 / (0.02 / sqrt(3)) with the mean's 2 degrees."""
    found = comparison.unpaired([0.28, 0.30, 0.32], [0.20] * 4)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.1 / (0.02 / math.sqrt(3)), 2))
    assert found.why_undecided == ""


def test_seeds_are_paired_only_with_themselves(run):
    records = [run(seed=seed, test=0.8 + seed / 100) for seed in (0, 2, 3)]
    records += [
        run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov", seed=seed, test=0.7)
        for seed in (3, 1, 0)
    ]
    grouped = groups_by_row(records)
    (natural,), (tikhonov,) = (grouped[f"table_5/fmnist_dnn/{n}"] for n in ("natural", "tikhonov"))
    pairs = comparison.by_seed(natural, tikhonov, comparison.test_accuracy)
    assert [a for a, _ in sorted(pairs)] == pytest.approx([0.8, 0.83])
    assert [b for _, b in pairs] == [0.7, 0.7]
