"""Which records are replicates of one another.

A group holds what may be pooled: runs for the same row of the paper, on the same data, whose
configurations differ in nothing but seeds. Everything else stays apart, as variants of the row.

The accuracy at which a run of a row "natural_stopped/..." stops is that of the DP run of its seed:
it differs between replicates as a seed does.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from ft_tf.records import Record
from ft_tf.report import paper

OTHER = "other"
SMOKE = "of the scale smoke, which shows that everything runs and nothing else"
FITTED = "fitted"
STOPPED = "natural_stopped"
AT_PARTNERS_ACCURACY = "that of the DP run of its seed"
_MEASUREMENT_ONLY = ("curve",)  # more is written down; nothing that is measured changes
_SETTING = ("architecture", "train_limit", "augment")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Accuracies of a group's finished replicates, as parallel tuples of fractions."""

    train: tuple[float, ...]
    test: tuple[float, ...]
    gap: tuple[float, ...]
    unit: str

    def __len__(self) -> int:
        return len(self.gap)


@dataclasses.dataclass(frozen=True)
class Group:
    """Replicates of one variant of one row.

    Attributes:
        row: id of the paper's row, of a row that we added to an exhibit, or "other/..." of a run
            that belongs to none.
        key: canonical text of what the replicates share.
        finished: records of finished runs, by name.
        failed: records of failed runs, by name.
        repeats: how many further copies of the same run, seed included, were left out.
    """

    row: str
    key: str
    finished: tuple[Record, ...]
    failed: tuple[Record, ...]
    repeats: int = 0

    @property
    def any_record(self) -> Record:
        """One record, for what all of them share."""
        return (self.finished + self.failed)[0]

    @property
    def records(self) -> tuple[Record, ...]:
        """Finished and failed records."""
        return self.finished + self.failed

    @property
    def shared(self) -> dict[str, Any]:
        """What the replicates share, as a dict."""
        return json.loads(self.key)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the replicates share: no seeds in it."""
        return self.shared["config"]

    @property
    def names(self) -> str:
        """Names of the records behind the group's figures."""
        return " ".join(record["name"] for record in self.finished)

    @property
    def setting(self) -> tuple[str, ...]:
        """What two groups must share to be compared: data, form, architecture, augmentation."""
        shared = self.shared
        values = (str(shared["config"].get(key)) for key in _SETTING)
        return shared["fingerprint"], shared["form"], *values

    @property
    def is_fitted(self) -> bool:
        """Whether a setting was chosen so that the accuracy comes near the paper's."""
        return any(record["config"].get("fitted") for record in self.records)

    @property
    def is_smoke(self) -> bool:
        """Whether it is of the scale "smoke", as its label says: models that have learned nothing.

        Table 3's runs carry no label; those of that scale have too few replicates to count.
        """
        return "smoke" in (self.any_record["config"].get("label") or "").split("-")

    @property
    def left_out(self) -> str:
        """Why the group never counts, whatever its accuracies; "" where it does."""
        return "; ".join([FITTED] * self.is_fitted + [SMOKE] * self.is_smoke)

    @property
    def result(self) -> dict[str, Any] | None:
        """The entry of a circles record for this row."""
        record = self.any_record
        return record["results"].get(self.row) if record["kind"] == "circles" else None

    @property
    def samples(self) -> Samples:
        """Accuracies of the finished replicates."""
        if self.any_record["kind"] == "circles":
            results = [record["results"][self.row] for record in self.finished]
            train = tuple(value for result in results for value in result["train"])
            test = tuple(value for result in results for value in result["test"])
            gap = tuple(a - b for a, b in zip(train, test, strict=True))
            return Samples(train, test, gap, "replicate")
        accuracies = [record["accuracy"] for record in self.finished]
        return Samples(
            tuple(accuracy["train"] for accuracy in accuracies),
            tuple(accuracy["test"] for accuracy in accuracies),
            tuple(accuracy["generalization_error"] for accuracy in accuracies),
            "training seed",
        )


def steps_of(group: Group) -> str:
    """How many training steps the finished runs took, as "285" or "28 to 610"; "" if unknown."""
    steps = [(record.get("training") or {}).get("steps") for record in group.finished]
    known = [count for count in steps if count is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def breakdowns_of(group: Group) -> str:
    """Which finished trainings broke down, and in which epochs; "" where none did.

    A training breaks down in the first epoch that ends with less than half of the training accuracy
    of an earlier one. Its last weights, which are evaluated, then say little of its setting.
    Without a curve of accuracies it is not known.
    """
    epochs = [epoch for record in group.finished if (epoch := _breakdown(record)) is not None]
    if not epochs:
        return ""
    told = " and ".join(f"epoch {epoch:g}" for epoch in epochs)
    count = len(group.finished)
    which = f"{len(epochs)} of {count} trainings" if count > 1 else "training"
    return f"{which} broke down in {told}"


def _breakdown(record: Record) -> float | None:
    history = record.get("history") or {}
    best = 0.0
    for epoch, accuracy in zip(
        history.get("epoch", ()), history.get("train_accuracy", ()), strict=False
    ):
        if accuracy < best / 2:
            return epoch
        best = max(best, accuracy)
    return None


def without_seeds(config: Any) -> Any:
    """A configuration without its seeds, at every depth.

    >>> without_seeds({"seed": 1, "algorithm": {"name": "dpsgd", "noise_seed": 2}})
    {'algorithm': {'name': 'dpsgd'}}
    """
    if isinstance(config, dict):
        return {
            key: without_seeds(value)
            for key, value in config.items()
            if key != "seed" and not key.endswith("_seed") and key not in _MEASUREMENT_ONLY
        }
    if isinstance(config, list):
        return [without_seeds(value) for value in config]
    return config


def groups_by_row(records: Iterable[Record]) -> dict[str, list[Group]]:
    """Groups under the id of the row they serve; variants of a row in a fixed order.

    A run that names no row of a known exhibit comes under "other/NAME-WITHOUT-SEED".
    """
    collected: dict[tuple[str, str], list[Record]] = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: record["name"]):
        for row in rows_of(record):
            collected[row, _key(record)].append(record)
    grouped: dict[str, list[Group]] = collections.defaultdict(list)
    for (row, key), members in sorted(collected.items()):
        distinct = _distinct(members)
        grouped[row].append(
            Group(
                row=row,
                key=key,
                finished=tuple(r for r in distinct if r["status"] == "finished"),
                failed=tuple(r for r in distinct if r["status"] == "failed"),
                repeats=len(members) - len(distinct),
            )
        )
    return {row: sorted(groups, key=_variant_order) for row, groups in sorted(grouped.items())}


def parts_of(row: str) -> tuple[str, str, str, str]:
    """Exhibit, architecture, algorithm and value of a row's id; "" for what it lacks.

    >>> parts_of("table_8/fmnist_dnn/dpsgd/2.97"), parts_of("other/mine")
    (('table_8', 'fmnist_dnn', 'dpsgd', '2.97'), ('other', 'mine', '', ''))
    """
    parts = (*row.split("/", maxsplit=3), "", "", "")
    return parts[0], parts[1], parts[2], parts[3]


def rows_of(record: Record) -> list[str]:
    """Ids of the rows that a record serves."""
    named = list(record["results"]) if record["kind"] == "circles" else record["rows"]
    if record["kind"] == "circles" and not named:  # failed before the first result
        named = record["rows"]
    known = [row for row in dict.fromkeys(named) if row.split("/")[0] in paper.EXHIBITS]
    return known or [f"{OTHER}/{_stem(record)}"]


def _stem(record: Record) -> str:
    """The run's name without its seed, which ends it."""
    name, _, seed = record["name"].rpartition("seed_")
    return name.rstrip("-_") if name and seed.isdigit() else record["name"]


def _key(record: Record) -> str:
    config = without_seeds(record["config"])
    if any(parts_of(row)[2] == STOPPED for row in record["rows"]):
        config["stop_at_test_accuracy"] = AT_PARTNERS_ACCURACY
    shared = {
        "config": config,
        "fingerprint": record["data"].get("fingerprint"),
        "form": record.get("form", ""),
        "kind": record["kind"],
    }
    return json.dumps(shared, sort_keys=True)


def _distinct(members: list[Record]) -> list[Record]:
    """Leaves out second copies of a deterministic run: they are no further replicates."""
    seen: set[str] = set()
    distinct = []
    for record in members:
        algorithm = record["config"].get("algorithm") or {}
        is_random = algorithm.get("name") == "dpsgd" and algorithm.get("noise_seed") is None
        identity = json.dumps([record["config"], record["status"]], sort_keys=True)
        if identity in seen and not is_random:
            continue
        seen.add(identity)
        distinct.append(record)
    return distinct


def _variant_order(group: Group) -> tuple[str, str, str, str]:
    config = group.any_record["config"]
    form = group.any_record.get("form", "")
    return config.get("label") or "", config.get("architecture") or "", form, group.key
