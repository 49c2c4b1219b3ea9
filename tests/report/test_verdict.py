"""The verdict's counts, Holm's correction, and what may be compared at all."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ft_tf.report.verdict import holm, ordering_frame, summary_line, verdict


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    """Adjusted p of i: the largest Bonferroni p of any set of hypotheses that contains i."""
    places = range(len(p_values))
    for i in places:
        worst = max(
            min(1.0, len(chosen) * min(p_values[j] for j in chosen))
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(places, size)
            if i in chosen
        )
        assert holm(p_values)[i] == pytest.approx(worst)


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


def test_welch_by_the_formula(run):
    """Seeds are not paired: t = difference / sqrt(s1^2/3 + s2^2/3), here with 4 degrees."""
    records = dnn(run, "tikhonov", (0.02, 0.03, 0.04)) + dnn(run, "natural", (0.05, 0.06, 0.07))
    (line,) = ordering_frame(records).to_dict("records")
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
    (line,) = ordering_frame([circles(results=results)]).to_dict("records")
    mean, deviation = 0.015, math.sqrt(4 * 0.005**2 / 3)  # of 0.01, 0.02, 0.01, 0.02
    expected = 2 * stats.t.sf(mean / (deviation / 2), 3)
    assert line["p_value"] == pytest.approx(expected)
    assert (line["test"], line["verdict"]) == ("paired t", "holds")


def test_an_ordering_that_our_runs_contradict_is_reversed(run):
    records = dnn(run, "tikhonov", (0.09, 0.091, 0.092)) + dnn(run, "natural", (0.01, 0.011, 0.012))
    found = verdict(records)
    assert (found.orderings_tested, found.orderings_reversed, found.orderings_hold) == (1, 1, 0)


def test_noise_leaves_an_ordering_undecided(run):
    records = dnn(run, "tikhonov", (0.01, 0.09, 0.05)) + dnn(run, "natural", (0.02, 0.10, 0.06))
    found = verdict(records)
    assert (found.orderings_tested, found.orderings_hold, found.orderings_reversed) == (1, 0, 0)
    assert found.orderings_same_sign == 1


def test_replicates_that_are_all_equal_do_not_break_the_test(run):
    same = dnn(run, "tikhonov", (0.03,) * 3) + dnn(run, "natural", (0.04,) * 3)
    (line,) = ordering_frame(same).to_dict("records")
    assert (line["p_value"], line["verdict"]) == (None, "undecided")
    assert line["remark"] == "all replicates equal: no spread to judge by"
    assert verdict(same).orderings_tested == 1


def test_two_replicates_order_nothing(run):
    """One side has three values, so that the difference has a p-value: the ordering takes both."""
    few = dnn(run, "tikhonov", (0.01, 0.011)) + dnn(run, "natural", (0.09, 0.091, 0.092))
    (line,) = ordering_frame(few).to_dict("records")
    assert (line["p_value"], line["verdict"]) == (None, "not counted")
    assert line["remark"] == "fewer than 3 replicates"
    assert verdict(few).orderings_tested == 0


def test_what_has_no_p_value_takes_no_part_in_the_correction(run):
    """Three pairs, of which one alone is tested: its p stays as it is."""
    records = dnn(run, "tikhonov", (0.02, 0.03, 0.04)) + dnn(run, "natural", (0.05, 0.06, 0.07))
    records += dnn(run, "trades", (0.1, 0.1))
    frame = ordering_frame(records)
    assert len(frame) == 3
    (tested,) = frame[frame["p_value"].notna()].to_dict("records")
    assert tested["p_holm"] == tested["p_value"]


def test_the_scale_smoke_has_no_verdict(run):
    """It shows that everything runs: ten seeds of it, far apart, count nowhere."""
    gaps = [0.001 * k for k in range(10)]
    records = [
        *dnn(run, "tikhonov", gaps, label="table_5-smoke"),
        *dnn(run, "natural", [0.3 + gap for gap in gaps], label="table_5-smoke"),
    ]
    (line,) = ordering_frame(records).to_dict("records")
    assert line["verdict"] == "not counted"
    assert "everything runs and nothing else" in line["remark"]
    found = verdict(records)
    assert (found.gaps_compared, found.smoke_left_out, found.orderings_tested) == (0, 2, 0)
    line = summary_line(records)
    assert line.startswith("No verdict")
    assert "2 of the scale smoke" in line
    counted = summary_line([*records, *dnn(run, "natural", (0.085, 0.086, 0.087), label="mine")])
    assert counted.startswith("1 of 1 of the paper's gaps")
    assert "2 of the scale smoke, not counted" in counted


@pytest.mark.parametrize(
    "changes", [{"architecture": "fmnist_cnn_1"}, {"train_examples": 60000}, {"fitted": True}]
)
def test_unlike_or_fitted_groups_are_not_compared(run, changes):
    records = dnn(run, "tikhonov", (0.02, 0.03)) + dnn(run, "natural", (0.05, 0.06), **changes)
    assert not len(ordering_frame(records))


def test_one_seed_is_not_compared(run):
    assert not len(
        ordering_frame(dnn(run, "tikhonov", (0.02,)) + dnn(run, "natural", (0.05, 0.06)))
    )


def test_gaps_inside_are_counted_and_fitted_ones_are_not(run):
    inside = dnn(run, "natural", (0.085, 0.087, 0.086))  # the paper's 8.60
    outside = dnn(run, "tikhonov", (0.001, 0.002, 0.003), deviations=())  # the paper's 3.29
    fitted = dnn(run, "trades", (0.088, 0.0885, 0.089), fitted=True)
    found = verdict(inside + outside + fitted)
    assert (found.gaps_inside, found.gaps_compared, found.fitted_left_out) == (1, 2, 1)
    assert (found.rows_compared, found.rows_total) == (2, 31)
    assert found.gaps_deviating == 1


def test_the_line_says_what_was_counted(run):
    line = summary_line(dnn(run, "natural", (0.085, 0.087, 0.086)))
    assert line.startswith("1 of 1 of the paper's gaps lie in our 95% prediction interval")
    assert "0 of 0 of its orderings hold" in line
    assert "0 fitted, not counted" in line


def test_circles_are_told_apart_from_the_rest(run, circles):
    """Circles have natural's gap and the paper's order, Table 5 neither.

    Widths are 2 t sqrt(4/3) s, s being 0.2 and 1 points for circles, 0.1 for Table 5.
    """
    stem = "table_3/circles_mlp"
    tests = {  # the paper's gaps: 24.3 and 29.0
        f"{stem}/natural": ("natural", 0.0, [0.757, 0.755, 0.759]),
        f"{stem}/additive_gaussian/0.5": ("additive_gaussian", 0.5, [0.61, 0.60, 0.62]),
    }
    results = {
        row: {"noise": noise, "sigma": sigma, "train": [1.0] * 3, "test": test}
        for row, (noise, sigma, test) in tests.items()
    }
    records = dnn(run, "tikhonov", (0.09, 0.091, 0.092)) + dnn(run, "natural", (0.01, 0.011, 0.012))
    line = summary_line([*records, circles(results=results)])
    assert line.startswith("1 of 4 of the paper's gaps")
    assert line.endswith(
        "Table 3, the paper's 100 points, new initial weights: 1 of 2 gaps (intervals 6.0 points "
        "wide in the median), 1 of 1 orderings (0 reversed); Table 3, points drawn anew: 0 of 0 "
        "gaps, 0 of 0 orderings (0 reversed); Tables 4 to 8: 0 of 2 gaps (intervals 1.0 points "
        "wide in the median), 0 of 1 orderings (1 reversed)."
    )


def test_gaps_that_are_all_equal_are_left_out_of_the_line(run):
    records = dnn(run, "natural", (0.085, 0.087, 0.086)) + dnn(run, "tikhonov", (0.0329,) * 200)
    found = verdict(records)
    assert (found.gaps_compared, found.equal_left_out) == (1, 1)
    assert "0 fitted, 1 without any spread, not counted" in summary_line(records)


def test_without_a_second_seed_there_is_no_verdict(run):
    assert summary_line([run()]).startswith("No verdict")
    assert summary_line([]).startswith("No verdict")


def test_circles_orderings_need_one_form(circles, circles_results):
    natural, noisy = list(circles_results)[:2]
    fixed = circles(results={natural: circles_results[natural]})
    redrawn = circles(results={noisy: circles_results[noisy]}, form="redrawn_data", name="redrawn")
    assert not len(ordering_frame([fixed, redrawn]))
