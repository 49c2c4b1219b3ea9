"""Schema of record.json, version 1, as dataclasses whose attributes are the file's keys.

Fractions lie in [0, 1], never percent. A value that could not be computed is None. JSON's lists are
tuples here.
"""

import dataclasses
import platform
import reprlib
from typing import Annotated, Any, Literal, Self

from ft_tf.errors import RunError
from ft_tf.records.parsing import Open, parse, step, to_dict
from ft_tf.records.results import (
    WHOLE_MODEL,
    Accuracy,
    Attack,
    Averaged,
    BestCheckpoint,
    Campaign,
    CirclesResult,
    LayerFault,
    Membership,
    ParameterSpread,
    Privacy,
)
from ft_tf.records.rules import (
    Amount,
    Count,
    Fraction,
    Matches,
    Positive,
    Problems,
    Range,
    Target,
    directory_name,
    row_id,
)

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Failure:
    """Where a training was stopped."""

    reason: str  # such as "loss is NaN"
    epoch: Count  # counted from 1; 0 before the first
    step: Count  # of the optimizer


@dataclasses.dataclass(frozen=True)
class Data:
    """The data set, as far as the run used it."""

    name: str  # such as "fashion_mnist"
    source: str  # where it was found, such as "tfds:fashion_mnist:3.0.1"
    fingerprint: str  # hash of all arrays
    train_examples: Positive  # after the configured limit
    test_examples: Positive  # after the configured limit
    notes: tuple[str, ...]  # what a reader of results should know about it
    classes: Positive | None = None  # number of classes; absent from older records


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where the run was evaluated; results depend on it in the last bits."""

    python: str  # version
    processor: str  # its model
    threads: Positive  # of TensorFlow, within an operation
    packages: dict[str, str | None]  # version of each package, None if not installed
    onednn: bool | None = None  # whether TensorFlow used oneDNN
    accelerators: tuple[str, ...] | None = None  # GPUs, if there were any
    strategy: str | None = None  # of a training distributed over devices
    replicas: Positive | None = None  # of such a training
    # devices of the training, unless all of it ran where it was evaluated
    trained_on: tuple[str, ...] | None = None

    @classmethod
    def here(cls, **of_training: Any) -> Self:
        """Returns what results of this process depend on, and the given fields of a training."""
        from ft_tf import _compat  # imports TensorFlow, without which records are read

        return cls(
            python=platform.python_version(),
            processor=_compat.processor(),
            accelerators=tuple(_compat.accelerators()) or None,
            threads=_compat.threads(),
            onednn=_compat.uses_onednn(),
            packages=_compat.package_versions(),
            **of_training,
        )


@dataclasses.dataclass(frozen=True)
class Timing:
    """The only part that may differ between equal runs."""

    seconds: Amount  # of the process that finished the run
    sessions: Positive  # number of processes that worked on it


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    architecture: Annotated[str, directory_name]  # its name
    parameters: Positive  # their number
    weights_fingerprint: str | None = None  # hash of all weights; absent from older records


@dataclasses.dataclass(frozen=True)
class Training:
    """Length of the training."""

    epochs: Count  # finished ones
    steps: Count  # of the optimizer


@dataclasses.dataclass(frozen=True)
class _Algorithm(Open):
    name: str


@dataclasses.dataclass(frozen=True)
class _Trades(_Algorithm):
    epsilon: Amount
    beta: Amount
    normalized_example: bool = False


@dataclasses.dataclass(frozen=True)
class _DPSGD(_Algorithm):
    l2_norm_clip: Amount
    noise_multiplier: Amount
    noise_seed: Count | None = None


_ALGORITHMS = {"trades": _Trades, "dpsgd": _DPSGD}


def _options(value: dict[str, Any]) -> None:
    """Check: the options of the algorithm that it names."""
    Matches(_Algorithm)(value)
    Matches(_ALGORITHMS.get(value["name"], _Algorithm))(value)


@dataclasses.dataclass(frozen=True)
class _ConfigOfRun(Open):
    """What code above reads of a configuration without making a RunConfig of it."""

    dataset: Annotated[str, directory_name]
    architecture: Annotated[str, directory_name]
    algorithm: Annotated[dict[str, Any], _options]
    seed: Count
    epochs: Positive
    batch_size: Positive
    learning_rate: Amount
    learning_rate_drops: tuple[tuple[float, float], ...] = ()
    optimizer: str = "sgd"
    momentum: Amount = 0.0
    weight_decay: Amount = 0.0
    train_limit: Count = 0
    label: str = ""
    fitted: bool = False
    augment: bool = False
    precision: str = "float32"
    dropout: Fraction = 0.0
    fault_aware_rate: Fraction = 0.0
    fault_aware_target: str = "units"
    stop_at_test_accuracy: Fraction = 0.0
    holdout: Count = 0
    stop_at_holdout_accuracy: Fraction = 0.0


@dataclasses.dataclass(frozen=True)
class _ConfigOfCircles(Open):
    seed: Count
    label: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Common:
    """Fields of every record."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, directory_name]  # of the run's directory
    status: Literal["finished", "failed"]  # "failed" if the training went wrong numerically
    failure: Failure | None  # None for a finished run
    # ids of the paper's rows that the run is meant for, such as "table_5/fmnist_dnn/trades" (see
    # ft_tf.report.paper)
    rows: tuple[Annotated[str, row_id], ...]
    data: Data  # the data set
    environment: Environment  # of the evaluation
    deviations: tuple[str, ...]  # what differs from the paper's setting, such as "epochs 10 of 60"
    timing: Timing  # the only field that may differ between equal runs

    def _problems(self) -> Problems:
        if (self.failure is None) != (self.status == "finished"):
            wanted = "null" if self.status == "finished" else "an object"
            yield "failure", f"must be {wanted}, as status={self.status!r}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(_Common):
    """Record of one trained model; a failed training has no results."""

    kind: Literal["run"] = "run"
    config: Annotated[dict[str, Any], Matches(_ConfigOfRun)]  # see ft_tf.study.config.from_dict
    model: Model  # the network
    training: Training  # its length
    # by column, one value per epoch: "epoch" counts from 1, "accuracy" is the running training
    # accuracy, "train_accuracy" and "test_accuracy" are measured after the epoch in inference
    # mode where the configuration asks for it
    history: dict[str, tuple[float | None, ...]]
    accuracy: Accuracy | None  # of the trained model
    parameters: ParameterSpread | None  # their spread
    faults: dict[Target, Campaign]  # by target
    # by storage format, bit errors in the weights as it stores them, rates per bit: rate 0 is the
    # stored model, and losses are from there; None where they were not measured
    bit_errors: dict[str, Campaign] | None = None
    layer_faults: dict[Target, tuple[LayerFault, ...]]  # by target, faults in one layer at a time
    robustness: tuple[Attack, ...]  # the run's own attacks, then those in files below attacks/
    best_checkpoint: BestCheckpoint | None  # of a TRADES run with a curve
    membership: Membership | None  # membership inference
    privacy: Privacy | None  # of a DP-SGD run
    averaged: Averaged | None = None  # of a DP-SGD run that averages its iterates
    # numbers that may predict fault tolerance, by name: see ft_tf.faults.predictors
    predictors: dict[str, float | None] | None = None

    def _problems(self) -> Problems:
        yield from super()._problems()
        if (self.accuracy is None) != (self.status == "failed"):
            wanted = "an object" if self.status == "finished" else "null"
            yield "accuracy", f"must be {wanted}, as status={self.status!r}"
        for column, values in self.history.items():
            place = f"history{step(column)}"
            if len(values) != len(self.history.get("epoch", ())):
                yield place, "must have one value per epoch, as column epoch has"
            if column.endswith("accuracy"):
                problems = (Range(0, 1)(value) for value in values if value is not None)
                yield from ((place, problem) for problem in problems if problem)
        for target, campaign in self.faults.items():
            if campaign.target != target:
                yield f"faults.{target}.target", f"must be {target}"
        for storage, campaign in (self.bit_errors or {}).items():
            if campaign.target != "weights":
                yield f"bit_errors{step(storage)}.target", "must be weights"
        for target, layers in self.layer_faults.items():
            if layers and layers[0].layer != WHOLE_MODEL:
                yield f"layer_faults.{target}[0].layer", f"must be {WHOLE_MODEL!r}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circles(_Common):
    """Record of all replicates of Table 3."""

    kind: Literal["circles"] = "circles"
    config: Annotated[dict[str, Any], Matches(_ConfigOfCircles)]  # see ft_tf.study.circles
    replicates: Positive  # trainings of each row
    form: Literal["fixed_data", "redrawn_data"]  # whether the replicates share their points
    results: dict[str, CirclesResult]  # by row id

    def _problems(self) -> Problems:
        yield from super()._problems()
        if set(self.rows) != set(self.results):
            yield "results", "must have an entry for each of rows"
        for row, result in self.results.items():
            for name in ("train", "test"):
                if len(getattr(result, name)) != self.replicates:
                    place = f"results{step(row)}.{name}"
                    yield place, f"must have replicates={self.replicates} entries"


Record = Run | Circles

_KINDS: dict[Any, type[Record]] = {"run": Run, "circles": Circles}


def from_dict(fields: Any, *, where: str) -> Record:
    """Returns the content of a record.json as a dataclass.

    Args:
        fields: what JSON gave.
        where: the file, for the message.

    Raises:
        RunError: names the first field that breaks the schema, in one line.
    """
    if not isinstance(fields, dict):
        raise RunError(f"{where} holds no record: a JSON object was expected")
    version, kind = fields.get("schema_version"), fields.get("kind")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{where} has schema_version={reprlib.repr(version)}; this ft_tf reads "
            f"{SCHEMA_VERSION}: use the version that wrote it"
        )
    if not isinstance(kind, str) or kind not in _KINDS:
        raise RunError(f"{where} has kind={reprlib.repr(kind)}; known are {', '.join(_KINDS)}")
    return parse(_KINDS[kind], fields, where=where)


def comparable(record: Record) -> dict[str, Any]:
    """Returns a record as JSON values, without what may differ between equal runs."""
    return {key: value for key, value in to_dict(record).items() if key != "timing"}
