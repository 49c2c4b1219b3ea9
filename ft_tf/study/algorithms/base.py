"""What every training algorithm says of itself, and the registry of algorithms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ft_tf import checks
from ft_tf.errors import ArgumentError

if TYPE_CHECKING:
    from ft_tf._compat import keras
    from ft_tf.study.config import RunConfig
    from ft_tf.training.base import ResidentModel

FAMILIES = ("natural", "regularised", "noise", "robust", "private")

ADDED = {"added": True}
"""Metadata of a field that older records lack: JSON has it only when it is not at its default."""


class Algorithm:
    """A training algorithm; a subclass is a frozen dataclass of its options.

    Attributes:
        name: the algorithm's name in configurations, flags and names of runs.
        label: its short display name.
        family: one of `FAMILIES`, by which figures choose colours.
        attack_radius: radius in pixels of the ball that training defends; None for no defence. A
            run with a defence and a curve also keeps its most robust epoch.
        has_secret_noise: whether a repeated step draws new noise, so that lost steps count.
        normalization: mean and standard deviation by which the model normalises its inputs.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    family: ClassVar[str] = "natural"
    attack_radius: float | None | property = None
    has_secret_noise: bool | property = False
    normalization: tuple[float, float] | None | property = None

    def __post_init__(self) -> None:
        checks.check_fields(self)

    @property
    def settings(self) -> tuple[str, ...]:
        """The options for display, the one that matters most first."""
        values = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return tuple(f"{n} {v:g}" if isinstance(v, float) else f"{n} {v}" for n, v in values)

    @property
    def tag(self) -> str:
        """The part of a run's name that tells it from other runs of the algorithm."""
        return "".join(f"-{setting.replace(' ', '_')}" for setting in self.settings)

    def passes(self, *, classes: int) -> float:
        """Cost of a training step in forward passes of one example; it only shapes time left."""
        return 3.0

    def with_seed(self, seed: int) -> Algorithm:
        """Returns the same algorithm for a run with another seed."""
        return self

    def check(self, config: RunConfig) -> None:
        """Raises ArgumentError if the algorithm cannot run under this configuration."""

    def check_strategy(self, strategy: str) -> None:
        """Raises ArgumentError if the training cannot be distributed by this strategy."""

    def check_packages(self) -> None:
        """Raises StackError if a package is missing."""

    def build(self, model: keras.Model, config: RunConfig) -> ResidentModel:
        """Returns the trainer of `model`, not yet compiled."""
        raise NotImplementedError

    def averaged_model(self, trainer: ResidentModel) -> keras.Model | None:
        """Returns a model with an average of the iterates; None if the training keeps none."""
        return None

    def privacy(
        self, config: RunConfig, *, examples: int, steps: int, epochs_started: int
    ) -> dict[str, Any] | None:
        """Returns what the record states of the training's privacy; None for no guarantee.

        `steps` are those of the final training, `epochs_started` all that any process began.
        """
        return None


_ALGORITHMS: dict[str, type[Algorithm]] = {}


def register(cls: type) -> type:
    """Registers an algorithm's class under its `name`; usable as a decorator.

    Worker processes see it if it is at the top of a module that they import.

    Raises:
        ArgumentError: it is not a frozen dataclass with a name, or the name is another class's.
    """
    frozen = dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    if not (frozen and issubclass(cls, Algorithm) and getattr(cls, "name", "")):
        raise ArgumentError(f"algorithm={cls.__name__} must be a frozen dataclass with a name")
    checks.check_choice(FAMILIES, family=cls.family)
    known = _ALGORITHMS.get(cls.name, cls)
    if known.__qualname__ != cls.__qualname__:
        raise ArgumentError(f"algorithm={cls.name!r} is registered already: {known.__qualname__}")
    _ALGORITHMS[cls.name] = cls
    return cls


def names() -> tuple[str, ...]:
    """Names of all registered algorithms."""
    return tuple(_ALGORITHMS)


def get(name: str) -> type[Algorithm]:
    """Returns the class of the algorithm called `name`.

    Raises:
        ArgumentError: it is not registered.
    """
    checks.check_choice(_ALGORITHMS, algorithm=name)
    return _ALGORITHMS[name]


def from_dict(fields: Mapping[str, Any]) -> Algorithm:
    """Returns the algorithm of a configuration's `algorithm`: its name and its options.

    Raises:
        ArgumentError: an unknown algorithm or option, or a value out of range.

    >>> from_dict({"name": "tikhonov", "l2": 0.5}).settings
    ('l2 0.5',)
    """
    options = dict(fields)
    cls = get(options.pop("name", None))
    try:
        return cls(**options)
    except TypeError as error:
        raise ArgumentError(f"algorithm={cls.name!r} cannot be read: {error}") from None


def shared_arguments(config: RunConfig) -> dict[str, Any]:
    """Arguments that the trainers of natural training and of TRADES take from a configuration."""
    from ft_tf.data.augment import crop_and_flip

    return {
        "augmentation": crop_and_flip if config.augment else None,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
    }
