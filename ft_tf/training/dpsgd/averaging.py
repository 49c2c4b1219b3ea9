"""Averages of the noisy iterates of DP-SGD.

The accountant covers the weights of every step, so an average of them is post-processing: it costs
no privacy, and it removes part of the noise of the last steps.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class ExponentialAverage:
    """The average with weights decay^(t - s) of the iterates w_s of steps s = 1 ... t, all `fit`s.

        a_t = a_{t-1} + (1 - decay) / (1 - decay^t) (w_t - a_{t-1})

    The denominator corrects the bias towards the initial weights, which have no part in the
    average.

    Attributes:
        decay: in [0, 1); about 1 / (1 - decay) steps count.
    """

    decay: float = 0.999
    of_one_fit: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.check_non_negative(decay=self.decay)
        if self.decay >= 1:
            raise ArgumentError(f"decay={self.decay!r} must be in [0, 1)")

    def rate(self, count: tf.Tensor) -> tf.Tensor:
        """Returns the weight of the iterate number `count`; both are float64."""
        return (1 - self.decay) / (1 - tf.pow(tf.constant(self.decay, tf.float64), count))


@dataclasses.dataclass(frozen=True)
class TailAverage:
    """The mean of the iterates of the last part of a `fit`.

    A run that stops before this part has begun has its last iterate as average.

    Attributes:
        start: share of the steps that are left out, in [0, 1).
    """

    start: float = 0.5
    of_one_fit: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.check_non_negative(start=self.start)
        if self.start >= 1:
            raise ArgumentError(f"start={self.start!r} must be in [0, 1)")

    def skipped_steps(self, total: int) -> int:
        """Returns how many of the first steps of a run are left out."""
        return math.floor(self.start * total)

    def rate(self, count: tf.Tensor) -> tf.Tensor:
        """Returns the weight of the iterate number `count`; both are float64."""
        return 1 / count


Averaging = ExponentialAverage | TailAverage


class RunningAverage(tf.Module):
    """The average as variables, updated by the training step and saved with checkpoints.

    The number of iterates in the average follows from the optimizer's step count, so that a run
    that resumes with restored weights, optimizer and average continues as if it had not stopped.
    Frozen weights are averaged too, since they may be unfrozen.
    """

    def __init__(self, averaging: Averaging, model: keras.Model) -> None:
        super().__init__(name="average")
        if not isinstance(averaging, Averaging):
            raise ArgumentError(
                f"averaging={averaging!r} must be ExponentialAverage(...) or TailAverage(...)"
            )
        self.averaging = averaging
        weights = [w.value for w in model.weights if w.value.dtype.is_floating]
        self.first_step = tf.Variable(0, trainable=False, dtype=tf.int64, name="first_step")
        self.averages = [
            tf.Variable(tf.cast(weight, tf.float32), trainable=False, name="average")
            for weight in weights
        ]
        # A function, since the weights themselves would become variables of this module.
        self._pairs = lambda: zip(weights, self.averages, strict=True)
        self._model = lambda: model

    def begin(self, first_step: int) -> None:
        """Starts the average at the iterate after step `first_step` of the optimizer."""
        self.first_step.assign(first_step)

    def update(self, step: tf.Tensor) -> None:
        """Includes the weights after `step` steps of the optimizer; runs in graph mode."""
        count = tf.cast(tf.cast(step, tf.int64) - self.first_step, tf.float64)
        # Up to the first iterate of the average, the average is the iterate.
        rate = tf.cast(self.averaging.rate(tf.maximum(count, 1.0)), tf.float32)
        for weight, average in self._pairs():
            average.assign_add(rate * (tf.cast(weight, tf.float32) - average))

    def weights(self) -> list[np.ndarray]:
        """Returns the averaged weights in the order of `model.get_weights()`."""
        averages = {
            id(weight): average.numpy().astype(weight.dtype.as_numpy_dtype)
            for weight, average in self._pairs()
        }
        weights = [weight.value for weight in self._model().weights]
        return [averages.get(id(weight), weight.numpy()) for weight in weights]
