"""Trainings distributed over several devices, or over processes on several machines.

With the strategy "multi_worker" every process runs the same training on its parts of the batches.
The chief does all that `execution.run` does; the others `assist`: they read its checkpoint, train
along, and write nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from ft_tf import records
from ft_tf._compat import keras, tf
from ft_tf.data import Dataset
from ft_tf.errors import ArgumentError, RunError
from ft_tf.study import directory as runs
from ft_tf.study import trainer
from ft_tf.study.config import RunConfig
from ft_tf.training import strategies
from ft_tf.training.base import ResidentModel
from ft_tf.training.callbacks import NonFiniteLoss

Strategy = tf.distribute.Strategy | None


def check(config: RunConfig, strategy: str) -> None:
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


def prepared(config: RunConfig, strategy: Strategy) -> ResidentModel:
    """The compiled trainer, its optimizer's variables made, within the strategy's scope."""
    with strategies.scope(strategy):
        model = trainer.build(config)
        if not model.optimizer.built:
            model.optimizer.build(model.model.trainable_variables)
    return model


def resumed(
    config: RunConfig, strategy: Strategy, directory: Path
) -> tuple[ResidentModel, tf.Variable, tf.train.CheckpointManager]:
    """Returns the trainer as its last checkpoint has it, the finished epochs, and the manager.

    Raises:
        RunError: the checkpoint cannot be restored, or another process of the training has another
            one: they would train different models, or wait for ever.
    """
    model = prepared(config, strategy)
    epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
    manager = trainer.checkpoints(model, epochs, directory / runs.CHECKPOINTS)
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        _check_agreement(strategy, int(epochs))
    return model, epochs, manager


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
    first: int,
    verbose: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains from epoch `first`, counted from 0, to the configured last one.

    Raises:
        RunError: another process of the training is gone.
    """
    rate = keras.callbacks.LearningRateScheduler(trainer.learning_rate_of_epoch(config))
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
    model = prepared(config, None)
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
    check(config, strategies.name_of(strategy))
    if (directory / records.FILE_NAME).exists():
        return
    model, epochs, _ = resumed(config, strategy, directory)
    if epochs < config.epochs:
        callbacks = [NonFiniteLoss()]
        fit(model, config, data, first=int(epochs), verbose=0, callbacks=callbacks)
