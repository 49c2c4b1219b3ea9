"""From a configuration to a compiled model that trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ft_tf import architectures, faults
from ft_tf._compat import keras, tf
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
from ft_tf.training import noise
from ft_tf.training.base import ResidentModel
from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.natural import NaturalModel
from ft_tf.training.trades import TradesModel, normalized_mnist_example


def build(config: RunConfig) -> ResidentModel:
    """The compiled trainer of a configuration; its `model` attribute is the classifier."""
    trainer = _wrap(config, _classifier(config))
    trainer.compile(
        optimizer=_optimizer(config),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return trainer


def _classifier(config: RunConfig) -> keras.Model:
    normalization = None
    if isinstance(config.algorithm, Trades) and config.algorithm.normalized_example:
        normalization = normalized_mnist_example().normalization
    model = architectures.build(
        config.architecture,
        seed=config.seed,
        precision=config.precision,
        dropout=config.dropout,
        normalization=normalization,
    )
    if not config.fault_aware_rate:
        return model
    return faults.wrap(
        model,
        target=config.fault_aware_target,
        rate=config.fault_aware_rate,
        seed=config.seed,
        during_training=True,
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
    if config.fault_aware_rate:
        trained = faults.unwrap(trained)
    if config.precision == "float32" and not config.dropout:
        return trained
    normalization = next(
        (
            (-layer.offset / layer.scale, 1 / layer.scale)
            for layer in trained.layers
            if isinstance(layer, keras.layers.Rescaling)
        ),
        None,
    )
    model = architectures.build(config.architecture, normalization=normalization)
    model.set_weights(trained.get_weights())
    return model


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
