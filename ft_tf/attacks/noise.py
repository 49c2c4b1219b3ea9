"""Random starts inside the ball: each example's own, whatever batch it is attacked in."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def random_perturbations(
    examples: Sequence[int] | npt.NDArray[np.int64],
    shape: tuple[int, ...],
    *,
    epsilon: float,
    distance: str,
    stream: tuple[int, ...],
) -> npt.NDArray[np.float32]:
    """Perturbations drawn uniformly from the ball of radius epsilon, float32 [n, *shape].

    An example's perturbation is a function of `stream` and of its index alone: a Philox generator
    with the stream as its key and the index in its counter.

    Args:
        examples: indices of the examples in the data set.
        shape: shape of one example.
        epsilon: radius.
        distance: "l_inf" or "l_2".
        stream: seed and what else tells the draws of one run apart, such as the restart.
    """
    key = _key(stream)
    perturbations = np.empty((len(examples), *shape), np.float32)
    for row, example in enumerate(examples):
        philox = np.random.Philox(key=key, counter=[0, int(example), 0, 0])
        generator = np.random.Generator(philox)
        if distance == "l_inf":
            perturbations[row] = 2 * generator.random(shape, np.float32) - 1
        else:
            direction = generator.standard_normal(shape)
            radius = generator.random() ** (1 / direction.size)
            perturbations[row] = radius / np.linalg.norm(direction) * direction
    return np.float32(epsilon) * perturbations


def uniform_numbers(
    examples: int, numbers: int, *, stream: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Uniform numbers in [0, 1), float32 [examples, numbers]; a row depends on its index alone."""
    philox = np.random.Philox(key=_key(stream))
    return np.random.Generator(philox).random((examples, numbers), np.float32)


def _key(stream: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """The key of a Philox generator, of its own for every stream.

    A sequence fills its words up with zeros, so that (seed, restart) would equal (seed, restart,
    0, 0), and it splits a long seed over two words. What is no pair of single words is told apart
    by the spawn key, which is never filled up.
    """
    high, low = divmod(stream[0], 2**32)
    own = () if len(stream) == 2 and not high else (len(stream), high, *stream[2:])
    sequence = np.random.SeedSequence([low, *stream[1:2]], spawn_key=own)
    return sequence.generate_state(2, np.uint64)
