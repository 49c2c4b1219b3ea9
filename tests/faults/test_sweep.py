import numpy as np
import pytest

from ft_tf import faults, metrics
from ft_tf._compat import keras
from ft_tf.errors import ModelError


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(5),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss=loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def images():
    generator = np.random.Generator(np.random.Philox(3))
    x = generator.normal(size=(103, 8, 8, 3)).astype(np.float32)
    return x, generator.integers(0, 5, 103)


def weight_bytes(model):
    return [weight.tobytes() for weight in model.get_weights()]


@pytest.mark.parametrize("target", ["weights", "units", "both"])
def test_sweep_inject_and_callback_agree(model, images, target):
    x, y = images
    before = weight_bytes(model)
    clean = metrics.predict_logits(model, x, batch_size=20)
    frame = faults.sweep(
        model, x, y, target=target, rates=[0, 0.3, 1], trials=2, seed=1, batch_size=20
    )
    assert list(frame.columns[:6]) == ["target", "rate", "trial", "seed", "faults", "accuracy"]
    assert len(frame) == 6
    for row in frame.itertuples():
        where = {"target": target, "rate": row.rate, "seed": 1, "trial": row.trial}
        with faults.inject(model, **where) as injection:
            assert injection.faults == row.faults
            inside = model.evaluate(x, y, batch_size=20, verbose=0)[1]
        callback = faults.FaultInjection(**where)
        called = model.evaluate(x, y, batch_size=20, verbose=0, callbacks=[callback])[1]
        assert callback.faults == row.faults
        assert inside == called == pytest.approx(row.accuracy, abs=1e-6)
    assert weight_bytes(model) == before
    np.testing.assert_array_equal(metrics.predict_logits(model, x, batch_size=20), clean)


def test_armed_model_refuses_training_and_saving(model, images, tmp_path):
    x, y = images
    with faults.inject(model, target="weights", rate=0.5, seed=0):
        with pytest.raises(ModelError, match="armed"):
            model.fit(x, y)
        with pytest.raises(ModelError, match="armed"):
            model.save(tmp_path / "model.keras")
