"""What fixes the mechanism of a DPSGDModel cannot be changed below its compiled step."""

import numpy as np
import pytest

from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.training.dpsgd import DPSGDModel, PrivacyEvent


def private_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=2)
    private.compile("sgd", "sparse_categorical_crossentropy")
    return private


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("l2_norm_clip", 3.0),
        ("noise_multiplier", 50.0),
        ("sampling", "shuffle"),
        ("engine", "reference"),
        ("weight_decay", 0.1),
        ("physical_batch_size", 7),
    ],
)
def test_a_setting_cannot_be_set(name, value):
    private = private_model()
    before = getattr(private, name)
    with pytest.raises(ArgumentError, match=f"{name}={value!r} cannot be set: .* make a new") as e:
        setattr(private, name, value)
    assert "\n" not in str(e.value)
    assert getattr(private, name) == before


def test_a_callback_cannot_train_with_one_noise_and_account_for_another():
    class Schedule(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.noise_multiplier = 50.0

    private = private_model()
    with pytest.raises(ArgumentError, match=r"noise_multiplier=50\.0 cannot be set"):
        private.fit(*data(), batch_size=10, epochs=3, verbose=0, callbacks=[Schedule()])
    assert private.privacy_events() == (PrivacyEvent(2.0, "poisson", 40, 10, 4, False),)
