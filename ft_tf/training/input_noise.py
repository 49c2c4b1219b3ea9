"""Gaussian noise on the training inputs, the paper's second regulariser (section 4.1)."""

import dataclasses

from ft_tf import checks
from ft_tf._compat import tf


@dataclasses.dataclass(frozen=True)
class AdditiveGaussian:
    """x + sigma * N(0, 1), entry by entry; the result is not clipped.

    Attributes:
        sigma: standard deviation, in units of x.
    """

    sigma: float

    def __post_init__(self) -> None:
        checks.check_non_negative(sigma=self.sigma)

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns noisy inputs, a function of `x` and `seed` (two integers) alone."""
        return x + self.sigma * tf.random.stateless_normal(tf.shape(x), seed, dtype=x.dtype)

    def variance(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the variance of the noise on each entry of `x`."""
        return tf.fill(tf.shape(x), tf.constant(self.sigma**2, x.dtype))


@dataclasses.dataclass(frozen=True)
class MultiplicativeGaussian:
    """x * (1 + sigma * N(0, 1)), entry by entry; the result is not clipped.

    Attributes:
        sigma: standard deviation relative to x.
    """

    sigma: float

    def __post_init__(self) -> None:
        checks.check_non_negative(sigma=self.sigma)

    def __call__(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns noisy inputs, a function of `x` and `seed` (two integers) alone."""
        return x * (1 + self.sigma * tf.random.stateless_normal(tf.shape(x), seed, dtype=x.dtype))

    def variance(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the variance of the noise on each entry of `x`."""
        return self.sigma**2 * tf.square(x)


InputNoise = AdditiveGaussian | MultiplicativeGaussian
