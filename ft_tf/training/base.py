"""The base of all trainers: data that stays in memory, and replayable randomness.

`ResidentModel.fit` on arrays puts the arrays on the device once, and again if they changed in
between. Keras's loop gets an index batch per step; the compiled step gathers the examples itself.
Every epoch is a data set with an end, so that Keras takes exactly its steps: of an endless one it
takes whole executions, 48 steps for 38 in executions of 16.
The order of an epoch is a function of (seed, step at which the epoch starts), so a run that resumes
from a checkpoint of weights and optimizer sees the same batches. Under a tf.distribute strategy the
batches are the same too, and every replica gets a part of each (see `replicas`).
"""

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ft_tf import checks
from ft_tf._compat import forgetting_gradients, keras, require_keras_model, tf
from ft_tf.errors import ArgumentError
from ft_tf.models import check_input_shape, ending_of, output_shape_of
from ft_tf.training import replicas
from ft_tf.training.batch_values import as_argument_error
from ft_tf.training.compiled_loss import check_label_spec, check_labels_of, require_labels_of
from ft_tf.training.epochs import (
    Epoch,
    all_epochs,
    callbacks_of,
    one_epoch,
    permuted,
    refuse_backup,
    same_bytes,
)

ORDER_STREAM, AUGMENTATION_STREAM, NOISE_STREAM, ATTACK_STREAM = range(4)
"""Independent uses of one seed; `ResidentModel.stream_seed` keeps them apart."""


def _from_logit(metric: Any) -> Any:
    """Returns a metric for `compile`; "accuracy" with its threshold at 0."""
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        return keras.metrics.BinaryAccuracy(metric, threshold=0.0)
    return metric


def _check_labelled(name: str, x: Any, y: Any) -> None:
    """Raises ArgumentError for an input without labels: Keras would leave the loss out."""
    if hasattr(x, "element_spec"):
        labelled = isinstance(x.element_spec, tuple) and len(x.element_spec) > 1
    else:  # what the others give is seen step by step
        labelled = isinstance(x, keras.utils.Sequence) or inspect.isgenerator(x)
    if y is None and not labelled:
        raise ArgumentError(f"{name}={type(x).__name__} has no labels: give (x, y)")


class ResidentModel(keras.Model):
    """A Keras model that trains another one by its own step, on data kept in memory.

    Subclasses implement `gradient_step`. On anything but arrays (a tf.data.Dataset of (x, y), say)
    `fit` is Keras's own.

    Attributes:
        model: the model that is trained; evaluation, prediction and saving (also by
            ModelCheckpoint) are those of this model.
        seed: fixes data order, augmentation, input noise and attacks.
    """

    default_steps_per_execution: ClassVar[int] = 16
    fixed: ClassVar[frozenset[str]] = frozenset({"seed"})
    """Attributes that are set once: the compiled step keeps the values that it was traced with."""

    def __init__(self, model: keras.Model, *, seed: int = 0) -> None:
        require_keras_model(model)
        checks.check_non_negative_integer(seed=seed)
        super().__init__(name=f"{type(self).__name__.lower()}_of_{model.name}")
        self.model = model
        self.seed = seed
        self.epoch_start = 0
        self._arrays = self._examples = None  # (x, y) of `fit`: as given, and on the device

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; a new value of a `fixed` one would be shown and not used.

        Raises:
            ArgumentError: it is fixed and has a value.
        """
        if name not in self.fixed:
            super().__setattr__(name, value)
        elif name in vars(self):
            raise ArgumentError(
                f"{name}={value!r} cannot be set: the compiled step keeps "
                f"{name}={getattr(self, name)!r}; make a new {type(self).__name__}"
            )
        else:
            vars(self)[name] = value  # no part of the model's state

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the trained model's logits."""
        return self.model(inputs, training=training)

    def compile(self, *args: Any, steps_per_execution: int | None = None, **kwargs: Any) -> None:
        """As Keras's `compile`; by default one call of the compiled program runs several steps.

        On several replicas it runs one: Keras's loop over steps does not take their inputs.

        The metric "accuracy" of a model with one output has its threshold at 0 where that is a
        logit; Keras's is at 0.5, which is kept where the model gives a probability.
        """
        if isinstance(kwargs.get("metrics"), str):
            kwargs["metrics"] = [kwargs["metrics"]]
        if kwargs.get("metrics") is not None and self._has_one_logit():
            kwargs["metrics"] = tf.nest.map_structure(_from_logit, kwargs["metrics"])
        steps = steps_per_execution or self.default_steps_per_execution
        kwargs["jit_compile"] = bool(kwargs.get("jit_compile"))  # Keras's default is XLA on a GPU
        self._arrays = self._examples = None  # labels must fit the new loss
        self.built = False  # and the new metrics and optimizer need variables
        super().compile(
            *args,
            steps_per_execution=1 if replicas.is_spread(self) else steps,
            **kwargs,
        )

    def _has_one_logit(self) -> bool:
        if not self.model.built or output_shape_of(self.model)[-1:] != (1,):
            return False
        ending = ending_of(self.model)
        return ending is None or not ending.gives_probabilities

    def gradient_step(self, x: tf.Tensor, y: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Updates the model on one batch; runs in graph mode.

        Args:
            x: examples [batch, ...].
            y: labels [batch].
            step: int64 scalar, steps taken before this one: the counter of all randomness.

        Returns:
            Logits on `x`, for the compiled metrics.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement gradient_step")

    def steps_taken(self) -> int:
        """Returns the number of steps so far."""
        return int(self.optimizer.iterations.numpy())

    def reset_metrics(self) -> None:
        """As Keras's, which calls it at the start of each epoch."""
        super().reset_metrics()
        # Batches are drawn while the first step runs, and that step moves the count.
        self.epoch_start = self.steps_taken()

    def stream_seed(self, stream: int, step: tf.Tensor) -> tf.Tensor:
        """Returns the int64 [2] seed of one use of randomness at a step, for tf.random.stateless_*.

        Replicas of a distribution strategy have different seeds; the first one's is that of
        training without a strategy.
        """
        replica = tf.distribute.get_replica_context()
        number = 0 if replica is None else tf.cast(replica.replica_id_in_sync_group, tf.int64)
        # A step count stays far below 2^40, and a number of replicas below 2^16.
        return tf.stack(
            [tf.constant(self.seed, tf.int64), step + (stream << 40) + number * (1 << 44)]
        )

    def epoch_batches(self, size: int, batch_size: int) -> tuple[Epoch, int]:
        """Returns the index batches of an epoch, and the number of its steps.

        Each epoch is a permutation of all `size` examples, cut into batches; the last one may be
        smaller.
        """
        return permuted(self.seed, ORDER_STREAM, size, batch_size), -(-size // batch_size)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """As Keras's `fit`; arrays x and y stay in memory and are drawn batch by batch.

        Raises:
            ArgumentError: arrays of different lengths, a batch larger than the data, no labels, a
                Keras argument that has no effect on resident data, or BackupAndRestore.
        """
        self.check_compiled()
        checks.check_positive_integer(epochs=epochs)
        refuse_backup(kwargs.get("callbacks"))
        _check_labelled("x", x, y)
        validation = kwargs.get("validation_data")
        if validation is not None:
            parts = tuple(validation) if isinstance(validation, tuple | list) else (validation,)
            self._check_evaluated("validation_data", *(*parts, None)[:2])
            validation = parts[0]
        if tf.is_tensor(x) and tf.is_tensor(y):
            x, y = x.numpy(), y.numpy()
        if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
            if len(getattr(x, "element_spec", ())) > 2 or kwargs.get("sample_weight") is not None:
                raise ArgumentError(f"sample_weight cannot be used in {type(self).__name__}")
            if isinstance(x, tf.data.Dataset):
                self.check_dataset(x)
                self._make_variables(*x.element_spec)
                kwargs["shuffle"] = False  # Keras warns that it has no effect
                steps = kwargs.get("steps_per_epoch") or max(0, int(x.cardinality())) or None
                kwargs["callbacks"] = callbacks_of(self, epochs=epochs, steps=steps, **kwargs)
            self._examples = self._arrays = self.train_function = None
            with (
                as_argument_error(),
                self._exact_steps(kwargs.get("steps_per_epoch"), kwargs.get("validation_steps")),
            ):
                return super().fit(x, y, batch_size=batch_size, epochs=epochs, **kwargs)
        for name in ("sample_weight", "class_weight", "validation_split", "steps_per_epoch"):
            value = kwargs.pop(name, None)
            if value is not None and not (np.isscalar(value) and value == 0):
                raise ArgumentError(f"{name} cannot be used with arrays in {type(self).__name__}")
        batch_size = 32 if batch_size is None else batch_size
        checks.check_positive_integer(batch_size=batch_size)
        if not self._holds(x, y):
            self._check_lengths("y", x, y)
            self.check_arrays(x, y)
            self._keep(x, y)
        if batch_size > len(x):
            raise ArgumentError(f"batch_size={batch_size} must be at most the {len(x)} examples")
        self._make_variables(*(tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in (x, y)))
        epoch, steps = self.epoch_batches(len(x), batch_size)
        if replicas.is_spread(self):  # one step per execution: an endless input is exact
            batches = all_epochs(epoch, steps, self.steps_taken())
            batches = self.shared_out(batches, x, y, batch_size)
            kwargs["steps_per_epoch"] = steps
        else:
            batches = one_epoch(epoch, steps, self)
        kwargs["callbacks"] = callbacks_of(self, epochs=epochs, steps=steps, **kwargs)
        with as_argument_error(), self._exact_steps(kwargs.get("validation_steps")):
            return super().fit(batches, epochs=epochs, **kwargs | {"shuffle": False})

    def shared_out(
        self, batches: tf.data.Dataset, x: np.ndarray, y: np.ndarray, batch_size: int
    ) -> tf.distribute.DistributedDataset:
        """Returns the examples of the batches of `epoch_batches`, a part for each replica."""
        return replicas.share_out(batches, x, y, batch_size, self.distribute_strategy)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As Keras's `evaluate`; an input without labels is refused.

        Raises:
            ArgumentError: there are no labels, or the model does not take the arrays.
        """
        if not kwargs.get("_use_cached_eval_dataset"):  # `fit` has checked it
            self._check_evaluated("x", x, y)
        with as_argument_error(), self._exact_steps(kwargs.get("steps")):
            return super().evaluate(x, y, *args, **kwargs)

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves `model`, without the trainer: as `model.save`."""
        self.model.save(filepath, *args, **kwargs)

    def save_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves the weights of `model`: as `model.save_weights`."""
        self.model.save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Loads what `save_weights` has saved."""
        return self.model.load_weights(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Not available: a file with a trainer in it could not be read.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(f"model={self.name} is a trainer: save its model, by model.save(path)")

    def check_compiled(self) -> None:
        """Raises ArgumentError unless `compile` was called."""
        if not self.compiled:
            raise ArgumentError(f"optimizer=None: {type(self).__name__} needs compile first")

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Rejects arrays that `fit` cannot train on; subclasses add their own checks.

        Raises:
            ArgumentError: the arrays cannot be used.
        """
        if self.model.built:
            check_input_shape(self.model, x)
        check_labels_of(self.loss, self.model, y)

    def check_batch(self, x: Any, y: tf.Tensor, *, training: bool) -> tuple[Any, tf.Tensor]:
        """Returns a batch, after assertions on values that no earlier check has seen."""
        return x, require_labels_of(self.loss, self.model, y)

    def check_dataset(self, dataset: tf.data.Dataset) -> None:
        """Rejects a tf.data input, as far as the shapes of its elements tell.

        Raises:
            ArgumentError: the model does not take them.
        """
        if self.model.built:
            check_input_shape(self.model, dataset.element_spec[0])
        check_label_spec(self.loss, self.model, dataset)

    def _check_evaluated(self, name: str, x: Any, y: Any) -> None:
        _check_labelled(name, x, y)
        if isinstance(x, tf.data.Dataset):
            self.check_dataset(x)
        elif isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
            self._check_lengths(name, x, y)
            if self.model.built:
                check_input_shape(self.model, x, name=name)
            check_labels_of(self.loss, self.model, y)

    def _check_lengths(self, name: str, x: np.ndarray, y: np.ndarray) -> None:
        if np.ndim(x) < 1 or np.ndim(y) < 1 or len(x) != len(y) or not len(x):
            raise ArgumentError(
                f"{name}: x.shape={x.shape} and y.shape={y.shape} must have one length, at least 1"
            )

    def _make_variables(self, x: Any, y: Any) -> None:
        """Creates the variables of model, optimizer and metrics for inputs of these specs.

        A step that created them would be traced twice.
        """
        known = all(
            isinstance(spec, tf.TensorSpec) and spec.shape.rank is not None
            for spec in tf.nest.flatten((x, y))
        )
        if known and not self.built:
            with self.distribute_strategy.scope():
                self._symbolic_build(data_batch=(x, y))

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        # Under a strategy Keras draws a batch for this.
        if not self.built:
            super()._maybe_symbolic_build(*args, **kwargs)

    @contextlib.contextmanager
    def _exact_steps(self, *counts: int | None) -> Iterator[None]:
        """Within the block an execution has a number of steps that divides all counts.

        Keras takes whole executions: 38 steps would become 48 in executions of 16.
        """
        before = self.steps_per_execution
        shared = math.gcd(*(int(count) for count in counts if count))
        exact = max(steps for steps in range(1, before + 1) if shared % steps == 0)
        self._set_steps_per_execution(exact)
        try:
            yield
        finally:
            self._set_steps_per_execution(before)

    def _set_steps_per_execution(self, steps: int) -> None:
        if steps != self.steps_per_execution:
            self.steps_per_execution = steps
            self.train_function = self.test_function = self.predict_function = None

    def _holds(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Returns True if these arrays, unchanged, were checked and put on the device before."""
        held = self._arrays or (None, None)
        return held[0] is x and held[1] is y and self._has_bytes_of(x, y)

    def _has_bytes_of(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Returns True if what is on the device equals these arrays."""
        return self._examples is not None and all(map(same_bytes, self._examples, (x, y)))

    def _keep(self, x: np.ndarray, y: np.ndarray) -> None:
        if replicas.is_spread(self):
            return
        self._arrays = (x, y)
        self._examples = (tf.convert_to_tensor(x), tf.convert_to_tensor(y))
        self.train_function = None  # the compiled loop holds the old examples

    def without_weights(self, data: Any) -> tuple[Any, Any]:
        """Returns (x, y) of a batch of Keras's loop, which must have no weights of examples."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ArgumentError(f"sample_weight cannot be used in {type(self).__name__}")
        return x, y

    @forgetting_gradients()
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Keras's loop: gathers the batch, updates the model and the metrics."""
        if self._examples is None:
            x, y = self.without_weights(data)
            _check_labelled("x", x, y)
            x, y = self.check_batch(x, y, training=True)
        else:
            x, y = (tf.gather(part, data) for part in self._examples)
        # Read now: the variable itself would be read at each use, even after the update.
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)
        logits = self.gradient_step(x, y, step)
        return replicas.reducible(self.compute_metrics(x, y, logits))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """As Keras's; a batch without labels is refused."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        _check_labelled("x", x, y)
        return super().test_step(self.check_batch(x, y, training=False))
