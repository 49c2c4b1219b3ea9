"""One step of DP-SGD: the pieces of a logical batch, their clipped sum, noise, and the update."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.training.dpsgd.accumulation import accumulated_sum
from ft_tf.training.dpsgd.clipping import ClippedSum, clipped_sum
from ft_tf.training.dpsgd.losses import PerExampleLoss
from ft_tf.training.dpsgd.noise import Secret, noise_like
from ft_tf.training.dpsgd.plan import Plan, trainable_variables
from ft_tf.training.dpsgd.settings import Settings

Pieces = Callable[[tf.Tensor], tuple[Any, tf.Tensor, tf.Tensor]]
"""Index of a piece -> (x, y, whether each row is an example and no padding)."""


def pieces_of_indices(
    x: tf.Tensor, y: tf.Tensor, indices: tf.Tensor, count: tf.Tensor
) -> tuple[Pieces, tf.Tensor]:
    """The first `count` of the examples with indices [pieces, size]; and how many pieces."""
    size = tf.shape(indices)[1]

    def piece(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        chosen = indices[number]
        real = number * size + tf.range(size) < count
        return tf.gather(x, chosen), tf.gather(y, chosen), real

    return piece, tf.shape(indices)[0]


def pieces_of_batch(x: Any, y: tf.Tensor, size: int | tf.Tensor) -> tuple[Pieces, tf.Tensor]:
    """A batch in pieces of at most `size` examples; and how many, at least one."""

    def piece(number: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        rows = slice(number * size, (number + 1) * size)
        part_y = y[rows]
        real = tf.ones([tf.shape(part_y)[0]], tf.bool)
        return tf.nest.map_structure(lambda part: part[rows], x), part_y, real

    return piece, tf.maximum(1, -(-tf.shape(y)[0] // size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What a step of DP-SGD rests on; calling it updates the model.

    Attributes:
        plan: of the model.
        loss: gives one loss per example.
        optimizer: gets the noisy average.
        settings: clip norm, noise multiplier and weight decay.
        secret: fixes the noise of each step.
        batch_size: the expected one, which the noisy sum is divided by.
    """

    plan: Plan
    loss: PerExampleLoss
    optimizer: keras.optimizers.Optimizer
    settings: Settings
    secret: Secret
    batch_size: int

    def __call__(self, piece: Pieces, pieces: tf.Tensor) -> ClippedSum:
        """Updates the model; gives what its clipped gradients were."""

        @tf.function(autograph=False)  # traced once for the first piece and the loop over others
        def clipped(number: tf.Tensor) -> ClippedSum:
            x, y, real = piece(number)
            return clipped_sum(
                self.plan,
                self.loss,
                x,
                y,
                # Dividing here spares a pass over the sum.
                weights=tf.cast(real, tf.float32) / self.batch_size,
                l2_norm_clip=self.settings.l2_norm_clip,
            )

        result = accumulated_sum(clipped, pieces)
        variables = trainable_variables(self.plan)
        gradients = self._with_noise_and_decay(result.gradients, variables)
        typed = [
            tf.cast(gradient, variable.dtype)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        self.optimizer.apply_gradients(zip(typed, variables, strict=True))
        return result

    def _with_noise_and_decay(
        self, gradients: list[tf.Tensor], variables: list[tf.Variable]
    ) -> list[tf.Tensor]:
        settings = self.settings
        if settings.noise_multiplier > 0:
            noise = noise_like(
                variables,
                self.secret,
                tf.cast(self.optimizer.iterations, tf.int64),
                standard_deviation=settings.noise_multiplier
                * settings.l2_norm_clip
                / self.batch_size,
            )
            gradients = [a + b for a, b in zip(gradients, noise, strict=True)]
        if settings.weight_decay:
            gradients = [
                gradient + settings.weight_decay * tf.cast(variable, tf.float32)
                for gradient, variable in zip(gradients, variables, strict=True)
            ]
        return gradients
