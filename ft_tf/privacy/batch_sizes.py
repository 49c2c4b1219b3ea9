"""Checks of a caller's batches by their sizes: the sampling that these do not contradict.

A tf.data input cannot be asked how it samples, but its batches can be counted. Their sizes
distinguish fixed batches from Poisson samples, whose sizes are Binomial(n, q). Properties that
sizes cannot show (independent draws, every example once in a pass) are taken on trust, and the
statement says so.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

_LEVEL = 1e-4
"""Probability, in each of two tests, of rejecting the sizes of real Poisson samples.

That error costs a claim. The other error would make a false one; it gets rarer with every batch.
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The sampling that may be claimed for batches.

    Attributes:
        sampling: "poisson", "shuffle" (a pass gives every example at most once, in full batches),
            or "unknown".
        reason: why it is not the stated sampling; empty if it is.
    """

    sampling: str
    reason: str = ""


def examine(
    passes: Sequence[Sequence[int]],
    *,
    stated: str,
    num_examples: int,
    batch_size: int,
    whole_passes: bool,
    complete: bool,
) -> Finding:
    """Compares the sizes of executed batches with the stated sampling.

    Args:
        passes: sizes of the batches that were executed, for each time that the input was begun.
        stated: "poisson" or "shuffle".
        num_examples: how many examples the batches are said to be drawn from.
        batch_size: the expected size.
        whole_passes: whether each entry of `passes` goes to the end of the input.
        complete: whether the last one does too; False after an interruption.

    >>> what = dict(num_examples=100, batch_size=40, whole_passes=True, complete=True)
    >>> examine([[40, 40, 20]], stated="shuffle", **what)
    Finding(sampling='shuffle', reason='')
    >>> examine([[40, 40, 20]], stated="poisson", **what).sampling
    'shuffle'
    >>> examine([[41, 36, 45]], stated="poisson", **what).sampling
    'poisson'
    """
    passes = [sizes for sizes in passes if sizes]
    sizes = list(itertools.chain.from_iterable(passes))
    if not sizes:
        return Finding(stated)
    if max(sizes) > num_examples:
        return Finding(
            "unknown", f"a batch had {max(sizes)} examples, and num_examples={num_examples}"
        )
    if all(_is_cut(part, batch_size) for part in passes):
        problem = _problem_of_passes(passes, num_examples, batch_size, whole_passes, complete)
        if problem:
            return Finding("unknown", problem)
        one_size = f"its batches have one size, {batch_size}, and are no Poisson samples"
        return Finding("shuffle", "" if stated == "shuffle" else one_size)
    if stated == "shuffle":
        return Finding(
            "unknown",
            f"its batches had {min(sizes)} to {max(sizes)} examples: shuffled ones are full, "
            f"batch_size={batch_size}, but for the last of a pass",
        )
    problem = _problem_of_samples(sizes, num_examples, batch_size)
    return Finding("unknown", problem) if problem else Finding("poisson")


def _is_cut(sizes: Sequence[int], batch_size: int) -> bool:
    """Returns True for the sizes of data cut into full batches, the last one perhaps smaller."""
    return all(size == batch_size for size in sizes[:-1]) and 0 < sizes[-1] <= batch_size


def _problem_of_passes(
    passes: Sequence[Sequence[int]],
    num_examples: int,
    batch_size: int,
    whole_passes: bool,
    complete: bool,
) -> str:
    """Returns the reason why fixed batches are no passes over `num_examples` examples, or ""."""
    if not whole_passes:
        return (
            f"its batches have one size, {batch_size}, so that what counts is how often each "
            "example came, and an input without an end in each epoch does not show that: give one "
            "that ends after a pass, without repeat and steps_per_epoch"
        )
    totals = [sum(sizes) for sizes in passes]
    if max(totals) > num_examples:
        return f"a pass had {max(totals)} examples, and num_examples={num_examples}"
    ended = totals if complete else totals[:-1]
    # The account counts num_examples // batch_size steps a pass: it must not be given fewer.
    if ended and min(ended) <= num_examples - batch_size:
        return f"a pass had {min(ended)} examples, and num_examples={num_examples}"
    return ""


def _problem_of_samples(sizes: Sequence[int], num_examples: int, batch_size: int) -> str:
    """Returns the reason why sizes are not those of Poisson samples, or "": two tests."""
    probability = batch_size / num_examples
    total, draws = sum(sizes), num_examples * len(sizes)
    below = special.bdtr(total, draws, probability)
    above = special.bdtrc(total - 1, draws, probability) if total else 1.0
    if 2 * min(below, above) < _LEVEL:
        return (
            f"its batches had {total / len(sizes):.4g} examples on average, which batch_size="
            f"{batch_size} contradicts"
        )
    # Sizes that repeat: fixed batches of another size, or a remainder within the stream.
    size, count = collections.Counter(sizes).most_common(1)[0]
    if _chance_of_repeats(count, len(sizes), num_examples, probability) < _LEVEL:
        return (
            f"{count} of its {len(sizes)} batches had {size} examples: these are no Poisson samples"
        )
    return ""


def _chance_of_repeats(count: int, batches: int, num_examples: int, probability: float) -> float:
    """Bounds the probability that this many batches have one and the same size."""
    mean = num_examples * probability
    reach = 40 * math.sqrt(mean) + 40  # beyond it no size has a chance that counts
    possible = np.arange(max(0, math.floor(mean - reach)), min(num_examples, mean + reach) + 1)
    log_chance = (
        special.gammaln(num_examples + 1)
        - special.gammaln(possible + 1)
        - special.gammaln(num_examples - possible + 1)
        + special.xlogy(possible, probability)
        + special.xlog1py(num_examples - possible, -probability)
    )
    chance = np.minimum(np.exp(log_chance), 1.0)
    return float(special.bdtrc(count - 1, batches, chance).sum())
