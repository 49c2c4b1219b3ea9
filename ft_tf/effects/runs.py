"""Trained runs with the values that claims compare, in points (experiments/RULE.md)."""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from ft_tf.records import Campaign, Circles, Record, Run
from ft_tf.study import datasets
from ft_tf.study.algorithms.dpsgd import epsilon_text
from ft_tf.study.algorithms.trades import radius

PRIVACY = 25.0
"""Rows with a larger epsilon are controls for clipping."""
RATE = 0.1
"""Share of stuck-at-0 weights of the primary measure."""
FAULTS = ("weights_10", "units_10", "weights_1", "int8")
"""Of the plans on DP-SGD; see `Trained.lost_by_fault`."""
PLANS_ASIDE = ("walk", "proxy")
"""First words of the labels of runs that are judged by their plan alone (experiments/RULE.md)."""
_PUBLISHED = ("fashion_mnist", "cifar10")
_CLASSES = {name: datasets.get(name).classes for name in _PUBLISHED} | {"circles": 2}
"""Number of classes, of equal size, for records that do not have it."""
_AT_CHANCE = 0.1
"""A model is at chance where less than this share of its accuracy above chance is left."""
_LAST_RATE = 0.9
_NOT_A_SETTING = (
    "rows", "label", "evaluation", "deviations", "stop_at_test_accuracy",
    "stop_at_holdout_accuracy", "stop_at_train_accuracy",
)  # fmt: skip
_ONE_TABLE = {"table_6": "table_4"}


class Trained:
    """A finished run with the values that claims compare; accuracies are in points.

    Attributes:
        record: its record.
        algorithm: options of the training algorithm, and its name.
        network: architecture, as the name of the network: each belongs to one data set.
        seed: training seed.
        table: table of the paper; Tables 4 and 6 are one. "" for a run without a row.
        part: algorithm in the id of its row, such as "natural_stopped"; "" without a row.
        conditions: what two runs must share to be compared.
        is_stopped: whether training ended at an accuracy, not after its epochs.
        counts: whether it may enter an estimate other than the premise: it was not fitted.
        train, test, gap: training accuracy, test accuracy, generalization error.
        chance: accuracy of guessing; None where the number of classes is not known.
        epsilon: the one that holds; infinite without one.
    """

    def __init__(self, record: Run) -> None:
        config, accuracy, guess = record.config, record.accuracy, chance(record)
        self.record = record
        self.algorithm: dict[str, Any] = config["algorithm"]
        self.network: str = config["architecture"]
        self.seed: int = config["seed"]
        row = next((row for row in record.rows if row.startswith("table_")), "//")
        table, _, self.part = row.split("/")[:3]
        self.table = _ONE_TABLE.get(table, table)
        data = (config.get(key, 0) for key in ("train_limit", "holdout", "augment"))
        self.conditions = (self.table, record.data.fingerprint, self.network, self.seed, *data)
        self.is_stopped = self.part == "natural_stopped"
        self.counts = not config.get("fitted")
        self.train, self.test = 100 * accuracy.train, 100 * accuracy.test
        self.gap = 100 * accuracy.generalization_error
        self.chance = None if guess is None else 100 * guess
        claimed = record.privacy.epsilon_claimed if record.privacy else None
        self.epsilon = math.inf if claimed is None else claimed

    @cached_property
    def setting(self) -> str:
        """Configuration without seeds, and without options that are off: those may be new ones."""
        rows = self.record.rows if self.is_stopped else ()
        return json.dumps([_options(self.record.config, seeds=False), rows], sort_keys=True)

    @cached_property
    def recipe(self) -> str:
        """Its setting whatever number of training images was held out."""
        config = {key: value for key, value in self.record.config.items() if key != "holdout"}
        return json.dumps(_options(config, seeds=False), sort_keys=True)

    @cached_property
    def training(self) -> str:
        """Equal for runs that must give the same weights: a second one is no further training."""
        options = _options(self.record.config, seeds=True)
        if options["algorithm"]["name"] == "dpsgd" and "noise_seed" not in options["algorithm"]:
            options["name"] = self.record.name
        return json.dumps([options, self.record.training.steps], sort_keys=True)

    def level(self, rate: float, target: str = "weights") -> float | None:
        """Accuracy under faults; None where it was not measured."""
        return _at(rate, self.record.faults.get(target), lambda campaign: campaign.mean)

    def lost(self, rate: float = RATE, target: str = "weights") -> float | None:
        """Accuracy lost under faults, each trial against the fault-free model on its own images.

        Records from before that was measured give the difference of the two levels.
        """
        paired = _at(rate, self.record.faults.get(target), _paired)
        if paired is not None:
            return paired
        clean, faulty = self.level(0.0, target), self.level(rate, target)
        return None if clean is None or faulty is None else clean - faulty

    @property
    def lost_by_fault(self) -> dict[str, float | None]:
        """Accuracy lost under each fault that the plans measure, by its name in their tables."""
        bits = self.record.bit_errors or {}
        return {
            "weights_10": self.lost(0.1),
            "weights_1": self.lost(0.01),
            "units_10": self.lost(0.1, "units"),
            "int8": _at(1e-3, bits.get("int8_per_channel"), _paired),
            "float32": _at(1e-5, bits.get("float32"), _paired),
        }

    @property
    def walk(self) -> float:
        """Standard deviation that the noise of DP-SGD alone gives each weight.

        The recursion v <- (1 - lr lambda)^2 v + (lr sigma C / L)^2 over all steps: lr sigma C
        sqrt(T) / L without weight decay lambda, and about lr sigma C / L / sqrt(2 lr lambda) after
        many steps.
        """
        config, options, steps = self.record.config, self.algorithm, self.record.training.steps
        rate = np.full(config["epochs"], config["learning_rate"], float)
        for epoch, factor in config.get("learning_rate_drops", ()):
            rate[int(epoch) :] *= factor
        rate = np.repeat(rate, math.ceil(steps / len(rate)))[:steps]
        sigma_c = options["noise_multiplier"] * options["l2_norm_clip"]
        kept = np.log1p(-rate * config.get("weight_decay", 0.0))
        later = np.cumsum(kept[::-1])[::-1] - kept
        return math.sqrt(np.sum((rate * sigma_c / config["batch_size"] * np.exp(later)) ** 2))

    def normalized_area(self, target: str = "weights") -> float | None:
        """Normalized accuracy under faults: share of accuracy above chance, over 0 to 90% faults.

        The area (trapezoids) under the curve of accuracy minus chance, in percent of that without
        faults: 100 is a model that no fault harms, 0 one that is at chance from the first fault on.
        From accuracy lost, paired where that is on record. None where the rates do not reach from 0
        to 90%, where the model is at chance without faults, or where chance is not known.
        """
        if self.chance is None:
            return None
        campaign, above = self.record.faults.get(target), self.test - self.chance
        rates = [r for r in campaign.rates if r <= _LAST_RATE + 1e-9] if campaign else []
        is_whole = len(rates) > 1 and rates[0] == 0 and rates[-1] > _LAST_RATE - 1e-9
        if not is_whole or above < 0.5 * self.chance:
            return None
        left = [above - (self.lost(rate, target) or 0.0) for rate in rates]
        return float(100 * trapezoid(left, rates) / (rates[-1] * above))

    @property
    def drop(self) -> float | None:
        """Accuracy at 50% minus at 90% stuck-at-0 weights (Figure 3); None where at chance."""
        half, last = self.level(0.5), self.level(0.9)
        if half is None or last is None or self.is_at_chance("weights") is not False:
            return None
        return half - last

    def is_at_chance(self, target: str) -> bool | None:
        """Whether half of the sites stuck at 0 leave next to nothing; None where not measured."""
        clean, half = self.level(0.0, target), self.level(0.5, target)
        if clean is None or half is None or self.chance is None:
            return None
        return half - self.chance < _AT_CHANCE * (clean - self.chance)

    def where_trained_to(self, train: float) -> tuple[float, float] | None:
        """Epoch and gap where the curve first reaches a training accuracy, between two epochs.

        Interpolated: the gap after the first epoch above it is of a model that has learned more.
        None where the curve never reaches it, or is above it after the first epoch.
        """
        names = ("epoch", "train_accuracy", "test_accuracy")
        columns = [self.record.history.get(name) or () for name in names]
        curve = [point for point in zip(*columns, strict=False) if None not in point]
        curve = [(epoch, 100 * a, 100 * (a - b)) for epoch, a, b in curve]
        for (epoch, before, gap), (next_epoch, after, next_gap) in itertools.pairwise(curve):
            if before <= train <= after:
                share = 0.0 if after == before else (train - before) / (after - before)
                return epoch + share * (next_epoch - epoch), gap + share * (next_gap - gap)
            if before > train:
                return None
        return None


def _paired(campaign: Campaign) -> Sequence[float] | None:
    return campaign.lost and campaign.lost.mean


def _at(rate: float, campaign: Campaign | None, curve: Callable[..., Any]) -> float | None:
    values = curve(campaign) if campaign else None
    for measured, value in zip(campaign.rates, values, strict=True) if values else ():
        if math.isclose(measured, rate, abs_tol=1e-9):
            return 100 * value
    return None


def _options(config: dict[str, Any], *, seeds: bool) -> dict[str, Any]:
    return {
        key: _options(value, seeds=seeds) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NOT_A_SETTING
        and ((value or value == 0) and seeds if key.endswith("seed") else value)
    }


def chance(record: Record) -> float | None:
    """Returns the accuracy of guessing, 1 / number of classes; None where that is not known."""
    classes = record.data.classes or _CLASSES.get(record.data.name)
    return 1 / classes if classes else None


def normalized_auc(record: Run, target: str) -> float | None:
    """Returns `Trained.normalized_area` as a fraction; None of a failed run."""
    area = Trained(record).normalized_area(target) if record.accuracy else None
    return None if area is None else area / 100


def measures(record: Run) -> dict[str, float | None]:
    """Test accuracy, accuracy lost under each of `FAULTS`, deviation of the weights; fractions."""
    lost = Trained(record).lost_by_fault
    return {
        "test": record.accuracy.test,
        **{name: None if lost[name] is None else lost[name] / 100 for name in FAULTS},
        "deviation": record.parameters.standard_deviation,
    }


def is_aside(record: Record) -> bool:
    """Whether a record is of one of `PLANS_ASIDE`."""
    return (record.config.get("label") or "").split("-")[0] in PLANS_ASIDE


def is_smoke(record: Record) -> bool:
    """Whether a record is of the scale smoke, as its label says: such ones never count."""
    return "smoke" in (record.config.get("label") or "").split("-")


def is_of_tables(run: "Trained") -> bool:
    """Whether a run is of the presets of the paper's tables, as its label says, and of no plan."""
    config = run.record.config
    is_labelled = str(config.get("label") or "table_").startswith("table_")
    # The plan tutorial_cnn trains the presets' rows, with their labels, on a net of its own.
    return is_labelled and config.get("architecture") != "fmnist_cnn_2_tutorial"


def _counted(records: Iterable[Record]) -> list[Record]:
    """Finished records but those of `PLANS_ASIDE` and of the scale smoke, by name."""
    finished = (record for record in records if record.status == "finished")
    found = (record for record in finished if not is_aside(record) and not is_smoke(record))
    return sorted(found, key=lambda record: record.name)


def circles(records: Iterable[Record]) -> list[Circles]:
    """Counted records of Table 3, by name."""
    return [record for record in _counted(records) if isinstance(record, Circles)]


def trained(records: Iterable[Record]) -> list[Trained]:
    """Counted runs by name; of copies of a run for a row the first."""
    found: dict[Any, Trained] = {}
    for record in _counted(records):
        if isinstance(record, Run):
            run = Trained(record)
            found.setdefault((run.training, record.rows), run)
    return list(found.values())


def of_plan(
    records: Iterable[Record], label: re.Pattern[str]
) -> Iterator[tuple[Run, dict[str, str]]]:
    """Yields the runs whose label is one of a plan, with the parts of the label."""
    for record in records:
        found = label.fullmatch(record.config.get("label") or "")
        if found and isinstance(record, Run):
            yield record, found.groupdict()


def label(run: Trained) -> str:
    """Short name of a run's setting within its network.

    Of DP-SGD a clip norm of 1, a learning rate of 0.15 (those of the tutorial whose epsilons the
    paper prints) and plain SGD go without saying.
    """
    options, config = run.algorithm, run.record.config
    if options["name"] == "trades":
        named = {
            f"radius {radius(options['epsilon'])}": True,
            f"beta {options['beta']:g}": True,
            "normalized inputs": options.get("normalized_example"),
            "crops and flips": config.get("augment"),
        }
    elif options["name"] == "dpsgd":
        alone = run.part.removeprefix("dpsgd_").replace("_", " ")  # "clip only", "noise only"
        named = {
            alone if run.part != "dpsgd" else f"epsilon {epsilon_text(run.epsilon)}": True,
            f"sigma C {options['noise_multiplier'] * options['l2_norm_clip']:g}": (
                alone == "noise only"
            ),
            f"C {options['l2_norm_clip']:g}": run.part == "dpsgd" and options["l2_norm_clip"] != 1,
            f"rate {config['learning_rate']:g}": config["learning_rate"] != 0.15,
            str(config.get("optimizer")): config.get("optimizer", "sgd") != "sgd",
            f"weight decay {config.get('weight_decay', 0):g}": config.get("weight_decay"),
        }
    else:
        named = {run.part or options["name"]: True}
    return ", ".join(text for text, is_named in named.items() if is_named)
