"""Clipping rules of DP-SGD; `named` has them by name.

A further rule is a subclass of `Clipping`, an entry of `_RULES`, and a sentence in
`ft_tf.privacy.CLIPPING_RULES`.
"""

import dataclasses
import math
from typing import ClassVar

from ft_tf import checks
from ft_tf._compat import tf
from ft_tf.errors import ArgumentError

Norms = list[tf.Tensor]
ClipNorm = float | tf.Tensor


@dataclasses.dataclass(frozen=True)
class Clipping:
    """Flat clipping, g_i / max(1, |g_i| / C) over all weights jointly (Abadi et al. 2016).

    The base of other rules. Whatever the rule, no scaled gradient has an l2 norm above C: the noise
    and its accounting rest on that alone.
    """

    name: ClassVar[str] = "flat"
    adapts: ClassVar[bool] = False  # whether C changes from step to step

    def scales(self, norms: tf.Tensor, squared_norms: Norms, clip_norm: ClipNorm) -> Norms:
        """Returns the factors of each layer's gradients, one float32 [batch] for each layer.

        Args:
            norms: float32 [batch], of each example's whole gradient.
            squared_norms: float32 [batch] for each layer, of each example's gradient of it.
            clip_norm: C.

        >>> norms = tf.constant([5.0, 1.0])
        >>> (scale,) = Clipping().scales(norms, [norms**2], 2.0)
        >>> [round(float(value), 3) for value in scale]
        [0.4, 1.0]
        """
        return [clip_norm / tf.maximum(norms, clip_norm)] * len(squared_norms)

    def parts(self, noise_multiplier: float) -> tuple[float, ...]:
        """Returns the noise multipliers of a step's Gaussian mechanisms, that of gradients first.

        Together they are one mechanism of `noise_multiplier`: 1 / sigma^2 = sum of 1 / sigma_j^2.
        """
        return (noise_multiplier,)


@dataclasses.dataclass(frozen=True)
class PerLayerClipping(Clipping):
    """Clips the gradient of each of the m layers with trained weights to C / sqrt(m).

    McMahan et al. 2018, "Learning differentially private recurrent models". The whole gradient is
    then at most C, and a layer of large gradients does not shrink those of the others.
    """

    name: ClassVar[str] = "per_layer"

    def scales(self, norms: tf.Tensor, squared_norms: Norms, clip_norm: ClipNorm) -> Norms:
        """Returns (C / sqrt(m)) / max(|g_il|, C / sqrt(m)) for each layer l."""
        share = clip_norm / math.sqrt(len(squared_norms))
        return [share / tf.maximum(tf.sqrt(squared), share) for squared in squared_norms]


@dataclasses.dataclass(frozen=True)
class AutomaticClipping(Clipping):
    """Scales every gradient: C g_i / (|g_i| + gamma), which is always below C.

    AUTO-S of Bu et al. 2022, "Automatic clipping". C only scales the update together with the
    noise, so with plain SGD it can stay 1 and the learning rate is what remains to be chosen.

    Attributes:
        gamma: > 0; gradients well below it keep their relative lengths.
    """

    gamma: float = 0.01
    name: ClassVar[str] = "automatic"

    def __post_init__(self) -> None:
        checks.check_positive(gamma=self.gamma)

    def scales(self, norms: tf.Tensor, squared_norms: Norms, clip_norm: ClipNorm) -> Norms:
        """Returns C / (|g_i| + gamma) for all layers."""
        return [clip_norm / (norms + self.gamma)] * len(squared_norms)


@dataclasses.dataclass(frozen=True)
class AdaptiveClipping(Clipping):
    """Flat clipping to a clip norm that starts at `l2_norm_clip` and follows a quantile.

    Andrew et al. 2021, "Differentially private learning with adaptive clipping". Each step, besides
    the sum of the clipped gradients, releases a noisy count of the gradients that were not clipped:

        b   = (sum_{i in B} ([|g_i| <= C_t] - 1/2) + N(0, sigma_b^2)) / L + 1/2
        C_{t+1} = C_t exp(-rate (b - quantile))

    An example moves the count by 1/2, so it is a Gaussian mechanism of noise multiplier 2 sigma_b;
    both releases of a step together are one of noise multiplier z with
    1/z^2 = 1/z_g^2 + 1/(2 sigma_b)^2 (theorem 1 of that paper). `noise_multiplier` is z: the
    gradients get the slightly larger z_g.

    Attributes:
        quantile: share of gradients that shall not be clipped, in (0, 1).
        rate: of the geometric update of the clip norm, > 0.
        count_noise: noise multiplier of the count over `noise_multiplier`, above 1. At 10 the
            gradients get 0.5% more noise.
    """

    quantile: float = 0.5
    rate: float = 0.2
    count_noise: float = 10.0
    name: ClassVar[str] = "adaptive"
    adapts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.check_probability(quantile=self.quantile)
        checks.check_positive(rate=self.rate, count_noise=self.count_noise)
        if self.count_noise <= 1:
            raise ArgumentError(f"count_noise={self.count_noise!r} must be above 1")

    def parts(self, noise_multiplier: float) -> tuple[float, ...]:
        """Returns z_g and 2 sigma_b."""
        gradients = noise_multiplier / math.sqrt(1 - self.count_noise**-2)
        return gradients, self.count_noise * noise_multiplier

    def next_norm(self, clip_norm: tf.Tensor, count: tf.Tensor, batch_size: int) -> tf.Tensor:
        """Returns C_{t+1}.

        Args:
            clip_norm: C_t.
            count: sum of [|g_i| <= C_t] - 1/2, with noise.
            batch_size: L.
        """
        share = count / batch_size + 0.5
        return clip_norm * tf.exp(-self.rate * (share - self.quantile))


_RULES = {
    rule.name: rule for rule in (Clipping, PerLayerClipping, AutomaticClipping, AdaptiveClipping)
}


def named(clipping: str | Clipping) -> Clipping:
    """Returns a rule given as it is, or by its name with the defaults of its class.

    >>> named("automatic")
    AutomaticClipping(gamma=0.01)

    Raises:
        ArgumentError: there is no such rule.
    """
    if isinstance(clipping, Clipping):
        return clipping
    checks.check_choice(_RULES, clipping=clipping)
    return _RULES[clipping]()
