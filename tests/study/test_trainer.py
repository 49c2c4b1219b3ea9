import dataclasses

import numpy as np
import pytest

from ft_tf import metrics
from ft_tf._compat import keras
from ft_tf.study import algorithms, trainer
from ft_tf.study import config as c

BASE = c.RunConfig(dataset="fashion_mnist", architecture="fmnist_dnn", learning_rate=0.2)
NORMALIZED = algorithms.Trades(normalized_example=True)


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(BASE, dropout=0.5),
        dataclasses.replace(BASE, fault_aware_rate=0.3),
        dataclasses.replace(BASE, fault_aware_rate=0.3, fault_aware_target="weights", dropout=0.2),
        dataclasses.replace(BASE, algorithm=NORMALIZED, dropout=0.5),
        dataclasses.replace(
            BASE,
            fault_aware_rate=0.01,
            fault_aware_target="weights",
            fault_aware_storage="int4",
            max_weight=0.02,
        ),
    ],
    ids=["dropout", "faulty_units", "faulty_weights", "normalized", "bit_errors"],
)
def test_what_is_evaluated_computes_what_was_trained(config, stripes):
    trained = trainer.build(config)
    trained.fit(stripes.x_train, stripes.y_train, batch_size=20, epochs=1, verbose=0)
    plain = trainer.evaluation_model(config, trained.model)
    if config.max_weight:
        assert max(np.abs(value).max() for value in plain.get_weights()) == np.float32(0.02)
    kinds = {type(layer).__name__ for layer in plain.layers}
    assert kinds <= {"Flatten", "Dense", "Rescaling"}
    np.testing.assert_allclose(
        metrics.predict_logits(plain, stripes.x_test),
        metrics.predict_logits(trained.model, stripes.x_test),
        rtol=1e-5,
        atol=1e-6,
    )


def test_mixed_precision_is_evaluated_in_float32(stripes):
    config = dataclasses.replace(BASE, precision="mixed_bfloat16")
    trained = trainer.build(config)
    plain = trainer.evaluation_model(config, trained.model)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    for ours, theirs in zip(plain.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "config",
    [
        BASE,
        dataclasses.replace(BASE, precision="mixed_bfloat16"),
        dataclasses.replace(BASE, fault_aware_rate=0.3, dropout=0.2, algorithm=NORMALIZED),
    ],
    ids=["plain", "bfloat16", "layers_of_training"],
)
def test_callbacks_measure_the_evaluated_model_as_it_is_now(config, stripes):
    trained = trainer.build(config)
    current = trainer.evaluated(config, trained.model)
    first = current()
    before = metrics.predict_logits(first, stripes.x_test)
    trained.fit(stripes.x_train, stripes.y_train, batch_size=20, epochs=1, verbose=0)
    assert current() is first
    assert {layer.compute_dtype for layer in first.layers} == {"float32"}
    after = metrics.predict_logits(first, stripes.x_test)
    anew = trainer.evaluation_model(config, trained.model)
    np.testing.assert_array_equal(after, metrics.predict_logits(anew, stripes.x_test))
    assert np.abs(after - before).max() > 1e-3


def test_learning_rate_drops_are_a_function_of_the_epoch():
    config = dataclasses.replace(BASE, learning_rate_drops=((2, 0.1), (4, 0.5)))
    rates = [trainer.learning_rate_of_epoch(config, epoch) for epoch in range(5)]
    assert rates == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.01])


def test_optimizers_are_what_was_asked_for():
    adam = trainer.build(dataclasses.replace(BASE, optimizer="adam")).optimizer
    sgd = trainer.build(dataclasses.replace(BASE, momentum=0.9)).optimizer
    assert isinstance(adam, keras.optimizers.Adam)
    assert isinstance(sgd, keras.optimizers.SGD)
    assert sgd.momentum == 0.9


def test_a_training_that_stops_at_an_accuracy_can_be_looked_at_after_every_step(stripes):
    """Callbacks see a call of the compiled program, in which several steps may be run together."""
    steps = []

    class Calls(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(int(self.model.optimizer.iterations))

    built = trainer.build(dataclasses.replace(BASE, holdout=5, stop_at_holdout_accuracy=0.5))
    arrays = stripes.x_train, stripes.y_train
    built.fit(*arrays, batch_size=20, epochs=1, verbose=0, callbacks=[Calls()])
    assert steps == [1, 2, 3]
