"""The settings of a trainer's mechanism, the steps of a `fit`, and the batches that it counts."""

import dataclasses
from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import check_engine, noise_multiplier_for, steps_per_pass
from ft_tf.privacy.phases import check_noise_multiplier
from ft_tf.privacy.pld import LEAST_DELTA
from ft_tf.training.dpsgd.clipping import Clipping, named
from ft_tf.training.dpsgd.clipping.adaptive import NORMS
from ft_tf.training.dpsgd.randomness import Layout

DEFAULT_PHYSICAL_BATCH_SIZE = 512
LEAST_DEVIATION, MOST_DEVIATION = 1e-17, 1e15
"""Of noise in float32: its squares, and the smallest of its radii, are no denormal numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `DPSGDModel` that its steps and its events rest on.

    They never change: a compiled step holds the values that it was traced with, and an event states
    those of the model, so that after a change epsilon would be that of another training.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    l2_norm_clip: float
    noise_multiplier: float | None  # None: not calibrated yet
    target_epsilon: float | None = None
    delta: float | None = None
    sampling: str
    engine: str
    weight_decay: float
    physical_batch_size: int | None = None  # None: the default
    clipping: str | Clipping = "flat"

    def __post_init__(self) -> None:
        checks.check_positive(l2_norm_clip=self.l2_norm_clip)
        checks.check_non_negative(weight_decay=self.weight_decay)
        if self.noise_multiplier is not None:
            check_noise_multiplier(self.noise_multiplier)
        if self.target_epsilon is not None:
            checks.check_positive(target_epsilon=self.target_epsilon)
        if self.delta is not None:
            checks.check_delta(delta=self.delta)
        checks.check_choice(("poisson", "shuffle"), sampling=self.sampling)
        check_engine(self.engine)
        if self.physical_batch_size is None:
            object.__setattr__(self, "physical_batch_size", DEFAULT_PHYSICAL_BATCH_SIZE)
        checks.check_positive_integer(physical_batch_size=self.physical_batch_size)
        object.__setattr__(self, "clipping", named(self.clipping))
        for name in ("l2_norm_clip", "noise_multiplier", "weight_decay"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))

    def check_together(self, *, noise_seed: int | None) -> None:
        """Rejects settings that do not say how much noise is added, or that `engine` lacks.

        Raises:
            ArgumentError: not exactly one of noise_multiplier and target_epsilon is given,
                target_epsilon without delta or the reverse, or a setting needs the other engine.
        """
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise ArgumentError(
                f"noise_multiplier={self.noise_multiplier}, target_epsilon={self.target_epsilon}: "
                "give exactly one of them"
            )
        if (self.delta is None) != (self.target_epsilon is None):
            raise ArgumentError(
                f"target_epsilon={self.target_epsilon}, delta={self.delta}: give both or neither"
            )
        check_engine(
            self.engine,
            sampling=self.sampling,
            noise_seed=noise_seed if self.noise_multiplier else None,
            target_epsilon=self.target_epsilon,
            weight_decay=self.weight_decay,
            clipping=self.clipping.name,
        )

    def calibrated(self, run: "Run") -> "Settings":
        """Returns the settings with the noise that spends target_epsilon in the steps of `run`."""
        resolved = "pld" if self.delta >= LEAST_DELTA else "rdp"
        noise_multiplier = noise_multiplier_for(
            target_epsilon=self.target_epsilon,
            delta=self.delta,
            sampling_probability=run.batch_size / run.num_examples,
            steps=run.steps,
            accountant=resolved if self.sampling == "poisson" else "shuffled",
        )
        return dataclasses.replace(self, noise_multiplier=noise_multiplier)

    def check_noise(self, batch_size: int) -> None:
        """Rejects noise of a standard deviation sigma C / L that float32 cannot hold.

        Raises:
            ArgumentError: it would become 0 or infinite.
        """
        norms = (self.l2_norm_clip, *(NORMS if self.clipping.adapts else ()))
        for norm in norms if self.noise_multiplier else ():
            deviation = self.noise_multiplier * norm / batch_size
            if not LEAST_DEVIATION <= deviation <= MOST_DEVIATION:
                raise ArgumentError(
                    f"noise_multiplier={self.noise_multiplier:g} at a clip norm of {norm:g} and "
                    f"batch_size={batch_size} is noise of standard deviation {deviation:g}, which "
                    "float32 cannot hold: choose another l2_norm_clip"
                )

    def layout(self, batch_size: int) -> Layout:
        """Returns the layout in memory of batches of this expected size, drawn from arrays."""
        largest = self.physical_batch_size
        if self.engine == "reference":
            largest = batch_size  # it takes a batch as a whole
        one_size = self.sampling == "shuffle" and batch_size <= largest
        bucket = 1 if one_size else min(max(1, batch_size // 16), 16, largest)
        return Layout(bucket=bucket, largest_piece=largest)


@dataclasses.dataclass(frozen=True)
class Run:
    """The steps that a `fit` takes, earlier epochs of the same run included.

    Attributes:
        num_examples: examples that batches are drawn from, None if unknown.
        batch_size: expected size of a batch.
        steps: of all epochs, None if unknown.
        steps_before: of the epochs before `initial_epoch`.
    """

    num_examples: int | None
    batch_size: int
    steps: int | None
    steps_before: int

    @classmethod
    def of_fit(
        cls,
        x: Any,
        *,
        sampling: str,
        batch_size: int,
        num_examples: int | None,
        epochs: int,
        initial_epoch: int,
        steps_per_epoch: int | None,
    ) -> "Run":
        """The run that these arguments of `fit` describe."""
        checks.check_positive_integer(epochs=epochs)
        if not isinstance(x, tf.data.Dataset):
            num_examples = len(x)
            per_epoch = steps_per_pass(num_examples, batch_size, sampling=sampling)
        else:
            per_epoch = steps_per_epoch or int(x.cardinality())
        known = per_epoch > 0
        return cls(
            num_examples,
            batch_size,
            epochs * per_epoch if known else None,
            initial_epoch * per_epoch if known else 0,
        )

    def check_known(self, reason: str, *, examples: bool = False) -> None:
        """Rejects a run of unknown length.

        Args:
            reason: name=value of the argument that needs the length.
            examples: whether the number of examples is needed too.

        Raises:
            ArgumentError: the length is not known.
        """
        if self.steps is None:
            raise ArgumentError(f"{reason} needs the number of steps: give steps_per_epoch")
        if examples and self.num_examples is None:
            raise ArgumentError(f"{reason} needs num_examples with a tf.data input")


def check_budget(
    settings: Settings, planned: Run, run: Run, *, taken: int, optimizer_steps: int
) -> None:
    """Rejects steps beyond those that the noise was calibrated to.

    Args:
        settings: with a target_epsilon.
        planned: the run that the noise was calibrated to.
        run: the present one.
        taken: steps executed so far.
        optimizer_steps: by the count of the optimizer: more, where another process took some.

    Raises:
        ArgumentError: the target would be overspent, or the batches are drawn otherwise.
    """
    steps = run.steps - run.steps_before
    same = (run.num_examples, run.batch_size) == (planned.num_examples, planned.batch_size)
    taken = max(planned.steps_before + taken, optimizer_steps)
    if same and taken + steps <= planned.steps:
        return
    raise ArgumentError(
        f"target_epsilon={settings.target_epsilon:g} is calibrated to {planned.steps} steps of "
        f"batch_size={planned.batch_size} on {planned.num_examples} examples, {taken} of them "
        f"taken: {steps} more steps need another budget: use a new DPSGDModel, or give epochs for "
        "all steps in the first fit"
    )


def check_sizes(batch_size: int | None, num_examples: int | None, resident: int | None) -> None:
    """Rejects sizes that contradict each other; `resident` is that of an array, or None."""
    if batch_size is None:
        raise ArgumentError("batch_size=None: DP-SGD divides by the expected batch size")
    checks.check_positive_integer(batch_size=batch_size)
    if resident is not None and batch_size > resident > 0:
        raise ArgumentError(f"batch_size={batch_size} must be at most the {resident} examples")
    if num_examples is None:
        return
    checks.check_positive_integer(num_examples=num_examples)
    if resident not in (None, num_examples):
        raise ArgumentError(f"num_examples={num_examples} contradicts len(x)={resident}")
    if num_examples < batch_size:
        raise ArgumentError(
            f"num_examples={num_examples} must be at least batch_size={batch_size}: a sampling "
            "probability is at most 1"
        )


class BatchCounter(keras.callbacks.Callback):
    """Counts the batches of a tf.data input in one `fit`: how it samples cannot be asked.

    Attributes:
        passes: sizes of the executed batches, for each time that the input was begun.
        whole_passes: whether each epoch goes through the input from beginning to end.
    """

    def __init__(self, dataset: tf.data.Dataset, steps_per_epoch: int | None) -> None:
        super().__init__()
        self.passes: list[list[int]] = []
        # Only then does Keras restart the input in each epoch; otherwise an epoch continues it.
        self.whole_passes = steps_per_epoch in (None, int(dataset.cardinality()))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begins a pass if each epoch is one."""
        del epoch, logs
        if self.whole_passes or not self.passes:
            self.passes.append([])

    def note(self, count: tf.Tensor) -> None:
        """Adds a batch of `count` examples; in graph mode, when the step runs."""
        tf.numpy_function(self._append, [count], [])

    def _append(self, count: np.ndarray) -> None:
        self.passes[-1].append(int(count))

    def added_to(self, callbacks: Any) -> Any:
        """Returns callbacks as Keras's `fit` takes them, with this one."""
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(self)
            return callbacks
        return [self, *tf.nest.flatten([] if callbacks is None else callbacks)]
