"""The batched circles networks against Keras models trained one by one."""

import dataclasses

import numpy as np
import pytest

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.training import AdditiveGaussian, MultiplicativeGaussian, NaturalModel
from ft_tf.training.small_networks import (
    REPLICATES_PER_CHUNK,
    CirclesRow,
    initial_parameters,
    train_circles,
)
from ft_tf.training.small_networks_program import (
    Networks,
    _gradient_sums,
    _gradients,
    _noisy,
    coefficients_of,
    evaluate_networks,
    train_networks,
)

HIDDEN, POINTS = 20, 6


def points(count=POINTS, *, seed=5, lead=()):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*lead, count, 2)).astype(np.float32)
    return x, (x[..., 0] * x[..., 1] > 0).astype(np.int64)


def train(rows, *, replicates=3, epochs=50, **options):
    x, y = options.pop("train", points())
    x_test, y_test = options.pop("test", points(2000, seed=6))
    options = {"learning_rate": 0.02, **options}  # far enough from the start to tell runs apart
    return train_circles(
        rows,
        x_train=x,
        y_train=y,
        x_test=x_test,
        y_test=y_test,
        replicates=replicates,
        epochs=epochs,
        hidden=HIDDEN,
        **options,
    )


def networks_of(replicates, *, hidden=HIDDEN, seed=0):
    each = [initial_parameters(seed=seed, replicate=r, hidden=hidden) for r in replicates]
    return tuple(np.stack(part, axis=-1) for part in zip(*each, strict=True))


def keras_model(replicate, *, hidden=HIDDEN, seed=0):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(hidden, "relu"), keras.layers.Dense(1)]
    )
    model.set_weights(initial_parameters(seed=seed, replicate=replicate, hidden=hidden))
    return model


def parameters_of(row, x, y, *, replicates, epochs, hidden=HIDDEN):
    """Trained Networks of one row."""
    lanes = len(replicates)
    return train_networks(
        networks_of(replicates, hidden=hidden),
        np.repeat(x[..., None], lanes, axis=-1),
        np.repeat(y[..., None].astype(np.float32), lanes, axis=-1),
        coefficients_of([row], replicates=lanes),
        replicates=lanes,
        epochs=epochs,
        learning_rate=0.001,
        noise_seed=1,
    )


@pytest.mark.parametrize(
    ("row", "arguments"),
    [
        (CirclesRow(), {}),
        (CirclesRow(l2=0.01, weight_decay=0.02), {"l2": 0.01, "weight_decay": 0.02}),
        (
            CirclesRow(jacobian_penalty=AdditiveGaussian(0.5)),
            {"jacobian_penalty": AdditiveGaussian(0.5)},
        ),
        (
            CirclesRow(jacobian_penalty=MultiplicativeGaussian(0.5)),
            {"jacobian_penalty": MultiplicativeGaussian(0.5)},
        ),
    ],
)
def test_a_replicate_is_a_keras_model_trained_with_adam(row, arguments):
    x, y = points()
    trained = parameters_of(row, x, y, replicates=[4, 7], epochs=50)
    model = keras_model(7)
    trainer = NaturalModel(model, **arguments)
    trainer.compile(keras.optimizers.Adam())
    trainer.fit(x, y, batch_size=POINTS, epochs=50, verbose=0)
    w, b, v, c = model.get_weights()
    expected = Networks(weights=w, offsets=b, heads=v[:, 0], thresholds=c[0])
    for name, ours, theirs in zip(Networks._fields, trained, expected, strict=True):
        np.testing.assert_allclose(ours.numpy()[..., 1], theirs, rtol=0, atol=1e-4, err_msg=name)
    moved = abs(w - initial_parameters(seed=0, replicate=7, hidden=HIDDEN)[0]).max()
    assert moved > 0.02


def test_the_gradients_are_those_of_a_tape_in_float64():
    rng = np.random.default_rng(1)
    networks = Networks(
        *(tf.constant(rng.normal(size=s)) for s in ((2, HIDDEN, 1), (HIDDEN, 1), (HIDDEN, 1), (1,)))
    )
    x, y = rng.normal(size=(POINTS, 2, 1)), rng.integers(0, 2, (POINTS, 1)).astype(float)
    variance, l2 = 0.3, 0.2
    coefficients = {"additive_variance": tf.constant([variance]), "l2": tf.constant([l2])}
    coefficients = {name: tf.cast(value, tf.float64) for name, value in coefficients.items()}
    ours = _gradients(
        networks, _gradient_sums(networks, tf.constant(x), tf.constant(y), coefficients),
        coefficients,
    )  # fmt: skip
    with tf.GradientTape() as tape:
        tape.watch(networks)
        weights, offsets, heads, thresholds = (part[..., 0] for part in networks)
        before = x[..., 0] @ weights + offsets
        logits = tf.nn.relu(before) @ heads[:, None] + thresholds
        jacobian = (tf.cast(before > 0, tf.float64) * heads) @ tf.transpose(weights)
        p = tf.sigmoid(logits)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(y, logits))
        squares = tf.reduce_sum(jacobian**2, axis=1, keepdims=True)
        loss += variance / 2 * tf.reduce_mean(p * (1 - p) * squares)
        loss += l2 * (tf.reduce_sum(weights**2) + tf.reduce_sum(heads**2))
    for a, b in zip(ours, tape.gradient(loss, networks), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_evaluation_is_the_keras_models():
    x, _ = points(61)
    first, bias, second, threshold = networks_of([2, 3])
    networks = Networks(first, bias, second[:, 0], threshold[0])
    networks = Networks(*map(tf.constant, networks))
    logits = evaluate_networks(networks, np.repeat(x[..., None], 2, axis=-1))
    expected = [keras_model(r)(x).numpy()[:, 0] for r in (2, 3)]
    np.testing.assert_allclose(logits, np.stack(expected, axis=1), atol=1e-5)


def test_accuracies_are_those_of_the_trained_networks_at_threshold_zero():
    x, y = points()
    test = points(2000, seed=6)
    result = train([CirclesRow()], replicates=2, epochs=30, learning_rate=0.001)
    for replicate in range(2):
        model = keras_model(replicate)
        trainer = NaturalModel(model)
        trainer.compile(keras.optimizers.Adam())
        trainer.fit(x, y, batch_size=POINTS, epochs=30, verbose=0)
        for accuracy, (inputs, labels) in (
            (result.train_accuracy, (x, y)),
            (result.test_accuracy, test),
        ):
            expected = np.mean((model(inputs).numpy()[:, 0] > 0) == labels)
            # One point of 2,000 may lie within rounding of the threshold.
            assert accuracy[0, replicate] == pytest.approx(expected, abs=6e-4)


def test_rows_do_not_touch_each_other_and_replicates_differ():
    rows = [CirclesRow(), CirclesRow(input_noise=AdditiveGaussian(0.6))]
    both = train(rows, replicates=10, epochs=200)
    assert both.train_accuracy.shape == both.test_accuracy.shape == (2, 10)
    alone = train(rows[:1], replicates=10, epochs=200)
    np.testing.assert_array_equal(both.test_accuracy[0], alone.test_accuracy[0])
    assert len(set(both.test_accuracy[1])) > 5
    assert (both.test_accuracy[0] != both.test_accuracy[1]).any()


def test_results_depend_on_the_seed_and_not_on_threads_or_repetition():
    rows = [CirclesRow(input_noise=MultiplicativeGaussian(0.8))]
    runs = [
        train(rows, replicates=20, epochs=100, **options)
        for options in ({}, {"threads": 1}, {"threads": 3}, {"seed": 1})
    ]
    for again in runs[1:3]:
        np.testing.assert_array_equal(again.test_accuracy, runs[0].test_accuracy)
    assert (runs[3].test_accuracy != runs[0].test_accuracy).any()


def test_more_replicates_leave_full_chunks_as_they_were():
    rows = [CirclesRow(input_noise=AdditiveGaussian(0.5))]
    few = train(rows, replicates=REPLICATES_PER_CHUNK, epochs=100)
    more = train(rows, replicates=REPLICATES_PER_CHUNK + 1, epochs=100)
    np.testing.assert_array_equal(more.test_accuracy[:, :REPLICATES_PER_CHUNK], few.test_accuracy)


def test_redrawn_points_belong_to_their_replicate():
    x, y = points(lead=(3,))
    x_test, y_test = points(2000, seed=6, lead=(3,))
    own = train([CirclesRow()], train=(x, y), test=(x_test, y_test), epochs=100)
    for r in range(3):
        shared = train([CirclesRow()], train=(x[r], y[r]), test=(x_test[r], y_test[r]), epochs=100)
        assert own.test_accuracy[0, r] == shared.test_accuracy[0, r]
        assert own.train_accuracy[0, r] == shared.train_accuracy[0, r]


def test_noise_has_its_size_is_shared_by_rows_and_fresh_each_epoch():
    x = np.full((POINTS, 2, 4000), 2.0, np.float32)  # two rows of 2,000 replicates
    sigma = np.repeat(np.float32([0.1, 0.3]), 2000)
    for name, size in (("additive_sigma", 1.0), ("multiplicative_sigma", 2.0)):
        first, second = (
            _noisy(tf.constant(x), {name: tf.constant(sigma)}, 2000, tf.constant([3, t])).numpy()
            - x
            for t in (0, 1)
        )
        assert abs(first[..., :2000].std() / (0.1 * size) - 1) < 0.02
        np.testing.assert_allclose(3 * first[..., :2000], first[..., 2000:], atol=1e-5)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_initial_weights_are_glorot_uniform_by_seed_and_replicate():
    first, bias, second, threshold = initial_parameters(seed=2, replicate=3)
    assert (first.shape, bias.shape, second.shape, threshold.shape) == (
        (2, 500), (500,), (500, 1), (1,),
    )  # fmt: skip
    assert not bias.any() and not threshold.any()
    for kernel, limit in ((first, np.sqrt(6 / 502)), (second, np.sqrt(6 / 501))):
        assert 0.97 * limit < abs(kernel).max() <= limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.06)
    again = initial_parameters(seed=2, replicate=3)
    np.testing.assert_array_equal(first, again[0])
    for other in ((2, 4), (3, 3)):
        assert (first != initial_parameters(seed=other[0], replicate=other[1])[0]).all()


def test_rows_and_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CirclesRow().l2 = 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicates": 0}, "replicates=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"seed": -1}, "seed=-1"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0"),
        ({"train": (np.zeros((4, 3)), np.zeros(4, int))}, r"x_train\.shape=\(4, 3\)"),
        ({"train": (np.zeros((4, 2)), np.zeros(5, int))}, r"y_train\.shape=\(5,\)"),
        ({"test": (np.zeros((2, 4, 2)), np.zeros((2, 4), int))}, "must begin with replicates=3"),
        ({"test": (np.zeros((4, 2)), np.full(4, 2))}, "labels 0 and 1"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ArgumentError, match=message):
        train([CirclesRow()], **options)


def test_refuses_no_rows_and_negative_coefficients():
    with pytest.raises(ArgumentError, match="rows"):
        train([])
    with pytest.raises(ArgumentError, match=r"l2=-0\.1"):
        CirclesRow(l2=-0.1)
