"""Natural training, with optional Tikhonov penalty, input noise and Jacobian penalty."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, single_use_gradients, tf
from ft_tf.errors import ArgumentError
from ft_tf.examples import check_inputs
from ft_tf.training.base import AUGMENTATION_STREAM, NOISE_STREAM, ResidentModel
from ft_tf.training.batch_values import require_finite
from ft_tf.training.compiled_loss import CrossEntropy, resolve_loss
from ft_tf.training.input_noise import InputNoise
from ft_tf.training.penalties import l2_penalty, noise_penalty
from ft_tf.training.replicas import part_weight

Augmentation = Callable[..., tf.Tensor]
"""augmentation(images, seed=int64 [2]) -> images, in graph mode."""


class SupervisedModel(ResidentModel):
    """The base of natural and TRADES training: the loss, augmentation, and the update.

    compile() without a loss takes the cross-entropy from logits; any Keras loss may be given.
    """

    fixed = ResidentModel.fixed | {"weight_decay", "augmentation"}

    def __init__(
        self,
        model: keras.Model,
        *,
        weight_decay: float,
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        super().__init__(model, seed=seed)
        checks.check_non_negative(weight_decay=weight_decay)
        if augmentation is not None and not callable(augmentation):
            raise ArgumentError(f"augmentation={augmentation!r} must be callable(images, seed=...)")
        self.weight_decay = weight_decay
        self.augmentation = augmentation

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """As Keras's `compile`; the default loss is `CrossEntropy`.

        The name of a cross-entropy takes it from logits where the model gives them.

        Raises:
            ArgumentError: the loss is unknown, or expects logits of a model that gives
                probabilities, or the reverse.
        """
        loss = resolve_loss(CrossEntropy() if loss is None else loss, self.model)
        super().compile(optimizer, loss, **kwargs)

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Rejects inputs that are not finite, and what the base rejects."""
        check_inputs(x)
        super().check_arrays(x, y)

    def check_batch(self, x: Any, y: tf.Tensor, *, training: bool) -> tuple[Any, tf.Tensor]:
        """As `check_arrays`, in the graph."""
        return super().check_batch(tf.nest.map_structure(require_finite, x), y, training=training)

    def augment(self, x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the augmented batch, a function of (x, seed, step)."""
        if self.augmentation is None:
            return x
        return self.augmentation(x, seed=self.stream_seed(AUGMENTATION_STREAM, step))

    def penalized_loss(
        self,
        y: tf.Tensor,
        logits: tf.Tensor,
        penalties: list[tf.Tensor],
        *,
        regularizers: list[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Returns the compiled loss plus penalties and the model's regularisers; tracked as `loss`.

        Under a strategy it is the replica's part: over the number of replicas, as Keras has it.

        Args:
            y: labels [n, ...].
            logits: the model's outputs in training mode.
            penalties: scalars to be added.
            regularizers: `model.losses` after the pass that gave the logits; needed if another
                pass came between, which replaces them.
        """
        if regularizers is None:
            regularizers = self.model.losses
        # Not Keras's compute_loss, which would take float64 to float32.
        loss = self.loss(y, logits)
        replicas = self.distribute_strategy.num_replicas_in_sync
        if extra := [tf.cast(value, loss.dtype) for value in (*penalties, *regularizers)]:
            loss += tf.add_n(extra) / replicas
        self._loss_tracker.update_state(loss * replicas, sample_weight=tf.shape(logits)[0])
        return loss

    def update(self, tape: tf.GradientTape, loss: tf.Tensor, examples: tf.Tensor) -> None:
        """Takes one optimizer step on the mean loss of `examples` examples.

        Weight decay adds weight_decay * w to the gradient of each weight. That is the coupled decay
        of torch.optim.SGD, biases and scales included: it goes through momentum, unlike the decay
        of Keras's optimizers.
        """
        variables = self.model.trainable_variables
        # The factor by which the optimizer will divide: 1, but for one that scales losses.
        scale = self.optimizer.scale_loss(tf.ones([], loss.dtype))
        weight = scale * tf.cast(part_weight(examples), loss.dtype)
        gradients = tape.gradient(loss, variables, output_gradients=weight)
        if self.weight_decay:
            # Replicas' gradients are summed, and this term is the same on each of them.
            decay = self.weight_decay / tf.distribute.get_strategy().num_replicas_in_sync
            decays = [tf.cast(scale, v.dtype) * (decay * v.value) for v in variables]
            gradients = [d if g is None else g + d for g, d in zip(gradients, decays, strict=True)]
        with single_use_gradients():
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))


class NaturalModel(SupervisedModel):
    """Trains a Keras classifier on its loss; every addition is off by default.

    The loss of a step is

        mean loss(f(x'), y) + l2 * sum over kernels |W|^2 + Jacobian penalty,   x' = noise(x),

    with noise resampled at every step, and none outside training.

    Args:
        model: a Keras classifier that gives logits.
        l2: Tikhonov coefficient in the convention of keras.regularizers.L2 (no 1/2), on kernels
            only; for plain SGD it is a weight decay of 2 * l2.
        weight_decay: added to gradients as weight_decay * w, for every trainable weight.
        input_noise: AdditiveGaussian(sigma) or MultiplicativeGaussian(sigma).
        jacobian_penalty: the noise whose second-order equivalent is added to the loss (Bishop 1995;
            `penalties.jacobian_penalty` has the formula). It costs a backward pass for each class.
        augmentation: callable(images, seed=...), such as ft_tf.data.augment.crop_and_flip.
        seed: fixes data order, augmentation and noise.

    Raises:
        ArgumentError: a negative coefficient, or an object that is not a noise.
        ModelError: not a Keras 3 model.
    """

    fixed = SupervisedModel.fixed | {"l2", "input_noise", "jacobian_penalty"}

    def __init__(
        self,
        model: keras.Model,
        *,
        l2: float = 0.0,
        weight_decay: float = 0.0,
        input_noise: InputNoise | None = None,
        jacobian_penalty: InputNoise | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, weight_decay=weight_decay, augmentation=augmentation, seed=seed)
        checks.check_non_negative(l2=l2)
        for name, noise in (("input_noise", input_noise), ("jacobian_penalty", jacobian_penalty)):
            if noise is not None and not isinstance(noise, InputNoise):
                raise ArgumentError(
                    f"{name}={noise!r} must be AdditiveGaussian or MultiplicativeGaussian"
                )
        self.l2 = l2
        self.input_noise = input_noise
        self.jacobian_penalty = jacobian_penalty

    def gradient_step(self, x: tf.Tensor, y: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Takes one step on the loss of the class's docstring; returns the logits."""
        x = self.augment(x, step)
        if self.input_noise is not None:
            x = self.input_noise(x, self.stream_seed(NOISE_STREAM, step))
        penalties = []
        with tf.GradientTape() as tape:
            if self.jacobian_penalty is None:
                logits = self.model(x, training=True)
            else:
                logits, penalty = noise_penalty(self.model, x, self.jacobian_penalty)
                penalties.append(penalty)
            if self.l2:
                penalties.append(l2_penalty(self.model, self.l2))
            loss = self.penalized_loss(y, logits, penalties)
        self.update(tape, loss, tf.shape(x)[0])
        return logits
