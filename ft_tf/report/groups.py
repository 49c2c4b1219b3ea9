"""Groups of records that are replicates of one another.

A group holds what may be pooled: runs for the same row of the paper, on the same data, whose
configurations differ in nothing but seeds. Everything else stays apart, as variants of the row.

The accuracy at which a run of a row "natural_stopped/..." stops is that of the DP run of its seed:
it differs between replicates as a seed does.
"""

import collections
import dataclasses
import json
from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Any

from ft_tf.effects.runs import is_smoke
from ft_tf.records import Circles, Privacy, Record, Run
from ft_tf.report import display_names
from ft_tf.report.display_names import OTHER, STOPPED, parts_of
from ft_tf.report.replicates import mean_of

SMOKE = "of the scale smoke, which only shows that everything runs"
FITTED = "fitted"
_AT_PARTNERS_ACCURACY = "that of the DP run of its seed"
_MEASUREMENT_ONLY = ("curve",)  # more is recorded; nothing that is measured changes
_SETTING = ("architecture", "train_limit", "augment")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Accuracies of a group's finished replicates, as parallel tuples of fractions."""

    train: tuple[float, ...]
    test: tuple[float, ...]
    generalization_error: tuple[float, ...]
    unit: str

    def __len__(self) -> int:
        return len(self.generalization_error)


class Group:
    """Replicates of one variant of one row.

    Attributes:
        row: id of the paper's row, of a row that we added to an exhibit, or "other/..." of a run
            that belongs to none; of a group that serves several the one it was looked up by.
        rows: all rows that it serves.
        key: canonical text of what the replicates share.
        shared: the same as values: config, fingerprint, form and kind.
        config: the configuration that the replicates share, without seeds.
        form: the form of circles records, "" for other runs.
        setting: what two groups must share to be compared: data, form, architecture, augmentation.
        finished, failed: records, by name.
        records: finished and failed records.
        names: names of the finished records, with blanks between.
        is_circles: whether its replicates are those of Table 3.
        is_fitted: whether a setting was chosen so that the accuracy comes near the paper's.
        is_smoke: whether it is of the scale "smoke", as its label says.
        left_out: why the group is left out of every test; "" where it counts.
        source: the data source with its size and remarks: a sample is not taken for the set.
        data: name and source of the data.
    """

    def __init__(
        self,
        row: str,
        rows: tuple[str, ...],
        key: str,
        finished: tuple[Record, ...],
        failed: tuple[Record, ...],
    ) -> None:
        self.row, self.rows, self.key = row, rows, key
        self.shared: dict[str, Any] = json.loads(key)
        self.config: dict[str, Any] = self.shared["config"]
        self.form: str = self.shared["form"]
        values = (str(self.config.get(name)) for name in _SETTING)
        self.setting = (self.shared["fingerprint"], self.form, *values)
        self.finished, self.failed, self.records = finished, failed, finished + failed
        self.names = " ".join(record.name for record in finished)
        first = self.records[0]
        self.is_circles = isinstance(first, Circles)
        self.is_fitted = any(record.config.get("fitted") for record in self.records)
        self.is_smoke = is_smoke(first)
        self.left_out = "; ".join([FITTED] * self.is_fitted + [SMOKE] * self.is_smoke)
        item = "points" if self.is_circles else "images"
        remarks = f" ({'; '.join(first.data.notes)})" if first.data.notes else ""
        size = f"{first.data.train_examples:,} training {item}"
        self.source = f"{first.data.source}, {size}{remarks}"
        self.data = f"{first.data.name}, {self.source}"

    @cached_property
    def samples(self) -> Samples:
        """Accuracies of the finished replicates."""
        if self.is_circles:
            results = [record.results[self.row] for record in self.finished]
            pairs = (pair for r in results for pair in zip(r.train, r.test, strict=True))
            found = [(train, test, train - test) for train, test in pairs]
        else:
            accuracies = [record.accuracy for record in self.finished]
            found = [(a.train, a.test, a.generalization_error) for a in accuracies]
        columns = zip(*found, strict=True) if found else ((), (), ())
        return Samples(*columns, "replicate" if self.is_circles else "training seed")

    @cached_property
    def run(self) -> str:
        """The configuration as text: the algorithm with its options, then the architecture."""
        if self.is_circles and self.row in self.records[0].results:
            result = self.records[0].results[self.row]
            return display_names.describe_circles(result.noise, result.sigma, self.form)
        trained_on: dict[str, list[int]] = {}
        for record in self.records:
            if record.environment.trained_on:
                devices = ", then ".join(record.environment.trained_on)
                trained_on.setdefault(devices, []).append(record.config["seed"])
        return display_names.describe_run(self.config, trained_on)

    @property
    def cells(self) -> dict[str, Any]:
        """Cells that say what a line of a table is about."""
        return {
            "data": self.data,
            "run": self.run,
            "rows": " ".join(self.rows),
            "replicates": len(self.finished),
        }

    @property
    def targets(self) -> list[str]:
        """Fault targets that every finished run has measured, "weights" first."""
        return sorted(set.intersection(*(set(r.faults) for r in self.finished)), reverse=True)

    @property
    def privacy(self) -> Privacy | None:
        """The statement of the run with the largest epsilon: lost steps can make seeds differ."""
        found = [r.privacy for r in self.records if isinstance(r, Run) and r.privacy]
        return max(found, key=lambda stated: stated.epsilon_paper or 0.0, default=None)

    @property
    def deviations(self) -> str:
        """Deviations of its runs from our preset at paper scale."""
        return "; ".join(dict.fromkeys(text for r in self.records for text in r.deviations))

    @property
    def steps(self) -> str:
        """Training steps of the finished runs, as "285" or "28 to 610"; "" if unknown."""
        steps = sorted({r.training.steps for r in self.finished if isinstance(r, Run)})
        return " to ".join(f"{number:,}" for number in [*steps[:1], *steps[1:][-1:]])

    @property
    def breakdowns(self) -> str:
        """Finished trainings that broke down, with the epochs; "" where none did.

        A training breaks down in the first epoch that ends with less than half of the training
        accuracy of an earlier one. Its last weights, which are evaluated, then say little of its
        setting. Without a curve of accuracies it is not known.
        """
        epochs = [f"epoch {epoch:g}" for r in self.finished if (epoch := _breakdown(r)) is not None]
        count = len(self.finished)
        which = f"{len(epochs)} of {count} trainings" if count > 1 else "training"
        return f"{which} broke down in {' and '.join(epochs)}" if epochs else ""

    @property
    def failures(self) -> str:
        """Each failed run with where and why it stopped; "" where none failed."""
        return "; ".join(f"seed {r.config.get('seed')}: {failure_of(r)}" for r in self.failed)

    def mean(self, name: str) -> float | None:
        """Mean of "train", "test" or "generalization_error" over the finished replicates."""
        return mean_of(getattr(self.samples, name))


def failure_of(record: Record) -> str:
    """Returns why and where a failed run stopped."""
    failure = record.failure
    stopped = {"epoch": failure.epoch, "step": failure.step}
    where = ", ".join(f"{unit} {at}" for unit, at in stopped.items() if at is not None)
    return f"{failure.reason} ({where})" if where else failure.reason


def _breakdown(record: Record) -> float | None:
    """The epoch in which a training broke down, if it did."""
    history, best = record.history if isinstance(record, Run) else {}, 0.0
    epochs = zip(history.get("epoch", ()), history.get("train_accuracy", ()), strict=False)
    for epoch, accuracy in epochs:
        if accuracy is not None and accuracy < best / 2:
            return epoch
        best = max(best, accuracy or 0.0)
    return None


def without_seeds(config: Any) -> Any:
    """Returns a configuration without its seeds, at every depth.

    >>> without_seeds({"seed": 1, "algorithm": {"name": "dpsgd", "noise_seed": 2}})
    {'algorithm': {'name': 'dpsgd'}}
    """
    if isinstance(config, dict):
        return {
            key: without_seeds(value)
            for key, value in config.items()
            if key != "seed" and not key.endswith("_seed") and key not in _MEASUREMENT_ONLY
        }
    if isinstance(config, list | tuple):
        return [without_seeds(value) for value in config]
    return config


def group_by_row(
    records: Iterable[Record], exhibits: Collection[str]
) -> dict[str, tuple[Group, ...]]:
    """Returns groups under the id of the row they serve; variants of a row in a fixed order.

    A run that names no row of a known exhibit comes under "other/NAME-WITHOUT-SEED".
    """
    members: dict[tuple[str, str], list[Record]] = collections.defaultdict(list)
    served: dict[str, set[str]] = collections.defaultdict(set)
    for record in sorted(records, key=lambda record: record.name):
        key = _key(record)
        for row in rows_of(record, exhibits):
            members[row, key].append(record)
            served[key].add(row)
    grouped: dict[str, list[Group]] = collections.defaultdict(list)
    for row, key in sorted(members):
        distinct = _distinct(members[row, key])
        finished = tuple(record for record in distinct if record.status == "finished")
        failed = tuple(record for record in distinct if record.status == "failed")
        grouped[row].append(Group(row, tuple(sorted(served[key])), key, finished, failed))
    return {row: tuple(sorted(groups, key=_variant_order)) for row, groups in grouped.items()}


def rows_of(record: Record, exhibits: Collection[str]) -> list[str]:
    """Returns ids of the rows that a record serves."""
    known = [row for row in dict.fromkeys(record.rows) if parts_of(row)[0] in exhibits]
    if known:
        return known
    stem, _, seed = record.name.rpartition("seed_")
    return [f"{OTHER}/{stem.rstrip('-_') if stem and seed.isdigit() else record.name}"]


def _key(record: Record) -> str:
    config = without_seeds(record.config)
    if any(parts_of(row)[2] == STOPPED for row in record.rows):
        for field in ("stop_at_test_accuracy", "stop_at_holdout_accuracy"):
            if config.get(field):
                config[field] = _AT_PARTNERS_ACCURACY
    shared = {
        "config": config,
        "fingerprint": record.data.fingerprint,
        "form": record.form if isinstance(record, Circles) else "",
        "kind": record.kind,
    }
    return json.dumps(shared, sort_keys=True)


def _distinct(members: list[Record]) -> list[Record]:
    """Leaves out second copies of a deterministic run: they are no further replicates."""
    seen: set[str] = set()
    distinct = []
    for record in members:
        algorithm = record.config.get("algorithm") or {}
        is_random = "noise_seed" in algorithm and algorithm["noise_seed"] is None
        identity = json.dumps([record.config, record.status], sort_keys=True)
        if identity not in seen or is_random:
            seen.add(identity)
            distinct.append(record)
    return distinct


def _variant_order(group: Group) -> tuple[str, str, str, str]:
    config = group.records[0].config
    return config.get("label") or "", config.get("architecture") or "", group.form, group.key
