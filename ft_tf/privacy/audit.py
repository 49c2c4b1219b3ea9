"""Audits: statistical lower bounds on epsilon from the outputs of training runs.

An accountant proves an upper bound for an algorithm; an audit measures a lower bound for the code
that claims to be it. A lower bound above the claimed epsilon means that the code does not
do what is accounted for (noise left out, clipping broken), at the stated level of confidence. A
lower bound below it proves nothing: the attack may be weak.

Both audits take scores or a callable, never a model. A canary is an example whose presence in the
training set the model reveals, and a score any number that tends to be higher when it was there,
such as minus its loss, or the inner product of the weights' change with its gradient. Neighbours
differ by one canary added or removed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from ft_tf.checks import (
    check_choice,
    check_fraction,
    check_non_negative,
    check_non_negative_integer,
    check_positive_integer,
    check_probability,
    numbers_in,
    shown,
)
from ft_tf.data import check_labels, check_pixels, check_same_length
from ft_tf.errors import ArgumentError
from ft_tf.intervals import Interval, proportion
from ft_tf.privacy.gaussian import bisect

KINDS = ("mislabelled", "random", "pixel")

_MOST_EPSILON = 50.0


@dataclasses.dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        epsilon_lower_bound: the run is not (epsilon, delta)-private for any smaller epsilon, with
            confidence `level`; 0 when nothing was found.
        delta: the delta that the bound is for.
        level: confidence, such as 0.95.
        method: name and source of the construction.
        trials: runs, or canaries, that the bound rests on.
        details: counts behind the bound, by name.
    """

    epsilon_lower_bound: float
    delta: float
    level: float
    method: str
    trials: int
    details: dict[str, float]

    def contradicts(self, claimed_epsilon: float) -> bool:
        """Returns True if the bound exceeds a claimed epsilon, which is refuted at `level`."""
        return self.epsilon_lower_bound > claimed_epsilon


def audit_repeated(
    run: Callable[[bool, int], float], *, runs: int, delta: float, level: float = 0.95
) -> Audit:
    """Bounds epsilon from repeated runs with and without one canary.

    For any event of an (epsilon, delta)-private run, P[event | with] <= exp(epsilon)
    P[event | without] + delta, and the reverse. The event is "score at or above a threshold" or its
    complement, and is taken to speak for the canary or against it: whatever does best on the first
    half of the runs. The second half gives Clopper-Pearson bounds (Nasr et al. 2021, "Adversary
    instantiation"):

        epsilon >= ln((low(P[event | likelier]) - delta) / high(P[event | other]))

    The choice of the event never sees the second half, so that the level holds.

    Args:
        run: run(included, i) trains once with independent noise and returns the score; called with
            i = 0 ... runs - 1 for either value of `included`.
        runs: runs for each of the two, at least 4. To show an epsilon takes some 8 exp(epsilon).
        delta: in [0, 1].
        level: confidence of the bound.
    """
    check_positive_integer(runs=runs)
    check_fraction(delta=delta)
    check_probability(level=level)
    if runs < 4:
        raise ArgumentError(f"runs={runs} must be at least 4: half of them choose the threshold")
    if not callable(run):
        raise ArgumentError(f"run={shown(run)} must be a function of (included, i)")
    scores = np.array([[run(included, i) for i in range(runs)] for included in (True, False)])
    if scores.dtype.kind not in "fiub" or not np.isfinite(scores).all():
        raise ArgumentError("run returned a score that is not finite: a model that diverged?")
    half = runs // 2
    event = _best_event(scores[:, :half], delta, level)
    hits = event.hits(scores[:, half:])
    return Audit(
        epsilon_lower_bound=max(0.0, _ratio_bound(hits, runs - half, delta, level)),
        delta=delta,
        level=level,
        method="repeated runs, Clopper-Pearson",
        trials=2 * (runs - half),
        details={
            "threshold": event.threshold,
            "event_is_below_threshold": float(event.below),
            "event_speaks_for_canary": float(event.for_canary),
            "hits_likelier": float(hits[0]),
            "hits_other": float(hits[1]),
        },
    )


@dataclasses.dataclass(frozen=True)
class _Event:
    """Score below a threshold, or not below it, taken to speak for or against the canary."""

    threshold: float
    below: bool
    for_canary: bool

    def hits(self, scores: np.ndarray) -> tuple[int, int]:
        """Counts in scores [2, runs] (with, without), first where the event is likelier."""
        happened = (scores < self.threshold) == self.below
        with_canary, without = (int(count) for count in happened.sum(axis=1))
        return (with_canary, without) if self.for_canary else (without, with_canary)


def _best_event(scores: np.ndarray, delta: float, level: float) -> _Event:
    events = [
        _Event(float(threshold), below, for_canary)
        for threshold in np.unique(scores)
        for below in (False, True)
        for for_canary in (False, True)
    ]
    runs = scores.shape[1]
    return max(events, key=lambda event: _ratio_bound(event.hits(scores), runs, delta, level))


@functools.lru_cache(maxsize=4096)
def _interval(hits: int, trials: int, level: float) -> Interval:
    return proportion(successes=hits, trials=trials, level=level, unit="run")


def _ratio_bound(hits: tuple[int, int], trials: int, delta: float, level: float) -> float:
    low = _interval(hits[0], trials, level).low - delta
    return math.log(low / _interval(hits[1], trials, level).high) if low > 0 else -math.inf


def audit_one_run(
    scores: Sequence[float],
    included: Sequence[bool],
    *,
    delta: float,
    level: float = 0.95,
    guesses: int | Sequence[int] | None = None,
) -> Audit:
    """Bounds epsilon from one run with many canaries, each included by a fair coin.

    The r canaries with the most telling scores are guessed, the upper half "in" and the lower half
    "out", the rest is left open. If the run is (epsilon, delta)-private, the number of right
    guesses is bounded by a binomial with success chance exp(epsilon) / (1 + exp(epsilon)),
    plus a term in delta (Steinke, Nasr and Jagielski 2023, "Privacy auditing with one training
    run"): see `one_run_p_value`. Epsilon is rejected where that p-value is at most
    1 - level.

    Args:
        scores: float [m], one score per canary, included or not.
        included: bool [m], the coin flips (`draw_inclusion`), drawn independently of all else.
        delta: in [0, 1].
        level: confidence of the bound.
        guesses: r, or several r to choose from, fixed before the scores are seen: the level is
            divided among them (Bonferroni). Default: m, m / 2, m / 4 and m / 8.
    """
    counts = counted_guesses(scores, included, delta=delta, level=level, guesses=guesses)
    canaries, significance = len(scores), (1 - level) / len(counts)
    bound, count, right = max(
        (_one_run_bound(canaries, count, right, delta, significance), count, right)
        for count, right in counts
    )
    return Audit(
        epsilon_lower_bound=bound,
        delta=delta,
        level=level,
        method="one run, Steinke, Nasr and Jagielski 2023",
        trials=canaries,
        details={"guesses": float(count), "right": float(right)},
    )


def counted_guesses(
    scores: Sequence[float],
    included: Sequence[bool],
    *,
    delta: float,
    level: float,
    guesses: int | Sequence[int] | None,
) -> list[tuple[int, int]]:
    """Returns each number of guesses and how many were right; see `audit_one_run`."""
    scores, included = numbers_in(scores=scores), np.asarray(included)
    check_fraction(delta=delta)
    check_probability(level=level)
    if scores.ndim != 1 or scores.shape != included.shape or len(scores) < 2:
        raise ArgumentError(
            f"scores.shape={scores.shape} and included.shape={included.shape} must be one and the "
            "same length, at least 2"
        )
    if included.dtype != bool:
        raise ArgumentError(f"included.dtype={included.dtype} must be bool, one coin per canary")
    canaries = len(scores)
    if guesses is None:
        guesses = sorted({max(2, canaries // part) for part in (1, 2, 4, 8)})
    choices = [guesses] if np.ndim(guesses) == 0 else list(guesses)
    if not choices:
        raise ArgumentError("guesses=[] must have at least one number")
    check_positive_integer(**{f"guesses[{i}]": choice for i, choice in enumerate(choices)})
    if max(choices) > canaries:
        raise ArgumentError(f"guesses={max(choices)} must not exceed the {canaries} canaries")
    order = np.argsort(scores, kind="stable")
    found = []
    for count in choices:
        guessed_out, guessed_in = order[: count // 2], order[canaries - (count - count // 2) :]
        right = int(included[guessed_in].sum() + (~included[guessed_out]).sum())
        found.append((count, right))
    return found


def one_run_p_value(
    *, canaries: int, guesses: int, right: int, epsilon: float, delta: float
) -> float:
    """Largest chance that an (epsilon, delta)-private run yields `right` right guesses or more.

    With W ~ Binomial(guesses, exp(epsilon) / (1 + exp(epsilon))):

        P[W >= right] + 2 canaries delta max_i P[right - i <= W < right] / i,  i = 1 ... right

    >>> one_run_p_value(canaries=10, guesses=10, right=10, epsilon=0.0, delta=0.0) == 2**-10
    True
    """
    check_positive_integer(canaries=canaries, guesses=guesses)
    check_non_negative_integer(right=right)
    check_non_negative(epsilon=epsilon)
    check_fraction(delta=delta)
    if not right <= guesses <= canaries:
        raise ArgumentError(f"right={right} <= guesses={guesses} <= canaries={canaries} must hold")
    chance = 1 / (1 + math.exp(-epsilon))
    tail = stats.binom.sf(right - 1, guesses, chance)
    if not right or not delta:
        return float(min(1.0, tail))
    below = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, chance))
    slack = np.max(below / np.arange(1, right + 1))
    return float(min(1.0, tail + 2 * canaries * delta * slack))


def _one_run_bound(
    canaries: int, guesses: int, right: int, delta: float, significance: float
) -> float:
    def holds(epsilon: float) -> bool:
        p_value = one_run_p_value(
            canaries=canaries, guesses=guesses, right=right, epsilon=epsilon, delta=delta
        )
        return p_value > significance

    if holds(0.0):
        return 0.0
    # The largest epsilon known to be rejected, rounded down by the search's tolerance.
    edge = bisect(holds, fails_at=0.0, holds_at=_MOST_EPSILON, tolerance=1e-6)
    return max(0.0, edge - 1e-6)


def _generator(seed: int, stream: int) -> np.random.Generator:
    check_non_negative_integer(seed=seed)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream])))


def draw_inclusion(count: int, *, seed: int) -> np.ndarray:
    """Fair coin flips, bool [count]: which canaries enter the training set of a one-run audit."""
    check_positive_integer(count=count)
    return _generator(seed, 0).integers(0, 2, count).astype(bool)


def make_canaries(
    images: np.ndarray, labels: np.ndarray, *, count: int, seed: int, kind: str = "mislabelled"
) -> tuple[np.ndarray, np.ndarray]:
    """Makes canaries that look like the data to a training pipeline and stand out to a model.

    | kind        | image                                  | label                    |
    |-------------|----------------------------------------|--------------------------|
    | mislabelled | a distinct image of `images`           | any but its own, uniform |
    | random      | uniform noise in [0, 1]                | uniform                  |
    | pixel       | black but for one pixel of value 1, a  | uniform                  |
    |             | different one each: first-layer        |                          |
    |             | gradients of two canaries are          |                          |
    |             | orthogonal on the kernel               |                          |

    Args:
        images: float32 [n, h, w, c] in [0, 1]: data that the training set does not hold otherwise.
        labels: int64 [n], of at least two classes.
        count: how many; at most n for "mislabelled", h w c for "pixel".
        seed: fixes them.
        kind: one of KINDS.

    Returns:
        Images float32 [count, h, w, c] and labels int64 [count].
    """
    check_positive_integer(count=count)
    check_choice(KINDS, kind=kind)
    check_pixels(images=images)
    check_labels(2**63 - 1, labels=labels)
    check_same_length(images=images, labels=labels)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int64)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ArgumentError(f"labels holds {len(classes)} class: canaries need at least 2")
    shape = images.shape[1:]
    most = {"mislabelled": len(images), "random": count, "pixel": int(np.prod(shape))}[kind]
    if count > most:
        raise ArgumentError(f"count={count} must not exceed {most} for kind={kind}")
    generator = _generator(seed, 1)
    if kind == "mislabelled":
        chosen = generator.choice(len(images), count, replace=False)
        own = np.searchsorted(classes, labels[chosen])
        shift = generator.integers(1, len(classes), count)
        return images[chosen], classes[(own + shift) % len(classes)]
    drawn = generator.choice(classes, count)
    if kind == "random":
        return generator.random((count, *shape), np.float32), drawn
    canaries = np.zeros((count, most), np.float32)
    canaries[np.arange(count), generator.choice(most, count, replace=False)] = 1
    return canaries.reshape(count, *shape), drawn
