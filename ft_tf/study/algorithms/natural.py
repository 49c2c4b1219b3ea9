"""Natural training, alone or with a penalty or noise: all of them `NaturalModel`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ft_tf import checks
from ft_tf.study.algorithms.base import Algorithm, register, shared_arguments

if TYPE_CHECKING:
    from ft_tf._compat import keras
    from ft_tf.study.config import RunConfig
    from ft_tf.training.natural import NaturalModel


@register
@dataclasses.dataclass(frozen=True)
class Natural(Algorithm):
    """Plain cross-entropy training."""

    name: ClassVar[str] = "natural"
    label: ClassVar[str] = "natural"

    def build(self, model: keras.Model, config: RunConfig) -> NaturalModel:
        from ft_tf.training.natural import NaturalModel

        return NaturalModel(model, **self.natural_arguments(), **shared_arguments(config))

    def natural_arguments(self) -> dict[str, Any]:
        """Returns the arguments that `NaturalModel` takes from it: by default its options."""
        return dataclasses.asdict(self)


@register
@dataclasses.dataclass(frozen=True)
class Tikhonov(Natural):
    """L2 on kernels: the loss gains l2 * sum of squared kernel entries.

    Attributes:
        l2: coefficient of the squared kernel entries.
    """

    name: ClassVar[str] = "tikhonov"
    label: ClassVar[str] = "Tikhonov"
    family: ClassVar[str] = "regularised"
    l2: checks.Amount = 1e-3


@dataclasses.dataclass(frozen=True)
class _GaussianNoise(Natural):
    """Gaussian noise on the inputs, or a penalty in its place.

    Attributes:
        sigma: scale of the noise, in pixels or (multiplicative) as a share of them; of a penalty,
            that of the noise that it stands for.
    """

    family: ClassVar[str] = "noise"
    argument: ClassVar[str] = "input_noise"  # of `NaturalModel`
    noise: ClassVar[str] = "AdditiveGaussian"  # a class of ft_tf.training.input_noise
    sigma: checks.Amount = 0.1

    def natural_arguments(self) -> dict[str, Any]:
        """Returns noise of this sigma as the class's argument."""
        from ft_tf.training import input_noise

        return {self.argument: getattr(input_noise, self.noise)(self.sigma)}


@register
@dataclasses.dataclass(frozen=True)
class AdditiveGaussian(_GaussianNoise):
    """Trains on x + sigma N(0, 1), resampled at every step."""

    name: ClassVar[str] = "additive_gaussian"
    label: ClassVar[str] = "additive noise"


@register
@dataclasses.dataclass(frozen=True)
class MultiplicativeGaussian(_GaussianNoise):
    """Trains on x (1 + sigma N(0, 1)), resampled at every step."""

    name: ClassVar[str] = "multiplicative_gaussian"
    label: ClassVar[str] = "multiplicative noise"
    noise: ClassVar[str] = "MultiplicativeGaussian"


@register
@dataclasses.dataclass(frozen=True)
class JacobianPenalty(_GaussianNoise):
    """Adds Bishop's penalty, which small additive noise is equivalent to."""

    name: ClassVar[str] = "jacobian_penalty"
    label: ClassVar[str] = "Jacobian penalty"
    argument: ClassVar[str] = "jacobian_penalty"

    def passes(self, *, classes: int) -> float:
        """With a backward pass for every class."""
        return 3.0 * (1.0 + classes)
