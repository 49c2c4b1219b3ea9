"""What a record says of a trained model, against the library's own functions on that model."""

import dataclasses

import numpy as np
import pytest

from ft_tf import attacks, faults, metrics, models, records
from ft_tf.errors import ArgumentError
from ft_tf.study import config as c
from ft_tf.study import directory as runs
from ft_tf.study.describe import summary
from ft_tf.study.evaluation import fault_campaign
from ft_tf.study.execution import directory_of, run

CONFIG = c.RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    epochs=4,
    batch_size=20,
    learning_rate=0.05,
    evaluation=c.Evaluation(
        fault_rates=(0.0, 1e-5, 0.5),
        fault_trials=3,
        fault_images=12,
        layer_rate=0.25,
        attacks=("pgd", "apgd"),
        attack_steps=5,
        apgd_steps=5,
        attack_images=20,
        attack_sanity=False,
        membership=True,
        rescaling=True,
    ),
)


@pytest.fixture(scope="module")
def finished(stripes, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("finished")
    record = run(CONFIG, stripes, output_dir)
    return record, models.load(directory_of(CONFIG, stripes, output_dir) / runs.MODEL)


def test_fault_sets_on_a_subset_of_images_are_those_of_a_sweep(finished, stripes):
    record, model = finished
    campaign = record.faults["weights"]
    frame = faults.sweep(
        model,
        stripes.x_test,
        stripes.y_test,
        target="weights",
        rates=[0.0, 1e-5, 0.5],
        trials=3,
        seed=0,
        images_per_trial=12,
    )
    assert campaign.images == 12
    assert campaign.faults == (0, 7, 334853)
    np.testing.assert_allclose(campaign.mean, frame.groupby("rate")["accuracy"].mean())
    lost = frame[frame["rate"] == 0.5]["accuracy_lost"]
    reach = 4.302652729911275 * lost.std() / 3**0.5  # Student's t, two degrees of freedom
    assert campaign.lost.mean[2] == pytest.approx(lost.mean())
    assert campaign.lost.high[2] == pytest.approx(lost.mean() + reach)
    assert (campaign.lost.mean[0], campaign.lost.low[0], campaign.lost.high[0]) == (0, 0, 0)


def test_one_trial_says_nothing_of_how_far_another_loses(finished, stripes):
    _, model = finished
    campaign = fault_campaign(
        model,
        stripes,
        target="weights",
        evaluation=c.Evaluation(fault_rates=(0.0, 0.5), fault_trials=1),
    )
    assert (campaign.lost.low, campaign.lost.high) == ((0.0, -1.0), (0.0, 1.0))


def test_each_layer_is_faulted_by_itself_beside_the_whole_model(finished):
    record, model = finished
    lines = record.layer_faults["units"]
    hidden = [layer.name for layer in model.layers if "dense" in layer.name][:2]
    assert [line.layer for line in lines] == ["whole model", *hidden]
    assert [line.sites for line in lines] == [1024, 512, 512]
    assert [line.faults for line in lines] == [256, 128, 128]
    assert {line.rate for line in lines} == {0.25}
    weights = record.layer_faults["weights"]
    assert weights[0].sites == 669_706 == sum(line.sites for line in weights[1:])


def test_only_the_first_attack_takes_training_images_too(finished):
    record, _ = finished
    pgd, apgd = record.robustness
    assert (pgd.attack, apgd.attack) == ("pgd", "apgd")
    assert (pgd.steps, apgd.steps) == (5, 5)
    assert apgd.train_clean_accuracy is apgd.robust_generalization_error is None
    assert pgd.robust_accuracy <= pgd.clean_accuracy


def test_a_rescaling_moves_the_spread_and_no_logit(finished):
    record, _ = finished
    rescaled = record.parameters.rescaled
    same = rescaled.powers.index(0)
    for name in ("standard_deviation", "equation_10"):
        assert getattr(rescaled, name)[same] == pytest.approx(getattr(record.parameters, name))
        assert max(getattr(rescaled, name)) > 2 * getattr(record.parameters, name)
    assert (rescaled.changed_logits, rescaled.changed_logits_under_faults) == (0, 0)


def test_natural_and_robust_generalization_errors_stand_side_by_side(finished, stripes):
    record, model = finished
    entry = record.robustness[0]
    right = {
        split: metrics.accuracy(model, x[:20], y[:20])
        for split, x, y in (
            ("train", stripes.x_train, stripes.y_train),
            ("test", stripes.x_test, stripes.y_test),
        )
    }
    assert (entry.train_clean_accuracy, entry.clean_accuracy) == pytest.approx(
        (right["train"], right["test"])
    )
    attacked = attacks.pgd(
        model, stripes.x_train[:20], stripes.y_train[:20], epsilon=0.1, num_steps=5, early_stop=True
    )
    assert entry.train_robust_accuracy == attacked.robust_accuracy
    assert entry.robust_generalization_error == pytest.approx(
        attacked.robust_accuracy - entry.robust_accuracy
    )
    natural, robust = (
        f"{100 * value:.2f}%"
        for value in (right["train"] - right["test"], entry.robust_generalization_error)
    )
    assert f"attacked images: natural {natural}, robust {robust}" in summary(record)


def test_membership_by_correctness_is_the_generalization_error(finished):
    record, _ = finished
    found = record.membership
    assert found.advantage_of_correctness == pytest.approx(record.accuracy.generalization_error)
    assert (found.members, found.others) == (60, 30)


def test_a_training_stops_at_a_test_accuracy_and_says_how_far_it_came(stripes, tmp_path):
    config = dataclasses.replace(
        CONFIG, epochs=50, stop_at_test_accuracy=0.5, evaluation=c.Evaluation(fault_trials=1)
    )
    record = run(config, stripes, tmp_path)
    directory = directory_of(config, stripes, tmp_path)
    assert record.status == "finished"
    assert record.accuracy.test >= 0.5
    assert record.training.epochs < 50
    assert "stopped_at_0.5000" in directory.name
    assert records.load(directory) == record
    assert metrics.accuracy(
        models.load(directory / runs.MODEL), stripes.x_test, stripes.y_test
    ) == pytest.approx(record.accuracy.test)


def test_bad_measurements_are_named():
    for change, message in (
        ({"layer_rate": 2.0}, "layer_rate=2.0"),
        ({"fault_images": -1}, "fault_images=-1"),
        ({"attacks": ("cw",)}, "attack='cw'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            c.Evaluation(**change)
