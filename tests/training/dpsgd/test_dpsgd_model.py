"""DPSGDModel: sampling, noise, replay, accumulation and what it reports, through fit."""

import numpy as np
import pytest
from dpsgd_oracle import clipped_gradient_sum

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.privacy import Phase, privacy_cost_of_phases
from ft_tf.training.compiled_loss import CrossEntropy
from ft_tf.training.dpsgd import DPSGDModel, PrivacyEvent

LOSS = "sparse_categorical_crossentropy"
RATE, CLIP, BATCH = 0.5, 1.0, 20


def tiny_model(seed=0):
    make = keras.initializers.GlorotUniform
    return keras.Sequential(
        [
            keras.Input((5, 5, 1)),
            keras.layers.Conv2D(3, 2, activation="relu", kernel_initializer=make(seed)),
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_initializer=make(seed + 1)),
        ]
    )


def examples(count=100, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((count, 5, 5, 1), dtype=np.float32), rng.integers(0, 3, count)


def trained(*, epochs=2, batch_size=BATCH, data=None, model=None, optimizer=None, **options):
    model = model or tiny_model()
    options = {"l2_norm_clip": CLIP, "noise_multiplier": 1.0, "noise_seed": 5} | options
    private = DPSGDModel(model, **options)
    private.compile(optimizer or keras.optimizers.SGD(RATE), LOSS)
    x, y = data or examples()
    history = private.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
    return private, history


def weights_of(private):
    return np.concatenate([part.ravel() for part in private.model.get_weights()])


def test_a_noise_seed_replays_and_none_does_not():
    first, again = (weights_of(trained()[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, weights_of(trained(seed=9)[0]))  # seed plays no part
    assert not np.array_equal(first, weights_of(trained(noise_seed=6)[0]))
    assert not np.array_equal(*(weights_of(trained(noise_seed=None)[0]) for _ in range(2)))


@pytest.mark.parametrize("sampling", ["poisson", "shuffle"])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(sampling):
    momentum = lambda: keras.optimizers.SGD(RATE, momentum=0.9)  # noqa: E731
    whole, _ = trained(epochs=3, sampling=sampling, optimizer=momentum())
    first, _ = trained(epochs=1, sampling=sampling, optimizer=momentum())
    second = DPSGDModel(
        first.model, l2_norm_clip=CLIP, noise_multiplier=1.0, noise_seed=5, sampling=sampling
    )
    second.compile(first.optimizer, LOSS)
    second.fit(*examples(), batch_size=BATCH, epochs=2, verbose=0)
    np.testing.assert_array_equal(weights_of(second), weights_of(whole))
    assert second.privacy_events() == (PrivacyEvent(1.0, sampling, 100, BATCH, 10, True),)


class StopsAfter(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.steps:
            raise KeyboardInterrupt


def test_passes_of_another_permutation_or_of_other_data_are_not_joined():
    """Five steps a pass: fits of three and of two steps are one pass, if nothing changed."""
    x, y = examples()

    def passes(second_x, second_step=3):
        private = DPSGDModel(
            tiny_model(), l2_norm_clip=CLIP, noise_multiplier=1.0, sampling="shuffle"
        )
        private.compile("sgd", LOSS, steps_per_execution=1)
        for fit_x, first_step, steps in ((x, 0, 3), (second_x, second_step, 2)):
            private.optimizer.iterations.assign(first_step)
            with pytest.raises(KeyboardInterrupt):
                callbacks = [StopsAfter(steps)]
                private.fit(fit_x, y, batch_size=BATCH, verbose=0, callbacks=callbacks)
        return private.privacy_account(delta=1e-5).cost.passes

    assert passes(x) == 1
    assert passes(x[::-1].copy()) == 2
    assert passes(x, second_step=1) == 2  # back at step 1: another secret, another permutation


def test_events_tell_what_was_executed():
    private, _ = trained(noise_seed=None, batch_size=30)
    assert private.privacy_events() == (PrivacyEvent(1.0, "poisson", 100, 30, 6, False),)
    assert private.privacy_events()[0].sampling_probability == 0.3


def test_the_account_covers_every_fit():
    private, _ = trained(noise_seed=None, batch_size=30)
    private.fit(*examples(), batch_size=20, epochs=1, verbose=0)
    account = private.privacy_account(delta=1e-3)
    phases = [Phase(1.0, 0.3, 6), Phase(1.0, 0.2, 5)]
    assert account.epsilon == privacy_cost_of_phases(phases, delta=1e-3).epsilon_pld
    with pytest.raises(ArgumentError, match="nothing was trained"):
        DPSGDModel(tiny_model(), l2_norm_clip=CLIP, noise_multiplier=1.0).privacy_account(delta=0.1)


def test_a_pass_that_goes_on_counts_once():
    private = DPSGDModel(tiny_model(), l2_norm_clip=CLIP, noise_multiplier=1.0, sampling="shuffle")
    private.compile("sgd", LOSS, steps_per_execution=2)
    fit = {"batch_size": 30, "verbose": 0}  # 3 steps make a pass
    private.fit(*examples(), **fit)
    with pytest.raises(KeyboardInterrupt):
        private.fit(*examples(), **fit, callbacks=[_StopAfter()])
    private.fit(*examples(), **fit)
    events = private.privacy_events()
    assert [(event.steps, event.pass_offset) for event in events] == [(3, 0), (2, 0), (3, 2)]
    assert private.privacy_account(delta=1e-3).cost.passes == 3


def flat_model():
    """Of inputs that are zero: every update is noise alone."""
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(100, use_bias=False)])
    model.set_weights([np.zeros((200, 100), np.float32)])
    return model, np.zeros((40, 200), np.float32), np.zeros(40, np.int64)


@pytest.mark.parametrize("batch_size", [8, 40])  # five steps a fit, and one
def test_compile_does_not_bring_the_noise_back(batch_size):
    model, x, y = flat_model()
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0)
    noise = []
    for _ in range(3):
        private.compile(keras.optimizers.SGD(1.0), LOSS)
        before = model.get_weights()[0]
        private.fit(x, y, batch_size=batch_size, verbose=0)
        noise.append((model.get_weights()[0] - before).ravel())
    correlations = np.corrcoef(noise)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(20_000)


def test_a_seed_is_not_asked_for_the_same_noise_twice():
    model, x, y = flat_model()
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0, noise_seed=4)
    private.compile("sgd", LOSS)
    private.fit(x, y, batch_size=8, verbose=0)
    private.fit(x, y, batch_size=8, verbose=0)  # the optimizer has gone on
    private.compile("sgd", LOSS)
    with pytest.raises(ArgumentError, match=r"steps below 10, and the optimizer is at step 0"):
        private.fit(x, y, batch_size=8, verbose=0)
    assert sum(event.steps for event in private.privacy_events()) == 10


def test_zero_gradients_leave_noise_of_the_stated_variance():
    model, x, y = flat_model()
    private = DPSGDModel(model, l2_norm_clip=0.7, noise_multiplier=1.3, noise_seed=1)
    private.compile(keras.optimizers.SGD(0.2), LOSS)
    private.fit(x, y, batch_size=8, epochs=2, verbose=0)
    expected = 10 * (0.2 * 1.3 * 0.7 / 8) ** 2
    ratio = np.var(model.get_weights()[0]) / expected
    assert abs(ratio - 1) < 5 * np.sqrt(2 / 20_000)


def test_unusable_arguments_are_refused_in_one_line():
    with pytest.raises(ArgumentError, match="l2_norm_clip=0"):
        DPSGDModel(tiny_model(), l2_norm_clip=0, noise_multiplier=1.0)
    with pytest.raises(ArgumentError, match="sampling='poisson'"):
        DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0, engine="reference")
    with pytest.raises(ArgumentError, match="noise_seed=3"):
        DPSGDModel(
            tiny_model(),
            l2_norm_clip=1.0,
            noise_multiplier=1.0,
            engine="reference",
            sampling="shuffle",
            noise_seed=3,
        )


def test_without_clipping_and_noise_it_is_plain_sgd():
    x, y = examples()
    private, _ = trained(l2_norm_clip=1e6, noise_multiplier=0.0, batch_size=100, epochs=3)
    # q = 1: every batch is all the data, so the order within it is all that could differ.
    plain = tiny_model()
    optimizer = keras.optimizers.SGD(RATE)
    for _ in range(3):
        variables = plain.trainable_variables
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(y, plain(x), from_logits=True)
            )
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
    assert not private.private
    for ours, theirs in zip(private.model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_fast_equals_reference_on_whole_shuffled_runs():
    runs = [
        trained(
            engine=engine,
            sampling="shuffle",
            noise_multiplier=0.0,
            epochs=3,
            batch_size=16,
            optimizer=keras.optimizers.SGD(RATE, momentum=0.5),
        )[0]
        for engine in ("fast", "reference")
    ]
    assert runs[0].privacy_events() == runs[1].privacy_events()
    assert runs[0].privacy_events()[0].steps == 18
    np.testing.assert_allclose(*map(weights_of, runs), rtol=1e-4, atol=1e-6)
    assert not np.allclose(weights_of(runs[0]), weights_of_untrained(), atol=1e-2)


@pytest.mark.parametrize("as_dataset", [False, True], ids=["arrays", "dataset"])
def test_the_reference_engine_takes_batches_larger_than_a_piece_whole(as_dataset):
    x, y = examples(40)
    source = (tf.data.Dataset.from_tensor_slices((x, y)).batch(20), None) if as_dataset else (x, y)
    found = []
    for engine in ("fast", "reference"):
        private = DPSGDModel(
            tiny_model(),
            l2_norm_clip=CLIP,
            noise_multiplier=0.0,
            noise_seed=5,
            sampling="shuffle",
            engine=engine,
            physical_batch_size=8,
        )
        private.compile(keras.optimizers.SGD(RATE), LOSS)
        private.fit(*source, batch_size=20, epochs=1, verbose=0)
        found.append(weights_of(private))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def weights_of_untrained():
    return np.concatenate([part.ravel() for part in tiny_model().get_weights()])


def test_pieces_give_one_sum_and_one_noise_draw():
    data = examples(250)
    runs = [
        weights_of(
            trained(data=data, batch_size=250, epochs=1, physical_batch_size=250 // pieces + 1)[0]
            if pieces < 250
            else trained(data=data, batch_size=250, epochs=1, physical_batch_size=1)[0]
        )
        for pieces in (1, 7, 250)
    ]
    for other in runs[1:]:
        np.testing.assert_allclose(other, runs[0], rtol=1e-5, atol=1e-6)


def test_empty_batches_are_steps_of_noise_alone():
    # One example in a batch of one expected: of 300 steps about 110 are empty.
    x, y = examples(100)
    private, history = trained(data=(x, y), batch_size=1, epochs=3)
    assert private.privacy_events()[0].steps == 300
    assert np.isfinite(weights_of(private)).all()
    assert np.isfinite(history.history["loss"]).all()


def test_non_finite_examples_are_reported_and_harmless():
    x, y = examples()
    x[3] = np.nan
    private, history = trained(data=(x, y), batch_size=100, epochs=1)
    assert history.history["nonfinite_examples"] == [1.0]
    assert np.isfinite(weights_of(private)).all()


def test_a_non_finite_example_spoils_the_reference_engine():
    x, y = examples()
    x[3] = np.nan
    private, _ = trained(
        data=(x, y), batch_size=100, epochs=1,
        engine="reference", sampling="shuffle", noise_multiplier=0.0,
    )  # fmt: skip
    assert not np.isfinite(weights_of(private)).all()


def test_a_batch_without_a_finite_loss_shows():
    x, y = examples()
    # No ReLU: some of its kernels turn NaN into 0.
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    private, history = trained(
        model=model, data=(np.full_like(x, np.nan), y), batch_size=100, epochs=1
    )
    assert not np.isfinite(history.history["loss"]).any()
    assert history.history["nonfinite_examples"] == [100.0]
    assert np.isfinite(weights_of(private)).all()


def test_weight_decay_stands_outside_clipping():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.set_weights([np.full((4, 2), 3.0), np.full(2, 2.0)])
    private = DPSGDModel(model, l2_norm_clip=1e-9, noise_multiplier=0.0, weight_decay=0.1)
    private.compile(keras.optimizers.SGD(0.5), LOSS)
    private.fit(np.zeros((4, 4), np.float32), np.zeros(4, np.int64), batch_size=4, verbose=0)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel, 3.0 * (1 - 0.5 * 0.1), rtol=1e-6)
    np.testing.assert_allclose(bias, 2.0 * (1 - 0.5 * 0.1), rtol=1e-6)


def test_a_dataset_trains_and_is_stated_as_unaccounted():
    x, y = examples()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(30)
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0, noise_seed=1)
    private.compile(keras.optimizers.SGD(RATE), LOSS, ["accuracy"])
    private.fit(dataset, batch_size=30, epochs=2, verbose=0)
    (event,) = private.privacy_events()
    assert (event.sampling, event.accounted, event.steps) == ("unknown", False, 8)
    with pytest.warns(UserWarning, match="one size, 30"):
        private.fit(dataset, batch_size=30, num_examples=100, verbose=0)
    assert private.privacy_events()[1].sampling_probability == 0.3


class _StopAfter(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


def test_steps_of_an_interrupted_fit_count():
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", LOSS, steps_per_execution=2)
    with pytest.raises(KeyboardInterrupt):
        private.fit(*examples(), batch_size=BATCH, verbose=0, callbacks=[_StopAfter()])
    assert private.privacy_events() == (PrivacyEvent(1.0, "poisson", 100, BATCH, 2, False),)


def test_a_contradicting_loss_is_refused():
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    with pytest.raises(ArgumentError, match="from_logits"):
        private.compile("sgd", keras.losses.SparseCategoricalCrossentropy())
    with pytest.raises(ArgumentError, match="one number for the whole batch"):
        private.compile("sgd", lambda y, outputs: tf.reduce_mean(outputs))
        private.fit(*examples(), batch_size=BATCH, verbose=0)


def test_one_logit_and_binary_crossentropy():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 2, 6)
    ours, _, _ = clipped_gradient_sum(model, "binary_crossentropy", x, y, 1e6)
    errors = 1 / (1 + np.exp(-model(x).numpy()[:, 0])) - y  # d loss / d logit
    np.testing.assert_allclose(ours[0][:, 0], x.T @ errors, rtol=1e-5)
    np.testing.assert_allclose(ours[1][0], errors.sum(), rtol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.003])
def test_a_layer_that_mixes_examples_is_found_out(share):
    mixing = keras.layers.Lambda(lambda part: part - share * tf.reduce_mean(part, axis=0))
    model = keras.Sequential([keras.Input((3,)), mixing, keras.layers.Dense(2)])
    private = DPSGDModel(model, l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", LOSS)
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    with pytest.raises(ModelError, match="mixes examples"):
        private.fit(x, np.zeros(20, np.int64), batch_size=5, verbose=0)
    assert private.privacy_events() == ()


def test_validation_reports_the_loss_on_the_validation_data():
    x, y = examples()
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", LOSS, ["accuracy"])
    history = private.fit(
        x, y, batch_size=BATCH, epochs=2, verbose=0, validation_data=(x[:40], y[:40])
    ).history
    outputs = private.model.predict(x[:40], verbose=0)
    expected = keras.losses.sparse_categorical_crossentropy(y[:40], outputs, from_logits=True)
    assert history["val_loss"][-1] == pytest.approx(float(np.mean(expected)), rel=1e-5)
    assert history["val_accuracy"][-1] == pytest.approx(np.mean(outputs.argmax(1) == y[:40]))
    assert min(history["loss"]) > 0.5


ONE_HOT = np.eye(3, dtype=np.float32)[np.arange(100) % 3]
SPARSE = {
    "name": LOSS,
    "object": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "function": keras.losses.sparse_categorical_crossentropy,
    "ours": CrossEntropy(),
}


@pytest.mark.parametrize("loss", SPARSE)
@pytest.mark.parametrize("as_dataset", [False, True], ids=["arrays", "dataset"])
def test_one_hot_labels_of_a_loss_on_integers_are_refused(loss, as_dataset):
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", SPARSE[loss])
    x, _ = examples()
    source = (x, ONE_HOT)
    if as_dataset:
        source = (tf.data.Dataset.from_tensor_slices(source).batch(BATCH),)
    with pytest.raises(ArgumentError, match=r"y of shape \((100|None), 3\) must have one integer"):
        private.fit(*source, batch_size=BATCH, verbose=0)
    assert private.privacy_events() == ()


@pytest.mark.parametrize("bad", [3, -1, 0.5])
def test_labels_without_an_output_are_refused(bad):
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", LOSS)
    x, y = examples()
    y = np.where(np.arange(100) == 7, bad, y)
    with pytest.raises(ArgumentError, match=r"y (has labels|of dtype)"):
        private.fit(x, y, batch_size=BATCH, verbose=0)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("categorical_crossentropy", lambda y: np.eye(3, dtype=np.float32)[y]),
        (keras.losses.CategoricalCrossentropy(from_logits=True), lambda y: np.eye(3)[y]),
        (lambda y, z: keras.losses.categorical_crossentropy(y, z, True), lambda y: np.eye(3)[y]),
        (LOSS, lambda y: y[:, np.newaxis]),
        (LOSS, lambda y: y.astype(np.float32)),
        (
            keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
            lambda y: np.where(np.arange(100) == 0, 255, y),
        ),
    ],
)
def test_labels_that_the_loss_takes_train(loss, labels):
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=0.0)
    private.compile("sgd", loss)
    x, y = examples()
    history = private.fit(x, labels(y), batch_size=BATCH, verbose=0)
    assert 0.5 < history.history["loss"][0] < 2


def test_a_batch_larger_than_shuffled_data_is_said_in_one_line():
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0, sampling="shuffle")
    private.compile("sgd", LOSS)
    with pytest.raises(ArgumentError, match="batch_size=101 must be at most the 100 examples"):
        private.fit(*examples(), batch_size=101, verbose=0)


def test_what_is_no_array_is_refused():
    private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
    private.compile("sgd", LOSS)
    with pytest.raises(ArgumentError, match="x=list"):
        private.fit([1, 2], [3, 4], batch_size=1)
    with pytest.raises(ArgumentError, match="batch_size=None"):
        private.fit(*examples())
    with pytest.raises(ArgumentError, match="train_on_batch"):
        private.train_on_batch(*examples())


class _Uncounting(keras.optimizers.SGD):
    """An optimizer that does not count its steps."""

    def apply(self, grads, trainable_variables=None):
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            variable.assign_sub(0.1 * gradient)


def test_steps_are_counted_where_they_are_taken():
    private, _ = trained(optimizer=_Uncounting(0.1), batch_size=10, epochs=2, noise_multiplier=1.0)
    assert int(private.optimizer.iterations) == 0
    assert [event.steps for event in private.privacy_events()] == [20]


def test_optimizers_that_do_not_step_on_every_average_are_refused():
    for optimizer, message in (
        (keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "gradient_accumulation_steps=2"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), "LossScaleOptimizer"),
    ):
        private = DPSGDModel(tiny_model(), l2_norm_clip=1.0, noise_multiplier=1.0)
        with pytest.raises(ArgumentError, match=message):
            private.compile(optimizer, LOSS)
