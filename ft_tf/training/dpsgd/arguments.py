"""The arguments of `DPSGDModel` and of its `fit`: checks, and the settings of the mechanism."""

import dataclasses
from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.models import count_inputs
from ft_tf.privacy import check_engine, noise_multiplier_for, steps_per_pass
from ft_tf.privacy.phases import check_noise_multiplier
from ft_tf.training.compiled_loss import check_label_spec
from ft_tf.training.dpsgd.batches import Layout

DEFAULT_PHYSICAL_BATCH_SIZE = 512


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

    def __post_init__(self) -> None:
        checks.check_positive(l2_norm_clip=self.l2_norm_clip)
        checks.check_non_negative(weight_decay=self.weight_decay)
        if self.noise_multiplier is not None:
            check_noise_multiplier(self.noise_multiplier)
        if self.target_epsilon is not None:
            checks.check_positive(target_epsilon=self.target_epsilon)
        if self.delta is not None:
            checks.check_probability(delta=self.delta)
        checks.check_choice(("poisson", "shuffle"), sampling=self.sampling)
        check_engine(self.engine)
        if self.physical_batch_size is None:
            object.__setattr__(self, "physical_batch_size", DEFAULT_PHYSICAL_BATCH_SIZE)
        checks.check_positive_integer(physical_batch_size=self.physical_batch_size)
        for name in ("l2_norm_clip", "noise_multiplier", "weight_decay"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))

    def check_noise(self) -> None:
        """Rejects settings that do not say how much noise is added.

        Raises:
            ArgumentError: not exactly one of noise_multiplier and target_epsilon is given, or
                target_epsilon without delta or the reverse.
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

    def check_engine(self, *, noise_seed: int | None) -> None:
        """Rejects settings that the chosen engine does not support.

        Raises:
            ArgumentError: a setting needs the other engine.
        """
        check_engine(
            self.engine,
            sampling=self.sampling,
            noise_seed=noise_seed if self.noise_multiplier else None,
            target_epsilon=self.target_epsilon,
            weight_decay=self.weight_decay,
        )

    def calibrated(self, run: "Run") -> "Settings":
        """Returns the settings with the noise that spends target_epsilon in the steps of `run`."""
        noise_multiplier = noise_multiplier_for(
            target_epsilon=self.target_epsilon,
            delta=self.delta,
            sampling_probability=run.batch_size / run.num_examples,
            steps=run.steps,
            accountant="pld" if self.sampling == "poisson" else "shuffled",
        )
        return dataclasses.replace(self, noise_multiplier=noise_multiplier)

    def layout(self, batch_size: int) -> Layout:
        """Returns the layout in memory of batches of this expected size, drawn from arrays."""
        if self.engine == "reference":
            return Layout(bucket=1, largest_piece=batch_size)  # it takes a batch as a whole
        if self.sampling == "shuffle" and batch_size <= self.physical_batch_size:
            return Layout(bucket=1, largest_piece=self.physical_batch_size)
        bucket = min(max(1, batch_size // 16), 16, self.physical_batch_size)
        return Layout(bucket=bucket, largest_piece=self.physical_batch_size)


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
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
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


def check_budget(settings: Settings, planned: Run, run: Run, *, taken: int) -> None:
    """Rejects steps beyond those that the noise was calibrated to.

    Args:
        settings: with a target_epsilon.
        planned: the run that the noise was calibrated to.
        run: the present one.
        taken: steps executed so far.

    Raises:
        ArgumentError: the target would be overspent, or the batches are drawn otherwise.
    """
    steps = run.steps - run.steps_before
    same = (run.num_examples, run.batch_size) == (planned.num_examples, planned.batch_size)
    if same and planned.steps_before + taken + steps <= planned.steps:
        return
    raise ArgumentError(
        f"target_epsilon={settings.target_epsilon:g} is calibrated to {planned.steps} steps of "
        f"batch_size={planned.batch_size} on {planned.num_examples} examples, {taken} of them "
        f"taken: {steps} more steps need another budget: use a new DPSGDModel, or give epochs for "
        "all steps in the first fit"
    )


def as_array(name: str, value: Any) -> np.ndarray:
    """Returns `value` as an array; the same object if it is one already.

    Raises:
        ArgumentError: it is neither an array nor a tensor.
    """
    if isinstance(value, np.ndarray):
        return value  # the same object in every call stays on the device
    if isinstance(value, tf.Tensor):
        return value.numpy()
    raise ArgumentError(
        f"{name}={type(value).__name__} must be one array, or x a tf.data.Dataset of (x, y)"
    )


def check_takes_arrays(model: keras.Model) -> None:
    """Checks that one array can be the input of a model.

    Raises:
        ArgumentError: it has several inputs.
    """
    count = count_inputs(model)
    if count > 1:
        raise ArgumentError(
            f"x must be a tf.data.Dataset of ((a, b, ...), y): model={model.name} has {count} "
            "inputs"
        )


def check_sizes(batch_size: int | None, num_examples: int | None, resident: int | None) -> None:
    """Rejects a batch size and a number of examples that contradict each other.

    Args:
        batch_size: argument of `fit`.
        num_examples: argument of `fit`.
        resident: number of examples in an array; None for a tf.data input.

    Raises:
        ArgumentError: one of them is missing, no positive integer, or contradicts another.
    """
    if batch_size is None:
        raise ArgumentError("batch_size=None: DP-SGD divides by the expected batch size")
    checks.check_positive_integer(batch_size=batch_size)
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


def check_optimizer(optimizer: keras.optimizers.Optimizer, *, engine: str) -> None:
    """Rejects an optimizer that does not take one step for each noisy average that it gets.

    Raises:
        ArgumentError: it accumulates gradients or scales losses, or is not SGD where
            `engine` needs SGD.
    """
    check_engine(engine, optimizer=type(optimizer).__name__)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ArgumentError(
            "optimizer=LossScaleOptimizer would skip steps: use its inner optimizer"
        )
    if steps := optimizer.gradient_accumulation_steps:
        raise ArgumentError(
            f"gradient_accumulation_steps={steps} cannot be used: physical_batch_size sums the "
            "gradients of a batch in pieces"
        )


def check_dataset(loss: Any, model: keras.Model, dataset: tf.data.Dataset) -> None:
    """Rejects a tf.data input whose labels cannot be used, as far as its shapes tell.

    Raises:
        ArgumentError: labels in a nest, or one-hot labels for a loss on integers.
    """
    spec = dataset.element_spec
    if isinstance(spec, tuple) and len(spec) > 1 and tf.nest.is_nested(spec[1]):
        raise ArgumentError(
            f"x={type(dataset).__name__} gives y as a {type(spec[1]).__name__}: it must be one "
            "tensor of labels, (x, y)"
        )
    check_label_spec(loss, model, dataset)


def without_weights(data: Any) -> tuple[Any, Any]:
    """Returns (x, y) of a batch of Keras's loop.

    Raises:
        ArgumentError: it has weights of examples.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if sample_weight is not None:
        raise ArgumentError("sample_weight cannot be used in DPSGDModel")
    return x, y
