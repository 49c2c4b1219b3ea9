"""The steps that a trainer executed: batches of a tf.data input, events, and used noise."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import PrivacyEvent
from ft_tf.privacy.batch_sizes import Finding, examine


class Ledger:
    """The steps of one trainer, `fit` by `fit`.

    Attributes:
        events: the executed steps.
    """

    def __init__(self) -> None:
        self.events: list[PrivacyEvent] = []
        self._next_step = 0  # the first one whose noise has not been used

    def needs_new_noise(self, first_step: int, *, seeded: bool) -> bool:
        """Returns True if steps from `first_step` on ran before, with noise that must not repeat.

        Noise is a function of the step: used twice, it would cancel in a difference.

        Raises:
            ArgumentError: they ran before, and a seed fixes the noise.
        """
        if first_step >= self._next_step:
            return False
        if seeded:
            raise ArgumentError(
                f"noise_seed has given the noise of the steps below {self._next_step}, and the "
                f"optimizer is at step {first_step} again: keep the optimizer, or train with a "
                "new DPSGDModel"
            )
        self._next_step = 0
        return True

    @property
    def steps(self) -> int:
        """Number of executed steps."""
        return sum(event.steps for event in self.events)

    def record(
        self,
        finding: Finding,
        *,
        first_step: int,
        steps: int,
        noise_multiplier: float,
        num_examples: int | None,
        batch_size: int,
        seeded: bool,
        counter: "BatchCounter | None",
    ) -> None:
        """Records steps that ran, if any.

        Args:
            finding: the sampling that may be claimed for them.
            first_step: number of the first one.
            steps: their number.
            noise_multiplier: sigma.
            num_examples: examples that the batches were drawn from, None if unknown.
            batch_size: expected size of a batch.
            seeded: whether a noise seed fixed noise and sampling.
            counter: of a tf.data input.
        """
        if steps <= 0:
            return
        offset, passes = 0, None
        if finding.sampling == "shuffle" and counter is None:
            offset = first_step % (num_examples // batch_size)
        elif finding.sampling == "shuffle":
            passes = sum(1 for sizes in counter.passes if sizes)
        self._next_step = first_step + steps
        self.events.append(
            PrivacyEvent(
                noise_multiplier=noise_multiplier,
                sampling=finding.sampling,
                num_examples=num_examples,
                batch_size=batch_size,
                steps=steps,
                seeded=seeded,
                pass_offset=offset,
                from_dataset=counter is not None,
                counted_passes=passes,
                reason=finding.reason,
            )
        )


class BatchCounter(keras.callbacks.Callback):
    """Counts the batches of a tf.data input in one `fit`: how it samples cannot be asked.

    Attributes:
        passes: sizes of the executed batches, for each time that the input was begun.
        whole_passes: whether each epoch goes through the input from beginning to end.
    """

    def __init__(self, dataset: tf.data.Dataset, steps_per_epoch: int | None) -> None:
        super().__init__()
        self.passes: list[list[int]] = []
        # Only then does Keras restart the input in each epoch; otherwise an epoch continues it.
        self.whole_passes = steps_per_epoch in (None, int(dataset.cardinality()))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins a pass if each epoch is one."""
        del epoch, logs
        if self.whole_passes or not self.passes:
            self.passes.append([])

    def note(self, count: tf.Tensor) -> None:
        """Adds a batch of `count` examples; in graph mode, when the step runs."""
        tf.numpy_function(self._append, [count], [])

    def finding(
        self, *, stated: str, num_examples: int | None, batch_size: int, complete: bool
    ) -> Finding:
        """Returns the sampling that may be claimed for the batches; see `examine`.

        Without the number of examples that they are drawn from it is unknown.
        """
        if num_examples is None:
            return Finding("unknown")
        return examine(
            self.passes,
            stated=stated,
            num_examples=num_examples,
            batch_size=batch_size,
            whole_passes=self.whole_passes,
            complete=complete,
        )

    def _append(self, count: np.ndarray) -> None:
        self.passes[-1].append(int(count))

    def added_to(self, callbacks: Any) -> Any:
        """Returns callbacks as Keras's `fit` takes them, with this one."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self)
            return callbacks
        return [self, *tf.nest.flatten([] if callbacks is None else callbacks)]


def warning_of(finding: Finding, *, num_examples: int) -> str:
    """Returns a warning about batches that contradict `sampling` or `num_examples`."""
    claimed = "the epsilon of shuffled batches" if finding.sampling == "shuffle" else "no epsilon"
    return f"tf.data input, num_examples={num_examples}: {finding.reason}; {claimed} can be claimed"
