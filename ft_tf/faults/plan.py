"""From a model, a rate, a seed and a trial to the faulty sites."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_fraction, check_non_negative_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults.composed import PerLayer
from ft_tf.faults.keys import SiteKeys, bernoulli_mask, exact_mask, fault_count
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.sites import Select, SiteGroup, find_sites
from ft_tf.keras_layers import Part

ALLOCATIONS = ("model", "layer", "bernoulli")
PERSISTENCE = ("permanent", "batch", "image")
_SPARE = "spare"
_SITE_STREAM = {"weights": 0, "units": 1}
_SPARE_STREAM = 6
_WORD_STREAM = {"weights": 2, "units": 3}


@dataclasses.dataclass(frozen=True, eq=False)
class FaultPlan:
    """Everything about a fault experiment but rate, seed and trial.

    Attributes:
        groups: the sites, weights first.
        fault: what was asked for to happen at a faulty site; each group has what happens there.
        allocation: "model": exactly round(rate * sites) faults among all sites; "layer": exactly
            round(rate * sites) in each layer; "bernoulli": each site on its own. With the target
            "both", weights and units are two populations, each with its own count.
        persistence: permanent: faults stay for all images of a trial; batch, image: transient ones,
            which are drawn for each batch of images, or for each image (units only).
    """

    groups: tuple[SiteGroup, ...]
    fault: FaultModel
    allocation: str
    persistence: str = "permanent"

    def groups_of(self, target: str) -> tuple[SiteGroup, ...]:
        """The groups of "weights" or of "units"."""
        return tuple(group for group in self.groups if group.target == target)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of layers and tensors of the graph that are faulted."""
        return tuple(group.part for group in self.groups if group.part is not None)

    @property
    def sites(self) -> int:
        """Number of fault sites."""
        return sum(group.sites for group in self.groups)

    @property
    def random(self) -> bool:
        """Whether a faulty value depends on random words."""
        return any(group.fault.random for group in self.groups)

    def trial(self, *, seed: int, trial: int, draw: int = 0) -> "Trial":
        """The random part of one trial, at all rates; of transient faults draw by draw."""
        check_non_negative_integer(seed=seed, trial=trial)
        return Trial(self, seed, trial, draw)

    def masks_of_images(
        self, images: Iterable[int], rate: float, *, seed: int, trial: int
    ) -> "FaultMasks":
        """Faults of units that are drawn for each image: masks and words [images, ...]."""
        drawn = [self.trial(seed=seed, trial=trial, draw=n).masks(rate) for n in images]
        faulty, words = (
            {**parts[0], "units": np.stack([part["units"] for part in parts])}
            for parts in ([d.faulty for d in drawn], [d.words for d in drawn])
        )
        return FaultMasks(faulty, words, sum(d.count for d in drawn))


def make_plan(
    model: keras.Model,
    *,
    target: str,
    fault: FaultModel | Mapping[str, FaultModel] | None = None,
    allocation: str = "model",
    select: Select | None = None,
    persistence: str = "permanent",
) -> FaultPlan:
    """Finds a model's sites and says what happens there; see `FaultPlan` for the arguments.

    Raises:
        ArgumentError: an argument is not one of its choices.
        ModelError: something asked for cannot be faulted.
    """
    check_choice(ALLOCATIONS, allocation=allocation)
    check_choice(PERSISTENCE, persistence=persistence)
    if persistence == "image" and target != "units":
        raise ArgumentError(f"persistence='image' is for target='units', not {target!r}")
    if select is not None and not isinstance(select, Select):
        raise ArgumentError(
            f"select={select!r} must be a Select, such as faults.Select(layers=...)"
        )
    fault = StuckAt(0.0) if fault is None else fault
    fault = PerLayer(fault) if isinstance(fault, Mapping) else fault
    if not isinstance(fault, FaultModel):
        raise ArgumentError(f"fault={fault!r} must be a fault model, such as StuckAt(0.0)")
    fault.check_target(target)
    groups = fault.placed(find_sites(model, target=target, select=select))
    return FaultPlan(tuple(groups), fault, allocation, persistence)


@dataclasses.dataclass(frozen=True, eq=False)
class FaultMasks:
    """The faults of one trial at one rate.

    Attributes:
        faulty: for "weights" and "units", bool [values * sites per value]: which sites are faulty,
            group after group; empty for a target without sites. "spare" has those of the spare
            sites, if there are any; their number of faults is drawn separately.
        words: the same for the fault model's random words, uint32 [values, 2]; empty unless used.
        count: number of faulty sites, without spare ones.
    """

    faulty: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    count: int


class Trial:
    """Draws the faults of one trial; a higher rate adds faults to those of a lower one.

    Args:
        plan: the plan.
        seed: of the campaign.
        trial: number of the trial.
        draw: number of the draw within it, of transient faults.
    """

    def __init__(self, plan: FaultPlan, seed: int, trial: int, draw: int = 0) -> None:
        self._plan = plan
        self._seed = seed
        self._trial = trial
        self._draw = draw

    def masks(self, rate: float) -> FaultMasks:
        """The faults at `rate`, in [0, 1]."""
        check_fraction(rate=rate)
        faulty = {target: self._faulty(target, rate) for target in _SITE_STREAM}
        count = sum(int(np.count_nonzero(mask)) for mask in faulty.values())
        if self._spare:
            drawn = [_draw(keys, rate, self._plan.allocation) for keys in self._spare]
            faulty[_SPARE] = np.concatenate(drawn)
        return FaultMasks(faulty, self._words, count)

    def _faulty(self, target: str, rate: float) -> np.ndarray:
        groups = self._plan.groups_of(target)
        parts = [np.zeros(0, bool)] * len(groups)
        for keys, together, members in self._populations[target]:
            mask = _draw(keys, _event_rate(rate, together), self._plan.allocation)
            if together == 1 and len(members) == len(groups):
                parts = [mask]  # copied below: returned as it is, trials take a tenth longer
                break
            start = 0
            for number in members:
                group = groups[number]
                part = mask[start : start + group.sites]
                if together > 1:
                    shape = (1, *group.shape, group.fault.sites_per_value)
                    part = group.fault.spread(part.reshape(shape)).ravel()
                parts[number] = part
                start += group.sites
        return np.concatenate([np.zeros(0, bool), *parts])

    @functools.cached_property
    def _populations(self) -> dict[str, list[tuple[SiteKeys, int, list[int]]]]:
        """For each target, what faults are counted in: keys, sites that fail together, groups."""
        found: dict[str, list[tuple[SiteKeys, int, list[int]]]] = {}
        for target, stream in _SITE_STREAM.items():
            groups = self._plan.groups_of(target)
            members: dict[tuple[int | None, int], list[int]] = {}
            for number, group in enumerate(groups):
                owner = group.owner if self._plan.allocation == "layer" else None
                together = group.fault.together(group.shape)
                members.setdefault((owner, together), []).append(number)
            start = self._draw * sum(group.sites for group in groups)
            found[target] = []
            for (_, together), numbers in members.items():
                size = sum(groups[number].sites for number in numbers)
                keys = SiteKeys(self._seed, self._trial, stream, size, start)
                found[target].append((keys, together, numbers))
                start += size
        return found

    @functools.cached_property
    def _spare(self) -> list[SiteKeys]:
        """The keys of the spare sites of weights, by what faults are counted in."""
        sizes: dict[int | None, int] = {}
        for group in self._plan.groups_of("weights"):
            owner = group.owner if self._plan.allocation == "layer" else None
            sizes[owner] = sizes.get(owner, 0) + group.spare_sites
        starts = self._draw * sum(sizes.values()) + np.cumsum([0, *sizes.values()])
        return [
            SiteKeys(self._seed, self._trial, _SPARE_STREAM, size, int(start))
            for size, start in zip(sizes.values(), starts[:-1], strict=True)
            if size
        ]

    @functools.cached_property
    def _words(self) -> dict[str, np.ndarray]:
        words = {}
        for target, stream in _WORD_STREAM.items():
            groups = self._plan.groups_of(target)
            is_random = any(group.fault.random for group in groups)
            size = sum(group.size for group in groups) if is_random else 0
            keys = SiteKeys(self._seed, self._trial, stream, size, self._draw * size)
            words[target] = keys.all_words().view(np.uint32).reshape(size, 2)
        return words


def _event_rate(rate: float, together: int) -> float:
    """Rate of events that each make `together` sites faulty, so that a share `rate` is faulty."""
    if together == 1 or rate == 1.0:
        return rate
    return -math.expm1(math.log1p(-rate) / together)


def _draw(keys: SiteKeys, rate: float, allocation: str) -> np.ndarray:
    if allocation == "bernoulli":
        return bernoulli_mask(keys, rate)
    return exact_mask(keys, fault_count(rate, keys.size))


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """Masks and words in TensorFlow: constants, variables or arguments of a compiled program.

    Attributes:
        faulty: flat masks of "weights" and "units".
        words: flat words of both.
    """

    faulty: dict[str, Any]
    words: dict[str, Any]

    @classmethod
    def tensors(cls, masks: FaultMasks) -> "Draws":
        """The draws as tensors."""
        return cls(
            {target: tf.constant(array) for target, array in masks.faulty.items()},
            {target: tf.constant(array) for target, array in masks.words.items()},
        )

    @classmethod
    def variables(cls, plan: FaultPlan) -> "Draws":
        """Variables for the draws of a plan, without a fault."""
        empty = cls.tensors(plan.trial(seed=0, trial=0).masks(0.0))
        parts = (empty.faulty, empty.words)
        return cls(*tf.nest.map_structure(lambda t: tf.Variable(t, trainable=False), parts))

    def assign(self, other: "Draws") -> None:
        """Takes over the values of `other`; for variables."""
        tf.nest.map_structure(
            lambda variable, value: variable.assign(value),
            (self.faulty, self.words),
            (other.faulty, other.words),
        )

    def clear(self) -> None:
        """Makes nothing faulty; for variables."""
        for variable in self.faulty.values():
            variable.assign(tf.zeros_like(variable))

    def by_group(
        self, plan: FaultPlan, target: str
    ) -> Iterator[tuple[SiteGroup, tf.Tensor, tf.Tensor | None]]:
        """Each group of a target with its mask and words: in its shape, or [images, *shape].

        The mask of a group with spare sites is flat, these last.
        """
        site = value = first_spare = 0
        faulty, words = self.faulty[target], self.words[target]
        images = (-1,) if len(faulty.shape) > 1 else ()
        for group in plan.groups_of(target):
            per_value = group.fault.sites_per_value
            tail = (per_value,) if per_value > 1 else ()
            here = slice(site, site + group.sites)
            mask = faulty[:, here] if images else faulty[here]
            spare = group.spare_sites if target == "weights" else 0
            if spare:
                last_spare = first_spare + spare
                mask = tf.concat([mask, self.faulty[_SPARE][first_spare:last_spare]], 0)
                first_spare = last_spare
            else:
                mask = tf.reshape(mask, (*images, *group.shape, *tail))
            word = None
            if group.fault.random:
                here = slice(value, value + group.size)
                word = words[:, here] if images else words[here]
                word = tf.reshape(word, (*images, *group.shape, 2))
            yield group, mask, word
            site, value = site + group.sites, value + group.size
