"""What is measured on a trained model, as the parts of its record."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from ft_tf import attacks, faults, intervals, metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.faults import catalogue, predictors
from ft_tf.faults.record import to_record
from ft_tf.study import best, membership
from ft_tf.study.config import Evaluation, RunConfig
from ft_tf.study.membership import Split

NO_RESULTS = {
    "accuracy": None, "parameters": None, "faults": {}, "layer_faults": {}, "robustness": (),
    "best_checkpoint": None, "membership": None,
}  # fmt: skip
"""Fields of the record of a failed training."""


def evaluate(
    config: RunConfig,
    data: Dataset,
    model: keras.Model,
    averaged: keras.Model | None,
    directory: Path,
    *,
    held_out: Split | None,
    unseen: Split,
    steps: int,
) -> dict[str, Any]:
    """Returns what the record says of the model, and of the average of its iterates.

    `steps` are those of the training.
    """
    measured = config.evaluation
    fields = {
        **_measured(model, data, measured, held_out),
        "robustness": robustness(model, data, config, directory),
        "best_checkpoint": best.measure(config, data, model, directory),
    }
    if averaged is not None:
        kind = config.algorithm.averaging
        fields["averaged"] = records.Averaged(kind=kind, **_measured(averaged, data, measured))
    if measured.layer_rate:
        fields["layer_faults"] = _layer_faults(model, data, measured)
    if measured.membership:
        fields["membership"] = membership.measure(config, data, model, unseen, steps)
    if measured.predictors:
        fields["predictors"] = predictors.measure(
            model, data.train, data.test, batch_size=measured.batch_size
        )
    return fields


def _measured(
    model: keras.Model, data: Dataset, evaluation: Evaluation, held_out: Split | None = None
) -> dict[str, Any]:
    """Returns the fields that the trained model and the average of its iterates share."""
    return {
        "accuracy": _accuracy(model, data, evaluation.batch_size, held_out),
        "parameters": _parameters(model, data, rescaling=evaluation.rescaling),
        "faults": {
            target: fault_campaign(model, data, target=target, evaluation=evaluation)
            for target in evaluation.fault_targets
        },
        "bit_errors": _bit_errors(model, data, evaluation),
    }


def _accuracy(
    model: keras.Model, data: Dataset, batch_size: int, held_out: Split | None
) -> records.Accuracy:
    """R_train, R_test and their difference (equation 2), on the whole splits."""
    train, test, holdout = (
        metrics.accuracy(model, *split, batch_size=batch_size) if split else None
        for split in (data.train, data.test, held_out)
    )
    interval = intervals.proportion(
        successes=round(test * len(data.x_test)), trials=len(data.x_test)
    )
    gap = metrics.generalization_error(train_accuracy=train, test_accuracy=test)
    return records.Accuracy(train, test, gap, (interval.low, interval.high), holdout)


_RESCALED_IMAGES = 1000


def _parameters(model: keras.Model, data: Dataset, *, rescaling: bool) -> records.ParameterSpread:
    """Spread of the parameters (equation 10), and what a rescaling makes of it where asked."""
    spread, rescaled = metrics.parameter_spread(model.get_weights()), None
    if rescaling:
        few = data.x_test[:_RESCALED_IMAGES]
        rescaled = records.Rescaled(**faults.rescaled_spreads(model, few))
    return records.ParameterSpread(**dataclasses.asdict(spread), rescaled=rescaled)


def _bit_errors(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> dict[str, records.Campaign] | None:
    """Returns bit errors in the weights for each storage format; None if none is configured.

    Rate 0 is the accuracy of the model as the format stores it, and what is lost at the other
    rates is measured from there.
    """
    rates = tuple(sorted({0.0, *evaluation.bit_error_rates}))
    measured = dataclasses.replace(evaluation, fault_rates=rates)
    campaign = partial(fault_campaign, model, data, target="weights", evaluation=measured)
    formats = evaluation.bit_error_formats
    return {name: campaign(fault=faults.BitErrors(name)) for name in formats} or None


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
    options = {"target": target, **_shared_options(evaluation)}
    options["fault"] = fault or options["fault"]
    frame = faults.sweep(model, *data.test, rates=evaluation.fault_rates, **options)
    sites = faults.make_plan(model, target=target, fault=options["fault"]).sites
    return to_record(frame, sites=sites)


def _shared_options(evaluation: Evaluation) -> dict[str, Any]:
    """Options of a campaign that are the same for all campaigns of a run."""
    return {
        "fault": catalogue.named(evaluation.fault, {}),
        "trials": evaluation.fault_trials,
        "images_per_trial": evaluation.fault_images or None,
        "batch_size": evaluation.batch_size,
        "seed": evaluation.fault_seed,
    }


def _layer_faults(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> dict[str, tuple[records.LayerFault, ...]]:
    """Accuracy with faults in one layer at a time, the whole model first, for each target."""
    rate, found = evaluation.layer_rate, {}
    for target in evaluation.fault_targets:
        table = faults.layer_vulnerability(
            model, *data.test, target=target, rate=rate, **_shared_options(evaluation)
        )
        lines = table.assign(rate=rate).to_dict("records")
        found[target] = tuple(records.LayerFault(**line) for line in lines)
    return found


def robustness(
    model: keras.Model, data: Dataset, config: RunConfig, directory: Path
) -> tuple[records.Attack, ...]:
    """Accuracy under each configured attack on the first test images.

    The first attack also takes as many training images, for the robust generalization error beside
    the natural one. An AutoAttack that was interrupted continues after its finished stages.
    """
    measured = config.evaluation

    def attacked(attack: str, split: str, *, sanity: bool = False) -> attacks.AttackResult:
        options = {
            "pgd": {"steps": measured.attack_steps},
            "apgd": {"steps": measured.apgd_steps},
            "autoattack": {"resume": directory / f"autoattack-{split}.npz"},
        }
        return attacks.evaluate(
            model,
            *(part[: measured.attack_images] for part in getattr(data, split)),
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
        train = attacked(measured.attacks[0], "train")
        entries[0] = dataclasses.replace(
            entries[0],
            train_clean_accuracy=train.clean_accuracy,
            train_robust_accuracy=train.robust_accuracy,
            robust_generalization_error=metrics.generalization_error(
                train_accuracy=train.robust_accuracy, test_accuracy=entries[0].robust_accuracy
            ),
        )
    return tuple(entries)
