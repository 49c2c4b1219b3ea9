"""Names for people: what a row of the paper is called, what was run, what tells variants apart."""

from collections.abc import Iterable, Sequence
from typing import Any

from ft_tf.records import Record
from ft_tf.report.groups import Group
from ft_tf.report.paper import PaperRow

ALGORITHMS = {
    "natural": "natural",
    "tikhonov": "Tikhonov",
    "additive_gaussian": "additive noise",
    "multiplicative_gaussian": "multiplicative noise",
    "jacobian_penalty": "Jacobian penalty",
    "trades": "TRADES",
    "trades_normalized_example": "TRADES, the authors' normalised example",
    "dpsgd": "DP-SGD",
    "dpsgd_clip_only": "clipping alone",
    "dpsgd_noise_only": "noise alone",
    "natural_dropout": "dropout",
    "natural_fault_aware": "faults in training",
    "natural_stopped": "natural, stopped",
}
_OF_A_DP_ROW = ("dpsgd_noise_only", "natural_stopped")
ARCHITECTURES = {
    "circles_mlp": "MLP",
    "fmnist_dnn": "DNN",
    "fmnist_cnn": "CNN",
    "fmnist_cnn_1": "CNN 1",
    "fmnist_cnn_2": "CNN 2",
    "fmnist_cnn_2_tutorial": "CNN 2 (tutorial)",
    "cifar10_cnn": "CNN",
}
FORMS = {
    "fixed_data": "the paper's 100 points, new initial weights",
    "redrawn_data": "points drawn anew",
}
_PARAMETERS = {"sigma": "sigma", "epsilon_adv": "epsilon", "epsilon_dp": "epsilon"}


def algorithm(name: str) -> str:
    """Short name of an algorithm."""
    return ALGORITHMS.get(name, name)


def architecture(name: str) -> str:
    """Short name of an architecture."""
    return ARCHITECTURES.get(name, name)


def deviations(text: str) -> str:
    """What a run does otherwise than our preset at paper scale, more of it or less; "" for nothing.

    >>> deviations("epochs 10 of 60; learning rate 0.3, not 0.15")
    'otherwise than our preset at paper scale: epochs 10 of 60; learning rate 0.3, not 0.15'
    """
    return f"otherwise than our preset at paper scale: {text}" if text else ""


def dataset(architecture_name: str) -> str:
    """The data set that an architecture is for.

    >>> dataset("cifar10_cnn")
    'CIFAR-10'
    """
    known = {"fmnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "circles": "circles"}
    return known.get(architecture_name.split("_")[0], "")


def in_words(architecture_name: str) -> str:
    """An architecture with its data set.

    >>> in_words("fmnist_cnn_1")
    'CNN 1 on Fashion-MNIST'
    """
    data = dataset(architecture_name)
    return f"{architecture(architecture_name)} on {data}" if data else architecture_name


def of_paper_row(row: PaperRow) -> str:
    """The paper's row, under the paper's parameter.

    >>> from ft_tf.report import paper
    >>> of_paper_row(paper.row("table_8/fmnist_dnn/dpsgd/2.97"))
    'DNN DP-SGD (paper: epsilon 2.97)'
    """
    name = f"{architecture(row.architecture)} {algorithm(row.algorithm)}".strip()
    if row.parameter in _PARAMETERS and row.value and row.algorithm != "natural":
        source = "paper: " if row.algorithm == "dpsgd" else ""
        name += f" ({source}{_PARAMETERS[row.parameter]} {row.value})"
    return name


def of_row_id(row: str) -> str:
    """Name of a row that the paper lacks, from its id.

    >>> of_row_id("table_3/circles_mlp/jacobian/0.1")
    'MLP jacobian 0.1'
    >>> of_row_id("table_8/fmnist_dnn/dpsgd_noise_only/0.49")
    "DNN noise alone (paper's epsilon 0.49)"
    """
    _, *parts = row.split("/")
    if len(parts) > 2 and parts[1] in _OF_A_DP_ROW:
        parts[2] = f"(paper's epsilon {parts[2]})"
    if len(parts) > 1:
        parts = [architecture(parts[0]), algorithm(parts[1]), *parts[2:]]
    return " ".join(parts)


def of_run(group: Group) -> str:
    """What was run: the algorithm with its options, then the architecture."""
    result = group.result
    if result is not None:
        noise = algorithm(result["noise"])
        scale = "l2" if result["noise"] == "tikhonov" else "sigma"
        run = f"{noise}, {scale} {result['sigma']:g}" if result.get("sigma") else noise
        return f"{run}; {FORMS.get(group.any_record['form'], group.any_record['form'])}"
    config = group.config
    name, options = _algorithm(config)
    parts = [", ".join([name, *options]), config["architecture"], *_epochs(config)]
    parts += [config["label"]] * bool(config.get("label"))
    return "; ".join(parts + _other_devices(group.records))


def _epochs(config: dict[str, Any]) -> list[str]:
    epochs = config.get("epochs")
    if epochs is None:
        return []
    most = "at most " if config.get("stop_at_test_accuracy") else ""
    return [f"{most}{epochs} epoch{'s' * (epochs != 1)}"]


def _other_devices(records: Iterable[Record]) -> list[str]:
    """Which seeds were trained on another device than the one that evaluated them."""
    seeds: dict[str, list[str]] = {}
    for record in records:
        devices = record["environment"].get("trained_on")
        if devices:
            seeds.setdefault(", then ".join(devices), []).append(str(record["config"]["seed"]))
    return [
        f"seed{'s' * (len(found) > 1)} {', '.join(found)} trained on {device}"
        for device, found in seeds.items()
    ]


def short_runs(groups: Sequence[Group]) -> dict[str, str]:
    """For a figure's legend: key of each group -> the algorithm with its first option.

    Where two groups of one architecture would get the same words, the options in which they differ
    are added; where there is none, their labels; and where these are equal too, a number.
    """
    short = {}
    for group in groups:
        name, options = _algorithm(_without_precision(group.config))
        fitted = ["fitted"] if group.is_fitted else []
        short[group.key] = ", ".join([name, *options[:1], *fitted])
    for additions in (_differing_options, _labels, _numbers):
        seen: dict[tuple[str, str], list[Group]] = {}
        for group in groups:
            architecture = group.any_record["config"].get("architecture", "")
            seen.setdefault((architecture, short[group.key]), []).append(group)
        for same in seen.values():
            for group, added in zip(same, additions(same) if len(same) > 1 else (), strict=False):
                short[group.key] += added
    return short


def _without_precision(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "precision": "float32"}


def _differing_options(groups: Sequence[Group]) -> list[str]:
    found = []
    for group in groups:
        precision = group.config.get("precision", "float32")
        found.append([*_algorithm(group.config)[1][1:], f"in {precision}"])
    shared = set(found[0]).intersection(*found[1:])
    return ["".join(f", {option}" for option in own if option not in shared) for own in found]


def _labels(groups: Sequence[Group]) -> list[str]:
    return [f" ({label})" if label else "" for label in map(_label, groups)]


def _label(group: Group) -> str:
    label = group.config.get("label") or ""
    table, _, scale = label.removesuffix("-fitted").partition("-")
    if not table.startswith("table_"):
        return label
    numbers = table.removeprefix("table_").split("_")
    title = f"Table{'s' * (len(numbers) > 1)} {' and '.join(numbers)}"
    return title if scale in ("", "paper") else f"{title}, {scale}"


def _numbers(groups: Sequence[Group]) -> list[str]:
    return [f" (variant {place})" for place in range(1, len(groups) + 1)]


def _algorithm(config: dict[str, Any]) -> tuple[str, list[str]]:
    options = config.get("algorithm") or {"name": "?"}
    name = _with_additions(algorithm(options["name"]), config)
    if options["name"] == "tikhonov":
        return name, [f"l2 {options['l2']:g}"]
    if options["name"].endswith("_gaussian") or options["name"] == "jacobian_penalty":
        return name, [f"sigma {options['sigma']:g}"]
    if options["name"] == "trades":
        space = " in normalised space" if options.get("normalized_example") else ""
        return name, [
            f"epsilon {radius(options['epsilon'])}{space}",
            f"beta {options['beta']:g}",
            f"{options['num_steps']} steps of {options['step_size']:.4g}",
            *([options["distance"]] if options.get("distance", "l_inf") != "l_inf" else []),
        ]
    if options["name"] == "dpsgd":
        return name, [
            *_noise_and_clip(options),
            *(["shuffled batches"] if options.get("sampling") == "shuffle" else []),
            *(["reference engine"] if options.get("engine") == "reference" else []),
        ]
    return name, []


def radius(epsilon: float) -> str:
    """The radius of a ball, in 255ths where it is some.

    >>> radius(8 / 255), radius(0.1), radius(0.031)
    ('8/255', '0.1', '0.031')
    """
    steps = 255 * epsilon
    is_whole = abs(steps - round(steps)) < 1e-9 and round(steps) > 0
    return f"{round(steps)}/255" if is_whole else f"{epsilon:.4g}"


def _with_additions(name: str, config: dict[str, Any]) -> str:
    if config.get("augment"):
        name += " with crops and flips"
    if config.get("precision", "float32") != "float32":
        name += f" in {config['precision']}"
    if config.get("dropout"):
        name += f" with dropout {config['dropout']:g}"
    if config.get("fault_aware_rate"):
        name += f" under {config['fault_aware_rate']:.0%} faulty {config['fault_aware_target']}"
    stop = config.get("stop_at_test_accuracy")
    if isinstance(stop, str):
        name += " stopped at the test accuracy of its DP run"
    elif stop:
        name += f" stopped at {stop:.2%} test"
    return name


UNCLIPPED = 1e6
"""From this clip norm on no gradient is clipped; the noise's deviation is what then matters."""


def _noise_and_clip(options: dict[str, Any]) -> list[str]:
    sigma, clip = options["noise_multiplier"], options["l2_norm_clip"]
    if not sigma:
        return [f"clipping only, clip {clip:g}"]
    if clip >= UNCLIPPED:
        return [f"noise only, deviation {sigma * clip:g}"]
    return [f"noise multiplier {sigma:g}", f"clip {clip:g}"]


def variants(groups: Sequence[Group], *, named: Sequence[str] = ()) -> list[str]:
    """For each variant of a row, the settings in which it differs from the others.

    A single variant needs no such words and gets "". Forms of Table 3 are said in words: that their
    points have fingerprints of their own goes without saying. Settings that are `named` are told
    where all variants share them too.
    """
    flat = [_flatten(group.shared) for group in groups]
    keys = sorted({key for settings in flat for key in settings})
    differing = [key for key in keys if len({_text(settings, key) for settings in flat}) > 1]
    if "form" in differing:
        differing = [key for key in differing if key != "fingerprint"]
    told = [key for key in differing if not key.startswith("rows")] or differing
    # A label names what the other settings say, and that a run is fitted stands beside it.
    shown = [key for key in told if key not in ("fitted", "label")] or told
    told = sorted({*shown, *named})
    return [", ".join(_setting(key, _text(s, key)) for key in told) for s in flat]


def _setting(key: str, value: str) -> str:
    if key == "form" and value in FORMS:
        return FORMS[value]
    if key == "augment":
        return "crops and flips" if value == "True" else "no augmentation"
    return f"{key.removeprefix('algorithm.')} {value or 'none'}"


def _text(settings: dict[str, Any], key: str) -> str:
    value = settings.get(key, "")
    if isinstance(value, float):
        return f"{value:.6g}"
    if key == "fingerprint":
        return str(value)[:12]
    return str(value)


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if key == "config" and not prefix:
            flat.update(_flatten(item))
        elif isinstance(item, dict):
            flat.update(_flatten(item, f"{prefix}{key}."))
        elif isinstance(item, list):
            flat[prefix + key] = "; ".join(map(str, item))
        else:
            flat[prefix + key] = item
    return flat
