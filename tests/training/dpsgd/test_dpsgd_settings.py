"""What fixes the mechanism of a DPSGDModel cannot be changed below its compiled step."""

import numpy as np
import pytest

from ft_tf._compat import keras
from ft_tf.errors import ArgumentError
from ft_tf.training.dpsgd import DPSGDModel, PrivacyEvent


def trainer(**options):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    private = DPSGDModel(model, **options)
    private.compile("sgd", "sparse_categorical_crossentropy")
    return private


def private_model():
    return trainer(l2_norm_clip=1.0, noise_multiplier=2)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)


def fit(private):
    private.fit(*data(), batch_size=10, verbose=0)


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


@pytest.mark.parametrize("l2_norm_clip", [1e-18, 1e18])
def test_noise_that_float32_cannot_hold_is_refused(l2_norm_clip):
    private = trainer(l2_norm_clip=l2_norm_clip, noise_multiplier=1.0)
    with pytest.raises(ArgumentError, match=r"noise_multiplier=1 at a clip norm of 1e[-+]18"):
        fit(private)
    assert private.privacy_events() == ()
    fit(trainer(l2_norm_clip=l2_norm_clip, noise_multiplier=0.0))  # clipping alone


def test_the_smallest_noise_that_is_allowed_is_noise():
    private = trainer(l2_norm_clip=10 * 1e-17, noise_multiplier=1.0)
    private.model.set_weights([0 * weights for weights in private.model.get_weights()])
    fit(private)
    kernel = private.model.get_weights()[0]
    assert np.count_nonzero(kernel) == kernel.size


def test_no_factor_scales_the_noisy_gradient():
    """A global policy of float16 leaves a float32 model's steps as they are."""
    steps = {}
    for policy in ("float32", "mixed_float16"):
        private = trainer(l2_norm_clip=1.0, noise_multiplier=1.0, noise_seed=3)
        keras.utils.set_random_seed(0)
        private.model.set_weights([0 * weights for weights in private.model.get_weights()])
        keras.mixed_precision.set_global_policy(policy)
        try:
            private.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
            fit(private)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        steps[policy] = private.model.get_weights()[0]
    np.testing.assert_array_equal(*steps.values())
    with pytest.raises(ArgumentError, match="loss_scale_factor=8 of the optimizer"):
        trainer(l2_norm_clip=1.0, noise_multiplier=1.0).compile(
            keras.optimizers.SGD(1.0, loss_scale_factor=8.0), "sparse_categorical_crossentropy"
        )
