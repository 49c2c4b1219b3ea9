"""Campaigns of single faults: how often one flipped bit, or one stuck site, makes a model fail."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ft_tf._compat import keras, require_keras_model, tf
from ft_tf.checks import (
    check_choice,
    check_fraction,
    check_non_negative_integer,
    check_positive_integer,
    check_probability,
)
from ft_tf.errors import ArgumentError
from ft_tf.examples import check_inputs
from ft_tf.faults.bitflips import BitErrors
from ft_tf.faults.campaign import Campaign
from ft_tf.faults.gradients import margin_ratios
from ft_tf.faults.models import FaultModel
from ft_tf.faults.plan import FaultMasks, FaultPlan, make_plan
from ft_tf.faults.protections.memory import Protected
from ft_tf.faults.rows import Budget, Row, check_half_width
from ft_tf.faults.sampling import StratifiedMean
from ft_tf.faults.sites import Select, SiteGroup
from ft_tf.keras_layers import remember_input
from ft_tf.metrics import predicted_labels

FAILURES = {
    "image": "probability that a random single fault changes the predicted class of a random image",
    "any_image": "share of single faults that change the predicted class of at least one image",
    "accuracy": "share of single faults that lower the accuracy by more than accuracy_loss",
}
"""What a failure rate is, over all single faults of the model and the images given. Predictions are
compared with those of the stored model without a fault; an output with a NaN is no prediction."""

_PREDICTED_IMAGES = 64
_EDGES = 2.0 ** np.arange(-8, 9)
"""Bounds of the classes of predicted effects: shares of the margins that a fault uses up."""
_HUGE = 10
"""A change beyond this multiple of the largest value of the variable is not first order: with
a predicted share below 1 it is in the last class."""
_KEPT = 16  # pairs of a variable and a bit whose faulty values are kept
_ROUNDING = 1e-6  # of a number of images


@dataclasses.dataclass(frozen=True)
class FailureRate:
    """What a campaign of single faults found.

    Attributes:
        failure: what is a failure, a key of `single_faults.FAILURES`.
        rate: the estimate.
        low: lower end of its interval, which holds although the campaign ended itself.
        high: upper end.
        confidence: coverage of all intervals.
        trials: single faults that were tried for the rate.
        sites: single faults that there are.
        seconds: that it took.
        stopped_by: "margin", "budget", "trials" or "all sites".
        table: a row for each layer and bit: layer, bit (missing where a fault has none), sites,
            trials, rate, low, high; each interval holds by itself.
        faults: a row for each fault tried: layer, parameter, index, bit, outcome.
    """

    failure: str
    rate: float
    low: float
    high: float
    confidence: float
    trials: int
    sites: int
    seconds: float
    stopped_by: str
    table: pd.DataFrame
    faults: pd.DataFrame


def failure_rate(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    seed: int,
    target: str = "weights",
    fault: FaultModel | Mapping[str, FaultModel] | None = None,
    select: Select | None = None,
    failure: str = "image",
    accuracy_loss: float = 0.01,
    margin: float = 0.01,
    confidence: float = 0.95,
    trials: int | None = None,
    budget: float | str | None = None,
    stratum_trials: int = 0,
    predict: bool = True,
    batch_size: int = 1000,
    progress: Callable[[Row], None] | None = None,
) -> FailureRate:
    """Estimates how often a single fault makes a model fail, layer by layer and bit by bit.

    A trial has exactly one fault, drawn from all that there are without replacement. Strata are
    layer x bit, and within them classes of what the gradient predicts a fault to do; sites are
    drawn where the variance is, and predictions serve as control variates. What is estimated
    depends on none of these. The interval may be looked at after every trial and covers also where
    all trials so far agree, so that the campaign ends itself as soon as the margin is reached. See
    `sampling`.

    Args:
        model: any built Keras classifier, as for `sweep`; not that of a .tflite file.
        x: inputs. Each trial tests all of them: a few hundred are usual.
        y: labels int [n].
        seed: fixes the draws.
        target: "weights" or "units".
        fault: `BitErrors(...)`, one bit of which flips in a trial (of float32 by default), or a
            fault model without randomness, such as `StuckAt(0.0)`. A dictionary of patterns and
            fault models has a different one in each layer, see `PerLayer`.
        select: which part of the model.
        failure: what is estimated, see `FAILURES`.
        accuracy_loss: with failure="accuracy", the fall above which a fault fails.
        margin: half-width at which the campaign ends.
        confidence: coverage of the intervals.
        trials: the most that may run; None for no limit.
        budget: end when this time is over: seconds, or "10 min", "2 h".
        stratum_trials: then go on until each layer and bit has this many, for a heat map;
            they do not count for the rate.
        predict: whether gradients of 64 images are taken to predict effects, of weights only.
        batch_size: images evaluated at once.
        progress: called with every fault tried.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: something asked for cannot be faulted.
    """
    clock = Budget(budget)
    check_non_negative_integer(stratum_trials=stratum_trials)
    if trials is not None:
        check_positive_integer(trials=trials)
    rows: list[Row] = []
    options = {"target": target, "fault": fault, "select": select, "failure": failure}
    options |= {"accuracy_loss": accuracy_loss, "predict": predict, "batch_size": batch_size}
    question = {"margin": margin, "confidence": confidence, "seed": seed}
    with prepared(model, x, y, **options, **question) as (sites, sampler):

        def run(stratum: int | None = None) -> None:
            row = sites.run(*sampler.draw(stratum))
            sampler.take(row["outcome"])
            rows.append(row)
            if progress is not None:
                progress(row)

        while not (stopped_by := _end(sampler, trials, clock)):
            run()
        overall, count = sampler.estimate, sampler.trials
        for stratum, (*_, size) in enumerate(sites.strata):
            while sampler.count(stratum) < min(stratum_trials, size) and not clock.spent:
                run(stratum)
    return FailureRate(
        failure=failure,
        rate=overall.value,
        low=overall.interval.low,
        high=overall.interval.high,
        confidence=confidence,
        trials=count,
        sites=sampler.members,
        seconds=clock.used,
        stopped_by=stopped_by,
        table=sites.table(sampler),
        faults=pd.DataFrame(rows),
    )


def _end(sampler: StratifiedMean, trials: int | None, clock: Budget) -> str:
    """Why no further trial is needed or allowed; empty if one is."""
    if sampler.exhausted:
        return "all sites"
    if sampler.settled:
        return "margin"
    if sampler.trials == trials:
        return "trials"
    return "budget" if clock.spent and sampler.trials else ""


@contextlib.contextmanager
def prepared(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    *,
    seed: int,
    target: str = "weights",
    fault: FaultModel | Mapping[str, FaultModel] | None = None,
    select: Select | None = None,
    failure: str = "image",
    accuracy_loss: float = 0.01,
    predict: bool = True,
    batch_size: int = 1000,
    margin: float = 0.01,
    confidence: float = 0.95,
) -> Iterator[tuple["SingleFaults", StratifiedMean]]:
    """All single faults of a model and what draws them; arguments are those of `failure_rate`."""
    check_choice(("weights", "units"), target=target)
    check_choice(FAILURES, failure=failure)
    check_fraction(accuracy_loss=accuracy_loss)
    check_probability(confidence=confidence)
    check_half_width(margin=margin)
    check_non_negative_integer(seed=seed)
    remember_input(require_keras_model(model), x)
    fault = BitErrors() if fault is None else fault
    plan = make_plan(model, target=target, fault=fault, select=select)
    for group in plan.groups:
        _check_single(group)
    campaign = Campaign(model, plan, x, y, batch_size=batch_size)
    with campaign.armed():
        sites = SingleFaults(campaign, plan, failure, accuracy_loss)
        if predict and target == "weights":
            sites.predict(model, check_inputs(x))
        sampler = StratifiedMean(
            **sites.population(), margin=margin, confidence=confidence, seed=seed
        )
        yield sites, sampler


def _check_single(group: SiteGroup) -> None:
    """Raises ArgumentError unless the sites of a group can be faulty one at a time."""
    fault = group.fault
    if isinstance(fault, Protected):
        raise ArgumentError(
            f"fault={fault!r} is for sweep: give failure_rate the fault without its protection"
        )
    if fault.together(group.shape) > 1:
        raise ArgumentError(
            f"fault={fault!r} makes sites fail together: give BitErrors('int8') or StuckAt(0.0)"
        )
    if not isinstance(fault, BitErrors) and (fault.random or fault.sites_per_value > 1):
        raise ArgumentError(f"fault={fault!r} is random: give BitErrors(...), of which one flips")


def _bits_of(group: SiteGroup) -> tuple[int | None, ...]:
    """The bits of a group's words that can flip; (None,) where a fault has none."""
    return group.fault.bit_numbers if isinstance(group.fault, BitErrors) else (None,)


class SingleFaults:
    """Every single fault of a plan, and what each does; make and use it inside `campaign.armed()`.

    Attributes:
        strata: layer, bit and number of sites of each stratum; made by `population`.
        cells: number of the layer, of the bit and of the group, class and size of each cell.
    """

    def __init__(
        self, campaign: Campaign, plan: FaultPlan, failure: str, accuracy_loss: float
    ) -> None:
        self._campaign, self._plan = campaign, plan
        self._failure, self._accuracy_loss = failure, accuracy_loss
        found = {bit for group in plan.groups for bit in _bits_of(group)}
        self._bits = sorted(found, key=lambda bit: -1 if bit is None else bit)
        self._clean = [tf.convert_to_tensor(group.variable) for group in plan.groups_of("weights")]
        self._stored = [
            group.fault.stored(values).numpy()
            for group, values in zip(plan.groups, self._clean, strict=False)  # units: none
        ]
        self._ratios: list[tuple[np.ndarray, np.ndarray]] | None = None
        self._faulty = functools.lru_cache(_KEPT)(self._all_faulty)
        self.strata: list[tuple[str, int | None, int]] = []
        self.cells: list[tuple[int, int, int, int, int]] = []
        for group, values in zip(plan.groups, self._stored, strict=False):  # units: none
            group.variable.assign(values)
        # By the same program as that of the trials: two programs differ in the last bits.
        clean = campaign.measures.clean_logits if not self._stored else campaign.logits(None)
        self._clean_classes = predicted_labels(clean)
        self._clean_accuracy = campaign.measures.accuracy(clean)

    def predict(self, model: keras.Model, x: Any) -> None:
        """Takes the gradients from which the classes of the cells are made."""
        logits = self._campaign.measures.clean_logits
        order = np.arange(len(logits))
        if self._failure == "any_image":  # the images with the smallest margins change first
            top = np.sort(logits, axis=1)
            order = np.argsort(np.abs(top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0)))
        chosen = order[:_PREDICTED_IMAGES]
        x = tf.nest.map_structure(lambda part: part[chosen], x)
        worst = self._failure == "any_image"
        self._ratios = margin_ratios(model, self._plan.groups, x, worst=worst)

    def _all_faulty(self, group: int, bit: int | None) -> tuple[np.ndarray, np.ndarray | None]:
        """What each value of a group would be with this one fault, flat; and its class."""
        clean, stored = self._clean[group], self._stored[group].ravel()
        everywhere, fault = tf.ones(clean.shape, tf.bool), self._plan.groups[group].fault
        fault = fault if bit is None else dataclasses.replace(fault, bits=(bit, bit))
        faulty = fault.prepared(clean)(everywhere, None).numpy().ravel()
        if self._ratios is None:
            return faulty, None
        up, down = self._ratios[group]
        with np.errstate(invalid="ignore", over="ignore"):
            change = faulty.astype(np.float64) - stored
            share = np.where(change > 0, change * up, -change * down)
        share[~np.isfinite(change)] = np.inf
        classes = np.digitize(share, _EDGES).astype(np.uint8)
        classes[(np.abs(change) > _HUGE * np.abs(stored).max()) & (share < 1)] = len(_EDGES) + 1
        return faulty, classes

    def population(self) -> dict[str, Any]:
        """The cells for `StratifiedMean`: a layer, a bit, a group and a class each."""
        layers = list(dict.fromkeys(group.layer for group in self._plan.groups))
        found = []
        for number, group in enumerate(self._plan.groups):
            for bit in _bits_of(group):
                sizes = np.array([group.size])
                if self._ratios is not None:
                    sizes = np.bincount(self._faulty(number, bit)[1], minlength=1)
                found += [
                    (layers.index(group.layer), self._bits.index(bit), number, kind, size)
                    for kind, size in enumerate(sizes)
                    if size
                ]
        found.sort()
        self.cells = found
        pairs, strata = np.unique([cell[:2] for cell in found], axis=0, return_inverse=True)
        sizes = np.array([cell[4] for cell in found])
        strata = strata.reshape(-1)
        totals = np.bincount(strata, sizes).astype(int).tolist()
        self.strata = [
            (layers[layer], self._bits[bit], total)
            for (layer, bit), total in zip(pairs, totals, strict=True)
        ]
        chosen = {"sizes": sizes, "strata": strata}
        if self._ratios is None:
            return {**chosen, "classes": np.array([c[1] for c in found])}
        middles = np.append(_EDGES, 2 * _EDGES[-1]) / np.sqrt(2)
        expected = np.append(middles**2 / (1 + middles**2), 0.5)
        return {**chosen, "classes": np.array([c[3] for c in found]), "expected": expected}

    def table(self, sampler: StratifiedMean) -> pd.DataFrame:
        """The table of `FailureRate`."""
        rows = []
        for stratum, (layer, bit, size) in enumerate(self.strata):
            found = sampler.of_stratum(stratum)
            ends = {"low": found.interval.low, "high": found.interval.high}
            row = {"layer": layer, "bit": bit, "sites": size, "trials": sampler.count(stratum)}
            rows.append({**row, "rate": found.value, **ends})
        return pd.DataFrame(rows).astype({"bit": "Int64"})

    def run(self, cell: int, member: int) -> Row:
        """Tries one fault."""
        _, bit, number, kind, _ = self.cells[cell]
        group, bit = self._plan.groups[number], self._bits[bit]
        if group.target == "units":
            before = sum(group.sites for group in self._plan.groups[:number])
            units = np.zeros(self._plan.sites, bool)
            bits = _bits_of(group)
            units[before + member * len(bits) + bits.index(bit)] = True
            faulty = {"weights": np.zeros(0, bool), "units": units}
            words = dict.fromkeys(faulty, np.zeros((0, 2), np.uint32))
            place, logits = member, self._campaign.logits(FaultMasks(faulty, words, 1))
        else:
            faulty, classes = self._faulty(number, bit)
            place = member if classes is None else int(np.flatnonzero(classes == kind)[member])
            values = self._stored[number].copy()
            values.flat[place] = faulty[place]
            group.variable.assign(values)
            logits = self._campaign.logits(None)
            group.variable.assign(self._stored[number])
        index = tuple(int(i) for i in np.unravel_index(place, group.shape))
        where = {"layer": group.layer, "parameter": group.name, "index": index, "bit": bit}
        return {**where, "outcome": self._outcome(logits)}

    def _outcome(self, logits: np.ndarray) -> float:
        if self._failure == "accuracy":
            # Counted in images: as floats 0.83 - 0.82 > 0.01, and 0.29 * 100 < 29.
            fall = self._clean_accuracy - self._campaign.measures.accuracy(logits)
            images = len(logits)
            return float(round(fall * images) > self._accuracy_loss * images + _ROUNDING)
        changed = predicted_labels(logits) != self._clean_classes
        return float(changed.any() if self._failure == "any_image" else changed.mean())
