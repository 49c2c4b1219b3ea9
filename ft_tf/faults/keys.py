"""Which sites are faulty: exact counts and Bernoulli draws from counter-based 64-bit keys.

Site i of a trial owns the 64-bit word number i of a Philox stream whose key is a hash of (seed,
trial, stream). A site is faulty at a rate when its key is among the smallest (exact count) or below
rate * 2^64 (Bernoulli). So faults at a rate are among those at any higher rate, two models with
equally many sites have the same faulty sites, and no draw depends on any other.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np

from ft_tf.errors import ArgumentError

CHUNK = 1 << 20
_RESIDENT = 1 << 24  # keys of up to this many sites are kept while a trial goes through its rates
_WORD = 2**64


@dataclasses.dataclass(frozen=True)
class SiteKeys:
    """The keys of sites start, ..., start + size - 1 in one trial.

    `stream` keeps independent uses of the same seed and trial apart.
    """

    seed: int
    trial: int
    stream: int
    size: int
    start: int = 0

    def words(self, first: int, count: int) -> np.ndarray:
        """uint64 keys of `count` sites, from the `first` of these on."""
        position = self.start + first
        generator = np.random.Philox(key=_philox_key(self.seed, self.trial, self.stream))
        generator.advance(position // 4)  # Philox gives four words for each step of its counter
        skipped = position % 4
        drawn = np.random.Generator(generator).integers(
            0, _WORD, size=skipped + count, dtype=np.uint64
        )
        return drawn[skipped:]

    @functools.cached_property
    def all_words(self) -> np.ndarray:
        """uint64 keys of all sites."""
        return self.words(0, self.size)

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Pairs of a first site and the keys from there on; bounded memory for any size."""
        if self.size <= _RESIDENT:
            yield 0, self.all_words
            return
        for first in range(0, self.size, CHUNK):
            yield first, self.words(first, min(CHUNK, self.size - first))


@functools.lru_cache(maxsize=64)
def _philox_key(seed: int, trial: int, stream: int) -> np.ndarray:
    # A sequence's 32-bit words stand in a row and are filled up with zeros: a seed of two words
    # must not run into the trial. What exceeds one word goes where nothing else does.
    if seed >= 2**64 or trial >= 2**32:
        raise ArgumentError(f"seed={seed} must be below 2**64 and trial={trial} below 2**32")
    high, low = divmod(seed, 2**32)
    key = np.random.SeedSequence([low, trial, stream], spawn_key=(high,) if high else ())
    return key.generate_state(2, np.uint64)


def fault_count(rate: float, sites: int) -> int:
    """round(rate * sites), halves to the even neighbour.

    >>> fault_count(0.5, 7), fault_count(0.5, 5), fault_count(1e-7, 100)
    (4, 2, 0)
    """
    return round(rate * sites)


def bernoulli_mask(keys: SiteKeys, rate: float) -> np.ndarray:
    """Bool [size]: each site on its own with probability `rate`, to within 2^-64."""
    mask = np.ones(keys.size, bool)
    threshold = int(rate * _WORD)
    if threshold < _WORD:
        for first, words in keys.chunks():
            np.less(words, np.uint64(threshold), out=mask[first : first + len(words)])
    return mask


def exact_mask(keys: SiteKeys, count: int) -> np.ndarray:
    """Bool [size]: the `count` sites with the smallest keys, ties by lower index.

    One pass marks the sites below a bracket around the expected threshold and collects those in
    it; only these few are sorted. A bracket that misses (odds about 1e-9) is widened.
    """
    if count in (0, keys.size):
        return np.full(keys.size, count > 0)
    share, slack = count / keys.size, 6.0
    while True:
        reach = slack * (math.sqrt(share * (1 - share) / keys.size) + 1 / keys.size)
        low = max(0, int((share - reach) * _WORD))
        high = min(_WORD - 1, int((share + reach) * _WORD))
        mask, found = np.zeros(keys.size, bool), []
        for first, words in keys.chunks():
            np.less(words, np.uint64(low), out=mask[first : first + len(words)])
            # Subtraction wraps, so one comparison tests low <= key <= high.
            inside = np.flatnonzero(words - np.uint64(low) <= np.uint64(high - low))
            found.append((inside + first, words[inside]))
        sites, values = map(np.concatenate, zip(*found, strict=True))
        missing = count - int(np.count_nonzero(mask))
        if 0 <= missing <= len(sites):
            mask[sites[np.argsort(values, kind="stable")[:missing]]] = True
            return mask
        slack *= 8
