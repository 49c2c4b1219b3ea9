"""Accuracy under attack: means over seeds, and which attack counts as the strongest."""

import math

import pytest
from factory import study_of, typed

from ft_tf.effects.runs import normalized_auc
from ft_tf.report import tidy
from ft_tf.report.exhibits import robustness, tradeoff


def frame_of(*records):
    return robustness.Robustness().frame(study_of(*records))


def attack_of(found):
    return found["attack_epsilon"][0], found["attack_images"][0]


def test_robust_accuracy_of_one_and_of_several_seeds(run):
    one = frame_of(run(test=0.8)).to_dict("records")[0]
    assert (one["robust_accuracy"], one["robust_low"]) == pytest.approx((0.2, 0.18))
    assert one["band"] == "images, one model"
    several = frame_of(*(run(test=test, seed=seed) for seed, test in enumerate((0.8, 0.84, 0.88))))
    line = several.to_dict("records")[0]
    assert line["robust_accuracy"] == pytest.approx(0.21)
    reach = 4.30265273 * 0.01 / math.sqrt(3)
    assert line["robust_low"] == pytest.approx(0.21 - reach, abs=1e-6)
    assert (line["band"], line["replicates"]) == ("training seeds", 3)


def test_different_attacks_have_lines_of_their_own(run):
    record = run()
    stronger = {**record["robustness"][0], "attack": "apgd", "warnings": ["masked gradients"]}
    record["robustness"].append(stronger)
    lines = frame_of(record).to_dict("records")
    assert [line["attack"] for line in lines] == ["pgd", "apgd"]
    assert [line["warnings"] for line in lines] == ["", "masked gradients"]


def test_norms_have_lines_of_their_own(run):
    record = run(test=0.8)
    round_ball = {
        **record["robustness"][0],
        "robust_accuracy": 0.7,
        "robust_interval": [0.6, 0.8],
        "parameters": {"distance": "l_2"},
    }
    record["robustness"].append(round_ball)
    frame = frame_of(record)
    assert list(zip(frame["distance"], frame["robust_accuracy"], strict=True)) == [
        ("l_inf", pytest.approx(0.2)),
        ("l_2", 0.7),
    ]
    view = robustness.Robustness().table(study_of(record))
    norm = [column.header for column in view.columns].index("norm")
    assert [row.cells[norm] for row in view.rows] == ["l_inf", "l_2"]


def test_gaps_under_attack_by_hand(run):
    """Natural 0.9 - 0.8; robust 0.3 - 0.2, and 0.5 - 0.2 of the second seed."""
    records = [run(test=0.8, seed=seed) for seed in range(2)]
    for record, train_robust in zip(records, (0.3, 0.5), strict=True):
        record["robustness"][0] |= {
            "train_clean_accuracy": 0.9,
            "train_robust_accuracy": train_robust,
            "robust_generalization_error": train_robust - 0.2,
        }
    frame = frame_of(*records)
    view = robustness.Robustness().table(study_of(*records))
    gaps = {
        column.header: cell
        for column, cell in zip(view.columns, view.rows[0].cells, strict=True)
        if column.group == "gap"
    }
    assert gaps == {"natural": "10.00", "robust": "20.00"}
    assert frame["train_robust_accuracy"][0] == pytest.approx(0.4)


def test_an_attack_repeated_on_one_run_is_no_second_replicate(run):
    record = run(test=0.8)
    record["robustness"].append(
        {**record["robustness"][0], "robust_accuracy": 0.15, "robust_interval": [0.1, 0.2]}
    )
    (line,) = frame_of(record).to_dict("records")
    assert (line["replicates"], line["robust_accuracy"]) == (1, 0.15)


def test_seeds_that_all_agree_have_no_interval(run):
    """Three models that the attack breaks alike: [0, 0] would say that no seed withstands it."""
    records = [run(seed=seed) for seed in range(3)]
    for record in records:
        record["robustness"][0] |= {"robust_accuracy": 0.0, "robust_interval": [0.0, 0.1]}
    (line,) = frame_of(*records).to_dict("records")
    assert (line["robust_low"], line["robust_high"]) == (None, None)
    assert line["band"] == "training seeds: none, all replicates equal: no spread to judge by"


def attack(robust, *, images=200, steps=20, epsilon=0.05, **changes):
    entry = {
        "attack": "pgd",
        "epsilon": epsilon,
        "steps": steps,
        "images": images,
        "clean_accuracy": 0.75,
        "robust_accuracy": robust,
        "robust_interval": [max(0.0, robust - 0.05), robust + 0.05],
        "parameters": {"distance": "l_inf"},
        "warnings": [],
    }
    return {**entry, **changes}


def attacked(run, *lists):
    records = [run(seed=seed, robustness=list(entries)) for seed, entries in enumerate(lists)]
    study = study_of(*records)
    return records, tradeoff.strongest(study, study.trained[0])


THREE = (attack(0.375), attack(0.375, steps=40), attack(0.32, steps=3, images=50))


def test_the_fewest_images_are_not_the_strongest_attack(run):
    """Three steps on 50 images gave 32%, forty on 200 gave 37.5%: the table had 32, n=2."""
    records, found = attacked(run, THREE, ())
    assert attack_of(found) == (0.05, 200)
    assert found["robust"].tolist() == [0.375]
    assert found["attacks"][0] == "pgd of 20 steps, pgd of 40 steps"
    view = tradeoff.Tradeoff().table(study_of(*records))
    cells = {f"{c.group} {c.header}".strip(): v
             for c, v in zip(view.columns, view.rows[0].cells, strict=True)}  # fmt: skip
    assert (cells["attacked accuracy"], cells["attacked n"], cells["n"]) == ("37.50", "1", "2")
    assert "lowest of: pgd of 20 steps, pgd of 40 steps" in view.rows[0].detail
    assert "attacked test images, the first: 200" in view.rows[0].detail
    assert cells["attacked radius"] == "0.05"


def test_on_the_same_images_the_lowest_counts_with_all_warnings(run):
    weak = attack(0.5, steps=1, warnings=["too few steps"])
    _, found = attacked(run, [attack(0.4), weak, attack(0.3, attack="apgd", steps=100)])
    assert found["robust"].tolist() == [0.3]
    assert found["attack_warnings"][0] == "too few steps"


def test_a_seed_that_was_attacked_more_often_does_not_look_weaker(run):
    stronger = attack(0.2, attack="apgd", steps=100)
    _, found = attacked(run, [attack(0.4), stronger], [attack(0.42)])
    assert sorted(found["robust"]) == [0.4, 0.42]
    assert found["attacks"][0] == "pgd of 20 steps"


def test_the_radius_is_the_one_that_most_seeds_share(run):
    """Else one attack at a large radius on one seed would hide those of all others."""
    _, found = attacked(run, [attack(0.4), attack(0.0, epsilon=0.3)], [attack(0.42)])
    assert (attack_of(found)[0], len(found)) == (0.05, 2)
    _, alone = attacked(run, [attack(0.4), attack(0.0, epsilon=0.3)])
    assert (attack_of(alone)[0], alone["robust"].tolist()) == (0.3, [0.0])


def test_other_norms_and_unattacked_runs_have_none(run):
    _, found = attacked(run, [attack(0.1, parameters={"distance": "l_2"})], [])
    assert found["robust"].tolist() == []


def test_points_of_the_figure_are_runs_under_one_attack(run):
    records, _ = attacked(run, THREE, [attack(0.3, images=50)], [attack(0.41)])
    frame = tradeoff.TradeoffRuns().frame(study_of(*records))
    robust = [None if value != value else value for value in frame["robust"]]
    assert robust == [0.375, None, 0.41]
    assert frame["attack_images"].dropna().tolist() == [200, 200]


def test_a_group_without_attacks_has_no_count(run):
    records, _ = attacked(run, [], [])
    (line,) = tradeoff.Tradeoff().frame(study_of(*records)).to_dict("records")
    assert (line["robust"], line["attacked"]) == (None, 0)
    assert line["attacks"] == "" and pytest.approx(0.88) == line["test"]


def test_the_tradeoff_takes_the_strongest_attack_and_the_runs_own_epsilon(paper_run):
    record = paper_run(row="table_8/fmnist_dnn/dpsgd/2.97", algorithm="dpsgd", test=0.8)
    other_norm = {
        "epsilon": 2.0,
        "robust_accuracy": 0.01,
        "robust_interval": [0.0, 0.1],
        "parameters": {"distance": "l_2"},
    }
    record["robustness"].append({**record["robustness"][1], **other_norm})
    (line,) = tradeoff.TradeoffRuns().frame(study_of(record)).to_dict("records")
    assert line["robust"] == pytest.approx(0.19)  # APGD, a point below PGD
    assert line["attacks"] == "apgd of 100 steps, pgd of 20 steps"
    assert (line["epsilon"], line["private"]) == (4.5, "DP")
    assert line["kind"] == "DP-SGD, noise multiplier 1.1"
    assert line["weights_normalized_auc"] == normalized_auc(typed(record), "weights")
    record["config"]["fitted"] = True
    (line,) = tradeoff.TradeoffRuns().frame(study_of(record)).to_dict("records")
    assert line["kind"] == "DP-SGD, noise multiplier 1.1, fitted"
    natural = paper_run()
    flipped = paper_run()
    flipped["config"]["augment"] = True
    (line,) = tradeoff.TradeoffRuns().frame(study_of(flipped)).to_dict("records")
    assert line["kind"] == "natural with crops and flips"
    (line,) = tradeoff.TradeoffRuns().frame(study_of(natural)).to_dict("records")
    assert line["kind"] == "natural"
    assert line["private"] == tidy.NOT_PRIVATE
    assert line["epsilon"] is None or math.isnan(line["epsilon"])


def test_the_tradeoff_has_a_line_per_run_and_a_table_with_one_per_group(private_study):
    study = study_of(*private_study)
    runs, groups = tradeoff.TradeoffRuns().frame(study), tradeoff.Tradeoff().frame(study)
    assert len(runs) == len(private_study)
    assert len(groups) == len(study.trained) == len(private_study) / 3
    assert groups["replicates"].tolist() == [3] * len(groups)
