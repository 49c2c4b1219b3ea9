"""Parameters, faults and attacks against values computed by hand."""

import math

import pytest

from ft_tf.report import fault_measures, measures, privacy, views


def test_fault_levels_and_drop_of_one_run(run):
    """The factory's accuracy under weight faults is test - 0.7 rate^2."""
    line = fault_measures.drop_frame([run(test=0.9)]).to_dict("records")[0]
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
    for key in ("rates", "mean", "low", "high"):
        del campaign[key][1]  # 10%
    line = fault_measures.drop_frame([record]).to_dict("records")[0]
    assert math.isnan(line["accuracy_at_10"])


def test_band_over_seeds_by_hand(run):
    """Levels 0.88, 0.90 and 0.92 at rate 0: s = 0.02; t(0.975, 2) / sqrt(3) = 2.484138."""
    records = [run(seed=seed, test=test) for seed, test in enumerate((0.88, 0.90, 0.92))]
    ((group, _),) = measures.trained_groups(records)
    curve = fault_measures.fault_curve(group, "weights")
    assert curve["mean"][0] == pytest.approx(0.90)
    assert curve["low"][0] == pytest.approx(0.90 - 2.484138 * 0.02, abs=1e-7)
    assert curve["high"][0] == pytest.approx(0.90 + 2.484138 * 0.02, abs=1e-7)
    assert set(curve["band"]) == {"training seeds"}


def test_band_of_one_seed_is_the_campaigns_own(run):
    ((group, _),) = measures.trained_groups([run(test=0.9)])
    curve = fault_measures.fault_curve(group, "units")
    assert curve["low"][0] == pytest.approx(0.89)
    assert set(curve["band"]) == {"fault sets, one model"}


def test_bands_stay_within_the_unit_interval(run):
    records = [run(seed=seed, test=test) for seed, test in enumerate((0.80, 0.9, 1.0))]
    ((group, _),) = measures.trained_groups(records)
    curve = fault_measures.fault_curve(group, "weights")
    assert curve["low"].min() >= 0
    assert curve["high"].max() <= 1


def test_the_papers_drops_stand_beside_weights_of_the_same_algorithm(run):
    records = [
        run(row="table_5/fmnist_dnn/tikhonov", algorithm="tikhonov"),
        run(row="table_5/fmnist_dnn/natural"),
    ]
    lines = fault_measures.drop_frame(records).to_dict("records")
    beside = {(line["rows"], line["target"]): line["paper_drop"] for line in lines}
    assert beside["table_5/fmnist_dnn/tikhonov", "weights"] == pytest.approx(0.0114)
    assert math.isnan(beside["table_5/fmnist_dnn/tikhonov", "units"])
    assert math.isnan(beside["table_5/fmnist_dnn/natural", "weights"])
    assert beside["figure_3/trades", "weights"] == pytest.approx(0.2693)  # not run


def test_parameters_beside_figure_2(run):
    row = "table_5/fmnist_cnn/trades"
    records = [
        run(row=row, algorithm="trades", architecture="fmnist_cnn_2", seed=seed)
        for seed in range(2)
    ]
    records[1]["parameters"]["standard_deviation"] = 0.13
    frame = measures.parameter_frame(records)
    line = frame.to_dict("records")[0]
    assert line["standard_deviation"] == pytest.approx(0.12)
    assert line["standard_deviation_sd"] == pytest.approx(0.02 / math.sqrt(2))
    assert line["equation_10"] == pytest.approx(0.011)
    assert line["paper_standard_deviation"] == 0.17901
    assert set(frame["rows"]) == {
        row,
        "figure_2/cifar10_cnn/trades",
        "figure_2/cifar10_cnn/tikhonov",
        "figure_2/fmnist_cnn/tikhonov",
    }


def test_robust_accuracy_of_one_and_of_several_seeds(run):
    one = measures.robustness_frame([run(test=0.8)]).to_dict("records")[0]
    assert (one["robust_accuracy"], one["robust_low"]) == pytest.approx((0.2, 0.18))
    assert one["band"] == "images, one model"
    several = measures.robustness_frame(
        [run(test=test, seed=seed) for seed, test in enumerate((0.8, 0.84, 0.88))]
    )
    line = several.to_dict("records")[0]
    assert line["robust_accuracy"] == pytest.approx(0.21)
    reach = 4.30265273 * 0.01 / math.sqrt(3)
    assert line["robust_low"] == pytest.approx(0.21 - reach, abs=1e-6)
    assert (line["band"], line["replicates"]) == ("training seeds", 3)


def test_different_attacks_have_lines_of_their_own(run):
    record = run()
    stronger = {**record["robustness"][0], "attack": "apgd", "warnings": ["masked gradients"]}
    record["robustness"].append(stronger)
    lines = measures.robustness_frame([record]).to_dict("records")
    assert [line["attack"] for line in lines] == ["pgd", "apgd"]
    assert [line["warnings"] for line in lines] == ["", "masked gradients"]


def test_norms_have_lines_of_their_own(run):
    record = run(test=0.8)
    round_ball = {
        **record["robustness"][0],
        "robust_accuracy": 0.7,
        "parameters": {"distance": "l_2"},
    }
    record["robustness"].append(round_ball)
    frame = measures.robustness_frame([record])
    assert list(zip(frame["distance"], frame["robust_accuracy"], strict=True)) == [
        ("l_inf", pytest.approx(0.2)),
        ("l_2", 0.7),
    ]
    view = views.robustness(frame)
    norm = [column.header for column in view.columns].index("norm")
    assert [row[norm] for row in view.rows] == ["l_inf", "l_2"]


def test_gaps_under_attack_by_hand(run):
    """Natural 0.9 - 0.8; robust 0.3 - 0.2, and 0.5 - 0.2 of the second seed."""
    records = [run(test=0.8, seed=seed) for seed in range(2)]
    for record, train_robust in zip(records, (0.3, 0.5), strict=True):
        record["robustness"][0] |= {
            "train_clean_accuracy": 0.9,
            "train_robust_accuracy": train_robust,
            "robust_generalization_error": train_robust - 0.2,
        }
    frame = measures.robustness_frame(records)
    view = views.robustness(frame)
    gaps = {
        column.header: cell
        for column, cell in zip(view.columns, view.rows[0], strict=True)
        if column.group == "gap"
    }
    assert gaps == {"natural": "10.00", "robust": "20.00"}
    assert frame["train_robust_accuracy"][0] == pytest.approx(0.4)


def test_an_attack_repeated_on_one_run_is_no_second_replicate(run):
    record = run(test=0.8)
    record["robustness"].append({**record["robustness"][0], "robust_accuracy": 0.15})
    (line,) = measures.robustness_frame([record]).to_dict("records")
    assert (line["replicates"], line["robust_accuracy"]) == (1, 0.15)


def test_epsilon_ft_is_averaged_over_seeds(run):
    records = [run(seed=0), run(seed=1)]
    records[1]["faults"]["weights"]["epsilon_ft"][0]["total_variation"]["0.5"] = 0.4
    lines = fault_measures.epsilon_ft_frame(records).to_dict("records")
    found = {(line["target"], line["quantile"]): line["total_variation"] for line in lines}
    assert found["weights", 0.5] == pytest.approx(0.3)
    assert found["units", 0.5] == pytest.approx(0.2)
    assert found["weights", 0.9] == pytest.approx(0.6)


def test_a_run_of_two_rows_is_listed_once(run):
    record = run(dataset="cifar10", architecture="cifar10_cnn", algorithm="trades")
    record["rows"] = ["table_4/cifar10_cnn/trades", "table_6/cifar10_cnn/trades/8_255"]
    ((_, rows),) = measures.trained_groups([record])
    assert rows == "table_4/cifar10_cnn/trades table_6/cifar10_cnn/trades/8_255"


def test_bounds_of_dp_runs(run):
    row = "table_8/fmnist_dnn/dpsgd/2.97"
    records = [
        run(row=row, algorithm="dpsgd", seed=seed, train=train, test=0.84)
        for seed, train in enumerate((0.85, 0.87))
    ]
    records[1]["privacy"]["epsilon_paper"] = 6.0  # steps were lost and run again
    (line,) = privacy.bounds_frame([*records, run()]).to_dict("records")
    assert line["epsilon_paper"] == 6.0
    assert line["gap"] == pytest.approx(0.02)
    assert line["gap_bound"] == 0.45


def test_shuffled_runs_get_the_bound_without_amplification(run):
    record = run(row="table_8/fmnist_dnn/dpsgd/2.97", algorithm="dpsgd")
    record["privacy"] |= {"sampling": "shuffle", "gap_bound_shuffled": 0.9}
    (line,) = privacy.bounds_frame([record]).to_dict("records")
    assert line["gap_bound"] == 0.9


def test_seeds_that_all_agree_have_no_interval(run):
    """Three models that the attack breaks alike: [0, 0] would say that no seed withstands it."""
    records = [run(seed=seed) for seed in range(3)]
    for record in records:
        record["robustness"][0]["robust_accuracy"] = 0.0
    (line,) = measures.robustness_frame(records).to_dict("records")
    assert (line["robust_low"], line["robust_high"]) == (None, None)
    assert line["band"] == "training seeds: none, all replicates equal: no spread to judge by"
