"""DP runs: bounds on the gap, and membership inference with what the guarantee allows."""

import math

import pytest
from factory import study_of

from ft_tf.report.exhibits import privacy

DP_ROW = "table_8/fmnist_dnn/dpsgd/2.97"
EXHIBIT = privacy.MembershipInference()


def lines_of(records):
    return EXHIBIT.frame(study_of(*records)).to_dict("records")


def test_means_and_interval_over_seeds_by_hand(paper_run):
    records = [paper_run(seed=seed, train=0.95 + seed / 100, test=0.88) for seed in range(3)]
    for record, rate in zip(records, (0.002, 0.003, 0.004), strict=True):
        record["membership"]["true_positive_rate"] = rate
    (line,) = lines_of(records)
    assert line["advantage_of_correctness"] == pytest.approx(0.08)
    assert line["advantage"] == pytest.approx(0.09)
    assert line["true_positive_rate"] == pytest.approx(0.003)
    reach = 4.30265273 * 0.001 / math.sqrt(3)
    assert line["true_positive_high"] == pytest.approx(0.003 + reach, abs=1e-8)
    assert line["true_positive_low"] == pytest.approx(0.003 - reach, abs=1e-8)
    assert line["band"] == "training seeds"
    assert line["allowed"] is None


def test_two_seeds_have_no_interval(paper_run):
    records = [paper_run(seed=seed) for seed in range(2)]
    records[1]["membership"]["true_positive_rate"] = 0.004
    (line,) = lines_of(records)
    assert line["true_positive_rate"] == pytest.approx(0.003)
    assert line["true_positive_low"] is None and line["true_positive_high"] is None
    assert line["band"] == "training seeds: none, fewer than 3 replicates"


def test_one_seed_has_the_interval_over_images(paper_run):
    (line,) = lines_of([paper_run()])
    assert (line["true_positive_low"], line["true_positive_high"]) == (0.001, 0.004)
    assert line["band"] == "both splits, one model"


def test_ties_at_no_loss_are_not_taken_for_privacy(paper_run):
    """Before log-odds, a model whose losses are rounded to 0 had no true positives at all."""
    records = [paper_run(seed=seed) for seed in range(3)]
    for record in records:
        del record["membership"]["scale"]
    assert (
        lines_of(records)[0]["band"]
        == "training seeds: none, all replicates equal: no spread to judge by"
    )
    records[1]["membership"] |= {"true_positive_rate": 0.0, "true_positive_interval": [0.0, 6e-5]}
    frame = EXHIBIT.frame(study_of(*records))
    assert frame["true_positive_rate"].isna().all()
    view = EXHIBIT.table(study_of(*records))
    assert "ties" in view.rows[0].cells
    assert any('"Ties"' in note for note in view.notes)


def test_an_interval_that_takes_the_threshold_as_known_is_said_to_be_narrow(paper_run):
    record = paper_run()
    notes = [*EXHIBIT.table(study_of(record)).notes]
    assert not any("too narrow" in note for note in notes)
    del record["membership"]["scale"]
    frame = EXHIBIT.frame(study_of(record))
    assert frame["band"][0] == "training images alone, one model"
    assert any("too narrow" in note for note in EXHIBIT.table(study_of(record)).notes)


def test_a_rate_of_zero_by_log_odds_is_a_result(paper_run):
    record = paper_run()
    record["membership"] |= {"true_positive_rate": 0.0, "true_positive_interval": [0.0, 1e-4]}
    view = EXHIBIT.table(study_of(record))
    assert "0.00" in view.rows[0].cells
    assert not any('"Ties"' in note for note in view.notes)


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
    view = EXHIBIT.table(study_of(paper_run(train=0.95, test=0.88)))
    assert view.rows[0].cells[2] == "7.00"  # the gap
    assert "generalization error of equation 2" in view.notes[0]
    assert "0.1%" in view.notes[0]


def test_bounds_of_dp_runs(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    records = [
        run(row=row, algorithm="dpsgd", seed=seed, train=train, test=0.84)
        for seed, train in enumerate((0.85, 0.87))
    ]
    records[1]["privacy"]["epsilon_paper"] = 6.0  # steps were lost and run again
    (line,) = privacy.PrivacyBounds().frame(study_of(*records, run())).to_dict("records")
    assert line["epsilon_paper"] == 6.0
    assert line["generalization_error"] == pytest.approx(0.02)
    assert line["gap_bound"] == 0.45


def test_shuffled_runs_get_the_bound_without_amplification(run):
    record = run(row="table_8/fmnist_dnn/dpsgd/2.97", algorithm="dpsgd")
    record["privacy"] |= {"sampling": "shuffle", "gap_bound_shuffled": 0.9}
    (line,) = privacy.PrivacyBounds().frame(study_of(record)).to_dict("records")
    assert line["gap_bound"] == 0.9


def test_reference_models_are_next_to_the_loss(paper_run):
    """The mean over the runs that have them."""
    records = [paper_run(seed=seed) for seed in range(3)]
    (line,) = lines_of(records)
    assert (line["by_references"], line["references"]) == (None, None)
    for record, rate in zip(records, (0.01, 0.03), strict=False):
        record["membership"]["by_references"] = {
            "references": 4,
            "advantage": 0.1,
            "true_positive_rate": rate,
            "true_positive_interval": [rate / 2, 2 * rate],
            "others": 500,
        }
    (line,) = lines_of(records)
    assert (line["by_references"], line["references"]) == (pytest.approx(0.02), 4)
    assert line["true_positive_rate"] == pytest.approx(0.002)
