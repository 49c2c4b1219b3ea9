"""The data of a `fit`: arrays kept on the device, batches of epochs, and numbers of steps."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError

Epoch = Callable[[tf.Tensor], tf.data.Dataset]
"""Step at which an epoch starts -> its batches of indices."""


def same_bytes(held: tf.Tensor, array: np.ndarray) -> bool:
    """Returns True if a tensor made of an array still has its bytes, which may change in place."""
    kind = np.dtype(held.dtype.as_numpy_dtype)
    if kind.hasobject:
        return False  # strings: such an array holds pointers
    # A tensor on the CPU lends its memory, of NumPy's own types; from another device it is copied.
    lends = "device:CPU:" in held.device and kind.isbuiltin == 1
    values = np.asarray(memoryview(held)) if lends else held.numpy()
    if (values.shape, values.dtype) != (array.shape, array.dtype):
        return False
    ours, theirs = (
        np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in (values, array)
    )
    return np.array_equal(ours, theirs)


def permuted(seed: int, stream: int, size: int, batch_size: int) -> Epoch:
    """Returns epochs that are permutations of `size` examples, functions of (seed, start)."""
    full = size // batch_size * batch_size

    def epoch(start: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), start + (stream << 40)])
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed=key)
        batches = tf.data.Dataset.from_tensor_slices(tf.reshape(order[:full], [-1, batch_size]))
        if full == size:
            return batches
        return batches.concatenate(tf.data.Dataset.from_tensors(order[full:]))

    return epoch


def _without_autotuning() -> tf.data.Options:
    # Index batches have nothing to tune, and the end of `fit` would wait for the tuner to wake from
    # a sleep that is about as long as the training was, up to a minute.
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def all_epochs(epoch: Epoch, steps: int, first_step: int) -> tf.data.Dataset:
    """Returns the batches of epochs of `steps` steps, without end."""
    starts = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max, steps)
    return starts.flat_map(epoch).prefetch(4).with_options(_without_autotuning())


def one_epoch(epoch: Epoch, steps: int, trainer: keras.Model) -> tf.data.Dataset:
    """Returns the batches of an epoch, which starts at `trainer.epoch_start` when iterated."""
    known = weakref.ref(trainer)  # TensorFlow keeps the functions of data sets for ever

    def starts_now() -> Iterator[int]:
        yield known().epoch_start

    starts = tf.data.Dataset.from_generator(
        starts_now, output_signature=tf.TensorSpec([], tf.int64)
    )
    batches = starts.flat_map(epoch).prefetch(4).with_options(_without_autotuning())
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


class _Callbacks(keras.callbacks.CallbackList):
    """Callbacks that get the number of the last step: Keras's lies beyond the end of an epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        steps = self.params["steps"]
        super().on_train_batch_end(min(batch, steps - 1) if steps else batch, logs)


def refuse_backup(callbacks: Any) -> None:
    """Refuses the callback BackupAndRestore: it restores weights, and no count of steps.

    Batches, noise and attacks are functions of that count: they would repeat.

    Raises:
        ArgumentError: it is among the callbacks.
    """
    held = callbacks.callbacks if isinstance(callbacks, keras.callbacks.CallbackList) else callbacks
    if any(isinstance(one, keras.callbacks.BackupAndRestore) for one in tf.nest.flatten(held)):
        raise ArgumentError(
            "callbacks=BackupAndRestore would restore weights without the optimizer's count of "
            "steps, and batches and noise would repeat: restore a tf.train.Checkpoint of model "
            "and optimizer"
        )


def callbacks_of(
    trainer: keras.Model,
    *,
    callbacks: Any = None,
    verbose: Any = "auto",
    epochs: int,
    steps: int | None,
    **_: Any,
) -> keras.callbacks.CallbackList:
    """Returns the callbacks of a `fit` with these arguments, of `steps` steps an epoch if known."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    return _Callbacks(
        callbacks,
        add_history=True,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=steps,
        model=trainer,
    )
