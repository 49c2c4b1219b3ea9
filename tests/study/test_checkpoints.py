"""Checkpoints of unfinished runs: a file that lacks a variable is refused, not half restored."""

import dataclasses

import pytest

from ft_tf._compat import keras
from ft_tf.errors import RunError
from ft_tf.study import trainer
from ft_tf.study.config import RunConfig

CONFIG = RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn", momentum=0.9)


def test_a_checkpoint_that_lacks_a_variable_is_refused(tmp_path):
    first = trainer.build(dataclasses.replace(CONFIG, momentum=0.0))
    trainer.checkpoints(first, tmp_path).save(checkpoint_number=3)
    with pytest.raises(RunError, match="cannot be restored"):
        trainer.checkpoints(trainer.build(CONFIG), tmp_path)


def test_weights_momentum_and_steps_come_back(tmp_path):
    first = trainer.build(CONFIG)
    for variable in (*first.model.variables, *first.optimizer.variables):
        variable.assign(keras.random.uniform(variable.shape, 1, 9, "float32"))
    manager = trainer.checkpoints(first, tmp_path)
    manager.checkpoint.epochs.assign(3)
    manager.save(checkpoint_number=3)
    second = trainer.build(CONFIG)
    assert int(trainer.checkpoints(second, tmp_path).checkpoint.epochs) == 3
    for one, other in zip(
        (*first.model.variables, *first.optimizer.variables),
        (*second.model.variables, *second.optimizer.variables),
        strict=True,
    ):
        assert (one.numpy() == other.numpy()).all(), one.path
