"""Curves, levels and drops under faults, normalized accuracy, losses at low rates, by hand."""

import math

import pytest
from factory import study_of, typed

from ft_tf.effects.runs import Trained, normalized_auc
from ft_tf.report.exhibits import fault_tolerance


def frame_of(*records):
    return fault_tolerance.FaultTolerance().frame(study_of(*records))


def detail_of(*records):
    return fault_tolerance.FaultTolerance().table(study_of(*records)).rows[0].detail


def curve_of(records, target):
    study = study_of(*records)
    return study.fault_curve(study.trained[0], target)


def auc_of(record):
    return normalized_auc(typed(record), "weights")


def with_curve(run, rates, means, **changes):
    clean = means[0] if rates[0] == 0 else 0.9
    record = run(**changes)
    record["accuracy"]["test"] = clean
    record["accuracy"]["generalization_error"] = record["accuracy"]["train"] - clean
    campaign = record["faults"]["weights"]
    reach = [0.01] * len(rates)
    campaign |= {
        "faults": [1000 * rate for rate in rates],
        "standard_deviation": [0.01] * len(rates),
        "rates": list(rates),
        "mean": list(means),
        "low": [m - r for m, r in zip(means, reach, strict=True)],
        "high": [m + r for m, r in zip(means, reach, strict=True)],
    }
    return record


def test_normalized_auc_is_the_area_above_chance_over_that_without_faults(run):
    """0.8 above chance at 0, 0.4 at 0.5, 0 at 0.9: (0.5 * 0.6 + 0.4 * 0.2) / (0.9 * 0.8)."""
    record = with_curve(run, (0.0, 0.5, 0.9), (0.9, 0.5, 0.1))
    assert auc_of(record) == pytest.approx(0.38 / 0.72)


def test_a_model_that_no_fault_harms_keeps_all_and_one_at_chance_at_once_next_to_nothing(run):
    assert auc_of(with_curve(run, (0.0, 0.5, 0.9), (0.7, 0.7, 0.7))) == pytest.approx(1)
    early = with_curve(run, (0.0, 0.01, 0.9), (0.9, 0.1, 0.1))
    assert auc_of(early) == pytest.approx(0.005 / 0.9)


def test_normalized_auc_is_of_paired_losses_where_a_record_has_them(run):
    """Faulty levels on an easier subset would look as if less were lost."""
    record = with_curve(run, (0.0, 0.5, 0.9), (0.9, 0.6, 0.2))
    lost = [0.0, 0.4, 0.8]
    record["faults"]["weights"]["lost"] = {"mean": lost, "low": lost, "high": lost}
    assert auc_of(record) == pytest.approx(0.38 / 0.72)


def test_rates_beyond_90_percent_do_not_matter(run):
    plain = with_curve(run, (0.0, 0.5, 0.9), (0.9, 0.5, 0.1))
    more = with_curve(run, (0.0, 0.5, 0.9, 1.0), (0.9, 0.5, 0.1, 0.1))
    assert auc_of(more) == auc_of(plain)


@pytest.mark.parametrize(
    ("rates", "means"),
    [
        ((0.0, 0.5), (0.9, 0.5)),  # not up to 90%
        ((0.1, 0.9), (0.9, 0.5)),  # not from 0
        ((0.0, 0.9), (0.12, 0.1)),  # at chance without faults
    ],
)
def test_normalized_auc_is_missing_where_it_says_nothing(run, rates, means):
    assert auc_of(with_curve(run, rates, means)) is None


def test_at_chance_is_less_than_a_tenth_of_what_was_above_it(run):
    for level, expected in ((0.17, True), (0.19, False), (0.1, True), (0.05, True)):
        record = with_curve(run, (0.0, 0.5, 0.9), (0.9, level, 0.1))
        assert Trained(typed(record)).is_at_chance("weights") is expected
    assert not Trained(typed(with_curve(run, (0.0, 0.9), (0.9, 0.1)))).is_at_chance("weights")


def test_lost_accuracy_is_paired_within_each_seed(run):
    """Seeds at 0.90, 0.80 and 0.70 lose 0.02, 0.04 and 0.03: their own spread is no noise."""
    records = [
        with_curve(run, (0.0, 0.01), (0.90, 0.88), seed=0),
        with_curve(run, (0.0, 0.01), (0.80, 0.76), seed=1),
        with_curve(run, (0.0, 0.01), (0.70, 0.67), seed=2),
    ]
    _, line = curve_of(records, "weights").to_dict("records")
    assert line["lost"] == pytest.approx(0.03)
    assert line["lost_low"] == pytest.approx(0.03 - 4.30265273 * 0.01 / math.sqrt(3), abs=1e-7)


def test_lost_accuracy_of_one_seed_has_the_campaigns_band(run):
    _, line = curve_of([with_curve(run, (0.0, 0.01), (0.90, 0.88))], "weights").to_dict("records")
    assert (line["lost_low"], line["lost_high"]) == pytest.approx((0.01, 0.03))


def test_lost_accuracy_is_that_on_the_images_of_each_trial_where_a_record_has_it(run):
    """The subset at rate 0.01 is easier than all images: without pairing nothing would be lost."""
    record = with_curve(run, (0.0, 0.01), (0.90, 0.91))
    record["faults"]["weights"]["lost"] = {
        "mean": [0.0, 0.02],
        "low": [0.0, 0.015],
        "high": [0.0, 0.025],
    }
    _, line = curve_of([record], "weights").to_dict("records")
    assert (line["lost"], line["lost_low"], line["lost_high"]) == (0.02, 0.015, 0.025)


def test_a_small_drop_at_chance_is_said_in_the_table(run):
    record = with_curve(run, (0.0, 0.1, 0.5, 0.9), (0.9, 0.3, 0.11, 0.1))
    line = frame_of(record).to_dict("records")[0]
    assert line["seeds_at_chance"] == 1
    assert "; AT CHANCE by 50% faults: the drop says nothing" in detail_of(record)
    assert line["normalized_auc"] == pytest.approx(
        ((0.8 + 0.2) * 0.1 + (0.2 + 0.01) * 0.4 + 0.01 * 0.4) / 2 / (0.9 * 0.8)
    )


def test_how_many_seeds_are_at_chance_is_said(run):
    records = [
        with_curve(run, (0.0, 0.1, 0.5, 0.9), (0.9, 0.3, at_50, 0.1)) for at_50 in (0.11, 0.5)
    ]
    records[1]["config"]["seed"] = 1
    frame = frame_of(*records)
    assert frame["seeds_at_chance"][0] == 1
    assert "AT CHANCE by 50% faults in 1 of 2 seeds" in detail_of(*records)


def test_fault_levels_and_drop_of_one_run(run):
    """The factory's accuracy under weight faults is test - 0.7 rate^2."""
    line = frame_of(run(test=0.9)).to_dict("records")[0]
    assert line["target"] == "weights"
    assert line["accuracy_at_0"] == pytest.approx(0.9)
    assert line["accuracy_at_10"] == pytest.approx(0.9 - 0.007)
    assert line["accuracy_at_50"] == pytest.approx(0.9 - 0.175)
    assert line["accuracy_at_90"] == pytest.approx(0.9 - 0.567)
    assert line["drop_50_to_90"] == pytest.approx(0.392)
    assert line["drop_sd"] is None or math.isnan(line["drop_sd"])


def test_a_rate_that_was_not_measured_is_missing(run):
    record = run()
    campaign = record["faults"]["weights"]
    for key in ("rates", "faults", "mean", "standard_deviation", "low", "high"):
        del campaign[key][1]  # 10%
    line = frame_of(record).to_dict("records")[0]
    assert math.isnan(line["accuracy_at_10"])


def test_band_over_seeds_by_hand(run):
    """Levels 0.88, 0.90 and 0.92 at rate 0: s = 0.02; t(0.975, 2) / sqrt(3) = 2.484138."""
    records = [run(seed=seed, test=test) for seed, test in enumerate((0.88, 0.90, 0.92))]
    curve = curve_of(records, "weights")
    assert curve["mean"].iloc[0] == pytest.approx(0.90)
    assert curve["low"].iloc[0] == pytest.approx(0.90 - 2.484138 * 0.02, abs=1e-7)
    assert curve["high"].iloc[0] == pytest.approx(0.90 + 2.484138 * 0.02, abs=1e-7)
    assert set(curve["band"]) == {"training seeds"}


def test_band_of_one_seed_is_the_campaigns_own(run):
    curve = curve_of([run(test=0.9)], "units")
    assert curve["low"].iloc[0] == pytest.approx(0.89)
    assert set(curve["band"]) == {"fault sets, one model"}


def test_bands_stay_within_the_unit_interval(run):
    records = [run(seed=seed, test=test) for seed, test in enumerate((0.80, 0.9, 1.0))]
    curve = curve_of(records, "weights")
    assert curve["low"].min() >= 0
    assert curve["high"].max() <= 1


def test_the_papers_drops_stand_beside_weights_of_the_same_algorithm(run):
    records = [
        run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov"),
        run(row="table_5/fmnist_dnn/natural"),
    ]
    lines = frame_of(*records).to_dict("records")
    beside = {(line["rows"], line["target"]): line["paper_drop"] for line in lines}
    assert beside["table_5/fmnist_dnn/tikhonov", "weights"] == pytest.approx(0.0114)
    assert math.isnan(beside["table_5/fmnist_dnn/tikhonov", "units"])
    assert math.isnan(beside["table_5/fmnist_dnn/natural", "weights"])
    assert beside["figure_3/trades", "weights"] == pytest.approx(0.2693)  # not run


def test_epsilon_ft_is_averaged_over_seeds(run):
    records = [run(seed=0), run(seed=1)]
    records[1]["faults"]["weights"]["epsilon_ft"][0]["total_variation"]["0.5"] = 0.4
    lines = fault_tolerance.EpsilonFt().frame(study_of(*records)).to_dict("records")
    found = {(line["target"], line["quantile"]): line["total_variation"] for line in lines}
    assert found["weights", 0.5] == pytest.approx(0.3)
    assert found["units", 0.5] == pytest.approx(0.2)
    assert found["weights", 0.9] == pytest.approx(0.6)
