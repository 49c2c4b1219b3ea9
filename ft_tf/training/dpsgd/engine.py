"""The Keras side of DP-SGD: compile, the first batch, the compiled loop, steps and metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.training.base import ResidentModel
from ft_tf.training.compiled_loss import check_labels_of, resolve_loss
from ft_tf.training.dpsgd.arguments import Settings, without_weights
from ft_tf.training.dpsgd.averaging import Averaging, RunningAverage
from ft_tf.training.dpsgd.batches import (
    Pieces,
    pieces_of_batch,
    pieces_of_indices,
    poisson_batches,
    shuffled_batches,
)
from ft_tf.training.dpsgd.example_losses import finite_or_all, per_example_loss
from ft_tf.training.dpsgd.first_batch import (
    check_examples_are_independent,
    check_loss,
    check_plan,
)
from ft_tf.training.dpsgd.gaussian_noise import Secret
from ft_tf.training.dpsgd.ledger import BatchCounter
from ft_tf.training.dpsgd.plan import make_plan
from ft_tf.training.dpsgd.reference import reference_optimizer, reference_step
from ft_tf.training.dpsgd.step import ClippedSum, Step
from ft_tf.training.fixed import Fixed

Logs = dict[str, tf.Tensor]


class DPSGDEngine(ResidentModel):
    """Trains a model by the steps of DP-SGD, without accounting for them; see `DPSGDModel`."""

    l2_norm_clip = Fixed(of="_settings")
    noise_multiplier = Fixed(of="_settings")  # None until target_epsilon is calibrated by `fit`
    target_epsilon = Fixed(of="_settings")
    delta = Fixed(of="_settings")
    sampling = Fixed(of="_settings")
    engine = Fixed(of="_settings")
    weight_decay = Fixed(of="_settings")
    physical_batch_size = Fixed(of="_settings")

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
        self._settings = settings
        self._secret = secret
        self._plan = make_plan(model)
        self._checked_examples = 0  # of the first batch; two are enough
        self._expected_batch_size: int | None = None
        self.average = None if averaging is None else RunningAverage(averaging, model)
        self._counter: BatchCounter | None = None  # of a tf.data input, in the present `fit`
        self._loss_metric = keras.metrics.Mean(name="loss")
        self._nonfinite_metric = keras.metrics.Sum(name="nonfinite_examples")

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
        if self.engine == "reference":
            optimizer = reference_optimizer(
                optimizer, l2_norm_clip=self.l2_norm_clip, noise_multiplier=self.noise_multiplier
            )
        if not self._plan.holds:
            self._plan = make_plan(self.model)
        self._checked_examples = 0
        super().compile(optimizer=optimizer, loss=resolved, metrics=metrics, **kwargs)
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            self.optimizer.build(self.model.trainable_variables)

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Rejects arrays that the model cannot be trained on, such as models that mix examples."""
        super().check_arrays(x, y)
        self._check_first_batch(x, y)
        if not self.compiled_metrics.built:
            # Variables that are created in a first trace cost a second one.
            self.compiled_metrics.build(self.model(x[:1]), tf.constant(y[:1]))

    def check_labels(self, y: np.ndarray) -> None:
        """Rejects labels that the loss has no output for."""
        check_labels_of(self.loss, self.model, y)

    def _check_first_batch(self, x: Any, y: Any) -> bool:
        """Checks the model on a few examples before training, once after `compile`.

        Returns whether they were enough: one example cannot show that examples are mixed.
        """
        enough = min(len(y), 2)
        if enough > self._checked_examples:
            check_examples_are_independent(self.model, x)
            check_loss(self.loss, self.model, x, y)
            if self.engine == "fast":
                check_plan(self._plan, self._per_example_loss, x, y)
            self._checked_examples = enough
        return self._checked_examples > 1

    def index_batches(
        self, size: int, batch_size: int, first_step: int
    ) -> tuple[tf.data.Dataset, int]:
        """Returns batches (indices [pieces, piece size], count), and the steps of an epoch."""
        draw = poisson_batches if self.sampling == "poisson" else shuffled_batches
        return draw(
            self._secret.sampling_key(),
            size=size,
            batch_size=batch_size,
            first_step=first_step,
            layout=self._settings.layout(batch_size),
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean loss of the training examples, non-finite gradients, and compiled metrics."""
        compiled = self.compiled_metrics.metrics if self.compiled_metrics is not None else []
        return [self._loss_metric, self._nonfinite_metric, *compiled]

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's `evaluate`."""
        x, y = without_weights(data)
        outputs = self.model(x, training=False)
        self._loss_metric.update_state(self._per_example_loss(y, outputs))
        self.compiled_metrics.update_state(y, outputs)
        shown = (metric for metric in self.metrics if metric is not self._nonfinite_metric)
        return {metric.name: metric.result() for metric in shown}

    def make_train_function(self, force: bool = False) -> Any:
        """Returns Keras's compiled loop; it checks the first batches of a tf.data input."""
        if self.run_eagerly:
            return super().make_train_function(force)
        if self.train_function is None or force:
            if self._examples is None and self._checked_examples < 2:
                self.train_function = loop_with_validation(self, self._check_first_batch)
            else:
                self.train_function = compiled_loop(self)
        return self.train_function

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's loop."""
        if self._examples is None:
            x, y = without_weights(data)
            if tf.executing_eagerly():
                self._check_first_batch(x, y)
            result, y = self._step_on_batch(x, y)
        else:
            result, y = self._step_on_indices(*data)
        self._loss_metric.update_state(finite_or_all(result.losses))
        self._nonfinite_metric.update_state(tf.cast(~result.finite, tf.float32))
        self.compiled_metrics.update_state(y, result.outputs)
        return {metric.name: metric.result() for metric in self.metrics}

    def _step_on_indices(
        self, indices: tf.Tensor, count: tf.Tensor
    ) -> tuple[ClippedSum, tf.Tensor]:
        all_x, all_y = self._examples
        result = self._step(*pieces_of_indices(all_x, all_y, indices, count))
        labels = tf.gather(all_y, tf.reshape(indices, [-1])[:count])
        return result.first_rows(count), labels

    def _step_on_batch(self, x: Any, y: tf.Tensor) -> tuple[ClippedSum, tf.Tensor]:
        count = tf.shape(y)[0]
        self._counter.note(count)
        size = tf.maximum(count, 1) if self.engine == "reference" else self.physical_batch_size
        return self._step(*pieces_of_batch(x, y, size)), y

    def _step(self, piece: Pieces, pieces: tf.Tensor) -> ClippedSum:
        """Updates the model and its average."""
        loss = self._per_example_loss
        if self.engine == "reference":
            x, y, real = piece(0)
            losses, outputs = reference_step(self.model, self.optimizer, loss, x, y)
            result = ClippedSum([], tf.zeros_like(losses), real, losses, outputs)
        else:
            step = Step(
                plan=self._plan,
                loss=loss,
                optimizer=self.optimizer,
                settings=self._settings,
                secret=self._secret,
                batch_size=self._expected_batch_size,
            )
            result = step(piece, pieces)
        if self.average is not None:
            self.average.update(self.optimizer.iterations)
        return result


def compiled_loop(model: keras.Model) -> Callable[[Any], Logs]:
    """Returns a function that runs the steps of one execution on an iterator, and the metrics.

    Keras's own loop traces its body twice to learn what it returns, and computes the results of
    the metrics in every step.
    """
    return tf.function(
        lambda iterator: _run(model, lambda done: next(iterator), model._steps_per_execution),
        autograph=False,
        reduce_retracing=True,
    )


def loop_with_validation(
    model: keras.Model, validate: Callable[..., bool]
) -> Callable[[Any], Logs]:
    """As `compiled_loop`, but validates the first batches, one step each.

    Every batch is drawn once: the step takes the batch that was validated.

    Args:
        model: the model.
        validate: called with (x, y) of each batch until it returns True.
    """
    run = tf.function(
        lambda iterator, first, count: _run(
            model, lambda done: tf.cond(done == 0, lambda: first, lambda: next(iterator)), count
        ),
        autograph=False,
        reduce_retracing=True,
    )

    def execution(iterator: Any) -> Logs:
        left, logs = int(model._steps_per_execution), {}
        while left:
            first = next(iterator)
            steps = left if validate(*without_weights(first)) else 1
            logs = run(iterator, first, tf.constant(steps))
            left -= steps
        return logs

    return execution


def _run(model: keras.Model, batch: Callable[[tf.Tensor], Any], steps: Any) -> Logs:
    def body(done: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies(list(model.train_step(batch(done)).values())):
            model._train_counter.assign_add(1)
        return done + 1

    count = tf.cast(steps, tf.int32)
    tf.while_loop(lambda done: done < count, body, [0], parallel_iterations=1)
    return {metric.name: metric.result() for metric in model.metrics}
