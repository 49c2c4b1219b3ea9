"""What is measured on a trained model, as the parts of its record."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import attacks, faults, intervals, metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.faults import catalogue, predictors
from ft_tf.faults.record import to_record
from ft_tf.study import best, membership, trainer
from ft_tf.study.config import Evaluation, RunConfig
from ft_tf.training.base import ResidentModel

Split = tuple[np.ndarray, np.ndarray]
"""Examples and their labels."""


def evaluate(
    config: RunConfig,
    data: Dataset,
    trained: ResidentModel,
    directory: Path,
    *,
    failed: bool,
    held_out: Split | None,
    unseen: Split,
) -> dict[str, Any]:
    """Returns fields of the record, accuracy to membership; they are empty if training failed."""
    fields = dict.fromkeys(("accuracy", "parameters", "best_checkpoint", "membership"))
    fields |= {"faults": {}, "layer_faults": {}, "robustness": ()}
    if failed:
        return fields
    model, measured = trainer.evaluation_model(config, trained.model), config.evaluation
    fields |= {
        **_measured(model, data, measured, held_out),
        "robustness": robustness(model, data, config, directory),
        "best_checkpoint": best.measure(config, data, model, directory),
        "averaged": averaged(config, data, trained),
    }
    if measured.layer_rate:
        fields["layer_faults"] = layer_faults(model, data, measured)
    if measured.membership:
        fields["membership"] = membership.measure(config, data, model, unseen)
    if measured.predictors:
        train, test = (data.x_train, data.y_train), (data.x_test, data.y_test)
        size = measured.batch_size
        fields["predictors"] = predictors.measure(model, train, test, batch_size=size)
    return fields


def _measured(
    model: keras.Model, data: Dataset, evaluation: Evaluation, held_out: Split | None = None
) -> dict[str, Any]:
    """Returns the fields that the trained model and the average of its iterates share."""
    return {
        "accuracy": accuracy(model, data, batch_size=evaluation.batch_size, held_out=held_out),
        "parameters": parameters(model, data, evaluation),
        "faults": {
            target: fault_campaign(model, data, target=target, evaluation=evaluation)
            for target in evaluation.fault_targets
        },
        "bit_errors": bit_errors(model, data, evaluation),
    }


def accuracy(
    model: keras.Model, data: Dataset, *, batch_size: int, held_out: Split | None = None
) -> records.Accuracy:
    """Returns R_train, R_test and their difference (equation 2), on the whole splits."""
    train = metrics.accuracy(model, data.x_train, data.y_train, batch_size=batch_size)
    test = metrics.accuracy(model, data.x_test, data.y_test, batch_size=batch_size)
    interval = intervals.proportion(
        successes=round(test * len(data.x_test)), trials=len(data.x_test)
    )
    gap = metrics.generalization_error(train_accuracy=train, test_accuracy=test)
    holdout = metrics.accuracy(model, *held_out, batch_size=batch_size) if held_out else None
    return records.Accuracy(train, test, gap, (interval.low, interval.high), holdout)


_RESCALED_IMAGES = 1000


def parameters(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> records.ParameterSpread:
    """Spread of the parameters (equation 10), and what a rescaling makes of it where asked."""
    spread = metrics.parameter_spread(model.get_weights())
    rescaled = None
    if evaluation.rescaling:
        few = data.x_test[:_RESCALED_IMAGES]
        rescaled = records.Rescaled(**faults.rescaled_spreads(model, few))
    return records.ParameterSpread(**dataclasses.asdict(spread), rescaled=rescaled)


def averaged(config: RunConfig, data: Dataset, trained: ResidentModel) -> records.Averaged | None:
    """Returns accuracy and fault tolerance of the averaged iterates, if the training keeps them."""
    found = config.algorithm.averaged_model(trained)
    if found is None:
        return None
    model = trainer.evaluation_model(config, found)
    measured = _measured(model, data, config.evaluation)
    return records.Averaged(kind=config.algorithm.averaging, **measured)


def bit_errors(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> dict[str, records.Campaign] | None:
    """Returns bit errors in the weights for each storage format; None if none is configured.

    Rate 0 is the accuracy of the model as the format stores it, and what is lost at the other
    rates is measured from there.
    """
    if not evaluation.bit_error_formats:
        return None
    rates = tuple(sorted({0.0, *evaluation.bit_error_rates}))
    measured = dataclasses.replace(evaluation, fault_rates=rates)
    return {
        storage: fault_campaign(
            model, data, target="weights", evaluation=measured, fault=faults.BitErrors(storage)
        )
        for storage in evaluation.bit_error_formats
    }


def fault_campaign(
    model: keras.Model,
    data: Dataset,
    *,
    target: str,
    evaluation: Evaluation,
    fault: faults.FaultModel | None = None,
) -> records.Campaign:
    """Returns test accuracy against the rate of faults, with intervals over trials.

    The fault is the evaluation's unless `fault` is given.
    """
    kind = {"target": target, "fault": fault or catalogue.named(evaluation.fault, {})}
    frame = faults.sweep(
        model, data.x_test, data.y_test, rates=evaluation.fault_rates, **kind, **_trials(evaluation)
    )
    return to_record(frame, sites=faults.make_plan(model, **kind).sites)


def _trials(evaluation: Evaluation) -> dict[str, Any]:
    """The options of a campaign that all campaigns of a run share."""
    return {
        "trials": evaluation.fault_trials,
        "images_per_trial": evaluation.fault_images or None,
        "batch_size": evaluation.batch_size,
        "seed": evaluation.fault_seed,
    }


def layer_faults(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> dict[str, tuple[records.LayerFault, ...]]:
    """Accuracy with faults in one layer at a time, the whole model first, for each target."""
    options = {"rate": evaluation.layer_rate, "fault": catalogue.named(evaluation.fault, {})}
    options |= _trials(evaluation)
    found = {}
    for target in evaluation.fault_targets:
        table = faults.layer_vulnerability(
            model, data.x_test, data.y_test, target=target, **options
        ).assign(rate=evaluation.layer_rate)
        found[target] = tuple(records.LayerFault(**line) for line in table.to_dict("records"))
    return found


def robustness(
    model: keras.Model, data: Dataset, config: RunConfig, directory: Path
) -> tuple[records.Attack, ...]:
    """Accuracy under each configured attack on the first test images.

    The first attack also takes as many training images, for the robust generalization error beside
    the natural one. An AutoAttack that was interrupted continues after its finished stages.
    """
    measured = config.evaluation

    def attacked(attack: str, split: str, *, sanity: bool) -> attacks.AttackResult:
        options = {
            "pgd": {"steps": measured.attack_steps},
            "apgd": {"steps": measured.apgd_steps},
            "autoattack": {"resume": directory / f"autoattack-{split}.npz"},
        }
        return attacks.evaluate(
            model,
            getattr(data, f"x_{split}")[: measured.attack_images],
            getattr(data, f"y_{split}")[: measured.attack_images],
            attack=attack,
            epsilon=measured.attack_epsilon,
            seed=config.seed,
            sanity=sanity,
            **options.get(attack, {}),
        )

    entries = [
        attacked(attack, "test", sanity=measured.attack_sanity and not number).to_record()
        for number, attack in enumerate(measured.attacks)
    ]
    if entries:
        train = attacked(measured.attacks[0], "train", sanity=False)
        entries[0] = dataclasses.replace(
            entries[0],
            train_clean_accuracy=train.clean_accuracy,
            train_robust_accuracy=train.robust_accuracy,
            robust_generalization_error=metrics.generalization_error(
                train_accuracy=train.robust_accuracy, test_accuracy=entries[0].robust_accuracy
            ),
        )
    return tuple(entries)
