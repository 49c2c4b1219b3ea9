"""What a record says of a trained model, against the library's own functions on that model."""

import dataclasses

import numpy as np
import pytest

from experiments._summary import summary
from ft_tf import attacks, faults, metrics, models, records
from ft_tf.errors import ArgumentError
from ft_tf.study import config as c
from ft_tf.study import directory as runs
from ft_tf.study import trainer
from ft_tf.study.evaluation import fault_campaign
from ft_tf.study.execution import directory_of, run, weights_fingerprint

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
        bit_error_formats=("int8_per_channel", "bfloat16"),
        bit_error_rates=(1e-4, 1e-2),
    ),
)
BARE = c.Evaluation(fault_targets=())
STOPPING = dataclasses.replace(
    CONFIG, epochs=50, train_limit=50, holdout=20, batch_size=15, evaluation=BARE
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


def test_bit_errors_are_those_of_a_sweep_for_each_format(finished, stripes):
    record, model = finished
    assert list(record.bit_errors) == ["bfloat16", "int8_per_channel"]  # as JSON sorts them
    for storage, bits in (("int8_per_channel", 8), ("bfloat16", 16)):
        campaign = record.bit_errors[storage]
        frame = faults.sweep(
            model,
            stripes.x_test,
            stripes.y_test,
            target="weights",
            rates=[0.0, 1e-4, 1e-2],
            trials=3,
            seed=0,
            images_per_trial=12,
            fault=faults.BitErrors(storage),
        )
        assert campaign.sites == bits * 669_706
        assert campaign.rates == (0.0, 1e-4, 1e-2)
        assert campaign.faults == tuple(round(rate * campaign.sites) for rate in (0, 1e-4, 1e-2))
        means = frame.groupby("rate")[["accuracy", "accuracy_lost"]].mean()
        np.testing.assert_allclose(campaign.mean, means["accuracy"])
        np.testing.assert_allclose(campaign.lost.mean, means["accuracy_lost"])


def test_a_configuration_without_bit_errors_reads_as_before_there_were_any():
    fields = c.to_dict(dataclasses.replace(CONFIG, evaluation=c.Evaluation()))
    assert not [key for key in fields["evaluation"] if key.startswith("bit_error")]
    for evaluation in (CONFIG.evaluation, c.Evaluation()):
        config = dataclasses.replace(CONFIG, evaluation=evaluation)
        assert c.from_dict(c.to_dict(config)) == config
    for wrong in ({"bit_error_formats": ("int9",)}, {"bit_error_rates": (1.5,)}):
        with pytest.raises(ArgumentError, match="int9|bit_error_rate=1.5"):
            c.Evaluation(**wrong)


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


@pytest.mark.slow
def test_reference_models_that_never_saw_the_run_s_images_show_what_it_memorised(stripes, tmp_path):
    """Labels are drawn at random: only who has seen an image knows its label."""
    rng = np.random.default_rng(3)
    data = dataclasses.replace(
        stripes, y_train=rng.integers(0, 10, 60), y_test=rng.integers(0, 10, 30)
    )
    config = dataclasses.replace(
        CONFIG,
        epochs=60,
        train_limit=30,
        evaluation=dataclasses.replace(BARE, membership=True, reference_models=3),
    )
    record = run(config, data, tmp_path)
    assert record.accuracy.train > 0.95
    found = record.membership.by_references
    assert (found.references, found.others, record.membership.others) == (3, 15, 30)
    assert found.advantage > 0.6
    assert "RMIA with 3 reference models" in summary(record)
    with pytest.raises(ArgumentError, match="reference_models=3 need .* set train_limit"):
        run(dataclasses.replace(config, train_limit=0), data, tmp_path)
    with pytest.raises(ArgumentError, match="reference_models=2 needs membership=True"):
        c.Evaluation(reference_models=2)


def test_reference_models_are_trained_as_the_run_was(stripes, tmp_path, monkeypatch):
    """A run that stopped after a few steps had references of all epochs, and without its noise."""
    config = dataclasses.replace(
        STOPPING,
        stop_at_holdout_accuracy=0.8,
        weight_noise=0.5,
        evaluation=dataclasses.replace(BARE, membership=True, reference_models=1),
    )
    fits, fit = [], trainer.fit

    def noted(model, config, data, **options):
        fit(model, config, data, **options)
        weights = [weight.numpy() for weight in model.model.trainable_variables]
        fits.append((model, weights, len(data.x_train), int(model.optimizer.iterations)))

    monkeypatch.setattr(trainer, "fit", noted)
    record = run(config, stripes, tmp_path)
    assert 1 < record.training.steps < 100
    assert [line[2:] for line in fits] == [(30, record.training.steps)] * 2  # of 10 images, thrice
    for model, before, *_ in fits:
        after = [weight.numpy() for weight in model.model.trainable_variables]
        moved = np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)])
        assert moved.std() == pytest.approx(0.5, rel=0.01)


def test_a_training_stops_at_a_held_out_accuracy_and_says_how_far_it_came(stripes, tmp_path):
    config = dataclasses.replace(STOPPING, stop_at_holdout_accuracy=0.5)
    record = run(config, stripes, tmp_path)
    directory = directory_of(config, stripes, tmp_path)
    assert record.status == "finished"
    assert record.accuracy.holdout >= 0.5
    assert record.training.epochs < 50
    assert record.data.train_examples == 30
    assert "holdout_20-stopped_at_holdout_0.5000" in directory.name
    assert records.load(directory) == record
    model = models.load(directory / runs.MODEL)
    for measured, rows in (("train", slice(30)), ("holdout", slice(30, 50))):
        expected = metrics.accuracy(model, stripes.x_train[rows], stripes.y_train[rows])
        assert getattr(record.accuracy, measured) == pytest.approx(expected)


def test_a_training_stops_at_a_training_accuracy_and_is_measured_for_predictors(stripes, tmp_path):
    evaluation = dataclasses.replace(BARE, predictors=True)
    config = dataclasses.replace(
        CONFIG, epochs=50, stop_at_train_accuracy=0.5, batch_size=15, evaluation=evaluation
    )
    record = run(config, stripes, tmp_path)
    directory = directory_of(config, stripes, tmp_path)
    assert record.accuracy.train >= 0.5 and record.training.epochs < 50
    assert "stopped_at_train_0.5000" in directory.name
    assert records.load(directory) == record
    assert all(np.isfinite(value) for value in record.predictors.values())
    with pytest.raises(ArgumentError, match="stop_at_train_accuracy=0.5 cannot be used together"):
        dataclasses.replace(config, holdout=20, stop_at_holdout_accuracy=0.5)


def test_noise_on_the_trained_weights_has_the_deviation_that_was_asked_for(stripes, tmp_path):
    plain = dataclasses.replace(CONFIG, epochs=1, evaluation=BARE)
    weights = []
    for config in (plain, dataclasses.replace(plain, weight_noise=0.05)):
        record = run(config, stripes, tmp_path)
        directory = directory_of(config, stripes, tmp_path)
        model = models.load(directory / runs.MODEL)
        assert record.model.weights_fingerprint == weights_fingerprint(model)
        weights.append(model.get_weights())
    assert "weight_noise_0.05" in directory.name
    noise = np.concatenate([(b - a).ravel() for a, b in zip(*weights, strict=True)])
    assert abs(noise.mean()) < 5 * 0.05 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * noise.size))


def test_held_out_images_change_nothing_but_what_is_measured(stripes, tmp_path):
    """Trained with 40 of 60 images held out, a model is that of the first 20 images alone."""
    held_out = dataclasses.replace(CONFIG, holdout=40, epochs=2, evaluation=BARE)
    limited = dataclasses.replace(CONFIG, train_limit=20, epochs=2, evaluation=BARE)
    first, second = (run(config, stripes, tmp_path) for config in (held_out, limited))
    assert first.model.weights_fingerprint == second.model.weights_fingerprint
    assert second.accuracy.holdout is None
    assert first.accuracy == dataclasses.replace(second.accuracy, holdout=first.accuracy.holdout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stop_at_test_accuracy": 0.5}, "stop_at_test_accuracy=0.5 is of older records"),
        ({"holdout": 60}, "holdout=60 leaves no training example"),
        ({"holdout": 50, "batch_size": 20}, "batch_size=20 must be at most the 10"),
    ],
)
def test_what_leaves_no_training_images_or_stops_on_test_images_is_refused(
    change, message, stripes, tmp_path
):
    with pytest.raises(ArgumentError, match=message):
        run(dataclasses.replace(CONFIG, **change), stripes, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_study_takes_the_fault_model_that_it_is_given(stripes, tmp_path):
    rates = {"fault_rates": (0.0, 1.0), "fault_trials": 1, "fault_targets": ("weights",)}
    flipped, stuck = (
        run(dataclasses.replace(CONFIG, evaluation=c.Evaluation(fault=fault, **rates), label=fault),
            stripes, tmp_path)
        for fault in ("sign_flip", "stuck_at_0")
    )  # fmt: skip
    # All weights 0: the first class everywhere. All signs flipped: other predictions.
    assert stuck.faults["weights"].mean[1] == pytest.approx((stripes.y_test == 0).mean())
    assert flipped.faults["weights"].mean[1] != stuck.faults["weights"].mean[1]
    assert flipped.faults["weights"].mean[0] == stuck.faults["weights"].mean[0]


def test_bad_measurements_are_named():
    for change, message in (
        ({"layer_rate": 2.0}, "layer_rate=2.0"),
        ({"fault_images": -1}, "fault_images=-1"),
        ({"attacks": ("cw",)}, "attack='cw'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            c.Evaluation(**change)
