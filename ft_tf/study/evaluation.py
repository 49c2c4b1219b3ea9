"""What is measured on a trained model, as the parts of its record."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ft_tf import attacks, faults, intervals, metrics, records
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.faults.rows import interval_of
from ft_tf.privacy import accounting, membership, steps_per_pass, to_record
from ft_tf.study import best, trainer
from ft_tf.study import directory as runs
from ft_tf.study.config import DPSGD, Evaluation, RunConfig
from ft_tf.training.base import ResidentModel

_NOTHING: dict[str, Any] = {
    "accuracy": None,
    "parameters": None,
    "faults": {},
    "layer_faults": {},
    "robustness": (),
    "best_checkpoint": None,
    "membership": None,
}


def evaluate(
    config: RunConfig, data: Dataset, trained: ResidentModel, directory: Path, *, failed: bool
) -> dict[str, Any]:
    """Returns fields of the record, accuracy to membership; they are empty if training failed."""
    if failed:
        return dict(_NOTHING)
    model = trainer.evaluation_model(config, trained.model)
    measured = config.evaluation
    return {
        "accuracy": accuracy(model, data, batch_size=measured.batch_size),
        "parameters": parameters(model, data, measured),
        "faults": {
            target: fault_campaign(model, data, target=target, evaluation=measured)
            for target in measured.fault_targets
        },
        "layer_faults": layer_faults(model, data, measured) if measured.layer_rate else {},
        "robustness": robustness(model, data, config),
        "best_checkpoint": best.measure(config, data, model, directory),
        "membership": membership_inference(model, data, measured) if measured.membership else None,
    }


def what_is_not_finite(model: keras.Model, data: Dataset, *, batch_size: int) -> str | None:
    """Why a trained model cannot be evaluated: its weights or logits; None where it can."""
    if not all(np.isfinite(part).all() for part in model.get_weights()):
        return "weights are not finite"
    logits = metrics.predict_logits(model, data.x_test, batch_size=batch_size)
    return None if np.isfinite(logits).all() else "logits of test images are not finite"


def accuracy(model: keras.Model, data: Dataset, *, batch_size: int) -> records.Accuracy:
    """R_train, R_test and their difference (equation 2), on the whole splits."""
    train = metrics.accuracy(model, data.x_train, data.y_train, batch_size=batch_size)
    test = metrics.accuracy(model, data.x_test, data.y_test, batch_size=batch_size)
    interval = intervals.proportion(
        successes=round(test * len(data.x_test)), trials=len(data.x_test)
    )
    gap = metrics.generalization_error(train_accuracy=train, test_accuracy=test)
    return records.Accuracy(train, test, gap, (interval.low, interval.high))


_RESCALED_IMAGES = 1000


def parameters(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> records.ParameterSpread:
    """Spread of the parameters (equation 10), and what a rescaling makes of it where asked."""
    spread = metrics.parameter_spread(model.get_weights())
    rescaled = None
    if evaluation.rescaling:
        found = faults.rescaled_spreads(model, data.x_test[:_RESCALED_IMAGES])
        rescaled = records.Rescaled(**found)
    return records.ParameterSpread(**dataclasses.asdict(spread), rescaled=rescaled)


def fault_campaign(
    model: keras.Model, data: Dataset, *, target: str, evaluation: Evaluation
) -> records.Campaign:
    """Test accuracy against the rate of stuck-at-0 faults, with intervals over trials."""
    shared = {"target": target, "seed": evaluation.fault_seed}
    frame = faults.sweep(
        model,
        data.x_test,
        data.y_test,
        rates=evaluation.fault_rates,
        trials=evaluation.fault_trials,
        images_per_trial=evaluation.fault_images or None,
        batch_size=evaluation.batch_size,
        **shared,
    )
    summary = faults.summarize(frame)
    spread = frame.groupby("rate")["accuracy"].std(ddof=1)
    levels = dict(zip(summary["rate"], summary["accuracy"], strict=True))
    drop = None
    if 0.5 in levels and 0.9 in levels:
        drop = records.Drop(levels[0.5] - levels[0.9], at_50=levels[0.5], at_90=levels[0.9])
    return records.Campaign(
        rates=tuple(summary["rate"]),
        faults=tuple(summary["faults"]),
        mean=tuple(summary["accuracy"]),
        standard_deviation=tuple(spread),
        low=tuple(summary["low"].clip(0, 1)),
        high=tuple(summary["high"].clip(0, 1)),
        trials=evaluation.fault_trials,
        images=evaluation.fault_images or len(data.x_test),
        sites=faults.make_plan(model, target=target).sites,
        method=summary["method"].iloc[0],
        unit=summary["unit"].iloc[0],
        lost=lost(frame),
        level=float(summary["level"].iloc[0]),
        drop_50_to_90=drop,
        epsilon_ft=epsilon_ft(frame),
        **shared,
    )


def lost(frame: pd.DataFrame) -> records.Lost:
    """Accuracy lost at each rate: the mean over trials and its 95% interval (Student's t).

    Each trial is set against the fault-free accuracy on its own images, so that what is lost at the
    lowest rates does not carry the difference of image subsets. One trial shows no spread: its
    interval is all that a loss can be.
    """
    groups = [(rate, group["accuracy_lost"]) for rate, group in frame.groupby("rate", sort=True)]
    found = [
        interval_of(rate, group.tolist(), level=0.95, method="student") for rate, group in groups
    ]
    return records.Lost(
        mean=tuple(float(group.mean()) for _, group in groups),
        low=tuple(max(interval.low, -1.0) for interval in found),
        high=tuple(min(interval.high, 1.0) for interval in found),
    )


_EPSILON_FT_RATES = (0.1, 0.5)


def epsilon_ft(frame: pd.DataFrame) -> tuple[records.EpsilonFt, ...]:
    """Equation 1's epsilon_ft: quantiles over test images, averaged over the campaign's trials."""
    means = frame.groupby("rate").mean(numeric_only=True)
    return tuple(
        records.EpsilonFt(
            rate=rate,
            total_variation={
                "0.5": means.loc[rate, "total_variation_50"],
                "0.95": means.loc[rate, "total_variation_95"],
            },
            half_margin={
                "0.5": means.loc[rate, "logit_change_50"],
                "0.95": means.loc[rate, "logit_change_95"],
            },
        )
        for rate in _EPSILON_FT_RATES
        if rate in means.index
    )


def layer_faults(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> dict[str, tuple[records.LayerFault, ...]]:
    """Accuracy with faults in one layer at a time, the whole model first, for each target."""
    found = {}
    for target in evaluation.fault_targets:
        table = faults.layer_vulnerability(
            model,
            data.x_test,
            data.y_test,
            target=target,
            rate=evaluation.layer_rate,
            trials=evaluation.fault_trials,
            images_per_trial=evaluation.fault_images or None,
            batch_size=evaluation.batch_size,
            seed=evaluation.fault_seed,
        ).assign(rate=evaluation.layer_rate)
        found[target] = tuple(records.LayerFault(**line) for line in table.to_dict("records"))
    return found


def robustness(model: keras.Model, data: Dataset, config: RunConfig) -> tuple[records.Attack, ...]:
    """Accuracy under each configured attack on the first test images.

    The first attack also takes as many training images, for the robust generalization error beside
    the natural one.
    """
    measured = config.evaluation
    entries = []
    for number, attack in enumerate(measured.attacks):
        entry = attack_entry(
            _attacked(
                model,
                data.x_test,
                data.y_test,
                config,
                attack,
                measured.attack_sanity and not number,
            )
        )
        if not number:
            train = _attacked(model, data.x_train, data.y_train, config, attack, False)
            entry = dataclasses.replace(
                entry,
                train_clean_accuracy=train.clean_accuracy,
                train_robust_accuracy=train.robust_accuracy,
                robust_generalization_error=metrics.generalization_error(
                    train_accuracy=train.robust_accuracy, test_accuracy=entry.robust_accuracy
                ),
            )
        entries.append(entry)
    return tuple(entries)


def _attacked(
    model: keras.Model, x: Any, y: Any, config: RunConfig, attack: str, sanity: bool
) -> attacks.AttackResult:
    measured = config.evaluation
    steps = {"pgd": measured.attack_steps, "apgd": measured.apgd_steps}
    return attacks.evaluate(
        model,
        x[: measured.attack_images],
        y[: measured.attack_images],
        attack=attack,
        epsilon=measured.attack_epsilon,
        seed=config.seed,
        sanity=sanity,
        **({"steps": steps[attack]} if attack in steps else {}),
    )


def membership_inference(
    model: keras.Model, data: Dataset, evaluation: Evaluation
) -> records.Membership:
    """How well the losses of all training and test images tell one split from the other."""
    log_odds, right = [], []
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        logits = metrics.predict_logits(model, x, batch_size=evaluation.batch_size)
        log_odds.append(metrics.error_log_odds(logits, y))
        right.append(metrics.predicted_labels(logits) == y)
    found = membership.loss_threshold_attack(
        member_log_odds=log_odds[0], other_log_odds=log_odds[1]
    )
    return records.Membership(
        **dataclasses.asdict(found),
        scale="log-odds",
        advantage_of_correctness=membership.advantage_of_rule(
            on_members=right[0], on_others=right[1]
        ),
    )


def attack_entry(result: attacks.AttackResult) -> records.Attack:
    """An attack's outcome as records have it."""
    return records.Attack(
        attack=result.attack,
        epsilon=result.parameters["epsilon"],
        steps=result.parameters.get("num_steps", 1),
        images=len(result.success),
        clean_accuracy=result.clean_accuracy,
        clean_interval=(result.clean.low, result.clean.high),
        robust_accuracy=result.robust_accuracy,
        robust_interval=(result.robust.low, result.robust.high),
        parameters=result.parameters,
        warnings=tuple(result.warnings),
    )


def privacy(
    config: RunConfig, data: Dataset, trained: ResidentModel, directory: Path
) -> records.Privacy | None:
    """What a DP-SGD run may claim; None for the other algorithms.

    Unless the noise is seeded, a repeated step is a new release: every epoch that began and is not
    part of the final training counts with all its steps, as it is not known how far it came.
    """
    algorithm = config.algorithm
    if not isinstance(algorithm, DPSGD):
        return None
    examples = len(data.x_train)
    per_pass = steps_per_pass(examples, config.batch_size, sampling=algorithm.sampling)
    steps = int(trained.optimizer.iterations)
    passes = max(1, math.ceil(steps / per_pass))
    if algorithm.noise_seed is None:
        lost = max(0, runs.epochs_started(directory) - passes)
        steps, passes = steps + lost * per_pass, passes + lost
    cost = accounting.privacy_cost(
        noise_multiplier=algorithm.noise_multiplier,
        sampling_probability=config.batch_size / examples,
        steps=steps,
        delta=algorithm.delta,
        passes=passes,
        examples=examples,
    )
    fields = to_record(
        cost,
        sampling=algorithm.sampling,
        noise_seed=algorithm.noise_seed,
        seed_is_published=True,  # the record's config holds it
        engine=algorithm.engine,
        fresh_weights=True,  # `trainer` builds every model anew, and restores its own checkpoints
    )
    return records.parse(records.Privacy, fields, where=str(directory), what="privacy statement")
