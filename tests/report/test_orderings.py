"""The paper's orderings against scipy's tests and by hand."""

import math

import pytest
from factory import study_of
from scipy import stats

from ft_tf.report.exhibits import orderings


def frame_of(records):
    return orderings.Orderings().frame(study_of(*records))


def dnn(run, algorithm, gaps, **changes):
    return [
        run(
            row=f"table_5/fmnist_dnn/{algorithm}",
            algorithm=algorithm,
            seed=seed,
            train=0.8 + gap,
            test=0.8,
            **changes,
        )
        for seed, gap in enumerate(gaps)
    ]


def unpaired(first, second):
    return orderings.p_value(first, second, is_paired=False)


def paired(*pairs):
    return orderings.p_value(*zip(*pairs, strict=True), is_paired=True)


def test_two_groups_are_compared_by_welch():
    first, second = [0.1, 0.12, 0.16], [0.05, 0.06, 0.061, 0.09]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert unpaired(first, second) == (pytest.approx(expected), "")


@pytest.mark.parametrize("few", [[0.30], [0.30, 0.32]])
@pytest.mark.parametrize("swap", [False, True])
def test_both_sides_take_three_seeds(swap, few):
    """Of one seed the spread is not known, and need not be that of the other side."""
    several = [0.18, 0.20, 0.22]
    sides = (several, few) if swap else (few, several)
    assert unpaired(*sides) == (None, "fewer than 3 replicates")


def test_one_against_one_cannot_be_decided():
    assert unpaired([0.3], [0.1])[0] is None
    assert paired((0.3, 0.1))[0] is None


def test_pairs_are_compared_by_their_differences():
    """Student's t of the differences 0.1, 0.15 and 0.05: t = 0.1 / (0.05 / sqrt(3))."""
    expected = 2 * stats.t.sf(0.1 / (0.05 / math.sqrt(3)), 2)
    assert paired((0.8, 0.7), (0.9, 0.75), (0.7, 0.65)) == (pytest.approx(expected), "")


@pytest.mark.parametrize(
    "found",
    [
        unpaired([0.1] * 3, [0.1] * 3),
        unpaired([0.2] * 3, [0.1] * 3),
        unpaired([0.2] * 3, [0.1] * 200),
        paired(*[(0.2, 0.1)] * 3),
        paired((0.3, 0.2), (0.4, 0.3), (0.1 + 0.2, 0.2)),  # equal but for rounding
        # Of 70 test points one more each: t was 1e14, p 5e-15.
        paired((51 / 70, 50 / 70), (49 / 70, 48 / 70)),
    ],
)
def test_values_without_any_spread_decide_nothing(found):
    """Equal replicates of a small test set do not make a difference certain, nor its absence."""
    assert found == (None, "all replicates equal: no spread to judge by")


def test_a_verdict_takes_three_replicates():
    few = "fewer than 3 replicates"
    assert paired((0.2, 0.1), (0.4, 0.1))[1] == few
    assert unpaired([0.2, 0.3], [0.1, 0.2])[1] == few
    assert unpaired([0.1], [0.1, 0.2])[1] == few
    # Two values that nearly agree are no spread, however many equal ones stand against them.
    assert unpaired([0.2, 0.2001], [0.1] * 9)[1] == few


def test_one_side_with_a_spread_is_enough():
    """A constant of four against a mean: t = 0.1 / (0.02 / sqrt(3)) with the mean's 2 degrees."""
    expected = 2 * stats.t.sf(0.1 / (0.02 / math.sqrt(3)), 2)
    assert unpaired([0.28, 0.30, 0.32], [0.20] * 4) == (pytest.approx(expected), "")


def test_welch_by_the_formula(run):
    """Seeds are not paired: t = difference / sqrt(s1^2/3 + s2^2/3), here with 4 degrees."""
    records = dnn(run, "tikhonov", (0.02, 0.03, 0.04)) + dnn(run, "natural", (0.05, 0.06, 0.07))
    (line,) = frame_of(records).to_dict("records")
    expected = 2 * stats.t.sf(0.03 / math.sqrt(2 * 0.01**2 / 3), 4)
    assert line["p_value"] == pytest.approx(expected)
    assert line["difference"] == pytest.approx(0.03)
    assert line["paper_difference"] == pytest.approx(0.0860 - 0.0329)
    assert (line["test"], line["verdict"]) == ("Welch t", "holds")


def test_circles_are_paired_by_replicate(circles):
    stem = "table_3/circles_mlp"
    results = {
        f"{stem}/natural": {
            "noise": "natural",
            "sigma": 0.0,
            "train": [1.0] * 4,
            "test": [0.70, 0.80, 0.60, 0.90],
        },
        f"{stem}/additive_gaussian/0.5": {
            "noise": "additive_gaussian",
            "sigma": 0.5,
            "train": [1.0] * 4,
            "test": [0.69, 0.78, 0.59, 0.88],
        },
    }
    (line,) = frame_of([circles(results=results)]).to_dict("records")
    mean, deviation = 0.015, math.sqrt(4 * 0.005**2 / 3)  # of 0.01, 0.02, 0.01, 0.02
    expected = 2 * stats.t.sf(mean / (deviation / 2), 3)
    assert line["p_value"] == pytest.approx(expected)
    assert (line["test"], line["verdict"]) == ("paired t", "holds")


def test_an_ordering_that_our_runs_contradict_is_reversed(run):
    records = dnn(run, "tikhonov", (0.09, 0.091, 0.092)) + dnn(run, "natural", (0.01, 0.011, 0.012))
    assert frame_of(records)["verdict"].tolist() == ["reversed"]


def test_noise_leaves_an_ordering_undecided(run):
    records = dnn(run, "tikhonov", (0.01, 0.09, 0.05)) + dnn(run, "natural", (0.02, 0.10, 0.06))
    (line,) = frame_of(records).to_dict("records")
    assert line["verdict"] == "undecided" and line["difference"] > 0


def test_replicates_that_are_all_equal_do_not_break_the_test(run):
    same = dnn(run, "tikhonov", (0.03,) * 3) + dnn(run, "natural", (0.04,) * 3)
    (line,) = frame_of(same).to_dict("records")
    assert (line["p_value"], line["verdict"]) == (None, "undecided")
    assert line["remark"] == "all replicates equal: no spread to judge by"


def test_two_replicates_order_nothing(run):
    """One side has three values, so that the difference has a p-value: the ordering takes both."""
    few = dnn(run, "tikhonov", (0.01, 0.011)) + dnn(run, "natural", (0.09, 0.091, 0.092))
    (line,) = frame_of(few).to_dict("records")
    assert (line["p_value"], line["verdict"]) == (None, "not counted")
    assert line["remark"] == "fewer than 3 replicates"


def test_what_has_no_p_value_takes_no_part_in_the_correction(run):
    """Three pairs, of which one alone is tested: its p stays as it is."""
    records = dnn(run, "tikhonov", (0.02, 0.03, 0.04)) + dnn(run, "natural", (0.05, 0.06, 0.07))
    records += dnn(run, "trades", (0.1, 0.1))
    frame = frame_of(records)
    assert len(frame) == 3
    (tested,) = frame[frame["p_value"].notna()].to_dict("records")
    assert tested["p_holm"] == tested["p_value"]


def test_the_scale_smoke_orders_nothing(run):
    """It shows that everything runs: ten seeds of it, far apart, count nowhere."""
    gaps = [0.001 * k for k in range(10)]
    records = [
        *dnn(run, "tikhonov", gaps, label="table_5-smoke"),
        *dnn(run, "natural", [0.15 + gap for gap in gaps], label="table_5-smoke"),
    ]
    (line,) = frame_of(records).to_dict("records")
    assert line["verdict"] == "not counted"
    assert "of the scale smoke" in line["remark"]


@pytest.mark.parametrize(
    "changes", [{"architecture": "fmnist_cnn_1"}, {"train_examples": 60000}, {"fitted": True}]
)
def test_unlike_or_fitted_groups_are_not_compared(run, changes):
    records = dnn(run, "tikhonov", (0.02, 0.03)) + dnn(run, "natural", (0.05, 0.06), **changes)
    assert not len(frame_of(records))


def test_one_seed_is_not_compared(run):
    assert not len(frame_of(dnn(run, "tikhonov", (0.02,)) + dnn(run, "natural", (0.05, 0.06))))


def test_points_drawn_anew_have_lines_that_say_so(circles, circles_results):
    """One ordering may hold on the paper's points and be reversed on others: two labels."""
    records = [
        circles(results=circles_results),
        circles(results=circles_results, form="redrawn_data", name="r"),
    ]
    rows = orderings.Orderings().table(study_of(*records)).rows
    assert len({row.cells[0] for row in rows}) < len(rows)
    assert len({row.cells[:2] for row in rows}) == len(rows)
