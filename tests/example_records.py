"""Small valid records for tests of whatever reads them."""

import copy
from typing import Any

from ft_tf import records

CAMPAIGN: dict[str, Any] = {
    "target": "weights",
    "rates": [0.0, 0.5],
    "faults": [0.0, 10.0],
    "mean": [0.75, 0.5],
    "standard_deviation": [0.0, 0.1],
    "low": [0.75, 0.4],
    "high": [0.75, 0.6],
    "trials": 5,
    "images": 1000,
    "seed": 0,
    "sites": 20,
    "method": "Student's t",
    "unit": "trial",
    "level": 0.95,
    "drop_50_to_90": None,
    "epsilon_ft": [
        {"rate": 0.5, "total_variation": {"0.5": 0.2}, "half_margin": {"0.5": 2.0, "0.95": None}}
    ],
    "lost": {"mean": [0.0, 0.25], "low": [0.0, 0.15], "high": [0.0, 0.35]},
}
ATTACK: dict[str, Any] = {
    "attack": "pgd",
    "epsilon": 0.1,
    "steps": 20,
    "images": 1000,
    "clean_accuracy": 0.75,
    "robust_accuracy": 0.25,
    "robust_interval": [0.22, 0.28],
    "parameters": {"distance": "l_inf"},
    "warnings": [],
}
LAYER: dict[str, Any] = {
    "layer": "whole model",
    "sites": 20,
    "faults": 10.0,
    "rate": 0.5,
    "clean_accuracy": 0.75,
    "accuracy": 0.5,
    "drop": 0.25,
    "low": None,
    "high": None,
}
_COMMON: dict[str, Any] = {
    "schema_version": 1,
    "name": "mine",
    "status": "finished",
    "failure": None,
    "rows": [],
    "data": {
        "name": "fashion_mnist",
        "source": "tfds:fashion_mnist:3.0.1",
        "fingerprint": "ab12",
        "train_examples": 60_000,
        "test_examples": 10_000,
        "notes": [],
    },
    "environment": {"python": "3.11", "processor": "x", "threads": 2, "packages": {"numpy": None}},
    "deviations": [],
    "timing": {"seconds": 1.0, "sessions": 1},
}
RUN: dict[str, Any] = {
    **_COMMON,
    "kind": "run",
    "config": {
        "dataset": "fashion_mnist",
        "architecture": "fmnist_dnn",
        "algorithm": {"name": "natural"},
        "epochs": 2,
        "batch_size": 250,
        "learning_rate": 0.1,
        "seed": 0,
    },
    "model": {"architecture": "fmnist_dnn", "parameters": 669_706},
    "training": {"epochs": 2, "steps": 480},
    "history": {"epoch": [1.0, 2.0], "loss": [2.0, None], "accuracy": [0.5, 0.9]},
    "accuracy": {
        "train": 1.0,
        "test": 0.75,
        "generalization_error": 0.25,
        "test_interval": [0.74, 0.76],
    },
    "parameters": {
        "standard_deviation": 0.1,
        "equation_10": 0.2,
        "bin_edges": [-1.0, 0.0, 1.0],
        "bin_counts": [4, 5],
    },
    "faults": {"weights": CAMPAIGN},
    "layer_faults": {"weights": [LAYER]},
    "robustness": [ATTACK],
    "best_checkpoint": None,
    "membership": None,
    "privacy": None,
}
ROW = "table_3/circles_mlp/natural"
CIRCLES: dict[str, Any] = {
    **_COMMON,
    "kind": "circles",
    "rows": [ROW],
    "config": {"seed": 0},
    "replicates": 2,
    "form": "fixed_data",
    "results": {ROW: {"noise": "natural", "sigma": 0.0, "train": [1.0, 0.9], "test": [0.5, 0.6]}},
}


def fields(**changes: Any) -> dict[str, Any]:
    """JSON of a finished run, with other values of the first level."""
    return copy.deepcopy({**RUN, **changes})


def run(**changes: Any) -> records.Run:
    """A finished run, with other values of the first level."""
    return records.from_dict(fields(**changes), where="example")


def failed(**changes: Any) -> records.Run:
    """A run whose training failed at epoch 3."""
    failure = {"reason": "loss=nan is not finite", "epoch": 3, "step": 7}
    nothing = {"accuracy": None, "parameters": None, "faults": {}, "layer_faults": {}}
    return run(status="failed", failure=failure, robustness=[], **nothing, **changes)
