"""The executed steps as the accountants see them: phases of equal steps."""

import dataclasses
import math
from collections.abc import Iterable

from ft_tf.checks import (
    check_choice,
    check_non_negative,
    check_non_negative_integer,
    check_positive_integer,
    check_range,
    check_types,
)
from ft_tf.errors import ArgumentError

LEAST_NOISE, MOST_NOISE = 1e-6, 1e6
MOST_STEPS = 10**9
MOST_EXAMPLES = 10**12
"""Within these bounds every accountant is exact to its rounding and takes seconds."""


def check_noise_multiplier(noise_multiplier: float) -> None:
    """Raises ArgumentError unless the value is 0, which is not private, or can be accounted for."""
    check_non_negative(noise_multiplier=noise_multiplier)
    if noise_multiplier:
        check_range(LEAST_NOISE, MOST_NOISE, noise_multiplier=noise_multiplier)


def steps_per_pass(examples: int, batch_size: int, *, sampling: str = "poisson") -> int:
    """Steps of one pass over the data, wherever passes are turned into steps.

    round(examples / batch_size) Poisson batches, at least one; or as many full batches as fit into
    a permutation of the data.

    >>> steps_per_pass(60_000, 250), steps_per_pass(100, 30), steps_per_pass(3, 8)
    (240, 3, 1)
    >>> steps_per_pass(100, 60), steps_per_pass(100, 60, sampling="shuffle")
    (2, 1)

    Raises:
        ArgumentError: a shuffled batch larger than the data.
    """
    check_positive_integer(examples=examples, batch_size=batch_size)
    check_range(1, MOST_EXAMPLES, examples=examples, batch_size=batch_size)
    check_choice(("poisson", "shuffle"), sampling=sampling)
    if sampling == "shuffle":
        if batch_size > examples:
            raise ArgumentError(f"batch_size={batch_size} must be at most the {examples} examples")
        return examples // batch_size
    return max(1, round(examples / batch_size))


@dataclasses.dataclass(frozen=True)
class Phase:
    """Equal steps of DP-SGD: clip to C, sum a Poisson batch, add N(0, (noise_multiplier C)^2).

    Attributes:
        noise_multiplier: standard deviation of the noise over the clip norm; 0 is not private.
        sampling_probability: chance of each example to enter each batch, in (0, 1]: the expected
            batch size over the number of examples.
        steps: how many such steps were executed, those of lost work included.
    """

    noise_multiplier: float
    sampling_probability: float
    steps: int

    def __post_init__(self) -> None:
        check_noise_multiplier(self.noise_multiplier)
        check_non_negative_integer(steps=self.steps)
        check_range(0, MOST_STEPS, steps=self.steps)
        # The expected batch size over the number of examples.
        check_range(1 / MOST_EXAMPLES, 1, sampling_probability=self.sampling_probability)

    @property
    def passes(self) -> int:
        """Most passes over the data that a shuffled run of these steps can have begun.

        ceil(steps / floor(1 / sampling_probability)): a pass has at least floor(1 / q) steps,
        whether a short last batch is kept or dropped.

        >>> Phase(noise_multiplier=1.1, sampling_probability=250 / 60_000, steps=14_400).passes
        60
        """
        # 1 / (1 / 240) may fall just short of 240.
        steps_per_pass = math.floor(1 / self.sampling_probability * (1 + 1e-12))
        return math.ceil(self.steps / steps_per_pass)


def merged(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    """Joins phases of equal noise and sampling, so that a + b steps are a steps, then b.

    >>> merged([Phase(1.0, 0.5, 3), Phase(2.0, 0.5, 1), Phase(1.0, 0.5, 4), Phase(9.0, 0.5, 0)])
    (Phase(noise_multiplier=1.0, sampling_probability=0.5, steps=7),
     Phase(noise_multiplier=2.0, sampling_probability=0.5, steps=1))
    """
    phases = list(phases) if isinstance(phases, Iterable) else phases
    check_types(Phase, phases=phases)
    steps: dict[tuple[float, float], int] = {}
    for phase in phases:
        if phase.steps:
            key = (phase.noise_multiplier, phase.sampling_probability)
            steps[key] = steps.get(key, 0) + phase.steps
    return tuple(Phase(sigma, q, count) for (sigma, q), count in steps.items())
