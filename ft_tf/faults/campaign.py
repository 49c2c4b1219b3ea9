"""Fault campaigns: seeded trials at several rates, as a tidy table."""

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from ft_tf._compat import keras, tf
from ft_tf.checks import check_non_negative_integer, check_positive_integer, check_probability
from ft_tf.errors import ArgumentError
from ft_tf.examples import check_inputs, check_labels
from ft_tf.faults import catalogue
from ft_tf.faults.guard import guarded
from ft_tf.faults.keys import SiteKeys, exact_mask
from ft_tf.faults.measures import Measures
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultMasks, FaultPlan, make_plan
from ft_tf.faults.program import TFLiteProgram, TrialProgram
from ft_tf.faults.rows import (
    MAX_TRIALS,
    SMALLEST_HALF_WIDTH,
    Budget,
    Row,
    StopRule,
    check_half_width,
    distinct_rates,
    frame_of,
    images_of_trial,
    trial_numbers,
)
from ft_tf.faults.sites import Select
from ft_tf.keras_layers import remember_input
from ft_tf.models import check_input_shape, ending_of

_ROW_STREAM = 4  # see plan.py for the streams of sites and words


def sweep(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    target: str,
    rates: Sequence[float],
    trials: int | Iterable[int] | None = None,
    seed: int,
    fault: FaultModel | Mapping[str, FaultModel] | None = None,
    allocation: str = "model",
    select: Select | None = None,
    persistence: str = "permanent",
    images_per_trial: int | None = None,
    margin: float | None = None,
    confidence: float = 0.95,
    budget: float | str | None = None,
    method: str = "anytime",
    batch_size: int = 1000,
    cache_bytes: int = 2 << 30,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> pd.DataFrame:
    """Measures a model under faults, a row per rate and trial.

    Row (rate, trial) depends on nothing but the model, the images, the seed and its own numbers:
    a part of a campaign equals that part of the whole, whatever ran beside it. Faults are nested:
    those of a trial at one rate are among those at a higher one.

    Args:
        model: any built Keras classifier that gives logits or ends in softmax or sigmoid, or that
            of a .tflite file (`models.load`); its weights come back to the byte, also after an
            exception or Ctrl-C.
        x: inputs [n, ...], or a structure of such arrays for a model with several inputs.
        y: labels int [n].
        target: "weights", "units" or "both".
        rates: shares of faulty sites, in [0, 1].
        trials: how many trials, or their numbers; the most that may run if there is a margin or a
            budget, which both end the campaign without it too.
        seed: fixes the faults of every trial.
        fault: what a faulty value becomes; stuck at 0 by default. A dictionary of patterns and
            fault models has a different one in each layer, see `PerLayer`.
        allocation: "model", "layer" or "bernoulli"; see `FaultPlan`.
        select: which part of the model.
        persistence: "permanent", or "batch" or "image" for transient faults; see `FaultPlan`.
        images_per_trial: evaluate each trial on a random subset of that many images; most of the
            variance is between masks, so many cheap trials beat few full ones. None for all, or for
            `rows.STEIN_IMAGES` of them with method="stein". Rate 0 is always tested on all.
        margin: end each rate when its accuracy has an interval of +- that, 1e-5 or more; at rate 0
            one trial is enough. A rate that trials or budget end first is "not reached" in the
            summary.
        confidence: coverage of those intervals.
        budget: end with the trial in which this time is over: seconds, or "10 min", "2 h".
        method: how to tell, see `rows.StopRule`: "anytime" (holds for any distribution, takes
            2 / margin trials or more) or "stein" (two stages, as good as Student's interval).
        batch_size: images evaluated at once; results can differ in the last bits between sizes,
            and where faults make NaN by more (see `bitflips.StoredWords`).
        cache_bytes: memory that activations before the first fault may take.
        progress: called with every finished row.

    Returns:
        Columns target, rate, trial, seed, faults, and those of `measures.COLUMNS`, accuracy first;
        sorted by rate and trial. `attrs` has clean_accuracy, classes, images; the settings target,
        fault, storage, bits, quantization_step, allocation, images_per_trial, persistence; and
        stop_rule, None or a dictionary.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted; the model does not give [n, classes].
    """
    if isinstance(model, keras.Model):
        remember_input(model, x)
    clock = Budget(budget)
    check_probability(confidence=confidence)
    check_half_width(least=SMALLEST_HALF_WIDTH, margin=margin)
    if trials is None and margin is None and budget is None:
        raise ArgumentError("trials=None needs margin=... or budget=... to end the campaign")
    numbers = trial_numbers(MAX_TRIALS if trials is None else trials)
    levels = distinct_rates(rates)
    most = len(numbers)
    rule = StopRule(levels, half_width=margin, level=confidence, method=method, most=most)
    where = {"target": target, "select": select, "allocation": allocation}
    plan = make_plan(model, fault=fault, persistence=persistence, **where)
    campaign = Campaign(model, plan, x, y, batch_size=batch_size, cache_bytes=cache_bytes)
    images_per_trial = images_of_trial(images_per_trial, campaign.images, rule)
    settings = {"target": target, "seed": seed, "images_per_trial": images_per_trial}
    rows = []
    with campaign.armed():
        for row in campaign.rows(trials=numbers, rates=levels, wants=rule.wants, **settings):
            if clock.spent and rows and row["trial"] != rows[-1]["trial"]:
                break
            rows.append(row)
            if progress is not None:
                progress(row)
            rule.take(row)
            if rule.done:
                break
    facts = {**campaign.facts, "target": target, "stop_rule": rule.facts}
    facts["images_per_trial"] = images_per_trial or campaign.images
    is_large = campaign.bytes_held > _WORTH_FREEING
    del campaign
    if is_large:
        # A compiled program is a cycle: until Python looks for those, it holds its activations,
        # and one sweep per layer of a CNN would pile up gigabytes.
        gc.collect()
    return frame_of(rows, facts)


_WORTH_FREEING = 64 << 20
"""Bytes from which on it is worth the fifth of a second that looking for cycles takes."""


class Campaign:
    """A model, its faults and its test images, ready to run trials.

    Attributes:
        images: number of images.
        measures: compares outputs with the fault-free model's.
    """

    def __init__(
        self,
        model: keras.Model,
        plan: FaultPlan,
        x: Any,
        y: np.ndarray,
        *,
        batch_size: int = 1000,
        cache_bytes: int = 2 << 30,
    ) -> None:
        check_positive_integer(batch_size=batch_size)
        check_non_negative_integer(cache_bytes=cache_bytes)
        x = check_inputs(x, model=model)
        check_input_shape(model, x)
        self.images = len(tf.nest.flatten(x)[0])
        y = check_labels(y, classes=None, examples=self.images)  # before any work
        self._model = model
        self._plan = plan
        self._batch_size = batch_size
        ending = ending_of(model)
        self._ending = ending if ending is not None and ending.certain else None
        self._repeated: dict[int, dict[str, Any]] = {}
        in_keras = isinstance(model, keras.Model)
        program = TrialProgram if in_keras else TFLiteProgram
        self._hold = guarded if in_keras else contextlib.nullcontext
        with self._hold(model):
            self._program = program(model, plan, x, batch_size=batch_size, cache_bytes=cache_bytes)
            with self._program.weights.restored_after():
                clean = self.logits(plan.trial(seed=0, trial=0).masks(0.0))
                self._program.weights.check_state()
        if self._program.draws:
            warnings.warn(
                f"model={model.name!r} answers the same images differently each time: what chance "
                "changes counts as the faults' effect; switch its randomness off",
                stacklevel=3,
            )
        y = check_labels(y, classes=max(2, clean.shape[1]), examples=self.images)
        self.measures = Measures(clean, y)

    @property
    def bytes_held(self) -> int:
        """What images and kept activations take."""
        return self._program.bytes_held

    @property
    def facts(self) -> dict[str, Any]:
        """What a summary needs to know of model, images and faults beside the rows."""
        return {
            "clean_accuracy": self.measures.clean_accuracy,
            "classes": max(2, self.measures.clean_logits.shape[1]),
            "images": self.images,
            **catalogue.settings(self._plan.fault),
            "allocation": self._plan.allocation,
            "persistence": self._plan.persistence,
        }

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Within the block trials may run, not training or saving; then it is clean again.

        Raises:
            ModelError: the weights are no longer those that the campaign began with; the model is
                armed already, or another thread computes with it.
        """
        with self._hold(self._model):
            self._program.weights.check_clean()
            with self._program.weights.restored_after():
                yield

    def rows(
        self,
        *,
        target: str,
        seed: int,
        trials: Sequence[int],
        rates: list[float],
        images_per_trial: int | None = None,
        wants: Callable[[float], bool] = lambda rate: True,
    ) -> Iterator[Row]:
        """The rows of some trials, trial by trial, rates rising; inside `armed()`.

        Rows at a rate that `wants` says no to are left out. Once it does it must stay with it.

        Raises:
            ArgumentError: there are fewer images than `images_per_trial`.
        """
        if images_per_trial is not None:
            check_positive_integer(images_per_trial=images_per_trial)
            if images_per_trial > self.images:
                raise ArgumentError(f"images_per_trial={images_per_trial} must be <= {self.images}")
        for trial, rate, masks in drawn_ahead(self._plan, seed, trials, rates, wants):
            if not wants(rate):  # it settled while its next masks were drawn
                continue
            count = None if rate == 0 else images_per_trial
            chosen = image_rows(seed=seed, trial=trial, images=self.images, count=count)
            row = {"target": target, "rate": rate, "trial": trial, "seed": seed}
            if self._plan.persistence == "permanent" or rate == 0:
                yield {**row, "faults": masks.count, **self.run(masks, chosen)}
            else:
                yield {**row, **self._run_transient(seed, trial, rate, chosen)}

    def logits(self, masks: FaultMasks | None, rows: np.ndarray | None = None) -> np.ndarray:
        """Logits float32 [n, classes] under the faults, of all images or of `rows`.

        Without masks they are of all images, with the model's variables as they are.
        """
        outputs = self._program.as_written() if masks is None else self._program(masks, rows)
        return outputs if self._ending is None else self._ending.logits(outputs)

    def _run_transient(
        self, seed: int, trial: int, rate: float, rows: np.ndarray | None
    ) -> dict[str, Any]:
        """The figures of a trial whose faults are drawn for each batch or image, and all faults."""
        images = np.arange(self.images) if rows is None else rows
        logits, faults = [], 0
        for number, first in enumerate(range(0, len(images), self._batch_size)):
            batch = images[first : first + self._batch_size]
            if self._plan.persistence == "batch":
                masks = self._plan.trial(seed=seed, trial=trial, draw=number).masks(rate)
            else:
                masks = self._plan.masks_of_images(batch, rate, seed=seed, trial=trial)
            logits.append(self.logits(masks, batch))
            faults += masks.count
        return {"faults": faults, **self.measures.of(np.concatenate(logits), rows)}

    def run(self, masks: FaultMasks, rows: np.ndarray | None = None) -> dict[str, Any]:
        """The figures of one trial."""
        # No fault, or a fault without randomness everywhere: every trial is the same.
        none = masks.count == 0 and not any(mask.any() for mask in masks.faulty.values())
        every = masks.count == self._plan.sites and all(
            mask.all() for mask in masks.faulty.values()
        )
        same = none or (every and not self._plan.random)
        if not same or rows is not None:
            return self.measures.of(self.logits(masks, rows), rows)
        if masks.count not in self._repeated:
            self._repeated[masks.count] = self.measures.of(self.logits(masks))
        return self._repeated[masks.count]


def image_rows(*, seed: int, trial: int, images: int, count: int | None) -> np.ndarray | None:
    """A random subset of `count` images, the same at all rates of a trial; None for all."""
    if count is None or count == images:
        return None
    return np.flatnonzero(exact_mask(SiteKeys(seed, trial, _ROW_STREAM, images), count))


def drawn_ahead(
    plan: FaultPlan,
    seed: int,
    trials: Sequence[int],
    rates: list[float],
    wants: Callable[[float], bool] = lambda rate: True,
) -> Iterable[tuple[int, float, FaultMasks]]:
    """Draws the next masks in a second thread while the caller evaluates the last ones.

    Rates that `wants` says no to when their turn comes are left out.
    """

    def masks() -> Iterable[tuple[int, float, FaultMasks]]:
        for number in trials:
            trial = plan.trial(seed=seed, trial=number)
            for rate in filter(wants, rates):
                yield number, rate, trial.masks(rate)

    drawn = iter(masks())
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, drawn, None)
        while (current := ahead.result()) is not None:
            ahead = thread.submit(next, drawn, None)
            yield current
