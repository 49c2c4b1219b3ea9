"""The card of a model: what `assess` found, as dataclasses whose attributes are the file's keys.

Fractions lie in [0, 1], never percent. Intervals are of 95%. A value that could not be computed is
None. Results of single trials and images are kept, so that a later call continues from the file and
two cards can be compared in pairs. Checked on reading as records are, see `ft_tf.records`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd

from ft_tf import records
from ft_tf.records.parsing import step
from ft_tf.records.rules import (
    Amount,
    Change,
    Count,
    Fraction,
    Interval,
    Positive,
    Problems,
    Target,
    ascending,
    ends,
    hexadecimal,
    lengths,
)

SCHEMA_VERSION = 1
FILE_NAME = "card.json"
PILOT = 10
"""Trials that decide how many more a curve gets; its intervals take their scale from these alone,
so that further trials may be bought where intervals are wide (Stein's two stages)."""


@dataclasses.dataclass(frozen=True)
class Model:
    """The network."""

    name: str  # of the file, or of the Keras model
    parameters: Positive  # their number
    weights_fingerprint: str  # hash of all weights; SHA-256 of a .tflite file
    classes: Annotated[int, records.rules.Range(2)]  # that it tells apart
    storage: str  # format of its weights, see ft_tf.faults.storage_formats; of a .tflite file the
    # type of most of them, while bit errors hit all


@dataclasses.dataclass(frozen=True)
class Data:
    """The test images."""

    name: str  # of the data set, and where it came from
    fingerprint: str  # hash of the test images and labels
    examples: Positive  # test images
    train_examples: Count  # training images given, for membership inference; 0 if none


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that numbers depend on besides model, data and the time there was."""

    seed: Count  # of faults, attacks, and of the order in which test images are taken
    images: Positive  # test images that faults are tried on
    images_per_trial: Positive  # of these, in one trial
    attack: str | None  # asked for; None: chosen by the time there is
    epsilon: Amount  # radius of the attack, l_inf, in units of the inputs
    bounds: tuple[float, float]  # lowest and highest input
    protections: tuple[str, ...] = ()  # that were tried


@dataclasses.dataclass(frozen=True)
class Clean:
    """The model without faults or attack, on all test images."""

    accuracy: Fraction  # share of images that are right
    interval: Interval  # over test images
    calibration_error: Fraction  # expected calibration error, 15 bins of equal width
    confidence: Fraction  # mean probability of the predicted class
    right: Annotated[str, hexadecimal]  # whether each image is right, see `unpacked`


@dataclasses.dataclass(frozen=True)
class Rate:
    """The rate of faults at which something is lost."""

    value: Fraction | None  # None: not lost at the highest rate tested
    low: Fraction | None  # lower end; None for a single trial
    high: Fraction | None  # upper end; None: beyond the highest rate tested


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy by the rate of faults, all over the model or in a part of it."""

    target: Target  # what is faulty
    fault: str  # such as "StuckAt(value=0.0)"
    per: Literal["weight", "unit", "bit", "word"]  # what the rate is a share of
    sites: Positive  # places where a fault may be
    images: Positive  # test images of each trial
    pilot: Positive  # trials that the intervals take their scale from
    rates: Annotated[tuple[Fraction, ...], ascending]  # of the whole model 0 first
    faults: tuple[Count, ...]  # faulty sites at each rate
    accuracy: tuple[tuple[Fraction, ...], ...]  # by rate, then by trial
    lost: tuple[tuple[Change, ...], ...]  # against the fault-free model on the trial's own images
    mean: tuple[Change, ...]  # of `lost`, by rate
    low: tuple[Change, ...]  # lower end of its interval over trials
    high: tuple[Change, ...]  # upper end
    one_point: Rate | None = None  # where one point of accuracy is lost
    half: Rate | None = None  # where half of the accuracy above chance is lost

    def _problems(self) -> Problems:
        yield from lengths(self, "rates", "faults", "accuracy", "lost", "mean", "low", "high")
        yield from ends(self.low, self.high)
        for name in ("accuracy", "lost"):
            for number, values in enumerate(getattr(self, name)):
                if len(values) != self.trials or not values:
                    yield f"{name}[{number}]", "must have a value per trial, as accuracy[0] has"

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.accuracy[0])

    @property
    def of_bits(self) -> bool:
        """Whether faults are bit errors."""
        return self.per in ("bit", "word")

    def frame(self, seed: int) -> pd.DataFrame:
        """Returns the trials as `ft_tf.faults.sweep` gives them."""
        columns = zip(self.rates, self.faults, self.accuracy, self.lost, strict=True)
        rows = [
            (self.target, rate, trial, seed, count, *pair)
            for rate, count, accuracies, losses in columns
            for trial, pair in enumerate(zip(accuracies, losses, strict=True))
        ]
        return with_rule(pd.DataFrame(rows, columns=COLUMNS))


COLUMNS = ["target", "rate", "trial", "seed", "faults", "accuracy", "accuracy_lost"]


def with_rule(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the frame; its `attrs` say how the number of trials was chosen."""
    rule = {"method": "stein", "pilot": PILOT, "half_width": 0.005, "level": 0.95}
    frame.attrs["stop_rule"] = rule
    return frame


@dataclasses.dataclass(frozen=True)
class Robust:
    """Accuracy under attack, on blocks of test images."""

    attack: str  # a name of ft_tf.attacks.ATTACKS
    distance: str  # norm of the ball
    epsilon: Amount  # its radius
    block: Positive  # images attacked in one call; block number k has the seed `settings.seed` + k
    accuracy: Fraction  # share of images that survive
    interval: Interval  # over test images
    clean_accuracy: Fraction  # on the same images, not attacked
    survived: Annotated[str, hexadecimal]  # whether each image does, see `unpacked`
    images: Positive  # images attacked
    warnings: tuple[str, ...]  # reasons to doubt the result, from sanity checks on the first block


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """Differential privacy of the training, as the run's record says."""

    record: str  # name of the run
    epsilon: Amount | None  # the one that the record claims
    delta: Fraction
    statement: str  # with all assumptions
    checked: tuple[str, ...]  # what was checked here
    not_checked: tuple[str, ...]  # what is taken on trust


@dataclasses.dataclass(frozen=True)
class NotMeasured:
    """Something that the card does not have."""

    what: str
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """Fault tolerance, robustness and privacy of one model."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["card"] = "card"
    model: Model
    data: Data
    settings: Settings
    clean: Clean
    # "weights" and "units" stuck at 0, "bits": errors in stored weights
    curves: dict[Literal["weights", "units", "bits"], Curve]
    layers: dict[str, Curve]  # weights stuck at 0 in one layer, at the half rate of "weights"
    # as many bit errors as at the half rate of "bits" in one bit (0 the lowest), or in several
    bits: dict[str, Curve]
    # the trials of "bits" at its half rate again, with one protection at a time
    protections: dict[str, Curve]
    robust: Robust | None
    membership: records.Membership | None
    privacy: Guarantee | None
    not_measured: tuple[NotMeasured, ...]
    budget: Amount  # seconds there were
    seconds: dict[str, Amount]  # spent, by measurement
    environment: records.Environment

    def _problems(self) -> Problems:
        if len(self.clean.right) != -(-self.data.examples // 4):
            yield "clean.right", f"must have a bit for each of {self.data.examples} images"
        if self.robust and len(self.robust.survived) != -(-self.robust.images // 4):
            yield "robust.survived", f"must have a bit for each of {self.robust.images} images"
        for key, curve in self.curves.items():
            if curve.one_point is None or curve.half is None:
                yield f"curves.{key}", "must have one_point and half"
        bits = self.curves.get("bits")
        for name, part in self.protections.items():
            if bits is None or len(part.rates) > 1 or part.rates[0] not in bits.rates:
                yield f"protections{step(name)}.rates", "must be one of the rates of curves.bits"

    @property
    def spent(self) -> float:
        """Seconds spent on all measurements."""
        return sum(self.seconds.values())

    def to_json(self) -> str:
        """Returns the file's content."""
        return records.dumps(self)

    @staticmethod
    def from_json(text: str, *, where: str = "card") -> "Card":
        """Returns a card from the content of its file.

        Raises:
            RunError: names the first field that breaks the schema, in one line.
        """
        return records.parse(Card, records.loads(text, where=where), where=where, what="card")


def load(path: str | Path) -> Card:
    """Reads and checks a card, a file or the directory that holds card.json.

    Raises:
        RunError: it cannot be read, is not JSON, or breaks the schema.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    return records.parse(Card, records.read_json(path), where=str(path), what="card")


def packed(flags: np.ndarray) -> str:
    """Booleans as hexadecimal digits, four in each, the first one highest.

    >>> packed(np.array([True, False, False, True, True]))
    '98'
    """
    return np.packbits(flags).tobytes().hex()[: -(-len(flags) // 4)]


def unpacked(text: str, count: int) -> np.ndarray:
    """The first `count` booleans that `packed` wrote.

    >>> unpacked("98", 5).tolist()
    [True, False, False, True, True]
    """
    digits = bytes.fromhex(text + "0" * (len(text) % 2))
    return np.unpackbits(np.frombuffer(digits, np.uint8), count=count).astype(bool)
