"""Keras callbacks: accuracy of the whole splits after every epoch, and early stopping."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf import checks, metrics
from ft_tf._compat import keras

Classifier = Callable[[], keras.Model]


class EpochAccuracy(keras.callbacks.Callback):
    """Adds train_accuracy and test_accuracy to each epoch's logs (Figure 1's curves).

    Both are computed after the epoch, in inference mode, on the arrays without augmentation; the
    running accuracy of `fit` averages over changing weights.

    Args:
        train: (x, y) of the training split.
        test: (x, y) of the test split.
        classifier: returns the model to evaluate, with its current weights: the trained one may
            use bfloat16.
        batch_size: examples per forward pass.
    """

    def __init__(
        self,
        *,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        classifier: Classifier,
        batch_size: int = 1000,
    ) -> None:
        super().__init__()
        self._classifier = classifier
        self._splits = {"train_accuracy": train, "test_accuracy": test}
        self._batch_size = batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, and adds the accuracies to the logs of later callbacks and History."""
        model = self._classifier()
        for name, (x, y) in self._splits.items():
            value = metrics.accuracy(model, x, y, batch_size=self._batch_size)
            if logs is not None:
                logs[name] = value


class StopAtAccuracy(keras.callbacks.Callback):
    """Stops training as soon as the accuracy on the given examples reaches a level.

    It evaluates after each of the first steps, when accuracy rises by points at a time, and less
    often later: after step n again n / 32 steps further on, 16 at most. Compile with
    steps_per_execution=1, since steps of one execution cannot be separated.

    Args:
        examples: (x, y), all of which are evaluated each time, in inference mode.
        accuracy: the level, a fraction.
        classifier: as of `EpochAccuracy`.
        batch_size: examples per forward pass.
    """

    def __init__(
        self,
        *,
        examples: tuple[np.ndarray, np.ndarray],
        accuracy: float,
        classifier: Classifier,
        batch_size: int = 1000,
    ) -> None:
        super().__init__()
        self._classifier = classifier
        checks.check_fraction(accuracy=accuracy)
        self._examples = examples
        self._accuracy = accuracy
        self._batch_size = batch_size
        self._next_evaluation = 1

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Continues with the evaluations that an interrupted training would have made."""
        del logs
        self._plan_evaluation()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates if an evaluation is due, and stops if the level is reached."""
        del batch, logs
        if int(self.model.optimizer.iterations) < self._next_evaluation:
            return
        self._plan_evaluation()
        size = self._batch_size
        found = metrics.accuracy(self._classifier(), *self._examples, batch_size=size)
        if found >= self._accuracy:
            self.model.stop_training = True

    def _plan_evaluation(self) -> None:
        """Sets the next step to evaluate after."""
        taken = int(self.model.optimizer.iterations)
        while self._next_evaluation <= taken:
            self._next_evaluation += max(1, min(_MOST_STEPS_BETWEEN, self._next_evaluation // 32))


_MOST_STEPS_BETWEEN = 16


class NonFiniteLoss(keras.callbacks.Callback):
    """Stops a training whose loss turned NaN or infinite.

    Attributes:
        failure: None, or {"reason", "epoch", "step"}: the epoch counts from 1, the step is the
            number of steps taken when it was noticed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: dict[str, Any] | None = None
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stores the number of the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the running mean of the loss, which stays non-finite after a single bad step."""
        loss = (logs or {}).get("loss")
        if self.failure is None and loss is not None and not math.isfinite(loss):
            self.failure = {
                "reason": f"loss={float(loss)} is not finite",
                "epoch": self._epoch + 1,
                "step": int(self.model.optimizer.iterations.numpy()),
            }
            self.model.stop_training = True
