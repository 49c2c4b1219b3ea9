"""Frames of a study: a line per thing measured, and how the report derives figures from them."""

import pytest
from factory import study_of, typed

from ft_tf.effects.runs import chance, normalized_auc


def test_a_line_per_run_with_its_figures_and_its_configuration(run, failed_run):
    study = study_of(run(seed=3, train=0.95, test=0.88), failed_run(seed=4))
    finished, failed = study.runs.to_dict("records")
    assert finished["generalization_error"] == pytest.approx(0.07)
    assert (finished["seed"], finished["config.evaluation.batch_size"]) == (3, 1000)
    assert (failed["status"], failed["failure"]) == ("failed", "loss is NaN (epoch 3, step 71)")
    assert study.finished_runs["seed"].tolist() == [3]
    assert finished["group"] == failed["group"]  # replicates of one another


def test_a_run_of_two_rows_has_one_line(run):
    record = run(dataset="cifar10", architecture="cifar10_cnn", algorithm="trades")
    record["rows"] = ["table_4/cifar10_cnn/trades", "table_6/cifar10_cnn/trades/8_255"]
    study = study_of(record)
    assert study.runs["rows"].tolist() == [" ".join(record["rows"])]
    assert len(study.trained) == 1


def test_a_line_per_rate_with_losses_paired_where_they_were_measured(run):
    """The factory's accuracy under weight faults is test - 0.7 rate^2."""
    paired = run(seed=1)
    count = len(paired["faults"]["weights"]["rates"])
    paired["faults"]["weights"]["lost"] = {name: [0.03] * count for name in ("mean", "low", "high")}
    study = study_of(run(seed=0), paired)
    lines = study.campaigns
    at = lines[(lines["target"] == "weights") & (lines["rate"] == 0.5)]
    assert at["lost"].tolist() == pytest.approx([0.7 * 0.25, 0.03])
    assert at["faults"].tolist() == [50_000, 50_000]
    assert at["lost_low"].tolist() == pytest.approx([0.7 * 0.25 - 0.01, 0.03])


def test_a_line_per_attack_and_layer(paper_run):
    study = study_of(paper_run())
    assert study.attacks["attack"].tolist() == ["pgd", "apgd"]
    assert set(study.attacks["distance"]) == {"l_inf"}
    weights = study.layers[study.layers["target"] == "weights"]
    assert weights["layer"].tolist() == ["whole model", "dense 1", "dense 2", "logits"]
    assert weights["share_of_sites"].iloc[0] == 1


def test_chance_is_one_over_the_number_of_classes(run):
    assert chance(typed(run())) == 0.1
    three = run()
    three["data"] |= {"name": "mine", "classes": 3}
    assert chance(typed(three)) == pytest.approx(1 / 3)
    unknown = run()
    unknown["data"]["name"] = "mine"
    assert chance(typed(unknown)) is None
    assert normalized_auc(typed(unknown), "weights") is None
    assert normalized_auc(typed(three), "weights") != normalized_auc(typed(run()), "weights")


def test_without_records_every_frame_is_empty():
    study = study_of()
    frames = (study.runs, study.campaigns, study.curves, study.attacks, study.layers)
    assert [len(frame) for frame in (*frames, study.finished_runs)] == [0] * 6
    assert study.architectures == ()
