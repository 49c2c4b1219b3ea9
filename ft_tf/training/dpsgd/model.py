"""DPSGDModel: differentially private SGD for Keras models."""

import warnings
from typing import Any, Literal

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.models import count_inputs
from ft_tf.privacy import Account, PrivacyEvent, account_for, check_engine
from ft_tf.privacy.batch_sizes import Finding, examine
from ft_tf.training import replicas
from ft_tf.training.dpsgd.clipping import Clipping
from ft_tf.training.dpsgd.engine import DPSGDEngine
from ft_tf.training.dpsgd.randomness import Secret
from ft_tf.training.dpsgd.settings import (
    BatchCounter,
    Run,
    Settings,
    check_budget,
    check_sizes,
)
from ft_tf.training.dpsgd.step import Averaging


class DPSGDModel(DPSGDEngine):
    """Trains a model by DP-SGD (Abadi et al. 2016, algorithm 1).

    Each step

    1. draws a batch: with sampling="poisson" every example enters independently with probability
       q = batch_size / n, so its size varies and may be 0;
    2. computes each example's gradient over all trainable weights jointly and clips it:
       g_i / max(1, |g_i| / C), or by another rule of `clipping`;
    3. adds N(0, sigma^2 C^2) to each coordinate of the sum, divides by the *expected* batch size,
       and passes the result to the optimizer (`step.py` has the formulas).

    >>> from ft_tf import architectures, data, training
    >>> circles = data.load("circles")
    >>> private = training.DPSGDModel(
    ...     architectures.build("circles_mlp"), l2_norm_clip=1.0, target_epsilon=3.0, delta=1e-3,
    ...     averaging=training.TailAverage(0.5))
    >>> private.compile("sgd", loss="binary_crossentropy")
    >>> _ = private.fit(circles.x_train, circles.y_train, batch_size=10, epochs=5, verbose=0)
    >>> 0.999 * 3 <= private.privacy_account().epsilon <= 3
    True
    >>> private.averaged_model().predict(circles.x_test, verbose=0).shape
    (70, 1)

    The guarantee in special cases:

    | case | result |
    |---|---|
    | empty batch | a step of noise alone |
    | a gradient or its squared norm is not finite | counts as zero; see `nonfinite_examples` |
    | such a gradient with engine="reference" | TF Privacy adds it: the weights are lost |
    | no loss of a batch is finite | neither is the reported loss: training failed |
    | noise_multiplier 0 | clipping only: not private |
    | target_epsilon | noise for the steps of the first `fit`; `fit` refuses steps beyond these |
    | a setting is set later (`noise_multiplier` by a callback, say) | ArgumentError |
    | noise_seed given | replays exactly; private only while the seed is secret, and trained once |
    | compile called again | new batches and new noise; with a noise_seed `fit` refuses |
    | sampling="shuffle" | fixed batches of a permutation: no amplification by sampling |
    | a weight tied outside its layer, examples that are mixed | found on the first batch, refused |
    | layers frozen or unfrozen | as of `compile`; `fit` refuses if they changed since |
    | a tf.data input | unknown sampling unless specified, and claimed only as far as the sizes of \
its batches allow |
    | the model's initial weights | covered only if they do not come from the same data |
    | several fits | their steps add up: see `privacy_account` |
    | weight decay | added to the averaged noisy gradient, outside clipping: it sees no data |
    | averaged weights | a function of the noisy iterates: the same epsilon |
    | a tf.distribute.MirroredStrategy | the same batches, an even part of each (perhaps none) for \
each replica; noise once, on their sum |
    | training metrics and losses | see the data without noise: outside the guarantee |

    `seed` plays no part here: noise and sampling come from the operating system's entropy, or from
    `noise_seed` alone. With `noise_seed` fixed, batches and noise are functions of (noise_seed,
    optimizer.iterations), so a run that resumes with restored weights and optimizer continues as
    if it had not stopped. The average is restored with `average`, a tf.Module: save it in
    tf.train.Checkpoint(model=..., optimizer=..., average=private.average), with `clip_norm` where
    it adapts.

    Args:
        model: a built Keras model with one output. Its weights are where
            training starts: of a model trained on the same data, `models.with_fresh_weights` makes
            one that DP-SGD protects.
        l2_norm_clip: C, of each example's whole gradient.
        noise_multiplier: sigma: standard deviation of the noise over C.
        target_epsilon: the budget, instead of noise_multiplier, which is then calibrated to the
            steps of the first `fit` and never overspends.
        delta: at which `target_epsilon` holds.
        sampling: "poisson", or "shuffle" for the original practice.
        noise_seed: fixes sampling and noise; None takes the operating system's entropy.
        engine: "fast", or "reference" for TF Privacy's DPKerasSGDOptimizer (only shuffled full
            batches, and its own noise).
        seed: of all randomness but sampling and noise.
        weight_decay: lambda; lambda * w is added to the noisy gradient of each weight w. With plain
            SGD at rate r it bounds the random walk of the noise: each weight's standard deviation
            tends to r sigma C / L / sqrt(2 r lambda).
        physical_batch_size: examples that are processed at once; larger batches are summed piece by
            piece in the same memory. The reference engine takes every batch as a whole.
        averaging: ExponentialAverage(decay) or TailAverage(start), for `averaged_weights`.
        clipping: "flat"; "per_layer", each layer to C over the root of their number; "automatic",
            C g_i / (|g_i| + gamma); "adaptive", where C starts at l2_norm_clip and follows a
            quantile of the norms, and is in `clip_norm`. Or an object of `dpsgd.clipping`.

    Raises:
        ArgumentError: an argument cannot be used.
        ModelError: the model cannot be trained with per-example clipping; all reasons are listed.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        l2_norm_clip: float,
        noise_multiplier: float | None = None,
        target_epsilon: float | None = None,
        delta: float | None = None,
        sampling: Literal["poisson", "shuffle"] = "poisson",
        noise_seed: int | None = None,
        engine: Literal["fast", "reference"] = "fast",
        seed: int = 0,
        weight_decay: float = 0.0,
        physical_batch_size: int | None = None,
        averaging: Averaging | None = None,
        clipping: str | Clipping = "flat",
    ) -> None:
        settings = Settings(
            l2_norm_clip=l2_norm_clip,
            noise_multiplier=noise_multiplier,
            target_epsilon=target_epsilon,
            delta=delta,
            sampling=sampling,
            engine=engine,
            weight_decay=weight_decay,
            physical_batch_size=physical_batch_size,
            clipping=clipping,
        )
        settings.check_together(noise_seed=noise_seed)
        check_engine(engine, strategy=_strategy_here())
        super().__init__(
            model, settings=settings, secret=Secret.of(noise_seed), averaging=averaging, seed=seed
        )
        self._planned: Run | None = None  # that target_epsilon was calibrated to
        self._events: tuple[PrivacyEvent, ...] = ()
        self._steps_before = 0  # of the optimizer, before the first event
        self._next_noise = 0  # the first step whose noise has not been used
        self._reshuffled = False  # since the last event

    @property
    def private(self) -> bool:
        """True if noise is added: a clip-only run (sigma 0) has no guarantee."""
        return self.noise_multiplier != 0

    def privacy_events(self) -> tuple[PrivacyEvent, ...]:
        """Returns the steps executed so far, those of an interrupted `fit` included."""
        return self._events

    def privacy_account(self, *, delta: float | None = None) -> Account:
        """Returns the cost of all executed steps: `epsilon` at `delta`, and a `statement`.

        Args:
            delta: in (0, 1); that of target_epsilon by default.

        Raises:
            ArgumentError: no step was executed yet, or delta is out of range.
        """
        delta = self.delta if delta is None else delta
        target = self.target_epsilon if delta == self.delta else None
        return account_for(
            self._events, delta=delta, target_epsilon=target, steps_before=self._steps_before
        )

    def averaged_weights(self) -> list[np.ndarray]:
        """Returns the average of the iterates, in the order of `model.get_weights()`.

        Raises:
            ArgumentError: the model was made without `averaging`.
        """
        if self.average is None:
            raise ArgumentError(
                "averaging=None keeps no average: give averaging=ExponentialAverage() or "
                "TailAverage()"
            )
        return self.average.weights()

    def averaged_model(self) -> keras.Model:
        """Returns a copy of the model with the averaged weights."""
        weights = self.averaged_weights()
        copy = keras.models.clone_model(self.model)
        copy.set_weights(weights)
        return copy

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
            batch_size: expected batch size, the divisor of the noisy sum; with tf.data too.
            epochs: passes of round(n / batch_size) steps each (n // batch_size shuffled).
            num_examples: with a tf.data input, the number of examples that its batches are drawn
                from by `sampling`; without it the run is stated as unaccounted. It is taken on
                trust, unless the sizes of the batches contradict it. Batches of one size are no
                Poisson samples and are accounted as shuffled ones, if every epoch is one pass over
                `num_examples` examples; any other contradiction of `sampling`, `num_examples` or
                `batch_size` leaves the run unaccounted, with a warning.
            **kwargs: other arguments of Keras's `fit`, except weights of examples and classes.

        Raises:
            ArgumentError: an argument cannot be used; the steps exceed those that target_epsilon
                was calibrated to; or the optimizer's count of steps has gone back (by `compile`,
                say), so that a `noise_seed` would repeat its noise.
            ModelError: examples are mixed, gradients would be wrong, or layers were frozen or
                unfrozen since `compile`.
        """
        self.check_compiled()
        self._plan.check_holds()
        resident = not isinstance(x, tf.data.Dataset)
        if resident:
            if (count := count_inputs(self.model)) > 1:
                raise ArgumentError(
                    f"x must be a tf.data.Dataset of ((a, b, ...), y): model={self.model.name} has "
                    f"{count} inputs"
                )
            x, y = _as_array("x", x), _as_array("y", y)
        elif replicas.is_spread(self):
            raise ArgumentError(
                f"x={type(x).__name__} cannot be shared out among replicas as it was drawn: give "
                "arrays"
            )
        check_sizes(batch_size, num_examples, len(x) if resident else None)
        if batch_size != self._expected_batch_size:
            self._expected_batch_size = batch_size
            self.train_function = None  # the compiled step holds the old one
        before = int(self.optimizer.iterations.numpy())
        self._next_step.assign(before)
        run = Run.of_fit(
            x,
            sampling=self.sampling,
            batch_size=batch_size,
            num_examples=num_examples,
            epochs=epochs,
            initial_epoch=kwargs.get("initial_epoch") or 0,
            steps_per_epoch=kwargs.get("steps_per_epoch"),
        )
        self._begin(run, before)
        if self.private and before < self._next_noise:
            self._renew_noise(before)
        if resident:
            self._counter = None
            if self._events and self.sampling == "shuffle" and not self._has_bytes_of(x, y):
                self._reshuffled = True
            try:
                return super().fit(x, y, batch_size, epochs, **kwargs)
            finally:
                self._record(before, len(x), Finding(self.sampling))
        _check_one_tensor_of_labels(x)
        self._counter = BatchCounter(x, kwargs.get("steps_per_epoch"))
        kwargs["callbacks"] = self._counter.added_to(kwargs.get("callbacks"))
        complete = False
        try:
            history = super().fit(x, y, None, epochs, **kwargs)
            complete = not self.stop_training
            return history
        finally:
            finding = Finding("unknown")
            if num_examples is not None:
                finding = examine(
                    self._counter.passes,
                    stated=self.sampling,
                    num_examples=num_examples,
                    batch_size=batch_size,
                    whole_passes=self._counter.whole_passes,
                    complete=complete,
                )
            if finding.reason and self.private:
                shuffled = finding.sampling == "shuffle"
                claimed = "the epsilon of shuffled batches" if shuffled else "no epsilon"
                warnings.warn(
                    f"tf.data input, num_examples={num_examples}: {finding.reason}; {claimed} can "
                    "be claimed",
                    stacklevel=2,
                )
            self._record(before, num_examples, finding)

    def _begin(self, run: Run, before: int) -> None:
        """Calibrates the noise to a run that continues after `before` steps, and its average."""
        if self.target_epsilon is not None:
            run.check_known(f"target_epsilon={self.target_epsilon:g}", examples=True)
            taken = sum(event.steps for event in self._events)
            if not taken:
                self._planned = run
                self._take(self._settings.calibrated(run))
                self.train_function = None  # the compiled step has no noise yet
            check_budget(self._settings, self._planned, run, taken=taken, optimizer_steps=before)
        self._settings.check_noise(run.batch_size)
        if self.average is not None and self.average.averaging.of_one_fit:
            run.check_known(f"averaging={self.average.averaging}")
            skipped = self.average.averaging.skipped_steps(run.steps)
            self.average.begin(before - run.steps_before + skipped)

    def _renew_noise(self, first_step: int) -> None:
        """Takes a new secret, as steps from `first_step` on ran before: noise must not repeat.

        Noise is a function of the step: used twice, it would cancel in a difference.

        Raises:
            ArgumentError: a seed fixes the noise.
        """
        if self._secret.is_seed:
            raise ArgumentError(
                f"noise_seed has given the noise of the steps below {self._next_noise}, and the "
                f"optimizer is at step {first_step} again: keep the optimizer, or train with a "
                "new DPSGDModel"
            )
        self._secret, self._next_noise, self._reshuffled = Secret.of(None), 0, True
        self.train_function = None  # the compiled step holds the old one

    def _record(self, first_step: int, num_examples: int | None, finding: Finding) -> None:
        steps = self.steps_taken() - first_step
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
            clipping=self.clipping.name,
            parts=self.clipping.parts(self.noise_multiplier) if self.clipping.adapts else (),
            reshuffled=self._reshuffled,
        )
        if not self._events:
            self._steps_before = first_step
        self._reshuffled = False
        self._next_noise = first_step + steps
        self._events += (event,)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> None:
        """Not available: steps outside `fit` would not be counted.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError("train_on_batch would take steps that are not counted: use fit")


def _strategy_here() -> str:
    """Returns the strategy within whose scope this is called, as `check_engine` takes it."""
    if not tf.distribute.has_strategy():
        return "none"
    strategy = tf.distribute.get_strategy()
    is_known = isinstance(strategy, tf.distribute.MirroredStrategy)
    return "mirrored" if is_known else type(strategy).__name__


def _as_array(name: str, value: Any) -> np.ndarray:
    """Returns `value` as an array; the same object if it is one already."""
    if isinstance(value, np.ndarray):
        return value  # the same object in every call stays on the device
    if isinstance(value, tf.Tensor):
        return value.numpy()
    raise ArgumentError(
        f"{name}={type(value).__name__} must be one array, or x a tf.data.Dataset of (x, y)"
    )


def _check_one_tensor_of_labels(dataset: tf.data.Dataset) -> None:
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) > 1 and tf.nest.is_nested(spec[1]):
        raise ArgumentError(
            f"x={type(dataset).__name__} gives y as a {type(spec[1]).__name__}: it must be one "
            "tensor of labels, (x, y)"
        )
