"""Single faults of a trained model: how often one bit flip makes it fail, and which bits are worst.

Examples:
    python -m experiments.single_faults --run=DIR --storage=int8_per_channel
    python -m experiments.single_faults --run=DIR --margin=0.005 --budget="10 min" --plan
    python -m experiments.single_faults --run=DIR --fault=stuck_at_0 --target=units
    python -m experiments.single_faults --model=FILE.keras --dataset=fashion_mnist
    python -m experiments.single_faults --run=DIR --storage=int8_per_channel --target_accuracy=0.2

Prints the failure rate with an interval that holds although the campaign ends itself, and the
layers and bits that fail most. Files: NAME.csv has the rates of each layer and bit, NAME.png shows
them as a heat map (--stratum_trials=30 gives each of them trials enough), NAME-faults.csv has every
fault tried, NAME.flags the flags. With --plan nothing is run but ten trials, which say how many it
will take and how long. With --target_accuracy it first searches for the fewest bits that bring the
accuracy there, and names those that it finds (NAME-worst.csv): an upper bound.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
from absl import flags

from experiments import _app, _fault_plot, _flags, _stack, _subject, _terminal
from ft_tf import checks, faults, records
from ft_tf.errors import ArgumentError
from ft_tf.faults import catalogue
from ft_tf.faults.single_faults import FAILURES
from ft_tf.study.trained_models import TrainedModel

FLAGS = flags.FLAGS

_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Settings:
    """A campaign of single faults.

    Attributes:
        fault: bit_errors, one bit of which flips in a trial, or a fault without randomness:
            stuck_at_0, stuck_at_1, sign_flip.
        storage: bit_errors: format of the words, such as float32, bfloat16 or int8_per_channel.
        bits: bit_errors: LOWEST-HIGHEST bit that may flip; all by default.
        target: weights or units.
        failure: image: the predicted class of an image changes (the rate is over faults and
            images); any_image: that of at least one image; accuracy: it falls by more than
            --accuracy_loss.
        accuracy_loss: with --failure=accuracy, as a fraction.
        margin: half-width of the rate's interval at which the campaign ends; 0.01 is one point.
        confidence: coverage of the intervals.
        budget: time after which it ends at the latest, such as "90 s", "10 min" or "2 h".
        stratum_trials: go on until each layer and bit has this many, for the heat map.
        images: test images of a trial, the first; 0 for all.
        seed: fixes the draws.
        target_accuracy: search the fewest bits that bring the accuracy to this, as a fraction.
        most_bits: with --target_accuracy, the most bits searched for.
    """

    fault: str = "bit_errors"
    storage: str | None = None
    bits: str | None = None
    target: str = "weights"
    failure: str = "image"
    accuracy_loss: float = 0.01
    margin: float = 0.01
    confidence: float = 0.95
    budget: str | None = None
    stratum_trials: int = 0
    images: int = 500
    seed: int = 0
    target_accuracy: float | None = None
    most_bits: int = 100


_NAMES = tuple(field.name for field in dataclasses.fields(Settings))


def define_flags() -> None:
    """Defines the flags."""
    _subject.define_flags()
    _flags.define(Settings, _NAMES)
    flags.DEFINE_bool("plan", False, "Only say how many trials it will take, and how long.")


def _fault(settings: Settings) -> faults.FaultModel:
    options = {"storage": settings.storage, "bits": catalogue.bits_of(settings.bits)}
    return catalogue.named(settings.fault, options)


def _checked() -> tuple[Settings, faults.FaultModel]:
    settings = Settings(**_flags.values(Settings, _NAMES))
    checks.check_non_negative_integer(images=settings.images, seed=settings.seed)
    checks.check_positive_integer(most_bits=settings.most_bits)
    checks.check_choice(FAILURES, failure=settings.failure)
    checks.check_choice(("weights", "units"), target=settings.target)
    if len(FLAGS.run or ()) > 1:
        raise ArgumentError(f"--run={','.join(FLAGS.run)} names several runs: give one at a time")
    if (FLAGS.model or "").endswith(".tflite"):
        raise ArgumentError(
            f"--model={FLAGS.model} must be a .keras or .h5 file; inject_faults takes .tflite files"
        )
    return settings, _fault(settings)


def _print_rate(found: faults.FailureRate) -> None:
    _terminal.show(
        f"failure rate {found.rate:.2%} [{found.low:.2%}, {found.high:.2%}], "
        f"{found.confidence:.0%} interval; {found.trials:,} of {found.sites:,} single faults tried "
        f"in {found.seconds:.0f} s, ended by: {found.stopped_by}"
    )
    _terminal.show(f"it is the {FAILURES[found.failure]}")
    worst = found.table.sort_values("rate", ascending=False, kind="stable").head(_SHOWN)
    rows = [("layer", "bit", "sites", "trials", "rate", "interval")]
    rows += [
        (
            row.layer,
            "-" if pd.isna(row.bit) else f"{row.bit}",
            f"{row.sites:,}",
            f"{row.trials}",
            f"{row.rate:.2%}",
            f"[{row.low:.2%}, {row.high:.2%}]",
        )
        for row in worst.itertuples()
        if row.trials
    ]
    _terminal.show("\n".join(f"  {line}" for line in _terminal.aligned(rows, left=1)))


def _print_worst(found: faults.WorstCase) -> None:
    shown = "reached" if found.reached else "NOT REACHED"
    _terminal.show(
        f"accuracy {found.clean_accuracy:.2%} without a fault; {found.target_accuracy:.2%} {shown} "
        f"with {len(found.flips)} bits, an upper bound on the fewest:"
    )
    rows = [("parameter", "index", "bit", "before", "after", "accuracy")]
    rows += [
        (
            row.parameter,
            " ".join(map(str, row.index)),
            f"{row.bit}",
            f"{row.before:.4g}",
            f"{row.after:.4g}",
            f"{row.accuracy:.2%}",
        )
        for row in found.flips.itertuples()
    ]
    _terminal.show("\n".join(f"  {line}" for line in _terminal.aligned(rows, left=1)))


def _write(path: Path, name: str, table: pd.DataFrame) -> None:
    records.write_text(path.with_name(f"{path.stem}{name}.csv"), table.to_csv(index=False))


def _measure(subject: TrainedModel, settings: Settings, fault: faults.FaultModel) -> None:
    count = min(settings.images or len(subject.x), len(subject.x))
    arguments = (subject.model, subject.x[:count], subject.y[:count])
    names = ("target", "failure", "accuracy_loss", "margin", "confidence", "budget", "seed")
    options: dict[str, Any] = {name: getattr(settings, name) for name in names} | {"fault": fault}
    about = f"{_subject.provenance(subject)}; {count} images; fault {fault.name}"
    if FLAGS.plan:
        _terminal.show(f"{faults.plan_campaign(*arguments, **options)}\n{about}")
        return
    given = {"storage": settings.storage, "bits": settings.bits, "failure": settings.failure}
    label = catalogue.label(f"single-{settings.target}-{settings.fault}", given)
    path = _app.beside_others(Path(f"{subject.results}{label}-seed_{settings.seed}.csv"))
    records.check_writable(path)
    if settings.target_accuracy is not None:
        found = faults.worst_case(
            *arguments,
            fault=fault,
            target_accuracy=settings.target_accuracy,
            most_bits=settings.most_bits,
        )
        _print_worst(found)
        _write(path, "-worst", found.flips)
    rate = faults.failure_rate(*arguments, stratum_trials=settings.stratum_trials, **options)
    _print_rate(rate)
    _terminal.show(about)
    _write(path, "", rate.table)
    _write(path, "-faults", rate.faults)
    title = f"{subject.name}: {FAILURES[settings.failure]}, {fault.name}"
    _fault_plot.save_heat_map(path.with_suffix(".png"), rate.table, title)
    _app.save_flags(path.with_suffix(".flags"))
    _terminal.show(f"heat map: {path.with_suffix('.png')}")
    _terminal.show(f"written: {path}")


def main(argv: list[str]) -> None:
    """Runs the binary."""
    del argv
    settings, fault = _checked()
    _subject.check()
    _stack.start()
    (subject,) = _subject.loaded()
    _measure(subject, settings, fault)


if __name__ == "__main__":
    _app.run(main, define_flags)
