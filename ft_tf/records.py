"""Records: what a run leaves behind, as one JSON file that is written once and never edited.

Tables and figures are built from records alone. Schema, version 1 (fractions in [0, 1], never
percent; a figure that cannot be had is null; lists of equal length run in parallel):

    schema_version  1
    kind            "run" (one trained model) or "circles" (all replicates of Table 3)
    name            the run's directory name
    status          "finished" or "failed"
    failure         null, or {"reason", "epoch", "step"} of a training that was stopped
    rows            ids of the paper's rows that the run is meant for, such as
                    "table_5/fmnist_dnn/trades" (ft_tf.report.paper knows them all)
    config          the frozen configuration, as ft_tf.study.config.to_dict gives it
    data            {"name", "source", "fingerprint", "train_examples", "test_examples", "notes"}
    environment     {"python", "processor", "threads", "onednn", "packages": {name: version}} of
                    the process that evaluated; "accelerators" of one with GPUs; {"strategy",
                    "replicas"} of a training that was spread over devices; "trained_on", the
                    devices of a training that did not all run on the one that evaluated
    deviations      what differs from the paper's setting, in words: ["epochs 10 of 60", ...]
    timing          {"seconds", "sessions"}: the one key that may differ between equal runs

Of kind "run", besides:

    model           {"architecture", "parameters"}
    training        {"epochs", "steps"}
    history         {column: [one value per epoch]}; "epoch" counts from 1, "accuracy" is the
                    running training accuracy, "train_accuracy" and "test_accuracy" are measured
                    after the epoch in inference mode where the configuration asks for it
    accuracy        {"train", "test", "generalization_error", "test_interval": [low, high]}
    parameters      {"standard_deviation", "equation_10", "bin_edges", "bin_counts"} and, where it
                    was asked for, "rescaled": {"layers", "powers", "standard_deviation",
                    "equation_10", "changed_logits", "changed_logits_under_faults"}
    faults          {target: {"rates", "faults", "mean", "standard_deviation", "low", "high",
                    "trials", "images", "seed", "sites", "method", "unit", "level",
                    "drop_50_to_90": {"drop", "at_50", "at_90"} or null,
                    "lost": {"mean", "low", "high"}, accuracy lost at each rate, each trial against
                    the fault-free model on its own images (absent from records before it),
                    "epsilon_ft": [{"rate", "total_variation": {quantile: value},
                    "half_margin": {quantile: value}}]}}, target "weights" or "units"
    layer_faults    {target: [{"layer", "sites", "faults", "rate", "clean_accuracy", "accuracy",
                    "drop", "low", "high"}]}: faults in one layer at a time, "whole model" first
    robustness      [{"attack", "epsilon", "steps", "images", "clean_accuracy",
                    "robust_accuracy", "robust_interval": [low, high], "parameters",
                    "warnings"}]; of the first attack also, on as many training images,
                    "train_clean_accuracy", "train_robust_accuracy", and
                    "robust_generalization_error" = train robust minus test robust accuracy
    best_checkpoint null, or of a TRADES run with a curve: {"epoch", "test_accuracy",
                    "robust_accuracy", "attack_steps", "selected_on"} of the epoch with the best
                    robust accuracy on test images that the reported figures do not use
    membership      null, or the loss-threshold attack of ft_tf.privacy.membership:
                    {"advantage", "advantage_of_mean_loss", "advantage_of_correctness",
                    "threshold", "true_positive_rate", "true_positive_interval": [low, high],
                    "false_positive_rate", "members", "others", "scale": "log-odds"}. Without
                    "scale" thresholds are losses, whose ties at 0 can leave no true positives,
                    and the interval is over members alone
    privacy         null, or what ft_tf.privacy states of a DP-SGD run: its figures, the bounds
                    on the gap and the "statement" in words. Where config.algorithm.noise_seed is
                    set ("noise_seed_published"), the figures are those of a run with a secret
                    seed: for a reader of the record the guarantee is void

Of kind "circles", besides:

    replicates      number of replicates of each row
    form            "fixed_data" or "redrawn_data"
    results         {row id: {"noise", "sigma", "train": [per replicate], "test": [...]}}; of the
                    noise "tikhonov", which is none, "sigma" holds the coefficient l2
"""

import json
import math
import os
import reprlib
import tempfile
from pathlib import Path
from typing import Any

from ft_tf.errors import RunError

SCHEMA_VERSION = 1
FILE_NAME = "record.json"
ATTACKS = "attacks"

Record = dict[str, Any]

_COMMON = {
    "schema_version": int,
    "kind": str,
    "name": str,
    "status": str,
    "failure": (dict, type(None)),
    "rows": list,
    "config": dict,
    "data": dict,
    "environment": dict,
    "deviations": list,
    "timing": dict,
}
_OF_A_RUN = {
    "model": dict,
    "training": dict,
    "history": dict,
    "accuracy": (dict, type(None)),
    "parameters": (dict, type(None)),
    "faults": dict,
    "robustness": list,
    "privacy": (dict, type(None)),
}
_OF_CIRCLES = {"replicates": int, "form": str, "results": dict}
_KINDS = {"run": _OF_A_RUN, "circles": _OF_CIRCLES}

_FIGURE = (int, float, type(None))
_INSIDE = {
    "failure": {"reason": str, "epoch": int, "step": int},
    "data": {
        "name": str,
        "source": str,
        "fingerprint": str,
        "train_examples": int,
        "test_examples": int,
        "notes": list,
    },
    "environment": {"python": str, "processor": str, "threads": int, "packages": dict},
    "timing": {"seconds": _FIGURE, "sessions": int},
    "model": {"architecture": str, "parameters": int},
    "training": {"epochs": int, "steps": int},
    "accuracy": {"train": _FIGURE, "test": _FIGURE, "generalization_error": _FIGURE},
    "parameters": {
        "standard_deviation": _FIGURE,
        "equation_10": _FIGURE,
        "bin_edges": list,
        "bin_counts": list,
    },
}
_CURVES = ("rates", "faults", "mean", "standard_deviation", "low", "high")
_LOST = dict.fromkeys(("mean", "low", "high"), list)
_CAMPAIGN = {
    **dict.fromkeys(_CURVES, list),
    "trials": int,
    "images": int,
    "seed": int,
    "sites": int,
    "method": str,
    "unit": str,
    "level": _FIGURE,
    "drop_50_to_90": (dict, type(None)),
    "epsilon_ft": list,
}
_ATTACK = {
    "attack": str,
    "epsilon": _FIGURE,
    "steps": int,
    "images": int,
    "clean_accuracy": _FIGURE,
    "robust_accuracy": _FIGURE,
    "robust_interval": list,
    "parameters": dict,
    "warnings": list,
}
_RESULT = {"noise": str, "sigma": _FIGURE, "train": list, "test": list}


def validate(record: Any, *, where: str) -> Record:
    """Returns `record` if it follows the schema.

    Args:
        record: what JSON gave.
        where: the file, for the message.

    Raises:
        RunError: all that is wrong, in one line.
    """
    if not isinstance(record, dict):
        raise RunError(f"{where} holds no record: a JSON object was expected")
    version = record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{where} has schema_version={version!r}; this ft_tf reads {SCHEMA_VERSION}: "
            "use the version that wrote it"
        )
    kind = record.get("kind")
    if kind not in _KINDS:
        raise RunError(f"{where} has kind={kind!r}; known are {', '.join(_KINDS)}")
    problems = _problems(record, {**_COMMON, **_KINDS[kind]})
    problems = problems or _problems_inside(record)
    if record.get("status") not in ("finished", "failed"):
        problems.append(f"status={record.get('status')!r} must be finished or failed")
    if record.get("status") == "finished" and kind == "run" and not record.get("accuracy"):
        problems.append("accuracy is missing from a finished run")
    if not problems:
        problems = [
            f"{name} must lie in [0, 1]"
            for name, values in _fractions(record)
            if not all(0 <= value <= 1 for value in values)
        ]
    if problems:
        raise RunError(f"{where} is no valid record: {'; '.join(problems)}")
    return record


def _problems(value: Any, keys: dict[str, Any], name: str = "") -> list[str]:
    """What keeps `value` from being an object with these keys, each of its type."""
    if not isinstance(value, dict):
        return [f"{name}={reprlib.repr(value)} has a wrong type"]
    prefix = f"{name}." if name else ""
    return [
        f"{prefix}{key} is missing"
        if key not in value
        else f"{prefix}{key}={reprlib.repr(value[key])} has a wrong type"
        for key, types in keys.items()
        if not isinstance(value.get(key, ...), types)
    ]


def _problems_inside(record: Record) -> list[str]:
    """What is wrong below the first level of a record whose first level is right."""
    problems = []
    for part, keys in _INSIDE.items():
        if record.get(part) is not None:
            problems += _problems(record[part], keys, part)
    for target, campaign in record.get("faults", {}).items():
        name = f"faults.{target}"
        found = _problems(campaign, _CAMPAIGN, name)
        lost = campaign.get("lost", {})
        found += _problems(lost, _LOST, f"{name}.lost") if lost else []
        curves = [campaign[key] for key in _CURVES] + [*lost.values()] if not found else []
        if len(set(map(len, curves))) > 1:
            found.append(f"{name} has lists of different lengths")
        problems += found + _no_figures(name, curves)
    for index, entry in enumerate(record.get("robustness", [])):
        problems += _problems(entry, _ATTACK, f"robustness[{index}]")
    for row, result in record.get("results", {}).items():
        name = f"results[{row}]"
        found = _problems(result, _RESULT, name)
        problems += found or _no_figures(name, [result["train"], result["test"]])
    history = record.get("history", {}).values()
    if not all(isinstance(column, list) for column in history) or len(set(map(len, history))) > 1:
        problems.append("history must hold lists of one length")
    return problems


def _no_figures(name: str, lists: list[list[Any]]) -> list[str]:
    strange = [value for values in lists for value in values if not isinstance(value, _FIGURE)]
    return [f"{name} has {reprlib.repr(strange[0])} among its figures"] if strange else []


def _fractions(record: Record) -> list[tuple[str, list[float]]]:
    """The accuracies of a record by name; those that cannot be had are left out."""
    accuracy = record.get("accuracy") or {}
    found = [(f"accuracy.{split}", [accuracy.get(split)]) for split in ("train", "test")]
    for target, campaign in record.get("faults", {}).items():
        found.append((f"faults.{target}.mean", campaign["mean"]))
    for index, entry in enumerate(record.get("robustness", [])):
        for key in ("clean_accuracy", "robust_accuracy"):
            found.append((f"robustness[{index}].{key}", [entry[key]]))
    return [(name, [value for value in values if value is not None]) for name, values in found]


def without_nan(value: Any) -> Any:
    """Replaces NaN and infinities by None throughout, since JSON has neither."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def comparable(record: Record) -> Record:
    """The record without what may differ between two runs of the same configuration and seeds."""
    return {key: value for key, value in record.items() if key != "timing"}


def check_writable(path: Path) -> None:
    """Raises RunError unless a file can be written there: to be known before work that takes long.

    Nothing of the file is written; directories that it needs are made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from None


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new content, never a part.

    Raises:
        RunError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error})") from None


def dumps(value: Any) -> str:
    """JSON as all files of a run have it: sorted keys, one trailing newline, no NaN."""
    return json.dumps(without_nan(value), indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        RunError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}); it may be damaged") from None


def write(directory: Path, record: Record) -> Path:
    """Writes a record into a run's directory, once.

    Raises:
        RunError: there is a record already, or the record breaks the schema.
    """
    path = directory / FILE_NAME
    if path.exists():
        raise RunError(f"{path} exists: a record is written once; delete the run to repeat it")
    write_text(path, dumps(validate(without_nan(record), where=str(path))))
    return path


def load(path: Path) -> Record:
    """Reads and validates one record.json, or the one in a run's directory.

    What `experiments.attack` measured later stands in files of its own below attacks/; it is added
    to "robustness", behind what the run measured itself.

    Raises:
        RunError: a file cannot be read, is not JSON, or breaks the schema.
    """
    path = path / FILE_NAME if path.is_dir() else path
    record = read_json(path)
    later = sorted((path.parent / ATTACKS).glob("*.json"))
    if later and isinstance(record, dict) and isinstance(record.get("robustness"), list):
        record["robustness"] = record["robustness"] + [_read_attack(entry) for entry in later]
    return validate(record, where=str(path))


def _read_attack(path: Path) -> dict[str, Any]:
    entry = read_json(path)
    problems = _problems(entry, _ATTACK, "the attack")
    if problems:
        raise RunError(f"{path} is no valid attack: {'; '.join(problems)}; delete it")
    return entry


def load_all(directory: Path) -> list[Record]:
    """All records below a directory, sorted by name.

    Raises:
        RunError: the directory does not exist, or one of the records is not valid.
    """
    if not directory.is_dir():
        raise RunError(f"{directory} is not a directory: no records there")
    found = [load(path) for path in sorted(directory.rglob(FILE_NAME))]
    return sorted(found, key=lambda record: record["name"])
