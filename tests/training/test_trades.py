"""TradesModel: what it reduces to, what the attack may not touch, and what it refuses."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.attacks import kl_attack, kl_divergence
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.training import NaturalModel, TradesModel
from ft_tf.training.trades import normalized_mnist_example

SHAPE, CLASSES, BATCH = (5, 5, 1), 3, 16
OPTIONS = {"epsilon": 0.1, "step_size": 0.03, "num_steps": 4, "beta": 6.0, "seed": 4}


def classifier(*extra, last=None, dtype="float32"):
    make, kind = keras.initializers.GlorotUniform, {"dtype": dtype}
    return keras.Sequential(
        [
            keras.Input(SHAPE, dtype="float64" if dtype == "float64" else "float32"),
            keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer=make(1), **kind),
            *extra,
            keras.layers.MaxPool2D(2, strides=1, **kind),
            keras.layers.Flatten(**kind),
            keras.layers.Dense(CLASSES, kernel_initializer=make(2), activation=last, **kind),
        ]
    )


def examples(count=64):
    rng = np.random.default_rng(3)
    return rng.random((count, *SHAPE), dtype=np.float32), rng.integers(0, CLASSES, count)


def compiled(trainer):
    trainer.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
    return trainer


def fitted(trainer, epochs=2):
    history = compiled(trainer).fit(*examples(), batch_size=BATCH, epochs=epochs, verbose=0)
    return trainer, history.history


def weights_of(trainer):
    return np.concatenate([part.ravel() for part in trainer.model.get_weights()])


def attack_points(trainer, x, step=0):
    logits = trainer.model(x, training=False)
    return trainer.attack(tf.constant(x), logits, tf.constant(step, tf.int64)).numpy()


@pytest.mark.parametrize("extra", [(), (keras.layers.Dropout,)])
def test_beta_zero_is_natural_training_to_the_bit(extra):
    noise = lambda x, seed: x + tf.random.stateless_normal(tf.shape(x), seed)  # noqa: E731
    shared = {"seed": 4, "weight_decay": 1e-3, "augmentation": noise}
    make = lambda: classifier(*(layer(0.3, seed=5) for layer in extra))  # noqa: E731
    tf.random.set_seed(1)
    trades, history = fitted(TradesModel(make(), **(OPTIONS | {"beta": 0.0} | shared)))
    tf.random.set_seed(1)
    natural, natural_history = fitted(NaturalModel(make(), **shared))
    assert history["loss"] == natural_history["loss"]
    np.testing.assert_array_equal(weights_of(trades), weights_of(natural))


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_epsilon_zero_attacks_nothing(distance):
    options = OPTIONS | {"epsilon": 0.0, "distance": distance}
    trainer, history = fitted(TradesModel(classifier(), **options))
    x, _ = examples()
    np.testing.assert_array_equal(attack_points(trainer, x), x)
    assert history["kl"] == [0.0, 0.0]


@pytest.mark.parametrize("layers", [(), (keras.layers.Conv2D(4, 3, activation="relu"),)])
def test_without_start_noise_a_compiled_attack_stays(layers):
    model = keras.Sequential(
        [keras.Input(SHAPE), *layers, keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    trainer = compiled(TradesModel(model, **OPTIONS, start_noise=0.0))
    x = tf.constant(examples()[0])

    @tf.function
    def attack():
        return trainer.attack(x, model(x, training=True), tf.constant(0, tf.int64))

    np.testing.assert_array_equal(attack(), x)


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_the_attack_moves_inputs_and_no_weight_and_no_statistic(distance):
    model = classifier(keras.layers.BatchNormalization(), keras.layers.Dropout(0.5))
    trainer = compiled(TradesModel(model, **(OPTIONS | {"distance": distance})))
    before = [part.tobytes() for part in model.get_weights()]
    x, _ = examples()
    points = attack_points(trainer, x)
    assert [part.tobytes() for part in model.get_weights()] == before
    delta = (points - x).reshape(len(x), -1)
    size = np.abs(delta).max() if distance == "l_inf" else np.linalg.norm(delta, axis=1).max()
    assert 0.09 < size < 0.1 + 1e-6
    assert points.min() >= 0 and points.max() <= 1
    np.testing.assert_array_equal(points, attack_points(trainer, x))
    assert np.any(points != attack_points(trainer, x, step=1))


def test_batch_normalisation_sees_what_it_sees_in_the_original():
    trained, reference = (
        classifier(keras.layers.BatchNormalization(dtype="float64"), dtype="float64")
        for _ in range(2)
    )
    trainer = compiled(TradesModel(trained, **OPTIONS))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    x, y = examples(BATCH)
    x, y = tf.constant(x, tf.float64), tf.constant(y)
    noise_source = TradesModel(reference, **OPTIONS)
    for step in range(3):
        trainer.gradient_step(x, y, tf.constant(step, tf.int64))
        # The published order: eval(), attack, train(), then the passes of the loss.
        points = noise_source.attack(x, reference(x, training=False), tf.constant(step, tf.int64))
        with tf.GradientTape() as tape:
            logits = reference(x, training=True)
            loss = tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
            )
            adversarial = reference(points, training=True)
            again = reference(x, training=True)
            loss += 6.0 * tf.reduce_mean(kl_divergence(again, adversarial))
        variables = reference.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for ours, theirs in zip(trainer.model.get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_history_has_the_parts_of_the_loss_and_validation_has_not():
    x, y = examples()
    trainer = compiled(TradesModel(classifier(), **OPTIONS))
    history = trainer.fit(
        x, y, batch_size=BATCH, epochs=2, validation_data=(x, y), verbose=0
    ).history
    assert set(history) == {
        "loss", "natural_loss", "kl", "accuracy", "val_loss", "val_accuracy",
    }  # fmt: skip
    np.testing.assert_allclose(
        history["loss"],
        np.add(history["natural_loss"], 6.0 * np.array(history["kl"])),
        rtol=1e-5,
    )
    assert min(history["kl"]) > 0
    assert min(history["accuracy"]) >= 0 and max(history["accuracy"]) <= 1


def test_arrays_and_datasets_train_alike_and_seeds_differ():
    x, y = examples()
    arrays, _ = fitted(TradesModel(classifier(), **OPTIONS), epochs=1)
    trainer = compiled(TradesModel(classifier(), **OPTIONS))
    epoch, steps = trainer.epoch_batches(len(x), BATCH)
    pairs = epoch(tf.constant(0, tf.int64)).map(
        lambda index: (tf.gather(x, index), tf.gather(y, index))
    )
    trainer.fit(pairs, steps_per_epoch=steps, epochs=1, verbose=0)
    np.testing.assert_allclose(weights_of(trainer), weights_of(arrays), atol=1e-6)
    other, _ = fitted(TradesModel(classifier(), **(OPTIONS | {"seed": 5})), epochs=1)
    assert np.any(weights_of(other) != weights_of(arrays))


class Counted(TradesModel):
    """Counts how often Python builds the step: once for each program that is traced."""

    traces = 0

    def gradient_step(self, x, y, step):
        self.traces += 1
        return super().gradient_step(x, y, step)


@pytest.mark.parametrize("count", [64, 60])
def test_the_step_is_traced_in_the_first_epoch_and_never_again(count):
    x, y = examples(count)
    trainer = compiled(Counted(classifier(), **OPTIONS))
    trainer.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    first = trainer.traces
    # Keras's program holds the step twice, before and in its loop, and is traced again once the
    # variables of the first call exist.
    assert first <= 4
    trainer.fit(x, y, batch_size=BATCH, epochs=4, initial_epoch=1, verbose=0)
    trainer.optimizer.learning_rate = 0.01
    trainer.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    assert trainer.traces == first
    trainer.fit(x.copy(), y, batch_size=BATCH, epochs=1, verbose=0)
    assert trainer.traces > first  # other arrays: the count does see a trace


def test_one_logit_and_subclassed_models_train():
    class Wrapped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.inner(tf.reshape(inputs, [-1, 25]))

    x, _ = examples()
    y = (x.mean(axis=(1, 2, 3)) > 0.5).astype(np.int64)
    trainer = TradesModel(Wrapped(), **(OPTIONS | {"epsilon": 0.01}))
    trainer.compile(keras.optimizers.SGD(0.5))
    losses = trainer.fit(x, y, batch_size=BATCH, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"epsilon": -0.1}, "epsilon=-0.1"),
        ({"step_size": float("nan")}, "step_size=nan"),
        ({"num_steps": 0}, "num_steps=0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"distance": "l_1"}, "distance='l_1'"),
        ({"bounds": (1.0, 0.0)}, "bounds="),
        ({"start_noise": -1.0}, "start_noise=-1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ],
)
def test_unusable_arguments_are_refused_in_one_line(changed, match):
    with pytest.raises(ArgumentError, match=match) as caught:
        TradesModel(classifier(), **(OPTIONS | changed))
    assert "\n" not in str(caught.value)


def test_a_model_that_ends_in_softmax_is_refused():
    with pytest.raises(ModelError, match="ends in softmax"):
        TradesModel(classifier(last="softmax"), **OPTIONS)


@pytest.mark.parametrize(
    ("x_of", "y_of", "match"),
    [
        (lambda x: x * 255, lambda y: y, "outside bounds"),
        (lambda x: np.where(x > 0.99, np.nan, x), lambda y: y, "NaN or infinite"),
        (lambda x: x, lambda y: y + 1, r"labels from 1 to 3"),
        (lambda x: x, lambda y: y - 1, r"labels from -1"),
        (lambda x: x, lambda y: y.astype(float), "must be integers"),
        (lambda x: x, lambda y: y[:-1], "must have one length"),
    ],
)
def test_unusable_data_is_refused_before_training(x_of, y_of, match):
    x, y = examples()
    trainer = compiled(TradesModel(classifier(), **OPTIONS))
    before = weights_of(trainer)
    with pytest.raises(ArgumentError, match=match):
        trainer.fit(x_of(x), y_of(y), batch_size=BATCH, verbose=0)
    np.testing.assert_array_equal(weights_of(trainer), before)


def test_the_normalised_example_takes_images_outside_its_bounds():
    x, y = examples()
    arguments = normalized_mnist_example()
    trainer = compiled(TradesModel(classifier(), **arguments))
    history = trainer.fit(x, y, batch_size=BATCH, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    points = attack_points(trainer, x)
    low, high = arguments["bounds"]
    np.testing.assert_array_equal(points[x < low - 0.1], np.float32(low))
    assert points.max() <= np.float32(high)
    with pytest.raises(ArgumentError, match="NaN or infinite"):
        trainer.fit(np.full_like(x, np.inf), y, batch_size=BATCH, verbose=0)


def test_the_first_step_of_mixed_precision_is_that_of_float32():
    options = OPTIONS | {"num_steps": 1}
    trainers = [TradesModel(classifier(dtype=d), **options) for d in ("float32", "mixed_bfloat16")]
    weights = [4 * weight for weight in trainers[0].model.get_weights()]
    for trainer in trainers:
        trainer.model.set_weights(weights)
    x, _ = examples(200)
    plain, mixed = (attack_points(trainer, x) for trainer in trainers)
    assert np.mean(plain == mixed) > 0.99


def test_without_bounds_in_the_way_the_order_of_clamps_does_not_matter():
    x = np.array([[0.0, 0.5, 1.0]], np.float32)
    w = tf.constant([[3.0, -1.0], [0.5, 2.0], [1.0, 1.5]])
    points = kl_attack(
        lambda v: v @ w,
        tf.constant(x),
        tf.constant(x) @ w,
        epsilon=0.05,
        step_size=0.05,
        num_steps=1,
        start_noise=tf.constant([[0.0, 0.001, 0.0]]),
        bounds=(0.2, 0.7),
    )
    assert points[0, 0] == np.float32(0.2) and points[0, 2] == np.float32(0.7)
    assert abs(points[0, 1] - 0.5) <= 0.05 + 1e-7


MIRRORED = """
    import numpy as np
    from ft_tf._compat import keras, tf
    from ft_tf.training import TradesModel
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        device, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 6), dtype=np.float32), rng.integers(0, 3, 8)

    class SameNoise(TradesModel):
        # Replicas have noise of their own; here they share it, to be compared with one.
        def stream_seed(self, stream, step):
            return tf.stack([tf.constant(self.seed, tf.int64), step + (stream << 40)])

    def train(strategy, x, y):
        with strategy.scope():
            make = keras.initializers.GlorotUniform(0)
            model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, None, True, make)])
            trainer = SameNoise(
                model, epsilon=0.1, step_size=0.05, num_steps=3, beta=6.0, weight_decay=0.01
            )
            trainer.compile(keras.optimizers.SGD(0.1))
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(len(x)).repeat()
        history = trainer.fit(data, steps_per_epoch=3, verbose=0).history
        return model.get_weights(), [history[name][-1] for name in ("loss", "natural_loss", "kl")]

    one = train(tf.distribute.get_strategy(), x, y)
    # Each of the two replicas gets the same half: the mean gradient is that of one half.
    two = train(
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
        np.concatenate([x, x]), np.concatenate([y, y]),
    )
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-5)
    assert one[1][2] > 1e-3
    print("same")
"""


def test_two_replicas_train_as_one():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MIRRORED)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip().endswith("same"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", 0.2), ("step_size", 0.1), ("num_steps", 9), ("beta", 1.0), ("distance", "l_2"),
        ("bounds", (0.0, 2.0)), ("start_noise", 0.1), ("weight_decay", 0.1),
        ("augmentation", tf.identity),
    ],
)  # fmt: skip
def test_what_the_compiled_step_keeps_cannot_be_set(name, value):
    trainer = TradesModel(classifier(), **OPTIONS)
    before = getattr(trainer, name)
    with pytest.raises(
        ArgumentError, match=f"{name}=.* cannot be set: .*new TradesModel"
    ) as caught:
        setattr(trainer, name, value)
    assert "\n" not in str(caught.value)
    assert getattr(trainer, name) == before


def test_pixels_that_became_wrong_in_place_are_refused():
    x, y = examples()
    trainer = compiled(TradesModel(classifier(), **OPTIONS))
    trainer.fit(x, y, batch_size=BATCH, verbose=0)
    x[5] = 255
    with pytest.raises(ArgumentError, match="outside bounds"):
        trainer.fit(x, y, batch_size=BATCH, verbose=0)


@pytest.mark.parametrize("extra", [False, True], ids=["pure", "dropout"])
def test_regularisers_are_those_of_the_clean_pass(extra):
    regularized = {
        "kernel_regularizer": keras.regularizers.L2(0.02),
        "activity_regularizer": keras.regularizers.L2(2.0),
    }
    layer = keras.layers.Conv2D(4, 2, kernel_initializer="he_normal", **regularized)
    keras.utils.set_random_seed(5)
    # Dropout of nothing: the passes are those of a model that is not known to be pure.
    model = classifier(layer, *([keras.layers.Dropout(0.0)] if extra else []))
    weights = [4 * part for part in model.get_weights()]
    model.set_weights(weights)
    x, y = examples(BATCH)
    trainer = TradesModel(model, **OPTIONS)
    trainer.compile(keras.optimizers.SGD(1.0))
    points = attack_points(trainer, x)
    with tf.GradientTape() as tape:
        logits, adversarial = model(x, training=True), model(points, training=True)
        # By hand, from the input of the layer: what Keras collects is what is tested.
        activations = layer(model.layers[0](x))
        penalty = 2.0 * tf.reduce_sum(activations**2) / BATCH
        penalty += 0.02 * tf.reduce_sum(layer.kernel**2)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        )
        loss += 6.0 * tf.reduce_mean(kl_divergence(logits, adversarial)) + penalty
    gradients = tape.gradient(loss, model.trainable_variables)
    trainer.gradient_step(tf.constant(x), tf.constant(y), tf.constant(0, tf.int64))
    for before, after, gradient in zip(weights, model.get_weights(), gradients, strict=True):
        np.testing.assert_allclose(before - after, gradient, rtol=1e-4, atol=1e-5)
