"""The steps that a trainer executed, and the privacy that may be claimed for them."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable
from typing import Annotated, Any

from ft_tf.checks import (
    Count,
    Positive,
    check_choice,
    check_delta,
    check_fields,
    check_non_negative_integer,
    check_positive,
    check_types,
)
from ft_tf.errors import ArgumentError
from ft_tf.privacy.accounting import PrivacyCost, privacy_cost_of_phases
from ft_tf.privacy.phases import Phase, check_noise_multiplier
from ft_tf.privacy.record import to_record
from ft_tf.privacy.statements import CLIPPING_RULES, best_epsilon, statement


@dataclasses.dataclass(frozen=True)
class PrivacyEvent:
    """A run of steps of one mechanism.

    Attributes:
        noise_multiplier: sigma: the noise's standard deviation over the clip norm; 0: not private.
        sampling: "poisson", "shuffle", or "unknown" for a tf.data input of unstated sampling, or
            one whose batches contradict what was stated.
        num_examples: examples that were drawn from, or None where that is not known.
        batch_size: expected batch size, by which the noisy sum was divided.
        steps: steps that were executed, also those lost to an interruption.
        seeded: whether a noise seed fixed noise and sampling; the guarantee then holds only while
            the seed is secret.
        pass_offset: of "shuffle": steps of the first pass that had been taken before these.
        reshuffled: whether these come from another permutation than those before, or from other
            data, so that they continue no pass.
        from_dataset: whether the batches came from a tf.data input, sampled by the caller.
        counted_passes: of such an input with "shuffle": how often it was begun.
        reason: why `sampling` is not the sampling that the caller stated, or "".
        clipping: the clipping rule.
        parts: noise multipliers of the Gaussian mechanisms that make up a step, where there are
            several: together they are one of `noise_multiplier`.
    """

    noise_multiplier: Annotated[float, check_noise_multiplier]
    sampling: Annotated[str, functools.partial(check_choice, ("poisson", "shuffle", "unknown"))]
    num_examples: Positive | None
    batch_size: Positive
    steps: Count
    seeded: bool
    pass_offset: Count = 0
    from_dataset: bool = False
    counted_passes: Positive | None = None
    reason: str = ""
    clipping: Annotated[str, functools.partial(check_choice, tuple(CLIPPING_RULES))] = "flat"
    parts: Annotated[tuple[float, ...], functools.partial(check_types, float)] = ()
    reshuffled: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_examples is not None and self.num_examples < self.batch_size:
            raise ArgumentError(
                f"num_examples={self.num_examples} must be at least batch_size={self.batch_size}"
            )
        if self.noise_multiplier and self.parts:
            check_positive(parts=min(self.parts))
            whole = sum(part**-2 for part in self.parts) ** -0.5
            if not math.isclose(whole, self.noise_multiplier, rel_tol=1e-9):
                raise ArgumentError(
                    f"parts={self.parts} are together a mechanism of noise multiplier {whole:g}, "
                    f"not noise_multiplier={self.noise_multiplier:g}"
                )

    @property
    def accounted(self) -> bool:
        """True if an accountant can account for these steps."""
        return self.num_examples is not None and self.sampling != "unknown"

    @property
    def sampling_probability(self) -> float | None:
        """Expected batch size over number of examples, or None where that is not known."""
        return self.batch_size / self.num_examples if self.accounted else None

    @property
    def steps_per_pass(self) -> int | None:
        """Full batches in one pass of shuffled data, or None where that is not known."""
        return self.num_examples // self.batch_size if self.accounted else None

    @property
    def passes(self) -> int | None:
        """Passes over shuffled data that these steps belong to, begun earlier or now."""
        if not self.accounted:
            return None
        if self.counted_passes is not None:
            return self.counted_passes
        return math.ceil((self.pass_offset + self.steps) / self.steps_per_pass)

    def continues(self, before: "PrivacyEvent") -> bool:
        """Returns True if the first pass of shuffled data is the one in which `before` ended."""
        alike = ("noise_multiplier", "sampling", "num_examples", "batch_size")
        differs = any(getattr(self, n) != getattr(before, n) for n in alike)
        if self.reshuffled or not self.pass_offset or differs:
            return False
        return (before.pass_offset + before.steps) % self.steps_per_pass == self.pass_offset


@dataclasses.dataclass(frozen=True)
class Account:
    """The privacy cost of a trainer's steps.

    Attributes:
        events: the executed steps.
        cost: every epsilon of the steps that can be accounted for; see `PrivacyCost`.
        sampling: "poisson", "shuffle", or "unaccounted" where the sampling of some steps is not
            known: `cost` then falls short.
        target_epsilon: that the noise was calibrated to, if it was.
        steps_before: steps of the optimizer before the first event: they are in no epsilon here.
    """

    events: tuple[PrivacyEvent, ...]
    cost: PrivacyCost
    sampling: str
    target_epsilon: float | None = None
    steps_before: int = 0

    @property
    def epsilon(self) -> float | None:
        """The smallest epsilon that holds at `delta`.

        Infinite where a step added no noise, None where the sampling of a step is not known.
        """
        if self.sampling == "unaccounted":
            return None
        if not self.cost.private:
            return math.inf
        if self.sampling == "shuffle":
            return self.cost.epsilon_shuffled
        return best_epsilon(self.cost)[0]

    @property
    def delta(self) -> float:
        """Delta at which epsilon is stated."""
        return self.cost.delta

    @property
    def _facts(self) -> dict[str, Any]:
        """The arguments of the statement."""
        # The reasons of shuffled events explain nothing about an unaccounted run.
        relevant = [
            e for e in self.events if (e.sampling == "unknown") != (self.epsilon is not None)
        ]
        return {
            "sampling": self.sampling,
            "target_epsilon": self.target_epsilon,
            "steps_before": self.steps_before,
            # Only whether there was one matters, and is known.
            "noise_seed": 0 if any(event.seeded for event in self.events) else None,
            "from_dataset": any(event.from_dataset for event in self.events),
            "clipping": tuple(dict.fromkeys(event.clipping for event in self.events)),
            "dataset_reason": "; ".join(dict.fromkeys(e.reason for e in relevant if e.reason)),
        }

    @functools.cached_property
    def statement(self) -> str:
        """The guarantee as text: to whom it applies, and what would break it."""
        return statement(self.cost, **self._facts)

    def to_record(self) -> dict[str, Any]:
        """Returns the values of `privacy.to_record`."""
        return to_record(self.cost, **self._facts)


def account_for(
    events: Iterable[PrivacyEvent],
    *,
    delta: float,
    target_epsilon: float | None = None,
    steps_before: int = 0,
) -> Account:
    """Accounts for everything that a trainer executed: all its `fit` calls, as one release.

    Args:
        events: `DPSGDModel.privacy_events()`; those of several trainers may be joined if they
            trained the same model one after another.
        delta: in (0, 1), well below one over the number of examples.
        target_epsilon: that the noise was calibrated to, for the statement.
        steps_before: steps that the same weights had taken and that are not in `events`, for the
            statement.

    Raises:
        ArgumentError: there are no events, delta is out of range, or some steps were shuffled and
            others Poisson-sampled.

    >>> event = PrivacyEvent(1.1, "poisson", 60_000, 250, 7_200, seeded=False)
    >>> account = account_for([event, event], delta=1e-5)
    >>> account.cost.steps, round(account.epsilon, 2)
    (14400, 2.35)
    """
    check_delta(delta=delta)
    if target_epsilon is not None:
        check_positive(target_epsilon=target_epsilon)
    check_non_negative_integer(steps_before=steps_before)
    check_types(PrivacyEvent, events=events)
    events = tuple(events)
    if not events:
        raise ArgumentError("events=() must not be empty: nothing was trained yet")
    known = [event for event in events if event.accounted]
    kinds = {event.sampling for event in known}
    if len(kinds) > 1:
        raise ArgumentError(
            "events mix sampling='poisson' with sampling='shuffle': account for them one by one"
        )
    phases = [Phase(e.noise_multiplier, e.sampling_probability, e.steps) for e in known]
    shuffled = kinds == {"shuffle"}
    cost = privacy_cost_of_phases(
        phases,
        delta=delta,
        passes=_passes(known) if shuffled else None,
        examples=min((event.num_examples for event in known), default=None),
    )
    complete = len(known) == len(events)
    sampling = ("shuffle" if shuffled else "poisson") if complete else "unaccounted"
    return Account(events, cost, sampling, target_epsilon, steps_before)


def _passes(events: list[PrivacyEvent]) -> int:
    """Passes of shuffled data over all events; one that was left and taken up again counts once."""
    again = sum(event.continues(before) for before, event in itertools.pairwise(events))
    return sum(event.passes for event in events) - again
