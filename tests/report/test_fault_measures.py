"""What is kept under faults, what is at chance, what is lost at low rates, by hand."""

import math

import pytest

from ft_tf.report import fault_measures, measures, tradeoff, views
from ft_tf.report.groups import groups_by_row


def with_curve(run, rates, means, **changes):
    record = run(**changes)
    campaign = record["faults"]["weights"]
    reach = [0.01] * len(rates)
    campaign |= {
        "rates": list(rates),
        "mean": list(means),
        "low": [m - r for m, r in zip(means, reach, strict=True)],
        "high": [m + r for m, r in zip(means, reach, strict=True)],
    }
    return record


def test_kept_is_the_area_above_chance_over_that_without_faults(run):
    """0.8 above chance at 0, 0.4 at 0.5, 0 at 0.9: (0.5 * 0.6 + 0.4 * 0.2) / (0.9 * 0.8)."""
    record = with_curve(run, (0.0, 0.5, 0.9), (0.9, 0.5, 0.1))
    assert fault_measures.kept(record, "weights") == pytest.approx(0.38 / 0.72)


def test_a_model_that_no_fault_harms_keeps_all_and_one_at_chance_at_once_next_to_nothing(run):
    assert fault_measures.kept(
        with_curve(run, (0.0, 0.5, 0.9), (0.7, 0.7, 0.7)), "weights"
    ) == pytest.approx(1)
    early = with_curve(run, (0.0, 0.01, 0.9), (0.9, 0.1, 0.1))
    assert fault_measures.kept(early, "weights") == pytest.approx(0.005 / 0.9)


def test_rates_beyond_90_percent_and_their_order_do_not_matter(run):
    plain = with_curve(run, (0.0, 0.5, 0.9), (0.9, 0.5, 0.1))
    more = with_curve(run, (1.0, 0.9, 0.0, 0.5), (0.1, 0.1, 0.9, 0.5))
    assert fault_measures.kept(more, "weights") == fault_measures.kept(plain, "weights")


@pytest.mark.parametrize(
    ("rates", "means"),
    [
        ((0.0, 0.5), (0.9, 0.5)),  # not up to 90%
        ((0.1, 0.9), (0.9, 0.5)),  # not from 0
        ((0.0, 0.9), (0.12, 0.1)),  # at chance without faults
        ((), ()),
    ],
)
def test_kept_is_missing_where_it_says_nothing(run, rates, means):
    assert fault_measures.kept(with_curve(run, rates, means), "weights") is None


def test_at_chance_is_less_than_a_tenth_of_what_was_above_it(run):
    for level, expected in ((0.17, True), (0.19, False), (0.1, True), (0.05, True)):
        record = with_curve(run, (0.0, 0.5, 0.9), (0.9, level, 0.1))
        assert fault_measures.at_chance(record, "weights") is expected
    assert not fault_measures.at_chance(with_curve(run, (0.0, 0.9), (0.9, 0.1)), "weights")


def test_lost_accuracy_is_paired_within_each_seed(run):
    """Seeds at 0.90, 0.80 and 0.70 lose 0.02, 0.04 and 0.03: their own spread is no noise."""
    records = [
        with_curve(run, (0.0, 0.01), (0.90, 0.88), seed=0),
        with_curve(run, (0.0, 0.01), (0.80, 0.76), seed=1),
        with_curve(run, (0.0, 0.01), (0.70, 0.67), seed=2),
    ]
    ((group,),) = groups_by_row(records).values()
    (line,) = fault_measures.lost_curve(group, "weights").to_dict("records")
    assert line["lost"] == pytest.approx(0.03)
    assert line["low"] == pytest.approx(0.03 - 4.30265273 * 0.01 / math.sqrt(3), abs=1e-7)


def test_lost_accuracy_of_one_seed_has_the_campaigns_band(run):
    ((group,),) = groups_by_row([with_curve(run, (0.0, 0.01), (0.90, 0.88))]).values()
    (line,) = fault_measures.lost_curve(group, "weights").to_dict("records")
    assert (line["low"], line["high"]) == pytest.approx((0.01, 0.03))


def test_lost_accuracy_is_that_on_the_images_of_each_trial_where_a_record_has_it(run):
    """The subset at rate 0.01 is easier than all images: without pairing nothing would be lost."""
    record = with_curve(run, (0.0, 0.01), (0.90, 0.91))
    record["faults"]["weights"]["lost"] = {
        "mean": [0.0, 0.02],
        "low": [0.0, 0.015],
        "high": [0.0, 0.025],
    }
    ((group,),) = groups_by_row([record]).values()
    (line,) = fault_measures.lost_curve(group, "weights").to_dict("records")
    assert (line["lost"], line["low"], line["high"]) == (0.02, 0.015, 0.025)


def test_a_small_drop_at_chance_is_said_in_the_table(run):
    record = with_curve(run, (0.0, 0.1, 0.5, 0.9), (0.9, 0.3, 0.11, 0.1))
    frame = fault_measures.drop_frame([record])
    line = frame.to_dict("records")[0]
    assert line["seeds_at_chance"] == 1
    assert "; AT CHANCE by 50% faults: the drop says nothing" in views.drops(frame).details[0]
    assert line["kept"] == pytest.approx(
        ((0.8 + 0.2) * 0.1 + (0.2 + 0.01) * 0.4 + 0.01 * 0.4) / 2 / (0.9 * 0.8)
    )


def test_how_many_seeds_are_at_chance_is_said(run):
    records = [
        with_curve(run, (0.0, 0.1, 0.5, 0.9), (0.9, 0.3, at_50, 0.1)) for at_50 in (0.11, 0.5)
    ]
    records[1]["config"]["seed"] = 1
    frame = fault_measures.drop_frame(records)
    assert frame["seeds_at_chance"][0] == 1
    assert "AT CHANCE by 50% faults in 1 of 2 seeds" in views.drops(frame).details[0]


def test_the_tradeoff_takes_the_strongest_attack_and_the_runs_own_epsilon(paper_run):
    record = paper_run(row="table_8/fmnist_dnn/dpsgd/2.97", algorithm="dpsgd", test=0.8)
    other_norm = {"epsilon": 2.0, "robust_accuracy": 0.01, "parameters": {"distance": "l_2"}}
    record["robustness"].append({**record["robustness"][0], **other_norm})
    (line,) = tradeoff.run_frame([record]).to_dict("records")
    assert line["robust"] == pytest.approx(0.19)  # APGD, a point below PGD
    assert line["attacks"] == "apgd of 100 steps, pgd of 20 steps"
    assert (line["epsilon"], line["private"]) == (4.5, "DP")
    assert line["kind"] == "DP-SGD, noise multiplier 1.1"
    assert line["weights_kept"] == fault_measures.kept(record, "weights")
    record["config"]["fitted"] = True
    (line,) = tradeoff.run_frame([record]).to_dict("records")
    assert line["kind"] == "DP-SGD, noise multiplier 1.1, fitted"
    natural = paper_run()
    flipped = paper_run()
    flipped["config"]["augment"] = True
    (line,) = tradeoff.run_frame([flipped]).to_dict("records")
    assert line["kind"] == "natural with crops and flips"
    (line,) = tradeoff.run_frame([natural]).to_dict("records")
    assert line["kind"] == "natural"
    assert line["private"] == tradeoff.NOT_PRIVATE
    assert line["epsilon"] is None or math.isnan(line["epsilon"])


def test_the_tradeoff_has_a_line_per_run_and_a_table_with_one_per_group(private_study):
    runs, groups = tradeoff.run_frame(private_study), tradeoff.group_frame(private_study)
    assert len(runs) == len(private_study)
    assert len(groups) == len(measures.trained_groups(private_study)) == len(private_study) / 3
    assert groups["replicates"].tolist() == [3] * len(groups)
