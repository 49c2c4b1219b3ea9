"""The Keras side of DP-SGD: compile, the first batch, steps and metrics."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf._compat import forgetting_gradients, keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import check_engine
from ft_tf.training import replicas
from ft_tf.training.base import ResidentModel
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd.first_batch import (
    check_examples_are_independent,
    chosen_examples,
    taken,
)
from ft_tf.training.dpsgd.independence import (
    check_loss,
    check_plan,
    per_example_loss,
)
from ft_tf.training.dpsgd.plan import make_plan
from ft_tf.training.dpsgd.randomness import (
    Pieces,
    Secret,
    pieces_of_batch,
    pieces_of_indices,
    poisson_batches,
    shuffled_batches,
)

# These register their rules.
from ft_tf.training.dpsgd.rules import convolution, dense, normalization  # noqa: F401
from ft_tf.training.dpsgd.settings import BatchCounter, Settings
from ft_tf.training.dpsgd.step import (
    Averaging,
    ClippedSum,
    RunningAverage,
    Step,
    reference_optimizer,
)
from ft_tf.training.epochs import Epoch

_NONFINITE = "nonfinite_examples"


class DPSGDEngine(ResidentModel):
    """Trains a model by the steps of DP-SGD, without accounting for them; see `DPSGDModel`."""

    # noise_multiplier is None until target_epsilon is calibrated by `fit`.
    fixed = ResidentModel.fixed | {field.name for field in dataclasses.fields(Settings)}

    def __init__(
        self,
        model: keras.Model,
        *,
        settings: Settings,
        secret: Secret,
        averaging: Averaging | None,
        seed: int,
    ) -> None:
        super().__init__(model, seed=seed)
        if tf.config.list_physical_devices("GPU"):
            # TF32 products would make the norms wrong in the fourth digit.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._take(settings)
        self._secret = secret
        self._plan = make_plan(model)
        self._checked_examples = 0  # of the first batch; two are enough
        self._expected_batch_size: int | None = None
        self.average = None if averaging is None else RunningAverage(averaging, model)
        # C as a state, saved with checkpoints, where the rule adapts it; else None.
        self.clip_norm = None
        if settings.clipping.adapts:
            self.clip_norm = replicas.replicated(settings.l2_norm_clip, tf.float32)
        self._counter: BatchCounter | None = None  # of a tf.data input, in the present `fit`
        # Counts steps where they are taken: an optimizer need not count each.
        self._next_step = replicas.replicated(0, tf.int64)
        self._nonfinite = keras.metrics.Sum(name=_NONFINITE)

    def _take(self, settings: Settings) -> None:
        self._settings = settings
        vars(self).update(vars(settings))

    def compile(
        self, optimizer: Any = "SGD", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """As Keras's `compile`.

        Args:
            optimizer: any Keras optimizer; it gets the noisy average.
            loss: a name, a keras.losses.Loss or a function that gives one loss per example. On a
                model that ends in a linear layer, names of cross-entropies mean "from logits".
            metrics: as in Keras; they see the training batches without noise, padding included.
            **kwargs: other arguments of Keras's `compile`, except `loss_weights`,
                `weighted_metrics` and `jit_compile`.

        Raises:
            ArgumentError: an argument cannot be used; the message says which.
            ModelError: layers were unfrozen, and the model can no longer be served.
        """
        for name in ("loss_weights", "weighted_metrics", "jit_compile"):
            if kwargs.pop(name, None):
                raise ArgumentError(f"{name} cannot be used in DPSGDModel")
        resolved = resolve_loss(loss, self.model)
        self._per_example_loss = per_example_loss(resolved)
        optimizer = keras.optimizers.get(optimizer)
        _check_optimizer(optimizer, engine=self.engine, is_spread=replicas.is_spread(self))
        self._reference = None
        if self.engine == "reference":
            self._reference = reference_optimizer(
                l2_norm_clip=self.l2_norm_clip, noise_multiplier=self.noise_multiplier
            )
        if not self._plan.holds:
            self._plan = make_plan(self.model)
        self._checked_examples = 0
        kwargs["auto_scale_loss"] = False  # which the policy mixed_float16 would turn on
        super().compile(optimizer=optimizer, loss=resolved, metrics=metrics, **kwargs)
        self.optimizer.build(self.model.trainable_variables)

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Rejects arrays that the model cannot be trained on, such as models that mix examples."""
        super().check_arrays(x, y)
        self._check_first_batch(x, y)

    def _check_first_batch(self, x: Any, y: Any) -> bool:
        """Checks the model on a few examples before training, once after `compile`.

        Returns whether they were enough: one example, or several that are equal or not finite,
        cannot show that examples are mixed.
        """
        indices, differing = chosen_examples(x) if len(y) else ([], 0)
        enough = min(max(differing, len(indices) > 0), 2)
        if enough > self._checked_examples:
            few_x, few_y = taken((x, y), indices)
            check_examples_are_independent(self.model, few_x)
            check_loss(self.loss, self.model, few_x, few_y)
            if self.engine == "fast":
                check_plan(self._plan, self._per_example_loss, few_x, few_y)
            self._plan.check_holds()  # a layer that was first called now may have new weights
            self._checked_examples = enough
        return self._checked_examples > 1

    def epoch_batches(self, size: int, batch_size: int) -> tuple[Epoch, int]:
        """Returns the batches (indices [pieces, size], count) of an epoch, and its steps."""
        draw = poisson_batches if self.sampling == "poisson" else shuffled_batches
        return draw(
            self._secret.sampling_key(),
            size=size,
            batch_size=batch_size,
            layout=self._settings.layout(batch_size),
        )

    def shared_out(
        self, batches: tf.data.Dataset, x: np.ndarray, y: np.ndarray, batch_size: int
    ) -> tf.distribute.DistributedDataset:
        """Returns an even part of each batch for each replica, padded as on one device."""
        return replicas.share_out(
            batches.map(lambda indices, count: tf.reshape(indices, [-1])[:count]),
            x,
            y,
            batch_size,
            self.distribute_strategy,
            arrange=self._settings.layout(batch_size).arrange,
        )

    def steps_taken(self) -> int:
        """Returns the number of steps so far, counted where they are taken."""
        return int(self._next_step.numpy())

    def make_train_function(self, force: bool = False) -> None:
        """As Keras's; the first batches of a tf.data input are checked before their steps."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        from_dataset = self._examples is None and not replicas.is_spread(self)
        if from_dataset and self._checked_examples < 2 and not self.run_eagerly:
            self.train_function = self._checking(self.train_function)

    def _checking(self, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns `run`, with one step at a time until enough batches have been checked."""

        def checked(iterator: Any) -> Any:
            if self._checked_examples > 1:
                return run(iterator)
            logs = None
            for _ in range(self.steps_per_execution):
                batch = next(iterator, None)
                if batch is None:
                    break
                self._check_first_batch(*self.without_weights(batch))
                logs = run(iter([batch]))
            if logs is None:
                raise StopIteration
            return logs

        return checked

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's `evaluate`."""
        x, y = self.check_batch(*self.without_weights(data), training=False)
        outputs = self.model(x, training=False)
        self._loss_tracker.update_state(self._per_example_loss(y, outputs))
        results = self.compute_metrics(x, y, outputs)
        return {name: value for name, value in results.items() if name != _NONFINITE}

    @forgetting_gradients()
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's loop."""
        if replicas.is_spread(self):
            x, y, count = data
            pieces = pieces_of_batch(x, y, self.physical_batch_size, count)
            result, y = self._step(*pieces).first_rows(count), y[:count]
        elif self._examples is None:
            x, y = self.without_weights(data)
            if tf.executing_eagerly():
                self._check_first_batch(x, y)
            x, y = self.check_batch(x, y, training=True)
            count = tf.shape(y)[0]
            self._counter.note(count)
            size = tf.maximum(count, 1) if self.engine == "reference" else self.physical_batch_size
            result = self._step(*pieces_of_batch(x, y, size))
        else:
            (all_x, all_y), (indices, count) = self._examples, data
            result = self._step(*pieces_of_indices(all_x, all_y, indices, count)).first_rows(count)
            y = tf.gather(all_y, tf.reshape(indices, [-1])[:count])
        self._loss_tracker.update_state(_finite_or_all(result.losses))
        self._nonfinite.update_state(tf.cast(~result.finite, tf.float32))
        return self.compute_metrics(None, y, result.outputs)

    def _step(self, piece: Pieces, pieces: tf.Tensor) -> ClippedSum:
        """Updates the model and its average, and counts the step."""
        number = self._next_step.read_value()
        self._next_step.assign_add(1)
        step = Step(
            plan=self._plan,
            loss=self._per_example_loss,
            optimizer=self.optimizer,
            settings=self._settings,
            secret=self._secret,
            batch_size=self._expected_batch_size,
            clip_norm=self.clip_norm,
            reference=self._reference,
        )
        result = step(piece, pieces, number)
        if self.average is not None:
            self.average.update(number + 1)
        return result


def _check_optimizer(
    optimizer: keras.optimizers.Optimizer, *, engine: str, is_spread: bool
) -> None:
    """Rejects an optimizer that does not take one step for each noisy average that it gets."""
    check_engine(engine, optimizer=type(optimizer).__name__)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ArgumentError(
            "optimizer=LossScaleOptimizer would skip steps: use its inner optimizer"
        )
    if factor := optimizer.loss_scale_factor:
        raise ArgumentError(
            f"loss_scale_factor={factor:g} of the optimizer would divide the noisy gradient, which "
            "is of a loss that is not scaled: leave it out"
        )
    for name in ("clipnorm", "clipvalue", "global_clipnorm"):
        if is_spread and getattr(optimizer, name) is not None:
            raise ArgumentError(
                f"{name}={getattr(optimizer, name)!r} of the optimizer would clip each replica's "
                "part: it cannot be used on several devices"
            )
    if steps := optimizer.gradient_accumulation_steps:
        raise ArgumentError(
            f"gradient_accumulation_steps={steps} cannot be used: physical_batch_size sums the "
            "gradients of a batch in pieces"
        )


def _finite_or_all(losses: tf.Tensor) -> tf.Tensor:
    """Returns the finite losses, or all if none is finite, so that a failed training shows.

    None of the whole batch, that is: a replica's part alone tells nothing.
    """
    finite = tf.boolean_mask(losses, tf.math.is_finite(losses))
    found = replicas.total(tf.cast(tf.size(finite), tf.float32))
    return tf.cond(found > 0, lambda: finite, lambda: losses)
