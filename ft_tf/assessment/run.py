"""`assess`: one card about one model, within a time."""

import dataclasses
import functools
import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ft_tf import attacks, checks, faults, intervals, metrics, models, records
from ft_tf._compat import keras, tf
from ft_tf.assessment import card as cards
from ft_tf.assessment import leakage
from ft_tf.assessment.attack import RobustMeasurement, bounds_of, why_no_attack
from ft_tf.assessment.card import Card, Clean, NotMeasured, Settings, packed
from ft_tf.assessment.clock import Clock
from ft_tf.assessment.curves import Protector, all_protections, parts_of_model, whole_model
from ft_tf.assessment.subject import NotPossible, Subject
from ft_tf.data.dataset import fingerprint
from ft_tf.errors import ArgumentError, FtTfError, ModelError, RunError
from ft_tf.examples import check_inputs, check_labels
from ft_tf.faults.rows import seconds_of
from ft_tf.faults.storage_formats import format_names
from ft_tf.models import TFLiteModel
from ft_tf.study import membership
from ft_tf.study.execution import weights_fingerprint

IMAGES, IMAGES_PER_TRIAL = 2000, 500
_MOST_BYTES = 256 << 20
_SLICE = 0.08
_SETTLED, _LEAST = 0.001, 0.01
_MOST = 0.3
"""Of the budget, for the pilots of one kind of parts: a model may have very many layers."""
_RADIUS = 8 / 255
_GRADIENTS = "AutoAttack, APGD and all attacks with gradients"
_ALWAYS = (
    NotMeasured("another training", "one file is one training; with another seed numbers differ"),
    NotMeasured("other test data", "intervals are over faults and images such as these"),
)


def assess(
    model: keras.Model | TFLiteModel,
    x_test: Any,
    y_test: np.ndarray,
    *,
    x_train: Any = None,
    y_train: np.ndarray | None = None,
    epsilon: float | None = None,
    budget: str | float = "10 min",
    name: str | None = None,
    dataset: str = "test data",
    seed: int = 0,
    storage: str | None = None,
    bounds: tuple[float, float] | None = None,
    attack: str | None = None,
    images: int = IMAGES,
    images_per_trial: int = IMAGES_PER_TRIAL,
    record: records.Run | None = None,
    protections: Mapping[str, Protector] | None = None,
    output_dir: str | Path | None = None,
    progress: bool | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Card:
    """Measures how a model fares without and with faults and attacks, and what it gives away.

    Every figure is one of `faults.sweep`, `attacks.evaluate`, `metrics` and `privacy.membership`
    at the seeds that the card names. After a pilot of each measurement the time that is left goes,
    slice by slice, to the one with the widest interval.

    Args:
        model: any built Keras classifier that gives logits or ends in softmax or sigmoid, or that
            of a .tflite file (`load_model`); its weights come back to the byte.
        x_test: inputs [n, ...], or a structure of such arrays for a model with several inputs.
        y_test: labels int [n].
        x_train: training inputs, for membership inference.
        y_train: their labels.
        epsilon: radius of the attack (l_inf), in units of the inputs; 8/255 of their range for
            images.
        budget: seconds, or text such as "10 min".
        name: of the model.
        dataset: name of the test data.
        seed: fixes faults, attacks and the order of test images.
        storage: format of the stored weights; by default that of the model's variables.
        bounds: lowest and highest input; by default (0, 1) or, for bytes, (0, 255), where all
            inputs lie in that, and else what occurs. The card has them.
        attack: a name of `attacks.ATTACKS`; by default AutoAttack if there is time, else APGD. Of a
            .tflite file Square, which needs no gradients.
        images: test images that faults and attacks are tried on, at most.
        images_per_trial: of these, in each trial of faults.
        record: of the training, for its privacy.
        protections: by name, functions from a model and a fault model to the protected model and
            what the faults become there; by default all that are registered.
        output_dir: keeps card.json after every step; a later call with the same model, data and
            settings continues from it, until all calls together have spent the budget.
        progress: show a bar; by default on a terminal.
        now: gives the time in seconds, for tests.

    Returns:
        The card.

    Raises:
        ArgumentError: an argument cannot be used.
        ModelError: the model is not built, or no classifier.
        RunError: `output_dir` holds the card of another model or of other settings.
    """
    seconds = seconds_of(budget)
    checks.check_non_negative_integer(seed=seed)
    checks.check_positive_integer(images=images, images_per_trial=images_per_trial)
    if storage is not None:
        faults.format_of(storage)
    if attack is not None:
        checks.check_choice(tuple(attacks.ATTACKS), attack=attack)
    if (x_train is None) != (y_train is None):
        raise ArgumentError("x_train and y_train must be given together")
    if isinstance(model, TFLiteModel):
        _check_file_options(storage, attack)
    else:
        models.check_built(model)
    x_test = check_inputs(x_test, model=model)
    y_test = check_labels(y_test, classes=None, examples=len(tf.nest.flatten(x_test)[0]))
    bounds = bounds or bounds_of(x_test)
    radius = _RADIUS * (bounds[1] - bounds[0]) if epsilon is None else epsilon
    checks.check_radius(distance="l_inf", bounds=bounds, epsilon=radius)
    protections = all_protections(x_train) if protections is None else protections
    settings = Settings(
        seed, images, images_per_trial, attack, float(radius), tuple(map(float, bounds)),
        tuple(protections),
    )  # fmt: skip
    named = cards.Model(
        name or model.name, _count(model), _hash(model), 2, storage or stored_format(model)
    )
    kept = None if output_dir is None else Path(output_dir) / cards.FILE_NAME
    is_shown = sys.stderr.isatty() if progress is None else progress
    with tqdm(total=seconds, disable=not is_shown, bar_format=_BAR, file=sys.stderr) as bar:
        earlier = cards.load(kept) if kept and kept.exists() else None
        clock = Clock(
            seconds, earlier.seconds if earlier else {}, functools.partial(_show, bar), now
        )
        found = _Assessment(model, settings, clock, why_no_attack(model, x_test, epsilon))
        found.look(named, dataset, (x_test, y_test), (x_train, y_train), record)
        found.plan(protections, earlier, kept)
        return found.run()


_BAR = "{desc} {percentage:3.0f}% |{bar}| {n:.0f} of {total:.0f} s"


def _show(bar: tqdm, spent: float, name: str) -> None:
    bar.set_description_str(name, refresh=False)
    bar.n = min(spent, bar.total)
    bar.refresh()


class _Assessment:
    """The state of one call of `assess`."""

    def __init__(
        self,
        model: keras.Model | TFLiteModel,
        settings: Settings,
        clock: Clock,
        no_attack: str | None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._fields: dict[str, Any] = {"settings": settings, "budget": clock.budget}
        self._missing: dict[tuple[str, str], str] = {}
        try:
            self._model = models.logits_of(model)
        except ModelError as error:
            self._model, no_attack = model, no_attack or str(error)
        self._attack = RobustMeasurement(no_attack, self._model)
        if isinstance(model, TFLiteModel):
            self._missing[(_GRADIENTS,) * 2] = "a .tflite file gives no gradients"

    def look(
        self,
        named: cards.Model,
        dataset: str,
        test: tuple[Any, np.ndarray],
        train: tuple[Any, Any],
        record: records.Run | None,
    ) -> None:
        """Measures what takes a pass over the images: accuracy and membership; reads the record."""
        (x, y), count = test, 0 if train[1] is None else len(train[1])
        arrays = {f"x{i}": np.asarray(part) for i, part in enumerate(tf.nest.flatten(x))}
        arrays = {k: part.astype("S") if part.dtype.kind in "OU" else part
                  for k, part in arrays.items()}  # fmt: skip
        with self._clock.charged("clean"):
            logits = self._logits(x)
            classes = max(2, logits.shape[1])
            check_labels(y, classes=classes, examples=len(y))
            named = dataclasses.replace(named, classes=classes)
            clean = _clean(logits, y)
            self._fields |= {"model": named, "clean": clean}
            self._fields["data"] = cards.Data(dataset, fingerprint(**arrays, y=y), len(y), count)
            self._subject = self._drawn(x, y, named, clean.accuracy)
            found = None
            if count:
                most = int(0.1 * self._clock.budget / self._subject.seconds_per_image)
                members, labels = self._order(train[0], count, most), np.asarray(train[1])
                labels = check_labels(labels, classes=classes, examples=count)
                pair = self._logits(members), self._order(labels, count, most)
                found = membership.of_logits(pair, (logits, y))
            else:
                self._missing["membership inference", "membership inference"] = (
                    "no training data were given"
                )
            self._fields |= {"membership": found, "privacy": None}
            try:
                promised = leakage.guarantee(record, named.weights_fingerprint, found)
                self._fields["privacy"] = promised
            except NotPossible as error:
                self._missing["epsilon of the training", "epsilon of the training"] = str(error)

    def _logits(self, x: Any) -> np.ndarray:
        outputs = metrics.predict_logits(self._model, x)
        ending = models.ending_of(self._model)
        return ending.logits(outputs) if ending and ending.gives_probabilities else outputs

    def _order(self, x: Any, count: int, most: int) -> Any:
        """Up to `most` examples in random order."""
        order = np.random.default_rng(self._settings.seed).permutation(count)[:most]
        return tf.nest.map_structure(lambda part: np.asarray(part)[order], x)

    def _drawn(self, x: Any, y: np.ndarray, named: cards.Model, accuracy: float) -> Subject:
        """The images that faults and attacks are tried on: no more than memory holds several of."""
        size = sum(np.asarray(part[:1]).nbytes for part in tf.nest.flatten(x))
        most = max(10, min(self._settings.images, _MOST_BYTES // size))
        x, y = self._order(x, len(y), most), self._order(y, len(y), most)
        started = self._clock.now()  # all is compiled by now
        self._logits(x)
        return Subject(
            model=self._model, x=x, y=y, classes=named.classes, accuracy=accuracy,
            seconds_per_image=(self._clock.now() - started) / len(y), storage=named.storage,
            settings=self._settings, clock=self._clock,
        )  # fmt: skip

    def plan(
        self, protections: Mapping[str, Protector], earlier: Card | None, kept: Path | None
    ) -> None:
        """Lists what is to be measured; takes over what an earlier card has."""
        weights, units, bits = whole_model()
        parts = parts_of_model(self._subject, weights, bits, protections)
        self._faults, self._kept = [weights, units, bits, *parts], kept
        if earlier is None:
            return
        for part in ("model", "data", "settings"):
            if getattr(earlier, part) != self._fields[part]:
                raise RunError(f"{kept} is of another {part}: name another output_dir")
        for measurement in self._faults:
            found = getattr(earlier, measurement.group).get(measurement.name)
            if found is not None:
                measurement.restore(found, self._subject)
        if earlier.robust:
            self._attack.restore(earlier.robust, self._subject)

    def run(self) -> Card:
        """Runs the pilots, then shares out the rest of the time."""
        waiting, active = [*self._faults[:3], self._attack, *self._faults[3:]], []
        while waiting:
            measurement = waiting.pop(0)
            share = measurement.share / (measurement.share + sum(m.share for m in waiting))
            if measurement.size or self._begin(measurement, share):
                active.append(measurement)
        self._save()
        needed = dict.fromkeys(active, 0.0)
        while self._step(active, needed):
            self._save()
        return self._card()

    def _begin(self, measurement: Any, share: float) -> bool:
        group, left = measurement.group, self._clock.left
        key = (group, measurement.name)
        is_late = self._clock.seconds.get(group, 0.0) > _MOST * self._clock.budget
        if left < _LEAST * self._clock.budget or (is_late and measurement.share < 1):
            self._missing[key] = "there was no time"
            return False
        try:
            with self._clock.charged(group) as began:
                measurement.begin(self._subject, began + share * left)
        except FtTfError as error:
            self._missing[key] = str(error)
        if measurement.share >= 1:
            self._save()
        return key not in self._missing

    def _step(self, active: list[Any], needed: dict[Any, float]) -> bool:
        """Gives a slice of time to the measurement with the widest interval; False at the end."""
        left, budget = self._clock.left, self._clock.budget
        open_ = [m for m in active if needed[m] <= left and m.width > _SETTLED]
        if left < _LEAST * budget or not open_:
            return False
        widest = max(open_, key=lambda m: m.width)
        size, seconds = widest.size, min(left, max(_SLICE * budget, needed[widest]))
        try:
            with self._clock.charged(widest.group) as began:
                widest.more(self._subject, began + seconds)
        except FtTfError as error:  # what it has so far stays on the card
            self._missing[widest.group, widest.name] = f"ended early: {error}"
            active.remove(widest)
            return True
        if widest.size == size:  # nothing ended in time
            needed[widest] = 2 * seconds
        return True

    def _save(self) -> None:
        if self._kept is not None:
            records.write_text(self._kept, self._card().to_json())

    def _card(self) -> Card:
        curves: dict[str, dict[str, cards.Curve]] = {
            group: {} for group in ("curves", "layers", "bits", "protections")
        }
        for measurement in self._faults:
            if measurement.size:
                curves[measurement.group][measurement.name] = measurement.curve(self._subject)
        missing: dict[tuple[str, str], list[str]] = {}
        for (group, name), why in self._missing.items():
            missing.setdefault((group, why), []).append(name)
        return Card(
            **self._fields,
            **curves,
            robust=self._attack.robust(self._subject),
            not_measured=(
                *(NotMeasured(f"{group}: {', '.join(names)}" if names != [group] else group, why)
                  for (group, why), names in missing.items()),
                *_ALWAYS,
            ),
            seconds={name: round(value, 2) for name, value in self._clock.seconds.items()},
            environment=records.Environment.here(),
        )  # fmt: skip


def stored_format(model: keras.Model | TFLiteModel) -> str:
    """Returns the storage format, of a .tflite file the type, of most of a model's weights."""
    is_file, sizes = isinstance(model, TFLiteModel), {}
    for group in faults.find_sites(model, target="weights"):
        name = group.dtype
        if not is_file:
            name = "float32" if name == "float64" else name.replace("uint", "int")
        sizes[name] = sizes.get(name, 0) + group.size
    most = max(sizes, key=sizes.get)
    return most if is_file or most in format_names() else "float32"


def _count(model: keras.Model | TFLiteModel) -> int:
    if isinstance(model, TFLiteModel):
        return sum(group.size for group in faults.find_sites(model, target="weights"))
    return model.count_params()


def _hash(model: keras.Model | TFLiteModel) -> str:
    if isinstance(model, TFLiteModel):
        return hashlib.sha256(model.content).hexdigest()
    return weights_fingerprint(model)


def _check_file_options(storage: str | None, attack: str | None) -> None:
    if storage is not None:
        raise ArgumentError(
            f"storage={storage!r} is not for a .tflite file, whose bits are faulted as it stores "
            "them: leave it out"
        )
    if attack not in (None, "square"):
        raise ArgumentError(
            f"attack={attack!r} needs gradients, which a .tflite file does not give: leave it out, "
            "or attack the model that it was made from"
        )


def _clean(logits: np.ndarray, y: np.ndarray) -> Clean:
    right = metrics.predicted_labels(logits) == y
    interval = intervals.proportion(successes=int(right.sum()), trials=len(y))
    error, confidence = metrics.calibration_error(logits, y)
    ends = (interval.low, interval.high)
    return Clean(float(right.mean()), ends, error, confidence, packed(right))
