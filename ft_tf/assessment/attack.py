"""Accuracy under attack."""

from typing import Any

import numpy as np

from ft_tf import attacks, intervals
from ft_tf._compat import keras, tf
from ft_tf.assessment.card import Robust, packed, unpacked
from ft_tf.assessment.subject import NotPossible, Subject
from ft_tf.attacks.validation import BOUNDS_TOLERANCE, non_finite_logits_allowed
from ft_tf.keras_layers import inputs_of
from ft_tf.models import TFLiteModel, ending_of

_BLOCKS = (100, 50, 20, 10)
"""Images attacked in one call: the most that the time for a pilot allows."""
_PASSES = 1500
"""About how many forward passes APGD's two losses take an image: 100 steps of a forward and a
backward pass, which is two, for cross-entropy and for some of nine targets."""
_AUTOATTACK = 4
"""About how many times as long as APGD all of AutoAttack takes."""
QUERIES = 1000
"""Passes that Square takes an image of a .tflite file."""
_BLACK_BOX = (
    f"square only asks for outputs ({QUERIES:,} times an image), since a .tflite file gives no "
    "gradients: an attack with gradients on the model it was made from may find more, so that this "
    "accuracy is an upper bound"
)

_BRIGHT = 128
"""Whole numbers of floating dtype are bytes where one of them is as large as this."""


def bounds_of(x: Any) -> tuple[float, float]:
    """The range of pixels that the values suggest: 0 to 1, 0 to 255, or else what occurs."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
        return 0.0, 1.0
    low, high = float(x.min()), float(x.max())
    if low >= -BOUNDS_TOLERANCE and high <= 1 + BOUNDS_TOLERANCE:
        return 0.0, 1.0
    # Pixels over their standard deviation are also in [0, 255]: only bytes are whole numbers.
    is_bytes = x.dtype.kind in "iu" or (high >= _BRIGHT and bool((x == np.round(x)).all()))
    return (0.0, 255.0) if is_bytes and low >= 0 and high <= 255 else (low, high)


def why_no_attack(model: keras.Model, x: Any, epsilon: float | None) -> str | None:
    """Returns why small changes of the inputs mean nothing here; None where they do."""
    if not isinstance(x, np.ndarray):
        return "the model takes several inputs: an attack moves one array"
    inputs = [] if isinstance(model, TFLiteModel) else inputs_of(model)
    if x.dtype.kind not in "fu" or any(not tf.as_dtype(i.dtype).is_floating for i in inputs):
        kind = "text" if x.dtype.kind in "OSU" else f"dtype {x.dtype.name}"
        return f"inputs of {kind} cannot be changed a little"
    if x.ndim < 3 and epsilon is None:
        return "inputs are no images, so that no radius is usual: give epsilon"
    return None


class BlackBox(keras.Model):
    """The logits of a .tflite file as a Keras model without gradients."""

    def __init__(self, file: TFLiteModel) -> None:
        super().__init__(name=file.name)
        self._file, self._ending = file, ending_of(file)
        self.built = True

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Returns logits float32 [n, classes]."""
        logits = tf.numpy_function(self._logits, [x], tf.float32)
        return tf.ensure_shape(logits, self._file.output_shape)

    def _logits(self, x: np.ndarray) -> np.ndarray:
        return self._ending.logits(self._file.outputs(x))


class RobustMeasurement:
    """Accuracy under attack, block by block of the images."""

    group = name = "attack"
    share = 3.0

    def __init__(self, reason: str | None, model: keras.Model | TFLiteModel) -> None:
        self._reason, self._model = reason, model
        self._is_file = isinstance(model, TFLiteModel)
        if self._is_file and not reason:
            self._model = BlackBox(model)
        self._block = _BLOCKS[0]
        self._attack: str | None = None
        self._survived: list[np.ndarray] = []
        self._clean: list[float] = []
        self._warnings: tuple[str, ...] = ()
        self._seconds = 0.0
        self._images = 0

    def restore(self, found: Robust, subject: Subject) -> None:
        """Takes over the blocks of a card."""
        self._attack, self._block, self._warnings = found.attack, found.block, found.warnings
        survived = unpacked(found.survived, found.images)
        self._survived = np.split(survived, range(found.block, found.images, found.block))
        self._clean = [found.clean_accuracy] * len(self._survived)
        self._images = len(subject.y)

    def begin(self, subject: Subject, deadline: float) -> None:
        """Attacks the first block with APGD, or with AutoAttack if time allows four such blocks."""
        if self._reason:
            raise NotPossible(self._reason)
        self._images = len(subject.y)
        self._attack = subject.settings.attack or ("square" if self._is_file else "apgd")
        share = deadline - subject.clock.now()
        seconds = (QUERIES if self._is_file else _PASSES) * subject.seconds_per_image
        self._block = next((size for size in _BLOCKS if size * seconds < share), 0)
        if not self._block:
            raise NotPossible(f"ten images would take about {10 * seconds:.0f} s")
        started = subject.clock.now()
        self._next(subject)
        took = subject.clock.now() - started
        if (
            subject.settings.attack is None
            and not self._is_file
            and 4 * _AUTOATTACK * took < deadline - subject.clock.now()
        ):
            self._attack, self._survived, self._clean = "autoattack", [], []
            self._next(subject)

    def more(self, subject: Subject, deadline: float) -> None:
        """Attacks further blocks, each if the time of the last one is left."""
        while self._left and subject.clock.now() + self._seconds < deadline:
            self._next(subject)

    def _next(self, subject: Subject) -> None:
        number = len(self._survived)
        place = slice(number * self._block, (number + 1) * self._block)
        started = subject.clock.now()
        options = {"queries": QUERIES} if self._is_file else {}
        with non_finite_logits_allowed():  # of a few images, which are wrong
            result = attacks.evaluate(
                self._model,
                subject.x[place],
                subject.y[place],
                attack=self._attack,
                epsilon=subject.settings.epsilon,
                bounds=subject.settings.bounds,
                seed=subject.settings.seed + number,
                sanity=number == 0 and not self._is_file,
                **options,
            )
        self._survived.append(~result.success)
        self._clean.append(result.clean_accuracy)
        doubts = (_BLACK_BOX,) if self._is_file else ()
        self._warnings = tuple(dict.fromkeys((*doubts, *self._warnings, *result.warnings)))
        self._seconds = subject.clock.now() - started
        subject.clock.tick()

    @property
    def size(self) -> int:
        """Number of results so far."""
        return len(self._survived)

    @property
    def _left(self) -> int:
        return self._images - sum(map(len, self._survived))

    @property
    def width(self) -> float:
        """Half width of the accuracy's interval."""
        return self._interval.half_width if self._left else 0.0

    @property
    def _interval(self) -> intervals.Interval:
        survived = np.concatenate(self._survived)
        return intervals.proportion(successes=int(survived.sum()), trials=len(survived))

    def robust(self, subject: Subject) -> Robust | None:
        """The part of the card."""
        if not self._survived:
            return None
        survived, interval = np.concatenate(self._survived), self._interval
        sizes = list(map(len, self._survived))
        return Robust(
            attack=self._attack,
            distance="l_inf",
            epsilon=subject.settings.epsilon,
            block=self._block,
            accuracy=float(survived.mean()),
            interval=(interval.low, interval.high),
            clean_accuracy=float(np.average(self._clean, weights=sizes)),
            survived=packed(survived),
            images=len(survived),
            warnings=self._warnings,
        )
