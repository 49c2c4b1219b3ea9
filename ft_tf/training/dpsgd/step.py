"""One step of DP-SGD: Algorithm 1 of Abadi et al. (2016), with weight decay.

For a Poisson batch B of expected size L, gradients g_i over all trainable weights jointly, clip
norm C and noise multiplier sigma:

    clip            c_i = g_i / max(1, |g_i| / C)        or by another rule of `clipping`
    sum and divide  s = sum_{i in B} c_i / L
    add noise       n = s + N(0, (sigma C / L)^2)        in every coordinate
    decay           d = n + lambda w                     outside clipping: it depends on no data
    update          the optimizer's step along d

The accountant covers the weights of every step, so an average of them is post-processing: it costs
no privacy, and it removes part of the noise of the last steps.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, require_tensorflow_privacy, single_use_gradients, tf
from ft_tf.errors import ArgumentError
from ft_tf.training import replicas
from ft_tf.training.dpsgd.clipping import Clipping
from ft_tf.training.dpsgd.example_gradients import ExampleGradients, PerExampleLoss
from ft_tf.training.dpsgd.plan import Plan, check_no_added_losses, trainable_variables
from ft_tf.training.dpsgd.randomness import Pieces, Secret, noise_like
from ft_tf.training.dpsgd.rules import PerExampleGradients
from ft_tf.training.dpsgd.settings import Settings


class ClippedSum(NamedTuple):  # a tuple, so that graph functions can return it
    """The sum of the clipped gradients of a batch.

    Attributes:
        gradients: float32, one tensor per trainable variable in the order of the plan's layers.
        norms: float32 [batch]: l2 norms before clipping; not finite where a gradient was not.
        finite: bool [batch]; a gradient that is not finite counts as zero.
        real: bool [batch]: False for an example that only pads the batch.
        losses: float32 [batch].
        outputs: the model's outputs [batch, ...].
    """

    gradients: list[tf.Tensor]
    norms: tf.Tensor
    finite: tf.Tensor
    real: tf.Tensor
    losses: tf.Tensor
    outputs: tf.Tensor

    def first_rows(self, count: tf.Tensor) -> "ClippedSum":
        """Returns the same sum with the rows of the first `count` examples, without padding."""
        examples = (part[:count] for part in self[1:])
        return ClippedSum(self.gradients, *examples)


def clipped_sum(
    plan: Plan,
    loss: PerExampleLoss,
    x: Any,
    y: tf.Tensor,
    *,
    weights: tf.Tensor,
    l2_norm_clip: float | tf.Tensor,
    clipping: Clipping = Clipping(),  # noqa: B008 (frozen)
    training: bool = True,
) -> ClippedSum:
    """Computes sum_i w_i g_i / max(1, |g_i| / C) of a batch that fits in memory.

    Args:
        plan: of the model.
        loss: returns one loss per example.
        x: examples [batch, ...].
        y: labels [batch, ...].
        weights: w, float32 [batch]: 0 for an example that only pads the batch.
        l2_norm_clip: C.
        clipping: the rule, here written for flat clipping.
        training: whether the model runs in training mode.
    """
    batch = ExampleGradients.of_batch(plan, loss, x, y, training=training)
    layers = batch.by_layer()
    squared_norms = [layer.squared_norms for layer in layers]
    norms = tf.sqrt(tf.add_n(squared_norms))
    finite = tf.math.is_finite(norms)
    scales = [
        tf.where(finite, weights * scale, 0.0)
        for scale in clipping.scales(norms, squared_norms, l2_norm_clip)
    ]

    def weighted_sums(layers: list[PerExampleGradients]) -> list[tf.Tensor]:
        pairs = zip(layers, scales, strict=True)
        return [gradient for layer, scale in pairs for gradient in layer.weighted_sum(scale)]

    gradients = tf.cond(
        tf.reduce_all(finite),
        lambda: weighted_sums(layers),
        lambda: weighted_sums(batch.zero_unless(finite).by_layer()),
    )
    return ClippedSum(gradients, norms, finite, weights > 0, batch.losses, batch.outputs)


def accumulated_sum(piece: Callable[[tf.Tensor], ClippedSum], pieces: tf.Tensor) -> ClippedSum:
    """Adds the clipped sums of the pieces of a batch, one after another; runs in graph mode.

    The first piece lies outside the loop, so that a batch of one piece costs nothing extra.

    Args:
        piece: index of a piece -> its clipped sum.
        pieces: int32 scalar >= 1: number of pieces.

    Returns:
        The sum of the pieces' gradients; norms, losses and outputs of all examples, in order.
    """
    first = piece(tf.constant(0))

    def add(index: tf.Tensor, gradients: list[tf.Tensor], rows: list[tf.Tensor]) -> tuple:
        more = piece(index)
        sums = [a + b for a, b in zip(gradients, more.gradients, strict=True)]
        joined = [tf.concat(pair, axis=0) for pair in zip(rows, more[1:], strict=True)]
        return index + 1, sums, joined

    rows = list(first[1:])
    unknown_length = [tf.TensorShape([None, *part.shape[1:]]) for part in rows]
    shapes = [gradient.shape for gradient in first.gradients]
    _, gradients, rows = tf.while_loop(
        lambda index, *_: index < pieces,
        add,
        (tf.constant(1), first.gradients, rows),
        shape_invariants=(tf.TensorShape([]), shapes, unknown_length),
        parallel_iterations=1,
    )
    return ClippedSum(gradients, *rows)


def reference_optimizer(*, l2_norm_clip: float, noise_multiplier: float) -> Any:
    """Returns TF Privacy's DPKerasSGDOptimizer, for the gradients that it computes.

    Every example is one microbatch, and with full batches the size that it divides by is the
    expected one.

    Raises:
        StackError: tensorflow-privacy cannot be imported.
    """
    return require_tensorflow_privacy().DPKerasSGDOptimizer(
        l2_norm_clip=l2_norm_clip,
        noise_multiplier=noise_multiplier,
        num_microbatches=None,
        learning_rate=0.0,  # unused: the model's own optimizer takes the step
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """The step of a model; calling it updates the model.

    Attributes:
        plan: of the model.
        loss: returns one loss per example.
        optimizer: gets the noisy average.
        settings: clip norm, noise multiplier and weight decay.
        secret: fixes the noise of each step.
        batch_size: L, the expected size of a batch.
        clip_norm: C where the clipping rule adapts it, which the step updates; else None.
        reference: from `reference_optimizer`; None for the fast engine.
    """

    plan: Plan
    loss: PerExampleLoss
    optimizer: keras.optimizers.Optimizer
    settings: Settings
    secret: Secret
    batch_size: int
    clip_norm: tf.Variable | None = None
    reference: Any = None

    def __call__(self, piece: Pieces, pieces: tf.Tensor, number: tf.Tensor) -> ClippedSum:
        """Updates the model on a batch in pieces.

        Args:
            piece: index of a piece -> its examples.
            pieces: number of pieces.
            number: int64, of the step: its noise is a function of the secret and of this number.

        Returns:
            The clipped sum of the batch over L; on several replicas, of this one's part.
        """
        if self.reference is not None:
            return self._reference_step(*piece(0))
        clipping, decay = self.settings.clipping, self.settings.weight_decay
        sigma, *_ = clipping.parts(self.settings.noise_multiplier)
        clip = self.settings.l2_norm_clip
        if self.clip_norm is not None:
            clip = self.clip_norm.read_value()
        variables = trainable_variables(self.plan)

        @tf.function(autograph=False)  # one trace for the first piece and the loop over the others
        def clipped(index: tf.Tensor) -> ClippedSum:
            x, y, real = piece(index)
            # Dividing by L here spares a pass over the sum.
            weights = tf.cast(real, tf.float32) / self.batch_size
            return clipped_sum(
                self.plan, self.loss, x, y, weights=weights, l2_norm_clip=clip, clipping=clipping
            )

        # clip, accumulate, divide: s = sum_i g_i / max(1, |g_i| / C) / L
        result = accumulated_sum(clipped, pieces)
        direction = result.gradients
        # The optimizer adds up what the replicas give it: noise and decay come from one of them.
        first = replicas.is_first()
        # add noise: n = s + N(0, (sigma C / L)^2)
        if sigma > 0 and first:
            deviation = sigma * clip / self.batch_size
            noise = noise_like(variables, self.secret, number, standard_deviation=deviation)
            direction = [s + z for s, z in zip(direction, noise, strict=True)]
        # decay: d = n + lambda w
        if decay and first:
            weights = [tf.cast(w.value, tf.float32) for w in variables]
            direction = [n + decay * w for n, w in zip(direction, weights, strict=True)]
        # update
        self._apply(variables, direction)
        if self.clip_norm is not None:
            self._adapt(clip, result, number)
        return result

    def _adapt(self, clip: tf.Tensor, result: ClippedSum, number: tf.Tensor) -> None:
        """Moves the clip norm by the noisy count of the gradients that lay within it."""
        within = tf.cast(result.norms <= clip, tf.float32) - 0.5
        count = replicas.total(tf.reduce_sum(tf.where(result.real, within, 0.0)))
        clipping = self.settings.clipping
        if sigma := self.settings.noise_multiplier:
            deviation = clipping.parts(sigma)[1] / 2  # an example moves the count by 1/2
            noise = {"standard_deviation": deviation, "of_count": True}
            count += noise_like([count], self.secret, number, **noise)[0]
        self.clip_norm.assign(clipping.next_norm(clip, count, self.batch_size))

    def _apply(self, variables: list[keras.Variable], direction: list[tf.Tensor]) -> None:
        # In the model's order, on which averages of Keras's optimizers rest.
        by_variable = dict(zip(map(id, variables), direction, strict=True))
        model_order = self.plan.model.trainable_variables
        with single_use_gradients():
            self.optimizer.apply_gradients(
                [(tf.cast(by_variable[id(w)], w.dtype), w) for w in model_order]
            )

    def _reference_step(self, x: Any, y: tf.Tensor, real: tf.Tensor) -> ClippedSum:
        variables = trainable_variables(self.plan)
        with tf.GradientTape() as tape:
            outputs = self.plan.model(x, training=True)
            losses = self.loss(y, outputs)
        check_no_added_losses(self.plan.model)
        values = [variable.value for variable in variables]
        noisy = self.reference._compute_gradients(losses, values, tape=tape)
        gradients = [gradient for gradient, _ in noisy]
        self._apply(variables, gradients)
        return ClippedSum(gradients, tf.zeros_like(losses), real, real, losses, outputs)


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
        self.first_step = replicas.replicated(0, tf.int64)
        self.averages = [
            replicas.replicated(tf.cast(weight, tf.float32), tf.float32) for weight in weights
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
