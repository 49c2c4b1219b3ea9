"""Fault models made of others: a different one in each layer, patterns on a layer's output."""

import dataclasses
import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ft_tf._compat import tf
from ft_tf.checks import check_choice, check_positive_integer, shown
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.faults.models import FaultModel, StuckAt, dilated


@dataclasses.dataclass(frozen=True)
class PerLayer(FaultModel):
    """A different fault model in each part of a model: that of the first pattern which fits.

    A pattern is a wildcard (`fnmatch`) for the name of a layer or the path of a parameter, after
    "weights:" or "units:" if it is for one of them only. Parts that no pattern fits have no faults.

        PerLayer({"weights:conv*": BitErrors("int8"), "units:*": StuckAt(0.0)})

    The rate is the same for all; it is per site of each fault model, a value or a bit.

    Attributes:
        faults: pairs of a pattern and a fault model, or a dictionary.
    """

    faults: tuple[tuple[str, FaultModel], ...]
    in_training: ClassVar[bool] = False

    def __post_init__(self) -> None:
        pairs = tuple(self.faults.items()) if isinstance(self.faults, Mapping) else self.faults
        if not isinstance(pairs, list | tuple) or any(
            not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs
        ):
            raise ArgumentError(
                f"faults={shown(self.faults)} must be a dictionary of patterns and fault models"
            )
        object.__setattr__(self, "faults", tuple(map(tuple, pairs)))
        for pattern, fault in self.faults:
            if not isinstance(pattern, str) or not isinstance(fault, FaultModel):
                raise ArgumentError(f"faults={pattern!r}: {fault!r} must be a pattern and a fault")
            if isinstance(fault, PerLayer):
                raise ArgumentError(f"faults={pattern!r}: {fault!r} must not be per layer itself")
        if not self.faults:
            raise ArgumentError("faults={} must have at least one pattern")

    def check_target(self, target: str) -> None:
        for pattern, fault in self.faults:
            named = pattern.partition(":")[0]
            fault.check_target(named if named in ("weights", "units") else target)

    def placed(self, groups: Sequence[Any]) -> list[Any]:
        found: dict[int, Any] = {}
        for pattern, fault, fitting in self._shared_out(groups):
            if not fitting:
                names = dict.fromkeys(f"{group.target}:{group.layer}" for group in groups)
                raise ModelError(
                    f"faults={pattern!r} fits no layer or parameter that is left to it; there are "
                    f"{', '.join(names)}"
                )
            found.update(zip(map(id, fitting), fault.placed(fitting), strict=True))
        return [found[id(group)] for group in groups if id(group) in found]

    def within(self, groups: Sequence[Any]) -> "PerLayer":
        return PerLayer(
            tuple((p, fault) for p, fault, fitting in self._shared_out(groups) if fitting)
        )

    def _shared_out(self, groups: Sequence[Any]) -> Iterator[tuple[str, FaultModel, list[Any]]]:
        left = list(groups)
        for pattern, fault in self.faults:
            yield pattern, fault, [group for group in left if _fits(pattern, group)]
            left = [group for group in left if not _fits(pattern, group)]


def _fits(pattern: str, group: Any) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern)
        for part in (group.layer, *_paths(group))
        for name in (part, f"{group.target}:{part}")
    )


def _paths(group: Any) -> Iterator[str]:
    """The path of a group's parameter, and those that it has in the model it was copied from.

    Protected copies hold a/kernel as a/a/kernel, of a layer in its wrapper. Copies hold both/l/bias
    as l/bias, and models from files hold block/d/bias as d/bias.
    """
    yield group.name
    if group.target == "units":
        return
    given = group.name.split("/")
    steps = [step for step, _ in itertools.groupby(given)]
    if group.layer not in steps:
        steps.insert(0, group.layer)
    yield "/".join(steps)
    if len(steps) < len(given):
        yield "/".join(steps[steps.index(group.layer) :])


PATTERNS = ("point", "row", "channel", "position", "block")


@dataclasses.dataclass(frozen=True)
class Patterned(FaultModel):
    """Faults as accelerators make them: values of a layer's output fail together in a pattern.

    Of an output [..., rows, columns, channels]:

        point     each value by itself
        row       a row of one channel: all values along the last axis before the channels
        channel   all of one channel
        position  one position in all channels
        block     `block` x `block` neighbouring positions of one channel, also around the edges

    What has fewer axes fails as far as it has them: a row of a Dense layer is one value. The rate
    is the expected share of faulty values; every value is faulty with that probability. For
    `Select(units="positions")`.

    Attributes:
        pattern: which values of a layer's output fail together: point, row, channel, position or
            block. All but point need units=positions.
        fault: what a faulty value becomes.
        block: of the pattern block, positions along each axis.
    """

    pattern: str = "point"
    fault: FaultModel = dataclasses.field(default_factory=StuckAt)
    block: int = 3
    in_training: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice(PATTERNS, pattern=self.pattern)
        check_positive_integer(block=self.block)
        if not isinstance(self.fault, FaultModel) or self.fault.together((1 << 20,)) > 1:
            raise ArgumentError(f"fault={self.fault!r} must be a fault model of single values")

    @property
    def random(self) -> bool:
        return self.fault.random

    @property
    def sites_per_value(self) -> int:
        return self.fault.sites_per_value

    def check_target(self, target: str) -> None:
        if target != "units":
            raise ArgumentError(f"pattern={self.pattern!r} is for target='units', not {target!r}")
        self.fault.check_target(target)

    def placed(self, groups: Sequence[Any]) -> list[Any]:
        for group in groups:
            layer = group.points[0][0] if group.points else None
            if not group.positions or getattr(layer, "data_format", "") == "channels_first":
                raise ArgumentError(
                    f"pattern={self.pattern!r} needs select=Select(units='positions') and channels "
                    f"last: layer {group.layer} has not both"
                )
        inner = self.fault.placed(groups)
        return [
            dataclasses.replace(group, fault=dataclasses.replace(self, fault=group.fault))
            for group in inner
        ]

    def together(self, shape: tuple[int, ...]) -> int:
        positions = shape[:-1]
        return {
            "point": 1,
            "row": math.prod(positions[-1:]),
            "channel": math.prod(positions),
            "position": shape[-1],
            "block": math.prod(min(self.block, size) for size in positions[-2:]),
        }[self.pattern]

    def spread(self, events: np.ndarray) -> np.ndarray:
        last = events.ndim - 3  # axis of the columns; those before it are rows and others
        if self.pattern == "block":
            for axis in range(max(1, last - 1), last + 1):
                events = dilated(events, self.block, axis)
            return events
        axes = {
            "point": (), "row": (last,) * (last > 0), "channel": tuple(range(1, last + 1)),
            "position": (last + 1,),
        }[self.pattern]  # fmt: skip
        return np.broadcast_to(events.any(axis=axes, keepdims=True), events.shape)

    def apply(
        self, values: tf.Tensor, mask: tf.Tensor, words: tf.Tensor | None = None
    ) -> tf.Tensor:
        return self.fault.apply(values, mask, words)
