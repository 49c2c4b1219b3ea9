"""Flat clipping, the rule of Abadi et al. (2016), and what a rule may choose otherwise."""

import dataclasses
from typing import ClassVar

from ft_tf._compat import tf

Norms = list[tf.Tensor]
ClipNorm = float | tf.Tensor


@dataclasses.dataclass(frozen=True)
class Clipping:
    """Flat clipping, g_i / max(1, |g_i| / C) over all weights jointly; the base of other rules.

    Whatever the rule, no scaled gradient has an l2 norm above C: the noise and its accounting rest
    on that alone.
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
