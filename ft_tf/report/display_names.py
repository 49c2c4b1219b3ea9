"""Names for people: rows of the paper, runs, and the settings in which variants differ.

All that the report knows of a training algorithm, an architecture or a data set by its name is in
this file: names, families (which give colours), and which rows are ablations or controls.
"""

from __future__ import annotations

import collections
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ft_tf.errors import ArgumentError
from ft_tf.study import algorithms, datasets
from ft_tf.study.algorithms.trades import radius

if TYPE_CHECKING:
    from ft_tf.report.groups import Group

_ROWS = {
    "trades_normalized_example": "TRADES, the authors' normalised example",
    "dpsgd_clip_only": "clipping alone",
    "dpsgd_noise_only": "noise alone",
    "natural_dropout": "dropout",
    "natural_fault_aware": "faults in training",
    "natural_stopped": "natural, stopped",
}
"""Names in ids of rows that are no algorithm's."""
ARCHITECTURES = {
    "circles_mlp": "MLP",
    "fmnist_dnn": "DNN",
    "fmnist_cnn": "CNN",
    "fmnist_cnn_1": "CNN 1",
    "fmnist_cnn_2": "CNN 2",
    "fmnist_cnn_2_tutorial": "CNN 2 (tutorial)",
    "cifar10_cnn": "CNN",
    "cifar10_cnn_bn": "CNN (batch norm)",
    "cifar10_cnn_he": "CNN (He)",
}
_PUBLISHED = [datasets.get(name) for name in ("fashion_mnist", "cifar10")]
DATASETS = {source.name: source.label for source in _PUBLISHED} | {"circles": "circles"}
_PREFIXES = {"fmnist": "fashion_mnist", "cifar10": "cifar10", "circles": "circles"}
FORMS = {
    "fixed_data": "the paper's 100 points, new initial weights",
    "redrawn_data": "newly drawn points",
}
"""How the replicates of Table 3 were made."""

NATURAL, TIKHONOV, TRADES, PRIVATE = "natural", "tikhonov", "trades", "dpsgd"
STOPPED, CLIP_ONLY, NOISE_ONLY = "natural_stopped", "dpsgd_clip_only", "dpsgd_noise_only"
CONTROLS = ("natural_dropout", "natural_fault_aware", "jacobian_penalty")
"""Our rows next to the natural one: trained for fault tolerance, or Bishop's penalty."""
FAMILIES = (NATURAL, TIKHONOV, TRADES, PRIVATE)
OFFICIAL_EPOCHS = {TRADES: 76}
"""Epochs of the algorithm's official script for CIFAR-10."""
OTHER = "other"
_STOPS = (
    ("stop_at_test_accuracy", "test", "its DP run"),
    ("stop_at_holdout_accuracy", "held-out", "its partner"),
)


def parts_of(row: str) -> tuple[str, str, str, str]:
    """Returns exhibit, architecture, algorithm and value of a row's id; "" where it lacks one.

    >>> parts_of("table_8/fmnist_dnn/dpsgd/2.97"), parts_of("other/mine")
    (('table_8', 'fmnist_dnn', 'dpsgd', '2.97'), ('other', 'mine', '', ''))
    """
    parts = (*row.split("/", maxsplit=3), "", "", "")
    return parts[0], parts[1], parts[2], parts[3]


def algorithm(name: str) -> str:
    """Returns the short name of an algorithm."""
    known = {known: algorithms.get(known).label for known in algorithms.names()} | _ROWS
    return known.get(name, name)


def architecture(name: str) -> str:
    """Returns the short name of an architecture."""
    return ARCHITECTURES.get(name, name)


def slug(name: str) -> str:
    """Returns a name as a part of file names: at most 80 letters, digits, "_", "." and "-".

    A name that changes gets a hash at its end, so that two names stay different.

    >>> slug("fmnist_dnn"), slug("../notes")
    ('fmnist_dnn', '.._notes-6e6b14de')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name[:80])
    return name if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def dataset_of(architecture_name: str) -> str:
    """Returns the id of the data set that one of our architectures is for; "" for another.

    >>> dataset_of("cifar10_cnn")
    'cifar10'
    """
    return _PREFIXES.get(architecture_name.split("_")[0], "")


def describe_architecture(name: str) -> str:
    """Returns an architecture's name with its data set.

    >>> describe_architecture("fmnist_cnn_1")
    'CNN 1 on Fashion-MNIST'
    """
    data = DATASETS.get(dataset_of(name))
    return f"{architecture(name)} on {data}" if data else name


def network(name: str) -> str:
    """Returns an architecture's name with its data set, both short.

    >>> network("fmnist_cnn_1"), network("cifar10_cnn")
    ('CNN 1, F-MNIST', 'CNN, CIFAR-10')
    """
    data = DATASETS.get(dataset_of(name), "").replace("Fashion-", "F-")
    return f"{architecture(name)}, {data}" if data else name


def own_row(row: str) -> str:
    """Returns the name of a row that the paper lacks, from its id.

    >>> own_row("table_3/circles_mlp/jacobian/0.1")
    'MLP jacobian 0.1'
    >>> own_row("table_8/fmnist_dnn/dpsgd_noise_only/0.49")
    "DNN noise alone (paper's epsilon 0.49)"
    >>> own_row("table_5/fmnist_dnn/natural_stopped/trades")
    'DNN natural, stopped at the accuracy of TRADES'
    """
    _, *parts = row.split("/")
    if len(parts) > 2 and parts[1] in (NOISE_ONLY, STOPPED):
        is_epsilon = parts[2] not in algorithms.names()
        stop = f"at the accuracy of {algorithm(parts[2])}"
        parts[2] = f"(paper's epsilon {parts[2]})" if is_epsilon else stop
    if len(parts) > 1:
        parts = [architecture(parts[0]), algorithm(parts[1]), *parts[2:]]
    return " ".join(parts)


def family(group: Group) -> str:
    """Returns the family that gives a group its colours; ablations and controls are "other"."""
    if parts_of(group.row)[2] in (*CONTROLS, CLIP_ONLY, NOISE_ONLY):
        return OTHER
    name = (group.config.get("algorithm") or {}).get("name", "")
    return name if name in FAMILIES else OTHER


def kind(group: Group) -> str:
    """Returns the algorithm of a group with the setting that matters, as the trade-off names it."""
    name, options = parts_of(group.row)[2], group.config["algorithm"]
    if name == STOPPED:
        return "natural, stopped at the accuracy of a DP run"
    if name in (*CONTROLS, CLIP_ONLY, NOISE_ONLY):
        return algorithm(name)
    label = algorithm(options["name"])
    if group.config.get("augment"):
        label += " with crops and flips"
    if options["name"] == PRIVATE:
        fitted = ", fitted" if group.is_fitted else ""
        return f"{label}, noise multiplier {options['noise_multiplier']:g}{fitted}"
    if options["name"] == TRADES:
        if options.get("normalized_example"):
            return algorithm("trades_normalized_example")
        return f"{label}, epsilon {radius(options['epsilon'])}, beta {options['beta']:g}"
    return label


def describe_circles(noise: str, sigma: float | None, form: str) -> str:
    """Returns the training of Table 3 that a result is of."""
    scale = "l2" if noise == TIKHONOV else "sigma"
    name = f"{algorithm(noise)}, {scale} {sigma:g}" if sigma else algorithm(noise)
    return f"{name}; {FORMS.get(form, form)}"


def describe_run(config: dict[str, Any], trained_on: dict[str, list[int]]) -> str:
    """Returns the algorithm with its options, the architecture, the length and the label.

    `trained_on` has the seeds that were trained on each device other than the evaluating one.
    """
    name, options = _algorithm(config)
    epochs = config["epochs"]
    most = "at most " if any(config.get(field) for field, *_ in _STOPS) else ""
    length = f"{most}{epochs} epoch{'s' * (epochs != 1)}"
    parts = [", ".join([name, *options]), config["architecture"], length]
    parts += filter(None, [config.get("label")])
    for device, seeds in trained_on.items():
        plural = "s" * (len(seeds) > 1)
        parts.append(f"seed{plural} {', '.join(map(str, seeds))} trained on {device}")
    return "; ".join(parts)


def short_names(groups: Sequence[Group]) -> dict[str, str]:
    """For a figure's legend: key of each group -> the algorithm with its first option.

    Where two groups of one architecture would get the same name, the settings in which they differ
    are added.
    """
    same: dict[tuple[str, str], list[Group]] = collections.defaultdict(list)
    for group in groups:
        name, options = _algorithm({**group.config, "precision": "float32"})
        fitted = ["fitted"] if group.is_fitted else []
        short = ", ".join([name, *options[:1], *fitted]).replace("noise multiplier", "sigma")
        same[group.config.get("architecture", ""), short].append(group)
    return {
        group.key: f"{short}, {variant}" if variant else short
        for (_, short), found in same.items()
        for group, variant in zip(found, variants(found), strict=True)
    }


def _algorithm(config: dict[str, Any]) -> tuple[str, list[str]]:
    """Returns the name of a configuration's algorithm and its options."""
    fields = config.get("algorithm") or {"name": "?"}
    try:
        known = algorithms.from_dict(fields)
    except ArgumentError:  # an algorithm of somebody's own, which is not registered here
        return _with_additions(algorithm(fields["name"]), config), []
    return _with_additions(known.label, config), list(known.settings)


def _with_additions(name: str, config: dict[str, Any]) -> str:
    """An algorithm's name with the options of a run that are no algorithm's."""
    if config.get("augment"):
        name += " with crops and flips"
    optimizer, rate = config.get("optimizer") or "sgd", config.get("learning_rate")
    if optimizer != "sgd":
        name += f" by {optimizer.capitalize()}" + (f" at rate {rate:g}" if rate else "")
    if config.get("precision", "float32") != "float32":
        name += f" in {config['precision']}"
    if config.get("dropout"):
        name += f" with dropout {config['dropout']:g}"
    if config.get("fault_aware_rate"):
        storage = config.get("fault_aware_storage")
        what = f"bit errors in {storage}" if storage else f"faulty {config['fault_aware_target']}"
        name += f" under {config['fault_aware_rate']:.0%} {what}"
    if config.get("max_weight"):
        name += f" with weights up to {config['max_weight']:g}"
    for field, split, partner in _STOPS:
        stop = config.get(field)
        if stop:
            is_partner = isinstance(stop, str)
            at = f"the {split} accuracy of {partner}" if is_partner else f"{stop:.2%} {split}"
            name += f" stopped at {at}"
    return name


def variants(groups: Sequence[Group], *, named: Iterable[str] = ()) -> list[str]:
    """For each variant of a row, the settings in which it differs from the others.

    A single variant gets "". Forms of Table 3 are named alone, not by the fingerprints of their
    points. Settings in `named` are included where all variants share them too.
    """
    flat = [flatten(group.shared) for group in groups]
    keys = sorted({key for settings in flat for key in settings})
    differing = [key for key in keys if len({_text(settings, key) for settings in flat}) > 1]
    if "form" in differing:
        differing = [key for key in differing if key != "fingerprint"]
    shown = [key for key in differing if not key.startswith("rows")] or differing
    # A label repeats what the other settings say; that a run is fitted is marked elsewhere.
    shown = [key for key in shown if key not in ("fitted", "label")] or shown
    # What else was measured changes no accuracy; deviations have a remark of their own.
    aside = ("evaluation.", "deviations")
    shown = [key for key in shown if not key.startswith(aside)] or shown
    shown = sorted({*shown, *named})
    return [", ".join(_setting(key, _text(s, key)) for key in shown) for s in flat]


def _setting(key: str, value: str) -> str:
    if key == "form" and value in FORMS:
        return FORMS[value]
    if key == "augment":
        return "crops and flips" if value == "True" else "no augmentation"
    if key == "holdout" and (value.isdigit() or not value):
        return f"{f'{int(value):,}' if value.strip('0') else 'no'} training images held out"
    if key == "label" and value.startswith("table_"):  # as in "table_4_6-paper"
        tables, _, scale = value.removeprefix("table_").partition("-")
        return f"Table {tables.replace('_', ' and ')}, {scale or 'paper'}"
    return f"{key.removeprefix('algorithm.')} {value or 'none'}"


def _text(settings: dict[str, Any], key: str) -> str:
    value = settings.get(key, "")
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)[:12] if key == "fingerprint" else str(value)


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a configuration with dotted keys and lists as text; "config." is left out."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            is_config = key == "config" and not prefix
            flat |= flatten(item, "" if is_config else f"{prefix}{key}.")
        else:
            flat[prefix + key] = "; ".join(map(str, item)) if isinstance(item, list) else item
    return flat
