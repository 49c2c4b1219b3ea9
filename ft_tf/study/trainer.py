"""From a configuration to a compiled model that trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import architectures, faults
from ft_tf._compat import keras, tf
from ft_tf.errors import RunError
from ft_tf.study import datasets
from ft_tf.study.config import RunConfig
from ft_tf.training.base import ResidentModel

_WEIGHT_NOISE = 1
"""Stream of the seed's generator."""


def build(config: RunConfig) -> ResidentModel:
    """Returns the compiled trainer of a configuration; its `model` attribute is the classifier."""
    trainer = config.algorithm.build(_classifier(config), config)
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(config.learning_rate)
    else:
        optimizer = keras.optimizers.SGD(config.learning_rate, momentum=config.momentum)
    trainer.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # Of several steps in one call the accuracy between them is not seen.
        steps_per_execution=1 if config.stop_at_accuracy else None,
    )
    return trainer


def _classifier(config: RunConfig) -> keras.Model:
    model = _architecture(
        config, seed=config.seed, precision=config.precision, dropout=config.dropout
    )
    if config.fault_aware_rate:
        storage = config.fault_aware_storage
        model = faults.wrap(
            model,
            target=config.fault_aware_target,
            rate=config.fault_aware_rate,
            fault=faults.BitErrors(storage) if storage else None,
            seed=config.seed,
        )
    if config.max_weight:
        faults.limit_weights(model, config.max_weight)
    return model


def _architecture(config: RunConfig, **options: Any) -> keras.Model:
    source = datasets.get(config.dataset)
    return architectures.build(
        config.architecture,
        normalization=config.algorithm.normalization,
        classes=source.classes,
        input_shape=source.shape,
        **options,
    )


def learning_rate_of_epoch(config: RunConfig) -> Callable[[int], float]:
    """Returns the learning rate as a function of the epoch, counted from 0."""

    def rate(epoch: int) -> float:
        factors = [factor for first, factor in config.learning_rate_drops if epoch >= first]
        return config.learning_rate * float(np.prod(factors))

    return rate


def evaluation_model(config: RunConfig, trained: keras.Model) -> keras.Model:
    """Returns the classifier as it is evaluated: in float32, without the training-only layers."""
    if config.precision == "float32" and not (config.dropout or config.fault_aware_rate):
        return trained
    model = _architecture(config)
    _take_weights(model, trained)
    return model


def add_weight_noise(config: RunConfig, trained: keras.Model) -> None:
    """Adds N(0, weight_noise^2) to every trained weight: a function of the seed."""
    draw = np.random.Generator(np.random.Philox(key=[config.seed, _WEIGHT_NOISE]))
    for weight in trained.trainable_variables:
        noise = draw.normal(0.0, config.weight_noise, weight.shape)
        weight.assign_add(tf.cast(noise, weight.dtype))


def evaluated(config: RunConfig, trained: keras.Model) -> Callable[[], keras.Model]:
    """Returns a function that gives the `evaluation_model` with the current weights of `trained`.

    All calls give one model, since every new one would be compiled again.
    """
    model = evaluation_model(config, trained)

    def current() -> keras.Model:
        if model is not trained:
            _take_weights(model, trained)
        return model

    return current


def _take_weights(model: keras.Model, trained: keras.Model) -> None:
    """Copies weights by layer name: counters of training-only layers have no counterpart."""
    for layer in model.layers:
        if layer.weights:
            source = trained.get_layer(layer.name)
            layer.set_weights(getattr(source, "layer", source).get_weights())  # past a wrapper


def checkpoints(
    trainer: ResidentModel, epochs: tf.Variable, place: Path
) -> tf.train.CheckpointManager:
    """Returns the manager of the checkpoints from which training resumes; restores the last one.

    Raises:
        RunError: the checkpoint that is there cannot be restored.
    """
    # Of DP-SGD's iterates, and its clip norm where it adapts.
    states = {name: getattr(trainer, name, None) for name in ("average", "clip_norm")}
    kept = tf.train.Checkpoint(
        model=trainer.model,
        optimizer=trainer.optimizer,
        epochs=epochs,
        **{name: state for name, state in states.items() if state is not None},
    )
    kept.save_counter  # noqa: B018 (made by this: a variable made in fit would be one of a strategy)
    manager = tf.train.CheckpointManager(kept, place, max_to_keep=1)
    try:
        if manager.latest_checkpoint:
            # Else a variable that the file lacks (one of Keras 2, say) would keep its first value.
            kept.restore(manager.latest_checkpoint).assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise RunError(
            f"{place} cannot be restored ({str(error).splitlines()[0]}): delete the run's "
            "directory to start it again"
        ) from None
    return manager
