"""Adaptive clipping (Andrew et al. 2021, "Differentially private learning with adaptive clipping").

The clip norm follows a quantile of the gradients' norms. Each step, besides the sum of the clipped
gradients, releases a noisy count of the gradients that were not clipped:

    b   = (sum_{i in B} ([|g_i| <= C_t] - 1/2) + N(0, sigma_b^2)) / L + 1/2
    C_{t+1} = C_t exp(-rate (b - quantile))

An example moves the count by 1/2, so it is a Gaussian mechanism of noise multiplier 2 sigma_b; both
releases of a step together are one of noise multiplier z with 1/z^2 = 1/z_g^2 + 1/(2 sigma_b)^2
(theorem 1 of that paper). `noise_multiplier` is z: the gradients get the slightly larger z_g.
"""

import dataclasses
import math
from typing import ClassVar

from ft_tf import checks
from ft_tf._compat import tf
from ft_tf.errors import ArgumentError
from ft_tf.training.dpsgd.clipping.base import Clipping

NORMS = (1e-9, 1e9)
"""Of a clip norm that adapts: where most gradients are 0 it would fall until its noise is lost."""


@dataclasses.dataclass(frozen=True)
class AdaptiveClipping(Clipping):
    """Flat clipping to a clip norm that starts at `l2_norm_clip` and follows a quantile.

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
        """Returns C_{t+1}, held within `NORMS`.

        Args:
            clip_norm: C_t.
            count: sum of [|g_i| <= C_t] - 1/2, with noise.
            batch_size: L.
        """
        share = count / batch_size + 0.5
        moved = clip_norm * tf.exp(-self.rate * (share - self.quantile))
        return tf.clip_by_value(moved, *NORMS)
