"""The batches of a tf.data input, counted as they run: how it samples cannot be asked."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.privacy.batch_sizes import Finding, examine


class BatchCounter(keras.callbacks.Callback):
    """Sizes of the batches that a tf.data input gave to one `fit`.

    Attributes:
        passes: sizes of the executed batches, for each time that the input was begun.
        whole_passes: whether each epoch goes through the input from beginning to end.
    """

    def __init__(self, dataset: tf.data.Dataset, steps_per_epoch: int | None) -> None:
        super().__init__()
        self.passes: list[list[int]] = []
        # Keras begins the input anew in each epoch just then; otherwise an epoch goes on with it.
        self.whole_passes = steps_per_epoch in (None, int(dataset.cardinality()))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins a pass, where an epoch is one."""
        del epoch, logs
        if self.whole_passes or not self.passes:
            self.passes.append([])

    def note(self, count: tf.Tensor) -> None:
        """Adds a batch of so many examples; in graph mode, when the step runs."""
        tf.numpy_function(self._append, [count], [])

    def finding(
        self, *, told: str, num_examples: int | None, batch_size: int, complete: bool
    ) -> Finding:
        """How the batches may be accounted for; see `examine`.

        Without the number of examples that they are drawn from they cannot be.
        """
        if num_examples is None:
            return Finding("unknown")
        return examine(
            self.passes,
            told=told,
            num_examples=num_examples,
            batch_size=batch_size,
            whole_passes=self.whole_passes,
            complete=complete,
        )

    def _append(self, count: np.ndarray) -> None:
        self.passes[-1].append(int(count))

    def beside(self, callbacks: Any) -> Any:
        """Callbacks as Keras's `fit` takes them, with this one."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self)
            return callbacks
        return [self, *tf.nest.flatten([] if callbacks is None else callbacks)]


def warning_of(finding: Finding, *, num_examples: int) -> str:
    """What may be claimed of batches that are not what they were said to be."""
    claimed = "the epsilon of shuffled batches" if finding.sampling == "shuffle" else "no epsilon"
    return f"tf.data input, num_examples={num_examples}: {finding.reason}; {claimed} can be claimed"
