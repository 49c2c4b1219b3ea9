"""A small factory of plausible records; nothing here is trained."""

import copy
import hashlib
import math

import pytest

SIGMAS = {"natural": 0.06, "tikhonov": 0.024, "trades": 0.11, "dpsgd": 0.045}
OPTIONS = {
    "natural": {},
    "tikhonov": {"l2": 5e-4},
    "trades": {
        "epsilon": 0.1,
        "step_size": 0.02,
        "num_steps": 10,
        "beta": 1.0,
        "distance": "l_inf",
        "normalized_example": False,
    },
    "dpsgd": {
        "l2_norm_clip": 1.0,
        "noise_multiplier": 1.1,
        "sampling": "poisson",
        "noise_seed": 7,
        "engine": "fast",
        "delta": 1e-5,
    },
}
OF_A_RUN = (
    "model",
    "training",
    "history",
    "accuracy",
    "parameters",
    "faults",
    "robustness",
    "privacy",
)
PRIVACY = {
    "noise_multiplier": 1.1,
    "sampling": "poisson",
    "steps": 240,
    "epsilon_paper": 5.25,
    "epsilon_rdp": 4.75,
    "epsilon_pld": 4.5,
    "epsilon_shuffled": 54.0,
    "theorem_1_as_printed": 189.6,
    "theorem_1_replace_one": None,
    "gap_bound": 0.45,
    "reasons": {"theorem_1_replace_one": "dp-accounting 0.4.3 refuses it"},
    "delta": 1e-5,
    "statement": "DP-SGD with Poisson sampling:\nepsilon 5.25 at delta 1e-05 <own>.",
}


def campaign(rates, start, shift):
    means = [start - shift * rate**2 for rate in rates]
    return {
        "rates": list(rates),
        "faults": [round(1000 * rate) for rate in rates],
        "mean": means,
        "standard_deviation": [0.01] * len(rates),
        "low": [mean - 0.01 for mean in means],
        "high": [mean + 0.01 for mean in means],
        "trials": 5,
        "images": 1000,
        "seed": 0,
        "sites": 1000,
        "method": "Student t, mean",
        "unit": "fault set",
        "level": 0.95,
        "drop_50_to_90": {
            "drop": means[rates.index(0.5)] - means[rates.index(0.9)],
            "at_50": means[rates.index(0.5)],
            "at_90": means[rates.index(0.9)],
        },
        "epsilon_ft": [
            {
                "rate": 0.5,
                "total_variation": {"0.5": 0.2, "0.9": 0.6},
                "half_margin": {"0.5": 0.8, "0.9": 2.5},
            }
        ],
    }


def make_run(
    *,
    row="table_5/fmnist_dnn/natural",
    algorithm="natural",
    options=None,
    architecture="fmnist_dnn",
    dataset="fashion_mnist",
    seed=0,
    train=0.95,
    test=0.88,
    label="",
    fitted=False,
    deviations=("epochs 10 of 60",),
    source="embedded sample",
    train_examples=6000,
    **changes,
):
    config = {
        "dataset": dataset,
        "architecture": architecture,
        "algorithm": {"name": algorithm, **OPTIONS[algorithm], **(options or {})},
        "epochs": 10,
        "batch_size": 250,
        "learning_rate": 0.1,
        "learning_rate_drops": [],
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "seed": seed,
        "augment": False,
        "precision": "float32",
        "dropout": 0.0,
        "train_limit": 0,
        "evaluation": {"batch_size": 1000, "fault_seed": 0, "curve": False},
        "label": label,
        "rows": [row] if row else [],
        "fitted": fitted,
        "deviations": list(deviations),
    }
    if algorithm == "dpsgd":
        config["algorithm"]["noise_seed"] = 100 + seed
    sigma = SIGMAS[algorithm]
    edges = [-0.5 + 0.05 * index for index in range(21)]
    centres = [edge + 0.025 for edge in edges[:-1]]
    counts = [round(1e5 * math.exp(-((c / sigma) ** 2) / 2)) for c in centres]
    epochs = list(range(1, 11))
    name = f"{dataset}-{architecture}-{algorithm}-{label or 'plain'}-epochs_10-seed_{seed}"
    record = {
        "schema_version": 1,
        "kind": "run",
        "name": name,
        "status": "finished",
        "failure": None,
        "rows": [row] if row else [],
        "config": config,
        "data": {
            "name": dataset,
            "source": source,
            "fingerprint": hashlib.sha256(f"{dataset}-{train_examples}".encode()).hexdigest(),
            "train_examples": train_examples,
            "test_examples": 1000,
            "notes": [f"note on {dataset}"],
        },
        "environment": {"python": "3.11", "processor": "cpu", "threads": 2, "packages": {}},
        "deviations": list(deviations),
        "timing": {"seconds": 12.5 + seed, "sessions": 1},
        "model": {"architecture": architecture, "parameters": 669706},
        "training": {"epochs": 10, "steps": 240},
        "history": {
            "epoch": epochs,
            "accuracy": [train - 0.3 / epoch for epoch in epochs],
            "train_accuracy": [train - 0.28 / epoch for epoch in epochs],
            "test_accuracy": [test - 0.2 / epoch for epoch in epochs],
        },
        "accuracy": {
            "train": train,
            "test": test,
            "generalization_error": train - test,
            "test_interval": [test - 0.02, test + 0.02],
        },
        "parameters": {
            "standard_deviation": sigma,
            "equation_10": sigma / 10,
            "bin_edges": edges,
            "bin_counts": counts,
        },
        "faults": {
            "weights": campaign([0.0, 0.1, 0.3, 0.5, 0.7, 0.9], test, 0.7),
            "units": campaign([0.0, 0.1, 0.3, 0.5, 0.7, 0.9], test, 0.5),
        },
        "robustness": [
            {
                "attack": "pgd",
                "epsilon": 0.1,
                "steps": 20,
                "images": 1000,
                "clean_accuracy": test,
                "robust_accuracy": test / 4,
                "robust_interval": [test / 4 - 0.02, test / 4 + 0.02],
                "parameters": {},
                "warnings": [],
                "train_robust_accuracy": None,
            }
        ],
        "privacy": dict(PRIVACY) if algorithm == "dpsgd" else None,
    }
    record.update(copy.deepcopy(changes))
    return record


def make_failed(**arguments):
    record = make_run(**arguments)
    return {
        **record,
        "status": "failed",
        "failure": {"reason": "loss is NaN", "epoch": 3, "step": 71},
        "accuracy": None,
        "parameters": None,
        "faults": {},
        "robustness": [],
    }


def make_circles(*, results, form="fixed_data", name="circles-fixed", **changes):
    record = {
        key: value
        for key, value in make_run(dataset="circles", row=None).items()
        if key not in OF_A_RUN
    }
    config = {"dataset": "circles", "replicates": 3, "form": form, "seed": 0}
    record |= {
        "kind": "circles",
        "name": name,
        "rows": list(results),
        "config": config,
        "deviations": [],
        "replicates": 3,
        "form": form,
        "results": results,
    }
    record["data"] |= {"source": "scikit-learn make_circles", "train_examples": 30}
    return {**record, **changes}


@pytest.fixture
def run():
    return make_run


@pytest.fixture
def failed_run():
    return make_failed


@pytest.fixture
def circles():
    return make_circles


@pytest.fixture
def circles_results():
    stem = "table_3/circles_mlp"
    return {
        f"{stem}/natural": {
            "noise": "natural",
            "sigma": 0.0,
            "train": [1.0, 1.0, 1.0],
            "test": [0.75, 0.77, 0.73],
        },
        f"{stem}/additive_gaussian/0.5": {
            "noise": "additive_gaussian",
            "sigma": 0.5,
            "train": [0.73, 0.75, 0.77],
            "test": [0.40, 0.46, 0.43],
        },
        f"{stem}/jacobian/0.1": {
            "noise": "jacobian",
            "sigma": 0.1,
            "train": [0.9, 0.9, 0.93],
            "test": [0.7, 0.72, 0.71],
        },
    }


@pytest.fixture
def study(circles_results):
    """A study with several seeds, two variants, DP rows, a failed seed, circles in two forms."""
    records = []
    for seed, (train, test) in enumerate([(0.98, 0.90), (0.99, 0.90), (0.985, 0.89)]):
        records.append(make_run(seed=seed, train=train, test=test))
        records.append(
            make_run(
                row="table_5/fmnist_dnn/tikhonov",
                algorithm="tikhonov",
                seed=seed,
                train=train - 0.07,
                test=test - 0.02,
            )
        )
        records.append(
            make_run(
                row="table_8/fmnist_dnn/dpsgd/2.97",
                algorithm="dpsgd",
                seed=seed,
                train=0.857 + 0.002 * seed,
                test=0.842,
                fitted=False,
            )
        )
    for architecture in ("fmnist_cnn_1", "fmnist_cnn_2"):
        records.append(
            make_run(row="table_5/fmnist_cnn/trades", algorithm="trades", architecture=architecture)
        )
    records.append(make_failed(row="table_5/fmnist_dnn/trades", algorithm="trades"))
    bare = {"history": {}, "parameters": None, "faults": {}}
    records.append(make_run(row=None, label="my own", seed=4, **bare))
    records.append(make_circles(results=circles_results))
    redrawn = {row: result for row, result in circles_results.items() if "jacobian" not in row}
    records.append(make_circles(results=redrawn, form="redrawn_data", name="circles-redrawn"))
    return records
