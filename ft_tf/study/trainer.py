"""From a configuration to a compiled model that trains, on one device or on several.

With the strategy "multi_worker" every process runs the same training on its parts of the batches.
The chief does all that `execution.run` does; the others `assist`: they read its checkpoint, train
along, and write nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf import architectures, faults, records
from ft_tf._compat import keras, tf
from ft_tf.data import Dataset
from ft_tf.errors import ArgumentError, RunError
from ft_tf.study import datasets
from ft_tf.study import directory as runs
from ft_tf.study.config import RunConfig
from ft_tf.training import strategies
from ft_tf.training.base import ResidentModel
from ft_tf.training.callbacks import NonFiniteLoss

Strategy = tf.distribute.Strategy | None


def build(config: RunConfig, strategy: Strategy = None) -> ResidentModel:
    """Returns the compiled trainer of a configuration; its `model` attribute is the classifier.

    It is made within the strategy's scope, its optimizer's variables too.
    """
    with strategies.scope(strategy):
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
        if not trainer.optimizer.built:
            trainer.optimizer.build(trainer.model.trainable_variables)
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


def learning_rate_of_epoch(config: RunConfig, epoch: int) -> float:
    """Returns the learning rate of an epoch, counted from 0."""
    factors = [factor for first, factor in config.learning_rate_drops if epoch >= first]
    return config.learning_rate * float(np.prod(factors))


def evaluation_model(config: RunConfig, trained: keras.Model) -> keras.Model:
    """Returns the classifier as it is evaluated: in float32, without the training-only layers."""
    if config.precision == "float32" and not (config.dropout or config.fault_aware_rate):
        return trained
    model = _architecture(config)
    _take_weights(model, trained)
    return model


def add_weight_noise(config: RunConfig, trained: keras.Model) -> None:
    """Adds N(0, weight_noise^2) to every trained weight: a function of the seed."""
    draw = np.random.Generator(np.random.Philox(key=[config.seed, 1]))
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


def checkpoints(trainer: ResidentModel, place: Path) -> tf.train.CheckpointManager:
    """Returns the manager of the checkpoints from which training resumes; restores the last one.

    Its `checkpoint.epochs` is the number of finished epochs.

    Raises:
        RunError: the checkpoint that is there cannot be restored.
    """
    # Of DP-SGD's iterates, and its clip norm where it adapts.
    states = {name: getattr(trainer, name, None) for name in ("average", "clip_norm")}
    kept = tf.train.Checkpoint(
        model=trainer.model,
        optimizer=trainer.optimizer,
        epochs=tf.Variable(0, dtype=tf.int64, trainable=False),
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


def check_strategy(config: RunConfig, strategy: str) -> None:
    """Refuses what cannot be distributed by a strategy, one of `strategies.NAMES`.

    Raises:
        ArgumentError: the configuration has no meaning, or another, on several devices.
    """
    if strategy == "none":
        return
    config.algorithm.check_strategy(strategy)
    for field in ("fault_aware_rate", "stop_at_holdout_accuracy", "stop_at_train_accuracy"):
        value = getattr(config, field)
        if value:
            raise ArgumentError(f"strategy={strategy!r} cannot be used with {field}={value!r}")


def resumed(
    config: RunConfig, strategy: Strategy, directory: Path
) -> tuple[ResidentModel, tf.train.CheckpointManager]:
    """Returns the trainer as its last checkpoint has it, and the manager of its checkpoints.

    Raises:
        RunError: the checkpoint cannot be restored, or another process of the training has another
            one: they would train different models, or wait for ever.
    """
    model = build(config, strategy)
    manager = checkpoints(model, directory / runs.CHECKPOINTS)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        _check_agreement(strategy, int(manager.checkpoint.epochs))
    return model, manager


def _check_agreement(strategy: tf.distribute.Strategy, epochs: int) -> None:
    # Float, as all reductions between processes are sure to take it.
    here = tf.constant(float(epochs))
    gathered = strategy.run(
        lambda: tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, [here, here * here]
        )
    )
    total, squares = (float(strategy.experimental_local_results(value)[0]) for value in gathered)
    count = strategy.num_replicas_in_sync
    if squares * count != total * total:
        raise RunError(
            f"this process would go on after epoch {epochs}, another one after a different epoch: "
            "output_dir must be the same directory, shared by all processes"
        )


def fit(
    model: ResidentModel,
    config: RunConfig,
    data: Dataset,
    *,
    first: int = 0,
    verbose: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains from epoch `first`, counted from 0, to the configured last one.

    Raises:
        RunError: another process of the training is gone.
    """
    rate = keras.callbacks.LearningRateScheduler(partial(learning_rate_of_epoch, config))
    try:
        model.fit(
            data.x_train,
            data.y_train,
            batch_size=config.batch_size,
            epochs=config.epochs,
            initial_epoch=first,
            verbose=verbose,
            callbacks=[rate, *callbacks],
        )
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise RunError(
            f"another process of the training is gone ({str(error).splitlines()[0]}): start all of "
            "them again, and training goes on from the last checkpoint"
        ) from None


def on_one_device(config: RunConfig, trained: ResidentModel) -> ResidentModel:
    """What was trained under a strategy, as a model of this process alone."""
    model = build(config)
    model.model.set_weights(trained.model.get_weights())
    model.optimizer.iterations.assign(trained.optimizer.iterations.numpy())
    if (average := getattr(trained, "average", None)) is not None:
        for here, there in zip(model.average.variables, average.variables, strict=True):
            here.assign(there.numpy())
    return model


def assist(config: RunConfig, data: Dataset, directory: Path, strategy: Strategy) -> None:
    """Trains along with the chief, whose run lives in `directory`, by this process's strategy.

    `data` is cut as the configuration asks.

    Raises:
        ArgumentError: the configuration cannot be distributed.
        RunError: this process does not see the chief's checkpoint, or the chief is gone.
    """
    check_strategy(config, strategies.name_of(strategy))
    if (directory / records.FILE_NAME).exists():
        return
    model, manager = resumed(config, strategy, directory)
    done = int(manager.checkpoint.epochs)
    if done < config.epochs:
        fit(model, config, data, first=done, callbacks=[NonFiniteLoss()])
