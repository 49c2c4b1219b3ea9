"""DPSGDModel: differentially private SGD for any Keras Sequential or functional model."""

import warnings
from typing import Any, Literal

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import Account, PrivacyEvent, account_for
from ft_tf.privacy.batch_sizes import Finding
from ft_tf.training.base import ResidentModel
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd.arguments import (
    as_array,
    check_dataset,
    check_sizes,
    check_takes_arrays,
    without_weights,
)
from ft_tf.training.dpsgd.clipping import ClippedSum
from ft_tf.training.dpsgd.independence import check_examples_are_independent
from ft_tf.training.dpsgd.inputs import BatchCounter, warning_of
from ft_tf.training.dpsgd.ledger import Ledger
from ft_tf.training.dpsgd.loop import compiled_loop, loop_with_a_look
from ft_tf.training.dpsgd.losses import finite_or_all, per_example_loss
from ft_tf.training.dpsgd.noise import Secret
from ft_tf.training.dpsgd.plan import make_plan
from ft_tf.training.dpsgd.reference import reference_optimizer, reference_step
from ft_tf.training.dpsgd.sampling import poisson_batches, shuffled_batches
from ft_tf.training.dpsgd.settings import Settings
from ft_tf.training.dpsgd.step import Pieces, Step, pieces_of_batch, pieces_of_indices
from ft_tf.training.dpsgd.trial import check_loss, check_plan
from ft_tf.training.fixed import Fixed
from ft_tf.training.labels import check_labels_of


class DPSGDModel(ResidentModel):
    """Trains a model by DP-SGD (Abadi et al. 2016, algorithm 1).

    Each step

    1. draws a batch: with sampling="poisson" every example enters independently with probability
       q = batch_size / n, so its size varies and may be 0;
    2. computes each example's gradient over all trainable weights jointly and clips it:
       g_i / max(1, |g_i| / C);
    3. adds N(0, sigma^2 C^2) to each coordinate of the sum, divides by the *expected* batch size,
       and hands that to the optimizer.

    What the guarantee rests on:

    | case | what happens |
    |---|---|
    | empty batch | a step of noise alone |
    | a gradient or its squared norm is not finite | counts as zero; see `nonfinite_examples` |
    | such a gradient with engine="reference" | TF Privacy adds it: the weights are lost |
    | no loss of a batch is finite | the reported loss is not either: training went wrong |
    | noise_multiplier 0 | clipping only: trains, and is not private |
    | a setting is set later (`noise_multiplier` by a callback, say) | ArgumentError |
    | noise_seed given | replays exactly; private only while the seed is secret, and trained once |
    | compile called again | new batches and new noise; with a noise_seed `fit` refuses |
    | sampling="shuffle" | fixed batches of a permutation: earns no amplification by sampling |
    | a weight tied outside its layer, examples that are mixed | found on the first batch, refused |
    | layers frozen or unfrozen | as of `compile`; `fit` refuses where they changed since |
    | a tf.data input | its sampling is the caller's affair: stated as unknown unless told, and \
claimed only as far as the sizes of its batches allow |
    | the model's initial weights | covered only if they do not come from the same data |
    | several fits | their steps add up: see `privacy_account` |
    | weight decay | added to the averaged noisy gradient, outside clipping: it sees no data |
    | training metrics and losses | see the data without noise: outside the guarantee |

    `seed` plays no part here: noise and sampling come from the operating system's entropy, or from
    `noise_seed` alone. With `noise_seed` fixed, batches and noise are functions of (noise_seed,
    optimizer.iterations), so a run that resumes with restored weights and optimizer goes on as if
    it had not stopped.

    Args:
        model: a built Keras 2 Sequential or functional model with one output. Its weights are where
            training starts: of a model trained on the same data, `models.with_fresh_weights` makes
            one that DP-SGD protects.
        l2_norm_clip: C, of each example's whole gradient.
        noise_multiplier: sigma: standard deviation of the noise over C.
        sampling: "poisson", or "shuffle" for the original practice.
        noise_seed: fixes sampling and noise; None takes the operating system's entropy.
        engine: "fast", or "reference" for TF Privacy's DPKerasSGDOptimizer (only shuffled full
            batches, and its own noise).
        seed: of whatever is not sampling or noise.
        weight_decay: lambda; lambda * w is added to the gradient of each weight w.
        physical_batch_size: examples that are in work at once; larger batches are summed piece by
            piece in the same memory. The reference engine takes every batch as a whole.

    Raises:
        ArgumentError: an argument cannot be used.
        ModelError: the model cannot be trained with per-example clipping; all reasons are listed.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        l2_norm_clip: float,
        noise_multiplier: float,
        sampling: Literal["poisson", "shuffle"] = "poisson",
        noise_seed: int | None = None,
        engine: Literal["fast", "reference"] = "fast",
        seed: int = 0,
        weight_decay: float = 0.0,
        physical_batch_size: int | None = None,
    ) -> None:
        settings = Settings(
            l2_norm_clip=l2_norm_clip,
            noise_multiplier=noise_multiplier,
            sampling=sampling,
            engine=engine,
            weight_decay=weight_decay,
            physical_batch_size=physical_batch_size,
        )
        settings.check_engine(noise_seed=noise_seed)
        if tf.distribute.has_strategy():
            raise ArgumentError(
                "DPSGDModel cannot be made within a tf.distribute strategy: every replica would "
                "add noise of its own to a batch of its own, and the epsilon would be another; use "
                "one device"
            )
        super().__init__(model, seed=seed)
        if tf.config.list_physical_devices("GPU"):
            # TF32 products would make the norms wrong in the fourth digit.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._settings = settings
        self._secret = Secret.of(noise_seed)
        self._plan = make_plan(model)
        self._looked_at = 0  # examples, of which two are enough
        self._expected_batch_size: int | None = None
        self._ledger = Ledger()
        self._counter: BatchCounter | None = None  # of a tf.data input, in the present `fit`
        self._loss_metric = keras.metrics.Mean(name="loss")
        self._nonfinite_metric = keras.metrics.Sum(name="nonfinite_examples")

    l2_norm_clip = Fixed(of="_settings")
    noise_multiplier = Fixed(of="_settings")
    sampling = Fixed(of="_settings")
    engine = Fixed(of="_settings")
    weight_decay = Fixed(of="_settings")
    physical_batch_size = Fixed(of="_settings")

    @property
    def private(self) -> bool:
        """Whether any noise is added: a clip-only run (sigma 0) has no guarantee."""
        return self.noise_multiplier > 0

    def privacy_events(self) -> tuple[PrivacyEvent, ...]:
        """What this object executed so far; an interrupted `fit` counts what it did."""
        return tuple(self._ledger.events)

    def privacy_account(self, *, delta: float) -> Account:
        """What all that this object executed costs: `epsilon` at `delta`, and a `statement`.

        Raises:
            ArgumentError: nothing was executed yet, or delta is out of range.
        """
        return account_for(self._ledger.events, delta=delta)

    def compile(
        self, optimizer: Any = "SGD", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """As Keras's `compile`.

        Args:
            optimizer: any Keras optimizer; it gets the noisy average.
            loss: a name, a keras.losses.Loss or a function that gives one loss per example. On a
                model that ends in a linear layer, names of cross-entropies mean "from logits".
            metrics: as in Keras; they see the training batches without noise, padding included.
            **kwargs: what else Keras's `compile` takes, except `loss_weights`, `weighted_metrics`
                and `jit_compile`.

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
        self._looked_at = 0  # examples, of which two are enough
        super().compile(optimizer=optimizer, loss=resolved, metrics=metrics, **kwargs)
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            self.optimizer.build(self.model.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        num_examples: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """As Keras's `fit`; on arrays it draws the batches itself.

        Args:
            x: array of examples [n, ...], or a tf.data.Dataset of (x, y) batches.
            y: array of labels [n, ...].
            batch_size: expected batch size; with tf.data too, what the noisy sum is divided by.
            epochs: passes of round(n / batch_size) steps each (n // batch_size shuffled).
            num_examples: with a tf.data input, the number of examples that its batches are drawn
                from by `sampling`; without it the run is stated as unaccounted. To give it is to
                assert that, which only the sizes of the batches can contradict. Batches of one
                size are no Poisson samples and are accounted as shuffled ones, if every epoch is
                one pass over so many examples; whatever else contradicts `sampling`,
                `num_examples` or `batch_size` leaves the run unaccounted. A warning says so.
            **kwargs: what else Keras's `fit` takes, except weights of examples and classes.

        Raises:
            ArgumentError: an argument cannot be used; or the optimizer's count of steps has gone
                back (by `compile`, say), so that a `noise_seed` would repeat its noise.
            ModelError: examples are mixed, gradients would be wrong, or what is frozen has changed.
        """
        self._plan.check_holds()
        resident = not isinstance(x, tf.data.Dataset)
        if resident:
            check_takes_arrays(self.model)
            x, y = as_array("x", x), as_array("y", y)
        check_sizes(batch_size, num_examples, len(x) if resident else None)
        if batch_size != self._expected_batch_size:
            self._expected_batch_size = batch_size
            self.train_function = None  # the compiled step holds the old one
        before = int(self.optimizer.iterations)
        if self.private and self._ledger.needs_new_noise(before, seeded=self._secret.is_seed):
            self._secret = Secret.of(None)
            self.train_function = None  # the compiled step holds the old one
        if resident:
            self._counter = None
            try:
                return super().fit(x, y, batch_size, epochs, **kwargs)
            finally:
                self._record(before, len(x), Finding(self.sampling))
        check_dataset(self.loss, self.model, x)
        self._counter = BatchCounter(x, kwargs.get("steps_per_epoch"))
        kwargs["callbacks"] = self._counter.beside(kwargs.get("callbacks"))
        complete = False
        try:
            history = super().fit(x, y, None, epochs, **kwargs)
            complete = not self.stop_training
            return history
        finally:
            finding = self._counter.finding(
                told=self.sampling,
                num_examples=num_examples,
                batch_size=batch_size,
                complete=complete,
            )
            if finding.reason and self.private:
                warnings.warn(warning_of(finding, num_examples=num_examples), stacklevel=2)
            self._record(before, num_examples, finding)

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Refuses labels that the loss has no output for, and models that do not suit the data."""
        super().check_arrays(x, y)
        check_labels_of(self.loss, self.model, y)
        self._look_at(x, y)
        if not self.compiled_metrics.built:
            # Variables that a first trace creates cost a second one.
            self.compiled_metrics.build(self.model(x[:1]), tf.constant(y[:1]))

    def _look_at(self, x: Any, y: Any) -> bool:
        """Looks at the model's work on a few examples before training, once after `compile`.

        Returns whether that was enough: one example does not tell whether examples are mixed.
        """
        enough = min(len(y), 2)
        if enough > self._looked_at:
            check_examples_are_independent(self.model, x)
            check_loss(self.loss, self.model, x, y)
            if self.engine == "fast":
                check_plan(self._plan, self._per_example_loss, x, y)
            self._looked_at = enough
        return self._looked_at > 1

    def _record(self, first_step: int, num_examples: int | None, finding: Finding) -> None:
        steps = int(self.optimizer.iterations) - first_step
        if steps <= 0:
            return
        offset, passes = 0, None
        if finding.sampling == "shuffle" and self._counter is None:
            offset = first_step % (num_examples // self._expected_batch_size)
        elif finding.sampling == "shuffle":
            passes = sum(1 for sizes in self._counter.passes if sizes)
        event = PrivacyEvent(
            noise_multiplier=self.noise_multiplier,
            sampling=finding.sampling,
            num_examples=num_examples,
            batch_size=self._expected_batch_size,
            steps=steps,
            seeded=self._secret.is_seed,
            pass_offset=offset,
            from_dataset=self._counter is not None,
            counted_passes=passes,
            reason=finding.reason,
        )
        self._ledger.note(first_step, event)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> None:
        """Refused: steps outside `fit` would not be counted.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError("train_on_batch would take steps that are not counted: use fit")

    def index_batches(
        self, size: int, batch_size: int, first_step: int
    ) -> tuple[tf.data.Dataset, int]:
        """Batches (indices [pieces, piece size], count) from `first_step` on, steps per epoch."""
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
        """Mean loss of the examples seen, non-finite gradients, and the compiled metrics."""
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
        """Keras's compiled loop; a tf.data input is looked at as its first batches come."""
        if self.run_eagerly:
            return super().make_train_function(force)
        if self.train_function is None or force:
            if self._examples is None and self._looked_at < 2:
                self.train_function = loop_with_a_look(self, self._look_at)
            else:
                self.train_function = compiled_loop(self)
        return self.train_function

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's loop."""
        if self._examples is None:
            x, y = without_weights(data)
            if tf.executing_eagerly():
                self._look_at(x, y)
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
        """Updates the model."""
        loss = self._per_example_loss
        if self.engine == "reference":
            x, y, real = piece(0)
            losses, outputs = reference_step(self.model, self.optimizer, loss, x, y)
            return ClippedSum([], tf.zeros_like(losses), real, losses, outputs)
        step = Step(
            plan=self._plan,
            loss=loss,
            optimizer=self.optimizer,
            settings=self._settings,
            secret=self._secret,
            batch_size=self._expected_batch_size,
        )
        return step(piece, pieces)
