"""Membership inference in the report: beside each DP run what its guarantee allows."""

import math

import pytest

from ft_tf.report import membership, views

DP_ROW = "table_8/fmnist_dnn/dpsgd/2.97"


def lines_of(records):
    return membership.membership_frame(records).to_dict("records")


def test_means_and_interval_over_seeds_by_hand(paper_run):
    records = [paper_run(seed=seed, train=0.95 + seed / 100, test=0.88) for seed in range(2)]
    for record, rate in zip(records, (0.002, 0.004), strict=True):
        record["membership"]["true_positive_rate"] = rate
    (line,) = lines_of(records)
    assert line["advantage_of_correctness"] == pytest.approx(0.075)
    assert line["advantage"] == pytest.approx(0.085)
    assert line["true_positive_rate"] == pytest.approx(0.003)
    assert line["true_positive_high"] == pytest.approx(0.003 + 12.7062047 * 0.001, abs=1e-8)
    assert line["true_positive_low"] == 0  # cut
    assert line["band"] == "training seeds"
    assert math.isnan(line["allowed"]) or line["allowed"] is None


def test_one_seed_has_the_interval_over_images(paper_run):
    (line,) = lines_of([paper_run()])
    assert (line["true_positive_low"], line["true_positive_high"]) == (0.001, 0.004)
    assert line["band"] == "images, one model"


def test_a_dp_run_has_its_ceiling_by_both_epsilons(paper_run):
    """exp(4.5) / 1000 + 1e-5 and exp(6) / 1000 + 1e-5."""
    (line,) = lines_of([paper_run(row=DP_ROW, algorithm="dpsgd")])
    assert line["allowed"] == pytest.approx(math.exp(4.5) / 1000 + 1e-5)
    assert line["allowed_replace_one"] == pytest.approx(math.exp(6) / 1000 + 1e-5)


def test_the_seed_with_the_largest_epsilon_counts(paper_run):
    records = [paper_run(row=DP_ROW, algorithm="dpsgd", seed=seed) for seed in range(2)]
    records[1]["privacy"] |= {"epsilon_paper": 7.0, "epsilon_claimed": 5.0}
    (line,) = lines_of(records)
    assert line["epsilon"] == 5.0


def test_without_a_guarantee_there_is_no_ceiling(paper_run):
    record = paper_run(row=DP_ROW, algorithm="dpsgd", options={"noise_multiplier": 0.0})
    record["privacy"] |= {"private": False, "epsilon_claimed": None, "epsilon_paper": None}
    (line,) = lines_of([record])
    assert line["allowed"] is None or math.isnan(line["allowed"])


def test_shuffled_batches_claim_no_poisson_ceiling(paper_run):
    record = paper_run(row=DP_ROW, algorithm="dpsgd")
    record["privacy"] |= {"sampling": "shuffle", "epsilon_claimed": 54.0}
    (line,) = lines_of([record])
    assert line["allowed"] == pytest.approx(1.0)
    assert line["allowed_replace_one"] is None or math.isnan(line["allowed_replace_one"])


def test_the_table_says_that_correctness_is_equation_2(paper_run):
    view = views.membership(membership.membership_frame([paper_run(train=0.95, test=0.88)]))
    assert view.rows[0][2] == "7.00"  # the gap
    assert "generalization error of equation 2" in view.notes[0]
    assert "0.1%" in view.notes[0]
