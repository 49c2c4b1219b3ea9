"""From a model, a rate, a seed and a trial to the faulty sites."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_choice, check_fraction, check_non_negative_integer
from ft_tf.errors import ArgumentError
from ft_tf.faults.keys import SiteKeys, bernoulli_mask, exact_mask, fault_count
from ft_tf.faults.models import FaultModel, StuckAt
from ft_tf.faults.sites import Select, SiteGroup, find_sites

ALLOCATIONS = ("model", "layer", "bernoulli")
_SITE_STREAM = {"weights": 0, "units": 1}
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
    """

    groups: tuple[SiteGroup, ...]
    fault: FaultModel
    allocation: str

    def groups_of(self, target: str) -> tuple[SiteGroup, ...]:
        """The groups of "weights" or of "units"."""
        return tuple(group for group in self.groups if group.target == target)

    @property
    def sites(self) -> int:
        """Number of fault sites."""
        return sum(group.sites for group in self.groups)

    @property
    def random(self) -> bool:
        """Whether a faulty value depends on random words."""
        return any(group.fault.random for group in self.groups)

    def trial(self, *, seed: int, trial: int) -> "Trial":
        """The random part of one trial, at all rates."""
        check_non_negative_integer(seed=seed, trial=trial)
        return Trial(self, seed, trial)


def make_plan(
    model: keras.Model,
    *,
    target: str,
    fault: FaultModel | None = None,
    allocation: str = "model",
    select: Select | None = None,
) -> FaultPlan:
    """Finds a model's sites and says what happens there; see `FaultPlan` for the arguments.

    Raises:
        ArgumentError: an argument is not one of its choices.
        ModelError: something asked for cannot be faulted.
    """
    check_choice(ALLOCATIONS, allocation=allocation)
    if select is not None and not isinstance(select, Select):
        raise ArgumentError(
            f"select={select!r} must be a Select, such as faults.Select(layers=...)"
        )
    fault = StuckAt(0.0) if fault is None else fault
    if not isinstance(fault, FaultModel):
        raise ArgumentError(f"fault={fault!r} must be a fault model, such as StuckAt(0.0)")
    fault.check_target(target)
    groups = fault.placed(find_sites(model, target=target, select=select))
    return FaultPlan(tuple(groups), fault, allocation)


@dataclasses.dataclass(frozen=True, eq=False)
class FaultMasks:
    """The faults of one trial at one rate.

    Attributes:
        faulty: for "weights" and "units", bool [values * sites per value]: which sites are faulty,
            group after group; empty for a target without sites.
        words: the same for the fault model's random words, uint32 [values, 2]; empty unless used.
        count: number of faulty sites.
    """

    faulty: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    count: int


class Trial:
    """Draws the faults of one trial; a higher rate adds faults to those of a lower one."""

    def __init__(self, plan: FaultPlan, seed: int, trial: int) -> None:
        self._plan = plan
        self._seed = seed
        self._trial = trial

    def masks(self, rate: float) -> FaultMasks:
        """The faults at `rate`, in [0, 1]."""
        check_fraction(rate=rate)
        faulty = {
            target: np.concatenate([np.zeros(0, bool), *(_draw(k, rate, self._plan.allocation)
                                                         for k in populations)])
            for target, populations in self._keys.items()
        }  # fmt: skip
        count = sum(int(np.count_nonzero(mask)) for mask in faulty.values())
        return FaultMasks(faulty, self._words, count)

    @functools.cached_property
    def _keys(self) -> dict[str, list[SiteKeys]]:
        """For each target, the populations within which faults are counted."""
        keys: dict[str, list[SiteKeys]] = {}
        for target, stream in _SITE_STREAM.items():
            sizes: dict[int | None, int] = {}
            for group in self._plan.groups_of(target):
                population = group.owner if self._plan.allocation == "layer" else None
                sizes[population] = sizes.get(population, 0) + group.sites
            starts = np.cumsum([0, *sizes.values()])
            keys[target] = [
                SiteKeys(self._seed, self._trial, stream, size, int(start))
                for size, start in zip(sizes.values(), starts[:-1], strict=True)
            ]
        return keys

    @functools.cached_property
    def _words(self) -> dict[str, np.ndarray]:
        words = {}
        for target, stream in _WORD_STREAM.items():
            groups = self._plan.groups_of(target)
            is_random = any(group.fault.random for group in groups)
            size = sum(group.size for group in groups) if is_random else 0
            keys = SiteKeys(self._seed, self._trial, stream, size)
            words[target] = keys.all_words().view(np.uint32).reshape(size, 2)
        return words


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
        """Each group of a target with its mask and its words, in the group's shape."""
        site = value = 0
        faulty, words = self.faulty[target], self.words[target]
        for group in plan.groups_of(target):
            per_value = group.fault.sites_per_value
            tail = (per_value,) if per_value > 1 else ()
            mask = tf.reshape(faulty[site : site + group.sites], group.shape + tail)
            word = None
            if group.fault.random:
                word = tf.reshape(words[value : value + group.size], (*group.shape, 2))
            yield group, mask, word
            site, value = site + group.sites, value + group.size
