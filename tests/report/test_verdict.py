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
    records = dnn(run, "tikhonov", (0.01, 0.09)) + dnn(run, "natural", (0.02, 0.10))
    found = verdict(records)
    assert (found.orderings_tested, found.orderings_hold, found.orderings_reversed) == (1, 0, 0)
    assert found.orderings_same_sign == 1


def test_replicates_that_are_all_equal_do_not_break_the_test(run):
    same = dnn(run, "tikhonov", (0.03, 0.03)) + dnn(run, "natural", (0.03, 0.03))
    assert ordering_frame(same)["p_value"].tolist() == [1.0]


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
    inside = dnn(run, "natural", (0.085, 0.087))  # the paper's 8.60
    outside = dnn(run, "tikhonov", (0.001, 0.002), deviations=())  # the paper's 3.29
    fitted = dnn(run, "trades", (0.088, 0.0885), fitted=True)
    found = verdict(inside + outside + fitted)
    assert (found.gaps_inside, found.gaps_compared, found.fitted_left_out) == (1, 2, 1)
    assert (found.rows_compared, found.rows_total) == (2, 31)
    assert found.gaps_reduced == 1


def test_the_line_says_what_was_counted(run):
    line = summary_line(dnn(run, "natural", (0.085, 0.087)))
    assert line.startswith("1 of 1 of the paper's gaps lie in our 95% prediction interval")
    assert "0 of 0 of its orderings hold" in line


def test_without_a_second_seed_there_is_no_verdict(run):
    assert summary_line([run()]).startswith("No verdict")
    assert summary_line([]).startswith("No verdict")


def test_circles_orderings_need_one_form(circles, circles_results):
    natural, noisy = list(circles_results)[:2]
    fixed = circles(results={natural: circles_results[natural]})
    redrawn = circles(results={noisy: circles_results[noisy]}, form="redrawn_data", name="redrawn")
    assert not len(ordering_frame([fixed, redrawn]))
