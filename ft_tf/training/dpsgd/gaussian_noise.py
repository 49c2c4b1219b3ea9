"""Gaussian noise as a function of (secret, step), drawn while the forward pass runs.

The bits come from NumPy's SFC64, seeded for each step from the secret and the step; the Box-Muller
transform turns pairs of 32-bit uniforms into pairs of normals by vectorised float32 functions.
That takes a fifth of the processor time of TensorFlow's generators, and holds no interpreter lock,
so it runs in parallel with the forward pass. The largest possible value is sqrt(66 ln 2) = 6.8
standard deviations.

Neither this generator nor TensorFlow's is cryptographically secure, and float32 noise is open to
attacks on its last bits (Mironov 2012). Against an adversary who observes every iterate bit for
bit, use a cryptographically secure generator.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from ft_tf import checks
from ft_tf._compat import tf

_CHUNK = 1 << 15  # pairs at a time: the working arrays stay in the second-level cache
_ALIGNMENT = 64  # bytes
_SECRET_BYTES = 16
_NOISE, _SAMPLING = range(2)


@dataclasses.dataclass(frozen=True)
class Secret:
    """The entropy of noise and sampling: from the operating system, or a noise seed.

    Attributes:
        entropy: a number of 128 bits, or the noise seed.
        is_seed: whether it is a noise seed; the guarantee then holds only while it is secret.
    """

    entropy: int = dataclasses.field(repr=False)
    is_seed: bool

    @classmethod
    def of(cls, noise_seed: int | None) -> "Secret":
        """Returns the secret of `noise_seed`, or a new one from the operating system's entropy."""
        if noise_seed is None:
            return cls(int.from_bytes(os.urandom(_SECRET_BYTES), "little"), False)
        is_long = type(noise_seed) is int and 0 < noise_seed >> 63 < 2**65
        if not is_long:
            checks.check_non_negative_integer(noise_seed=noise_seed)  # longer than a count may be
        return cls(int(noise_seed), True)

    def noise_generator(self, step: int) -> np.random.Generator:
        """Returns the generator of the noise of one step."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(_NOISE, step))
        return np.random.Generator(np.random.SFC64(sequence))

    def sampling_key(self) -> int:
        """Returns the int64 key of the counter-based generator that draws batches."""
        sequence = np.random.SeedSequence(self.entropy, spawn_key=(_SAMPLING,))
        return int(sequence.generate_state(1, np.uint64).view(np.int64)[0])


def gaussian(
    generator: np.random.Generator, size: int, *, standard_deviation: float = 1.0
) -> np.ndarray:
    """Returns float32 [size]: independent N(0, standard_deviation^2).

    >>> values = gaussian(np.random.default_rng(1), 100_000, standard_deviation=2.0)
    >>> round(float(values.mean()), 1), round(float(values.std()), 1)
    (-0.0, 2.0)
    """
    values = _aligned(size + size % 2)
    room = min(len(values) // 2, _CHUNK)
    radius, angle = np.empty(room, np.float32), np.empty(room, np.float32)
    for start in range(0, len(values), 2 * _CHUNK):
        chunk = values[start : start + 2 * _CHUNK]
        pairs = len(chunk) // 2
        bits = generator.integers(0, 1 << 64, pairs, dtype=np.uint64).view(np.uint32)
        r, a = radius[:pairs], angle[:pairs]
        # (bits + 1/2) / 2^32: never 0, so the logarithm is finite, and never above 1.
        np.multiply(bits[:pairs], 2.0**-32, out=r, dtype=np.float32, casting="unsafe")
        r += np.float32(2.0**-33)
        np.log(r, out=r)
        r *= np.float32(-2.0 * standard_deviation**2)
        np.sqrt(r, out=r)
        np.multiply(bits[pairs:], 2.0**-31 * np.pi, out=a, dtype=np.float32, casting="unsafe")
        np.cos(a, out=chunk[:pairs])
        np.sin(a, out=chunk[pairs:])
        chunk[:pairs] *= r
        chunk[pairs:] *= r
    return values[:size]


def _aligned(size: int) -> np.ndarray:
    """Returns uninitialised float32 [size], aligned so that TensorFlow makes no copy."""
    spare = np.empty(size + _ALIGNMENT // 4, np.float32)
    offset = -spare.ctypes.data % _ALIGNMENT // 4
    return spare[offset : offset + size]


def noise_like(
    variables: Sequence[tf.Variable], secret: Secret, step: tf.Tensor, *, standard_deviation: float
) -> list[tf.Tensor]:
    """Returns float32 noise in the shape of each variable, a function of (secret, step)."""
    sizes = [variable.shape.num_elements() for variable in variables]
    ends = np.cumsum(sizes)

    def draw(step_value: np.ndarray) -> list[np.ndarray]:
        values = gaussian(
            secret.noise_generator(int(step_value)),
            int(ends[-1]),
            standard_deviation=standard_deviation,
        )
        return np.split(values, ends[:-1])

    # Stateless: it depends on the step alone, so it may run in parallel with the forward pass.
    parts = tf.numpy_function(draw, [step], [tf.float32] * len(sizes), stateful=False)
    return [
        tf.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)
    ]
