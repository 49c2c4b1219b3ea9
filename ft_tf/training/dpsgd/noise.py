"""Gaussian noise as a function of (secret, step), cheap enough not to be felt.

The bits come from NumPy's SFC64, seeded for each step from the secret and the step; the Box-Muller
transform turns pairs of 32-bit uniforms into pairs of normals by vectorised float32 functions.
That takes a fifth of the processor time of TensorFlow's generators, and holds no interpreter lock
while it runs, so it goes on beside the forward pass. The largest value that it can give is
sqrt(66 ln 2) = 6.8 standard deviations.

Neither this generator nor TensorFlow's is a cryptographic one, and float32 noise is open to
attacks on its last bits (Mironov 2012). Who must withstand an adversary that sees every bit of
every iterate needs another generator.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from ft_tf import checks
from ft_tf._compat import tf

_CHUNK = 1 << 16  # pairs at a time: the working arrays stay in the second-level cache
_SECRET_BYTES = 16
_NOISE, _SAMPLING = range(2)


@dataclasses.dataclass(frozen=True)
class Secret:
    """What fixes noise and sampling: drawn from the operating system, or from a noise seed.

    Attributes:
        entropy: a number of 128 bits, or the noise seed.
        is_seed: whether it is a noise seed; the guarantee then holds only while it is secret.
    """

    entropy: int = dataclasses.field(repr=False)
    is_seed: bool

    @classmethod
    def of(cls, noise_seed: int | None) -> "Secret":
        """The secret of `noise_seed`, or a fresh one from the operating system's entropy."""
        if noise_seed is None:
            return cls(int.from_bytes(os.urandom(_SECRET_BYTES), "little"), False)
        checks.check_non_negative_integer(noise_seed=noise_seed)
        return cls(int(noise_seed), True)

    def noise_generator(self, step: int) -> np.random.Generator:
        """The generator of the noise of one step."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(_NOISE, step))
        return np.random.Generator(np.random.SFC64(sequence))

    def sampling_key(self) -> int:
        """int64 key of the counter-based generator that draws batches."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(_SAMPLING,))
        return int(sequence.generate_state(1, np.uint64).view(np.int64)[0])


def gaussian(
    generator: np.random.Generator, size: int, *, standard_deviation: float = 1.0
) -> np.ndarray:
    """float32 [size]: independent N(0, standard_deviation^2).

    >>> values = gaussian(np.random.default_rng(1), 100_000, standard_deviation=2.0)
    >>> round(float(values.mean()), 1), round(float(values.std()), 1)
    (-0.0, 2.0)
    """
    pairs = (size + 1) // 2
    bits = generator.integers(0, 1 << 64, pairs, dtype=np.uint64).view(np.uint32)
    values = np.empty(2 * pairs, np.float32)
    angle = np.empty(min(pairs, _CHUNK), np.float32)
    radius = np.empty_like(angle)
    for start in range(0, pairs, _CHUNK):
        stop = min(start + _CHUNK, pairs)
        r, a = radius[: stop - start], angle[: stop - start]
        # (bits + 1/2) / 2^32: never 0, so the logarithm is finite.
        np.multiply(bits[start:stop], 2.0**-32, out=r, dtype=np.float32, casting="unsafe")
        r += np.float32(2.0**-33)
        np.log(r, out=r)
        # Rounding can take a uniform near 1 to 1 exactly, never above.
        r *= np.float32(-2.0 * standard_deviation**2)
        np.sqrt(r, out=r)
        np.multiply(
            bits[pairs + start : pairs + stop],
            2.0 * np.pi * 2.0**-32,
            out=a,
            dtype=np.float32,
            casting="unsafe",
        )
        np.multiply(r, np.cos(a), out=values[start:stop])
        np.multiply(r, np.sin(a, out=a), out=values[pairs + start : pairs + stop])
    return values[:size]


def noise_like(
    variables: Sequence[tf.Variable], secret: Secret, step: tf.Tensor, *, standard_deviation: float
) -> list[tf.Tensor]:
    """float32 noise in the shape of each variable, a function of (secret, step); in graph mode."""
    sizes = [variable.shape.num_elements() for variable in variables]

    def draw(step_value: np.ndarray) -> np.ndarray:
        return gaussian(
            secret.noise_generator(int(step_value)),
            sum(sizes),
            standard_deviation=standard_deviation,
        )

    # Stateless: it depends on nothing but the step, so it may run beside the forward pass.
    flat = tf.numpy_function(draw, [step], tf.float32, stateful=False)
    flat.set_shape([sum(sizes)])
    return [
        tf.reshape(part, variable.shape)
        for part, variable in zip(tf.split(flat, sizes), variables, strict=True)
    ]
