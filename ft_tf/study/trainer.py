"""From a configuration to a compiled model that trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ft_tf import architectures, faults
from ft_tf._compat import keras, require_tensorflow_privacy, tf
from ft_tf.data.augment import crop_and_flip
from ft_tf.errors import RunError
from ft_tf.study.config import (
    DPSGD,
    AdditiveGaussian,
    JacobianPenalty,
    MultiplicativeGaussian,
    RunConfig,
    Tikhonov,
    Trades,
)
from ft_tf.training import input_noise as noise
from ft_tf.training.base import ResidentModel
from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.natural import NaturalModel
from ft_tf.training.trades import TradesModel, normalized_mnist_example


def check_stack(config: RunConfig) -> None:
    """Refuses a run that needs a package which is not here, before it leaves anything behind.

    Raises:
        StackError: the reference engine is asked for, and tensorflow-privacy cannot be imported.
    """
    if isinstance(config.algorithm, DPSGD) and config.algorithm.engine == "reference":
        require_tensorflow_privacy()


def build(config: RunConfig) -> ResidentModel:
    """The compiled trainer of a configuration; its `model` attribute is the classifier."""
    trainer = _wrap(config, _classifier(config))
    trainer.compile(
        optimizer=_optimizer(config),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # Of several steps in one call the accuracy between them is not seen.
        steps_per_execution=1 if config.stop_at_test_accuracy else None,
    )
    return trainer


def _normalization(config: RunConfig) -> tuple[float, float] | None:
    if isinstance(config.algorithm, Trades) and config.algorithm.normalized_example:
        return normalized_mnist_example().normalization
    return None


def _classifier(config: RunConfig) -> keras.Model:
    model = architectures.build(
        config.architecture,
        seed=config.seed,
        precision=config.precision,
        dropout=config.dropout,
        normalization=_normalization(config),
    )
    if not config.fault_aware_rate:
        return model
    return faults.wrap(
        model,
        target=config.fault_aware_target,
        rate=config.fault_aware_rate,
        seed=config.seed,
    )


def _optimizer(config: RunConfig) -> keras.optimizers.Optimizer:
    if config.optimizer == "adam":
        return keras.optimizers.Adam(config.learning_rate)
    return keras.optimizers.SGD(config.learning_rate, momentum=config.momentum)


def _wrap(config: RunConfig, model: keras.Model) -> ResidentModel:
    augmentation = crop_and_flip if config.augment else None
    algorithm = config.algorithm
    if isinstance(algorithm, DPSGD):
        return DPSGDModel(
            model,
            l2_norm_clip=algorithm.l2_norm_clip,
            noise_multiplier=algorithm.noise_multiplier,
            sampling=algorithm.sampling,
            noise_seed=algorithm.noise_seed,
            engine=algorithm.engine,
            weight_decay=config.weight_decay,
            seed=config.seed,
        )
    shared = {
        "augmentation": augmentation,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
    }
    if isinstance(algorithm, Trades):
        return TradesModel(model, **_trades_arguments(algorithm), **shared)
    input_noise: noise.InputNoise | None = None
    penalty: noise.InputNoise | None = None
    if isinstance(algorithm, AdditiveGaussian):
        input_noise = noise.AdditiveGaussian(algorithm.sigma)
    elif isinstance(algorithm, MultiplicativeGaussian):
        input_noise = noise.MultiplicativeGaussian(algorithm.sigma)
    elif isinstance(algorithm, JacobianPenalty):
        penalty = noise.AdditiveGaussian(algorithm.sigma)
    l2 = algorithm.l2 if isinstance(algorithm, Tikhonov) else 0.0
    return NaturalModel(model, l2=l2, input_noise=input_noise, jacobian_penalty=penalty, **shared)


def _trades_arguments(algorithm: Trades) -> dict[str, object]:
    arguments: dict[str, object] = {
        "epsilon": algorithm.epsilon,
        "step_size": algorithm.step_size,
        "num_steps": algorithm.num_steps,
        "beta": algorithm.beta,
        "distance": algorithm.distance,
    }
    if algorithm.normalized_example:
        example = normalized_mnist_example()
        _, std = example.normalization
        lengths = {"epsilon": algorithm.epsilon * std, "step_size": algorithm.step_size * std}
        arguments = example.trades_arguments() | arguments | lengths
    return arguments


def learning_rate_of_epoch(config: RunConfig) -> Callable[[int], float]:
    """The learning rate as a function of the epoch, counted from 0: resumable by construction."""

    def rate(epoch: int) -> float:
        factors = [factor for first, factor in config.learning_rate_drops if epoch >= first]
        return config.learning_rate * float(np.prod(factors))

    return rate


def evaluation_model(config: RunConfig, trained: keras.Model) -> keras.Model:
    """The classifier as it is evaluated: in float32, without the training-only layers."""
    if config.precision == "float32" and not (config.dropout or config.fault_aware_rate):
        return trained
    model = architectures.build(config.architecture, normalization=_normalization(config))
    _take_weights(model, trained)
    return model


def evaluated(config: RunConfig, trained: keras.Model) -> Callable[[], keras.Model]:
    """Gives the `evaluation_model` with the weights that `trained` has at the time of the call.

    It is one model in all calls, since each new one would be compiled anew.
    """
    model = evaluation_model(config, trained)

    def current() -> keras.Model:
        if model is not trained:
            _take_weights(model, trained)
        return model

    return current


def _take_weights(model: keras.Model, trained: keras.Model) -> None:
    """Copies by layer name: the counters of layers for training alone have no counterpart."""
    for layer in model.layers:
        if layer.weights:
            source = trained.get_layer(layer.name)
            layer.set_weights(getattr(source, "layer", source).get_weights())  # past a wrapper


def checkpoints(
    trainer: ResidentModel, epochs: tf.Variable, place: Path
) -> tf.train.CheckpointManager:
    """Keeps what must survive for training to go on as if it had never stopped.

    Restores what is there.

    Raises:
        RunError: the checkpoint that is there cannot be restored.
    """
    kept = tf.train.Checkpoint(model=trainer.model, optimizer=trainer.optimizer, epochs=epochs)
    kept.save_counter  # noqa: B018 (made by this: a variable made in fit would be one of a strategy)
    manager = tf.train.CheckpointManager(kept, place, max_to_keep=1)
    try:
        manager.restore_or_initialize()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise RunError(
            f"{place} cannot be restored ({str(error).splitlines()[0]}): delete the run's "
            "directory to start it again"
        ) from None
    return manager
