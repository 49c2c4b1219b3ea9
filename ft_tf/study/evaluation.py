"""What is measured on a trained model, as the parts of its record."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from ft_tf import attacks, faults, intervals, metrics
from ft_tf._compat import keras
from ft_tf.data import Dataset
from ft_tf.privacy import accounting, to_record
from ft_tf.study import best, trainer
from ft_tf.study import directory as runs
from ft_tf.study.config import DPSGD, Evaluation, RunConfig
from ft_tf.training.base import ResidentModel

_NOTHING: dict[str, Any] = {
    "accuracy": None,
    "parameters": None,
    "faults": {},
    "robustness": [],
    "best_checkpoint": None,
}


def evaluate(
    config: RunConfig, data: Dataset, trained: ResidentModel, directory: Path, *, failed: bool
) -> dict[str, Any]:
    """The record's accuracy, parameters, faults and robustness; nothing for a failed training."""
    if failed:
        return dict(_NOTHING)
    model = trainer.evaluation_model(config, trained.model)
    measured = config.evaluation
    return {
        "accuracy": accuracy(model, data, batch_size=measured.batch_size),
        "parameters": dataclasses.asdict(metrics.parameter_spread(model.get_weights())),
        "faults": {
            target: fault_campaign(model, data, target=target, evaluation=measured)
            for target in measured.fault_targets
        },
        "robustness": robustness(model, data, config) if measured.attack else [],
        "best_checkpoint": best.measure(config, data, model, directory),
    }


def accuracy(model: keras.Model, data: Dataset, *, batch_size: int) -> dict[str, Any]:
    """R_train, R_test and their difference (equation 2), on the whole splits."""
    train = metrics.accuracy(model, data.x_train, data.y_train, batch_size=batch_size)
    test = metrics.accuracy(model, data.x_test, data.y_test, batch_size=batch_size)
    interval = intervals.proportion(
        successes=round(test * len(data.x_test)), trials=len(data.x_test)
    )
    return {
        "train": train,
        "test": test,
        "generalization_error": metrics.generalization_error(
            train_accuracy=train, test_accuracy=test
        ),
        "test_interval": [interval.low, interval.high],
    }


def fault_campaign(
    model: keras.Model, data: Dataset, *, target: str, evaluation: Evaluation
) -> dict[str, Any]:
    """Test accuracy against the rate of stuck-at-0 faults, with intervals over trials."""
    shared = {"target": target, "seed": evaluation.fault_seed}
    frame = faults.sweep(
        model,
        data.x_test,
        data.y_test,
        rates=evaluation.fault_rates,
        trials=evaluation.fault_trials,
        batch_size=evaluation.batch_size,
        **shared,
    )
    summary = faults.summarize(frame)
    spread = frame.groupby("rate")["accuracy"].std(ddof=1)
    levels = dict(zip(summary["rate"], summary["accuracy"], strict=True))
    drop = None
    if 0.5 in levels and 0.9 in levels:
        drop = {"drop": levels[0.5] - levels[0.9], "at_50": levels[0.5], "at_90": levels[0.9]}
    return {
        "rates": summary["rate"].tolist(),
        "faults": summary["faults"].tolist(),
        "mean": summary["accuracy"].tolist(),
        "standard_deviation": spread.tolist(),
        "low": summary["low"].clip(0, 1).tolist(),
        "high": summary["high"].clip(0, 1).tolist(),
        "trials": evaluation.fault_trials,
        "images": len(data.x_test),
        "sites": faults.make_plan(model, target=target).sites,
        "method": summary["method"].iloc[0],
        "unit": summary["unit"].iloc[0],
        "level": float(summary["level"].iloc[0]),
        "drop_50_to_90": drop,
        "epsilon_ft": epsilon_ft(frame),
        **shared,
    }


_EPSILON_FT_RATES = (0.1, 0.5)


def epsilon_ft(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Equation 1's epsilon_ft: quantiles over test images, averaged over the campaign's trials."""
    means = frame.groupby("rate").mean(numeric_only=True)
    return [
        {
            "rate": rate,
            "total_variation": {
                "0.5": means.loc[rate, "total_variation_50"],
                "0.95": means.loc[rate, "total_variation_95"],
            },
            "half_margin": {
                "0.5": means.loc[rate, "logit_change_50"],
                "0.95": means.loc[rate, "logit_change_95"],
            },
        }
        for rate in _EPSILON_FT_RATES
        if rate in means.index
    ]


def robustness(model: keras.Model, data: Dataset, config: RunConfig) -> list[dict[str, Any]]:
    """Accuracy under the configured attack on the first test and training images."""
    measured = config.evaluation
    options = {} if measured.attack == "fgsm" else {"steps": measured.attack_steps}
    results = {
        split: attacks.evaluate(
            model,
            x[: measured.attack_images],
            y[: measured.attack_images],
            attack=measured.attack,
            epsilon=measured.attack_epsilon,
            seed=config.seed,
            sanity=measured.attack_sanity and split == "test",
            **options,
        )
        for split, x, y in (
            ("test", data.x_test, data.y_test),
            ("train", data.x_train, data.y_train),
        )
    }
    entry = attack_entry(results["test"])
    return [{**entry, "train_robust_accuracy": results["train"].robust_accuracy}]


def attack_entry(result: attacks.AttackResult) -> dict[str, Any]:
    """An attack's outcome as records have it."""
    return {
        "attack": result.attack,
        "epsilon": result.parameters["epsilon"],
        "steps": result.parameters.get("num_steps", 1),
        "images": len(result.success),
        "clean_accuracy": result.clean_accuracy,
        "clean_interval": [result.clean.low, result.clean.high],
        "robust_accuracy": result.robust_accuracy,
        "robust_interval": [result.robust.low, result.robust.high],
        "parameters": result.parameters,
        "warnings": list(result.warnings),
    }


def privacy(
    config: RunConfig, data: Dataset, trained: ResidentModel, directory: Path
) -> dict[str, Any] | None:
    """What a DP-SGD run may claim; None for the other algorithms.

    An epoch's steps count as executed once it began, also where the process was lost before its
    end: unless the noise is seeded, a repeated step is a new release.
    """
    algorithm = config.algorithm
    if not isinstance(algorithm, DPSGD):
        return None
    examples = len(data.x_train)
    steps, passes = int(trained.optimizer.iterations), config.epochs
    if algorithm.noise_seed is None:
        passes = max(passes, runs.epochs_started(directory))
        steps = steps // config.epochs * passes
    cost = accounting.privacy_cost(
        noise_multiplier=algorithm.noise_multiplier,
        sampling_probability=config.batch_size / examples,
        steps=steps,
        delta=algorithm.delta,
        passes=passes,
        examples=examples,
    )
    return to_record(
        cost,
        sampling=algorithm.sampling,
        noise_seed=algorithm.noise_seed,
        engine=algorithm.engine,
    )
