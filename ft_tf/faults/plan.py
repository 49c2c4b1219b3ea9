"""From a model, a rate, a seed and a trial to the faulty sites."""

import bisect
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
_SITE_STREAM = {"weights": 0, "units": 1, _SPARE: 6}
_WORD_STREAM = {"weights": 2, "units": 3}
_ROUNDING_STREAM = {"weights": 7, "units": 8}  # 4 chooses images, see campaign.py


@dataclasses.dataclass(frozen=True, eq=False)
class FaultPlan:
    """Everything about a fault experiment but rate, seed and trial.

    Attributes:
        groups: the sites, weights first.
        fault: what was asked for to happen at a faulty site; each group has what happens there.
        allocation: "model": exactly round(rate * sites) faults among all sites; "layer": exactly
            round(rate * sites) in each layer; "bernoulli": each site on its own. With the target
            "both", weights and units are two populations, each with its own count. Where sites fail
            together (bursts, patterns) what is drawn are events of several sites: "model" and
            "layer" fix their number, rounded up or down at random in each trial so that every site
            is faulty with probability `rate`.
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

    def by_group(
        self, target: str, faulty: Mapping[str, Any], words: Mapping[str, Any]
    ) -> Iterator[tuple[SiteGroup, tf.Tensor, tf.Tensor | None]]:
        """Each group of a target with its mask and words: in its shape, or [images, *shape].

        `faulty` and `words` are as in `FaultMasks`: arrays, tensors or variables. The mask of a
        group with spare sites is flat, these last.
        """
        site = value = first_spare = 0
        images = (-1,) if len(faulty[target].shape) > 1 else ()
        for group in self.groups_of(target):
            mask = faulty[target][..., site : site + group.sites]
            spare = group.spare_sites if target == "weights" else 0
            if spare:
                further = faulty[_SPARE][first_spare : first_spare + spare]
                mask, first_spare = tf.concat([mask, further], 0), first_spare + spare
            else:
                per_value = group.fault.sites_per_value
                tail = (per_value,) if per_value > 1 else ()
                mask = tf.reshape(mask, (*images, *group.shape, *tail))
            word = None
            if group.fault.random:
                word = words[target][..., value : value + group.size, :]
                word = tf.reshape(word, (*images, *group.shape, 2))
            yield group, mask, word
            site, value = site + group.sites, value + group.size

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
            sites of weights; their number of faults is drawn separately.
        words: the same for the fault model's random words, uint32 [values, 2]; empty unless used.
        count: number of faulty sites, without spare ones.
    """

    faulty: dict[str, np.ndarray]
    words: dict[str, np.ndarray]
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Draws the faults of one trial; a higher rate adds faults to those of a lower one.

    Transient faults are drawn again for each `draw`.
    """

    plan: FaultPlan
    seed: int
    trial: int
    draw: int = 0

    def masks(self, rate: float) -> FaultMasks:
        """The faults at `rate`, in [0, 1]."""
        check_fraction(rate=rate)
        faulty = {kind: self._faulty(kind, rate) for kind in _SITE_STREAM}
        count = sum(int(np.count_nonzero(faulty[target])) for target in ("weights", "units"))
        return FaultMasks(faulty, self._words, count)

    def _faulty(self, kind: str, rate: float) -> np.ndarray:
        groups, sizes = self._counted(kind)
        parts = [np.zeros(0, bool)] * len(groups)
        for keys, together, members in self._populations[kind]:
            mask = self._drawn(kind, keys, rate, together)
            if together == 1 and len(members) == len(groups):
                parts = [mask]  # copied below: returned as it is, trials take a tenth longer
                break
            start = 0
            for number in members:
                group, part = groups[number], mask[start : start + sizes[number]]
                if together > 1:
                    shape = (1, *group.shape, group.fault.sites_per_value)
                    part = group.fault.spread(part.reshape(shape)).ravel()
                parts[number] = part
                start += sizes[number]
        return np.concatenate([np.zeros(0, bool), *parts])

    def _drawn(self, kind: str, keys: SiteKeys, rate: float, together: int) -> np.ndarray:
        """The faulty sites of a population, or of those that fail together the first ones."""
        if self.plan.allocation == "bernoulli":
            return bernoulli_mask(keys, _event_rate(rate, together))
        if together == 1:
            return exact_mask(keys, fault_count(rate, keys.size))
        # One uniform number for all rates of a trial keeps the faults nested.
        (word,) = SiteKeys(self.seed, self.trial, _ROUNDING_STREAM[kind], 1, keys.start).all_words
        uniform = int(word >> np.uint64(11)) / 2**53  # below 1
        return exact_mask(keys, math.floor(_mean_events(rate, keys.size, together) + uniform))

    def _counted(self, kind: str) -> tuple[tuple[SiteGroup, ...], list[int]]:
        """The groups that have sites of a kind, and how many."""
        groups = self.plan.groups_of("weights" if kind == _SPARE else kind)
        return groups, [g.spare_sites if kind == _SPARE else g.sites for g in groups]

    @functools.cached_property
    def _populations(self) -> dict[str, list[tuple[SiteKeys, int, list[int]]]]:
        """By kind of sites, what faults are counted in: keys, sites that fail together, groups."""
        found: dict[str, list[tuple[SiteKeys, int, list[int]]]] = {}
        for kind, stream in _SITE_STREAM.items():
            groups, sizes = self._counted(kind)
            members: dict[tuple[int | None, int], list[int]] = {}
            for number, group in enumerate(groups):
                owner = group.owner if self.plan.allocation == "layer" else None
                together = 1 if kind == _SPARE else group.fault.together(group.shape)
                members.setdefault((owner, together), []).append(number)
            start = self.draw * sum(sizes)
            found[kind] = []
            for (_, together), numbers in members.items():
                size = sum(sizes[number] for number in numbers)
                keys = SiteKeys(self.seed, self.trial, stream, size, start)
                found[kind].append((keys, together, numbers))
                start += size
        return found

    @functools.cached_property
    def _words(self) -> dict[str, np.ndarray]:
        words = {}
        for target, stream in _WORD_STREAM.items():
            groups = self.plan.groups_of(target)
            is_random = any(group.fault.random for group in groups)
            size = sum(group.size for group in groups) if is_random else 0
            keys = SiteKeys(self.seed, self.trial, stream, size, self.draw * size)
            words[target] = keys.all_words.view(np.uint32).reshape(size, 2)
        return words


def _event_rate(rate: float, together: int) -> float:
    """Rate of events that each make `together` sites faulty, so that a share `rate` is faulty."""
    if together == 1 or rate == 1.0:
        return rate
    return -math.expm1(math.log1p(-rate) / together)


@functools.lru_cache(maxsize=256)
def _mean_events(rate: float, sites: int, together: int) -> float:
    """Mean number of events, each `together` of the sites, so that a share `rate` is faulty.

    A number n of different events spares a site with probability
    C(sites - together, n) / C(sites, n), the product over j < together of 1 - n / (sites - j).
    A mean between two whole numbers is one of these at random, so that its share is linear.
    """
    if rate == 1.0:
        return float(sites)
    left = sites - np.arange(together)

    def share(count: int) -> float:
        with np.errstate(divide="ignore"):  # of log 0: no site is spared
            return -math.expm1(np.log1p(-count / left).sum())

    fewer = bisect.bisect(range(sites - together + 2), rate, key=share) - 1
    return fewer + (rate - share(fewer)) / (share(fewer + 1) - share(fewer))
