"""Plausible records as JSON values, which tests may change; nothing here is trained."""

import copy
import hashlib
import math

from ft_tf import records
from ft_tf.report.tidy import Study

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
    "layer_faults",
    "robustness",
    "best_checkpoint",
    "membership",
    "privacy",
)
LAYERS = {
    "fmnist_dnn": {"dense": 401_920, "dense_1": 262_656, "logits": 5_130},
    "fmnist_cnn_1": {"conv2d": 520, "conv2d_1": 25_050, "dense": 400_500, "logits": 5_010},
    "fmnist_cnn_2": {"conv2d": 1_040, "conv2d_1": 8_224, "dense": 123_936, "logits": 330},
    "cifar10_cnn": {
        **{f"conv2d_{place}": 10_000 * place + 900 for place in range(1, 10)},
        "dense": 524_800,
        "dense_1": 262_656,
        "logits": 5_130,
    },
}
PRIVACY = {
    "noise_multiplier": 1.1,
    "sampling": "poisson",
    "sampling_probability": 0.04,
    "steps": 240,
    "passes": 10,
    "private": True,
    "epsilon_claimed": 4.5,
    "gap_bound_claimed": 0.45,
    "epsilon_paper": 5.25,
    "order_paper": 6.0,
    "epsilon_rdp": 4.75,
    "order_rdp": 6.0,
    "epsilon_pld": 4.5,
    "epsilon_shuffled": 54.0,
    "epsilon_replace_one": 6.0,
    "theorem_1_as_printed": 189.6,
    "theorem_1_replace_one": None,
    "gap_bound": 0.45,
    "gap_bound_shuffled": 0.9,
    "reasons": {"theorem_1_replace_one": "dp-accounting 0.4.3 refuses it"},
    "delta": 1e-5,
    "noise_seed_fixed": True,
    "noise_seed_published": True,
    "engine": "fast",
    "phases": [],
    "bound_says_something": {},
    "gap_bound_method": "total variation",
    "warnings": [],
    "statement": "DP-SGD with Poisson sampling:\nepsilon 5.25 at delta 1e-05 <own>.",
}


def typed(fields):
    """The dataclass of a record's JSON values; every rule of the schema is checked."""
    return records.from_dict(copy.deepcopy(fields), where=fields["name"])


def study_of(*fields):
    """A study of records given as JSON values."""
    return Study(map(typed, fields))


def campaign(target, rates, start, shift):
    means = [start - shift * rate**2 for rate in rates]
    return {
        "target": target,
        "rates": list(rates),
        "faults": [1e5 * rate for rate in rates],
        "mean": means,
        "standard_deviation": [0.01] * len(rates),
        "low": [max(0.0, mean - 0.01) for mean in means],
        "high": [min(1.0, mean + 0.01) for mean in means],
        "trials": 5,
        "images": 1000,
        "seed": 0,
        "sites": 100_000,
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


def layer_faults(architecture, test, shift, *, rate=0.5, numbered_from=0):
    """Faults in one layer at a time; Keras numbers layers through a process."""

    def line(layer, sites, accuracy):
        return {
            "layer": layer,
            "sites": sites,
            "faults": rate * sites,
            "rate": rate,
            "clean_accuracy": test,
            "accuracy": accuracy,
            "drop": test - accuracy,
            "low": accuracy - 0.01,
            "high": accuracy + 0.01,
        }

    def renamed(layer):
        kind, _, number = layer.partition("_")
        number = int(number or 0) + numbered_from
        return f"{kind}_{number}" if number and kind != "logits" else kind

    layers = LAYERS[architecture]
    lines = {
        "weights": [line("whole model", sum(layers.values()), test - 0.25 * shift)],
        "units": [line("whole model", 1024, test - 0.3 * shift)],
    }
    for place, (layer, sites) in enumerate(layers.items(), start=1):
        accuracy = test - 0.2 * shift / place
        lines["weights"].append(line(renamed(layer), sites, accuracy))
        if layer != "logits":
            lines["units"].append(line(renamed(layer), 512, accuracy))
    return lines


def membership(train, test, *, found=0.002):
    return {
        "advantage": train - test + 0.01,
        "advantage_of_mean_loss": train - test - 0.01,
        "advantage_of_correctness": train - test,
        "threshold": 0.1,
        "true_positive_rate": found,
        "true_positive_interval": [found / 2, 2 * found],
        "false_positive_rate": 0.001,
        "members": 6000,
        "others": 1000,
        "scale": "log-odds",
    }


LOG_RATES = [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, *(k / 10 for k in range(1, 10))]


def make_paper_run(*, shift=0.7, numbered_from=0, **arguments):
    """A run as the scale "paper" measures it: log rates, layers, two attacks, membership."""
    record = make_run(**arguments)
    train, test = record["accuracy"]["train"], record["accuracy"]["test"]
    architecture = record["config"]["architecture"]
    (pgd,) = record["robustness"]
    apgd = {**pgd, "attack": "apgd", "steps": 100, "robust_accuracy": pgd["robust_accuracy"] - 0.01}
    pgd["train_clean_accuracy"] = train
    pgd["train_robust_accuracy"] = pgd["robust_accuracy"] + 0.05
    pgd["robust_generalization_error"] = 0.05
    record["parameters"]["rescaled"] = {
        "layers": ["dense_1", "dense_2"],
        "powers": [-4, -2, 0, 2, 4],
        "standard_deviation": [record["parameters"]["standard_deviation"] * k for k in FACTORS],
        "equation_10": [record["parameters"]["equation_10"] * k for k in FACTORS],
        "changed_logits": 0,
        "changed_logits_under_faults": 0,
    }
    return record | {
        "faults": {
            "weights": campaign("weights", LOG_RATES, test, shift),
            "units": campaign("units", LOG_RATES, test, 0.8 * shift),
        },
        "layer_faults": layer_faults(architecture, test, shift, numbered_from=numbered_from),
        "robustness": [pgd, apgd],
        "membership": membership(train, test),
    }


FACTORS = [8.0, 2.0, 1.0, 3.0, 12.0]


def make_config(*, row, algorithm, options, architecture, dataset, seed, label, fitted, deviations):
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
    return config


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
    config = make_config(
        row=row,
        algorithm=algorithm,
        options=options,
        architecture=architecture,
        dataset=dataset,
        seed=seed,
        label=label,
        fitted=fitted,
        deviations=deviations,
    )
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
            "test_interval": [test - 0.02, min(1.0, test + 0.02)],
        },
        "parameters": {
            "standard_deviation": sigma,
            "equation_10": sigma / 10,
            "bin_edges": edges,
            "bin_counts": counts,
        },
        "faults": {
            "weights": campaign("weights", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9], test, 0.7),
            "units": campaign("units", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9], test, 0.5),
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
            }
        ],
        "layer_faults": {},
        "best_checkpoint": None,
        "membership": None,
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
        "layer_faults": {},
        "robustness": [],
    }


BEST = {
    "epoch": 7,
    "test_accuracy": 0.86,
    "robust_accuracy": 0.5,
    "attack_steps": 50,
    "selected_on": "other test images",
}


def make_circles(*, results, form="fixed_data", name="circles-fixed", **changes):
    replicates = len(next(iter(results.values()))["train"])
    record = {
        key: value
        for key, value in make_run(dataset="circles", row=None).items()
        if key not in OF_A_RUN
    }
    config = {"dataset": "circles", "replicates": replicates, "form": form, "seed": 0}
    record |= {
        "kind": "circles",
        "name": name,
        "rows": list(results),
        "config": config,
        "deviations": [],
        "replicates": replicates,
        "form": form,
        "results": results,
    }
    record["data"] |= {"source": "scikit-learn make_circles", "train_examples": 30}
    return {**record, **changes}


ARMS = (
    ("natural", "natural", {}, 0.99, 0.89, 0.7),
    ("tikhonov", "tikhonov", {}, 0.91, 0.88, 0.6),
    ("dpsgd/0.49", "dpsgd", {"noise_multiplier": 5.0}, 0.80, 0.79, 0.4),
    ("dpsgd/2.97", "dpsgd", {}, 0.857, 0.84, 0.45),
    ("dpsgd_clip_only", "dpsgd", {"noise_multiplier": 0.0}, 0.865, 0.85, 0.5),
    (
        "dpsgd_noise_only/0.49",
        "dpsgd",
        {"noise_multiplier": 5e-6, "l2_norm_clip": 1e6},
        0.93,
        0.87,
        0.65,
    ),
    ("natural_stopped/0.49", "natural", {}, 0.81, 0.791, 0.55),
    ("natural_stopped/2.97", "natural", {}, 0.855, 0.842, 0.6),
    ("natural_dropout", "natural", {}, 0.96, 0.895, 0.5),
    ("natural_fault_aware", "natural", {}, 0.93, 0.89, 0.3),
)


def make_private_study(seeds=3, *, architecture="fmnist_dnn", table="table_8"):
    """Table 8 as the scale "paper" runs it, arms included, with a little spread over seeds."""
    column = "fmnist_dnn" if architecture == "fmnist_dnn" else "fmnist_cnn"
    records = []
    for seed in range(seeds):
        for place, (row, algorithm, options, train, test, shift) in enumerate(ARMS):
            wobble = 0.002 * ((seed + place) % 3 - 1)
            record = make_paper_run(
                row=f"{table}/{column}/{row}",
                algorithm=algorithm,
                options=options,
                architecture=architecture,
                seed=seed,
                train=train + wobble,
                test=test - wobble,
                shift=shift,
                deviations=(),
                label=row.replace("/", "_"),
                numbered_from=7 * seed,
            )
            config = record["config"]
            config |= {"dropout": 0.5 * (row == "natural_dropout"), "fault_aware_target": "units"}
            config["fault_aware_rate"] = 0.3 * (row == "natural_fault_aware")
            stop = test - wobble - 0.001 if "stopped" in row else 0.0
            config["stop_at_test_accuracy"] = stop
            records.append(record)
    return records
