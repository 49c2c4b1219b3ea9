"""The KL divergence and the TRADES attack against closed forms and a NumPy implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ft_tf._compat import keras, tf
from ft_tf.attacks import kl_attack, kl_divergence, start_noise
from ft_tf.errors import ArgumentError

PIXELS = st.floats(0, 1, width=32, allow_subnormal=False)  # TensorFlow flushes those to 0
LOGITS = hnp.arrays(np.float64, (3, 4), elements=st.floats(-30, 30, width=32))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_order_of_the_arguments():
    natural, adversarial = tf.math.log([[0.9, 0.1]]), tf.math.log([[0.5, 0.5]])
    np.testing.assert_allclose(kl_divergence(natural, adversarial), [0.368064], atol=1e-6)
    np.testing.assert_allclose(kl_divergence(adversarial, natural), [0.510826], atol=1e-6)


@given(p=LOGITS, q=LOGITS)
def test_divergence_is_zero_at_equality_and_positive_elsewhere(p, q):
    assert (kl_divergence(tf.constant(p), tf.constant(p)).numpy() == 0).all()
    value = kl_divergence(tf.constant(p), tf.constant(q)).numpy()
    np.testing.assert_allclose(
        value, (softmax(p) * np.log(softmax(p) / softmax(q))).sum(axis=1), atol=1e-9
    )
    # Pinsker's inequality: KL >= |p - q|_1^2 / 2, so it vanishes only for equal outputs.
    distance = np.abs(softmax(p) - softmax(q)).sum(axis=1)
    assert (value >= distance**2 / 2 - 1e-12).all()


@given(p=LOGITS, q=LOGITS)
@settings(max_examples=20)
def test_gradients_are_those_of_the_plain_formula(p, q):
    p, q = tf.constant(p), tf.constant(q)
    weights = tf.constant([1.0, -2.0, 3.0], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([p, q])
        ours = kl_divergence(p, q) * weights
        log_p, log_q = tf.nn.log_softmax(p), tf.nn.log_softmax(q)
        plain = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=1) * weights
    for variable in (p, q):
        np.testing.assert_allclose(
            tape.gradient(ours, variable), tape.gradient(plain, variable), atol=1e-12
        )


def test_gradient_by_the_second_argument_is_exactly_zero_at_equal_float32_logits():
    p = tf.random.stateless_normal((500, 10), seed=[1, 2]) * 5
    q = tf.identity(p)
    with tf.GradientTape() as tape:
        tape.watch(q)
        value = kl_divergence(p, q)
    assert not np.any(tape.gradient(value, q).numpy())


@pytest.mark.parametrize("scale", [1e2, 1e5, 1e30])
def test_saturated_logits_give_finite_values_and_gradients(scale):
    p = tf.constant([[1.0, -1.0, 0.0], [1.0, -1.0, 0.0]]) * scale
    q = tf.constant([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]) * scale
    with tf.GradientTape() as tape:
        tape.watch([p, q])
        value = kl_divergence(p, q)
    np.testing.assert_allclose(value, [0.0, 2 * scale], rtol=1e-6)
    for gradient in tape.gradient(value, [p, q]):
        assert np.isfinite(gradient).all()


def test_single_logits_are_bernoulli():
    a, b = tf.constant([[1.5], [-2.0]], tf.float64), tf.constant([[-0.5], [3.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        value = kl_divergence(a, b)
    p, q = 1 / (1 + np.exp(-a.numpy())), 1 / (1 + np.exp(-b.numpy()))
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(value, expected[:, 0], rtol=1e-12)
    by_a, by_b = tape.gradient(value, [a, b])
    np.testing.assert_allclose(by_b, q - p, rtol=1e-12)
    np.testing.assert_allclose(by_a, p * (1 - p) * (a - b).numpy(), rtol=1e-12)


def two_layer_network(seed):
    rng = np.random.default_rng(seed)
    w1, b1 = rng.normal(0, 1, (6, 8)), rng.normal(0, 0.3, 8)
    w2, b2 = rng.normal(0, 1, (8, 3)), rng.normal(0, 0.3, 3)
    return w1, b1, w2, b2


def numpy_forward(weights, x):
    w1, b1, w2, b2 = weights
    hidden = x @ w1 + b1
    return hidden, np.maximum(hidden, 0) @ w2 + b2


def numpy_kl_input_gradient(weights, natural_logits, x):
    w1, _, w2, _ = weights
    hidden, logits = numpy_forward(weights, x)
    by_logits = softmax(logits) - softmax(natural_logits)
    return ((by_logits @ w2.T) * (hidden > 0)) @ w1.T


def numpy_attack(weights, x, noise, *, epsilon, step_size, num_steps, distance):
    """The published TRADES inner loop, example by example where it matters."""
    _, natural = numpy_forward(weights, x)
    point = x + noise
    for _ in range(num_steps):
        gradient = numpy_kl_input_gradient(weights, natural, point)
        if distance == "l_inf":
            point = point + step_size * np.sign(gradient)
            point = np.minimum(np.maximum(point, x - epsilon), x + epsilon)
            point = np.clip(point, 0, 1)
            continue
        for row in range(len(x)):
            norm = np.sqrt((gradient[row] ** 2).sum())
            step = gradient[row] / norm if norm > 0 else noise[row] / 0.001
            delta = point[row] - x[row] + 2 * epsilon / num_steps * step
            delta = np.clip(x[row] + delta, 0, 1) - x[row]
            size = np.sqrt((delta**2).sum())
            point[row] = x[row] + (delta * epsilon / size if size > epsilon else delta)
    return point


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("compiled", [False, True])
def test_golden_in_float64(distance, seed, compiled):
    weights = two_layer_network(seed)
    rng = np.random.default_rng([seed, 7])
    x = rng.random((20, 6))
    x[:5] = np.round(x[:5])  # on the edge of the box
    noise = 0.001 * rng.standard_normal(x.shape)
    options = {"epsilon": 0.15, "step_size": 0.04, "num_steps": 10, "distance": distance}

    def predict(point):
        w1, b1, w2, b2 = (tf.constant(w) for w in weights)
        return tf.nn.relu(point @ w1 + b1) @ w2 + b2

    def attack(x, noise):
        return kl_attack(predict, x, predict(x), start_noise=noise, **options)

    run = tf.function(attack) if compiled else attack
    ours = run(tf.constant(x), tf.constant(noise)).numpy()
    golden = numpy_attack(weights, x, noise, **options)
    assert np.abs(golden - x).max() > 0.1  # it moved
    np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-9)


def test_golden_l2_where_the_gradient_is_zero():
    w1, b1, w2, b2 = two_layer_network(0)
    weights = (w1, b1 - 100, w2, b2)  # every unit is dead
    x = np.full((4, 6), 0.5)
    noise = 0.001 * np.random.default_rng(0).standard_normal(x.shape)
    options = {"epsilon": 0.2, "step_size": 0.0, "num_steps": 3, "distance": "l_2"}

    def predict(point):
        return tf.nn.relu(point @ weights[0] + weights[1]) @ weights[2] + weights[3]

    ours = kl_attack(
        predict,
        tf.constant(x),
        predict(tf.constant(x)),
        start_noise=tf.constant(noise),
        **options,
    )
    np.testing.assert_allclose(ours, numpy_attack(weights, x, noise, **options), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(ours - x, axis=1), 0.2, rtol=1e-9)


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_without_start_noise_it_stays(classifier, images, distance):
    x = tf.constant(images[1][0][:32])

    @tf.function
    def attack(x):
        logits = classifier(x, training=False)
        return kl_attack(
            lambda point: classifier(point, training=False),
            x,
            logits,
            epsilon=0.1,
            step_size=0.02,
            num_steps=5,
            distance=distance,
            start_noise=tf.zeros_like(x),
        )

    np.testing.assert_array_equal(attack(x), x)


def test_on_a_linear_binary_model_it_goes_to_the_corners():
    rng = np.random.default_rng(5)
    w = rng.normal(size=(7, 1)).astype(np.float32)
    x = rng.uniform(0.2, 0.8, (30, 7)).astype(np.float32)
    noise = start_noise(tf.constant(x), tf.constant([3, 4]))
    point = kl_attack(
        lambda v: v @ w,
        tf.constant(x),
        tf.constant(x @ w),
        epsilon=0.1,
        step_size=0.02,
        num_steps=11,
        start_noise=noise,
    )
    # The KL rises on both sides of x: the start noise decides the side.
    side = np.sign(noise.numpy() @ w)
    assert set(side.ravel()) == {-1.0, 1.0}
    np.testing.assert_allclose(point, x + 0.1 * side * np.sign(w.T), atol=1e-6)


@given(
    x=hnp.arrays(np.float32, (4, 6), elements=PIXELS),
    epsilon=st.floats(0, 2),
    step_size=st.floats(0, 3),
    num_steps=st.integers(0, 3),
    distance=st.sampled_from(["l_inf", "l_2"]),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=30)
def test_points_stay_in_the_ball_and_in_the_box(x, epsilon, step_size, num_steps, distance, seed):
    w = tf.constant(np.random.default_rng(seed).normal(size=(6, 3)), tf.float32)
    x = tf.constant(x)
    point = kl_attack(
        lambda v: tf.nn.tanh(v @ w),
        x,
        tf.nn.tanh(x @ w),
        epsilon=epsilon,
        step_size=step_size,
        num_steps=num_steps,
        distance=distance,
        start_noise=start_noise(x, tf.constant([seed, 0])),
    ).numpy()
    delta = (point - x).numpy()
    size = np.abs(delta).max() if distance == "l_inf" else np.linalg.norm(delta, axis=1).max()
    assert size <= epsilon + 1e-6
    assert point.min() >= 0 and point.max() <= 1
    if epsilon == 0:
        np.testing.assert_array_equal(point, x)


def test_state_is_float32_under_bfloat16():
    layer = keras.layers.Dense(3, dtype="mixed_bfloat16")
    x = tf.random.stateless_uniform((8, 6), seed=[0, 1])
    seen = []

    def predict(point):
        seen.append(point)
        return layer(point)

    noise = start_noise(x, tf.constant([0, 2]))
    point = kl_attack(
        predict,
        x,
        predict(x),
        epsilon=0.1,
        step_size=0.03,
        num_steps=2,
        start_noise=noise,
    )
    assert point.dtype == tf.float32
    # In bfloat16 most of the 0.001 would be rounded away.
    np.testing.assert_array_equal(seen[1], x + noise)


def test_no_gradient_flows_through_the_points():
    w = tf.Variable(tf.random.stateless_normal((6, 3), seed=[1, 1]))
    x = tf.random.stateless_uniform((8, 6), seed=[0, 1])
    with tf.GradientTape() as tape:
        point = kl_attack(
            lambda v: v @ w,
            x,
            x @ w,
            epsilon=0.1,
            step_size=0.03,
            num_steps=2,
            start_noise=start_noise(x, tf.constant([0, 2])),
        )
        total = tf.reduce_sum(point)
    assert tape.gradient(total, w) is None


def test_start_noise_is_a_function_of_its_seed():
    x = tf.zeros((1000, 5))
    one, same, other = (start_noise(x, tf.constant([7, k])) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    np.testing.assert_allclose(np.std(one), 0.001, rtol=0.05)


def test_bad_arguments():
    x = tf.zeros((2, 3))
    with pytest.raises(ArgumentError, match="step_size=None"):
        kl_attack(lambda v: v, x, x, epsilon=0.1, num_steps=1, start_noise=x)
    with pytest.raises(ArgumentError, match="distance='l_1'"):
        kl_attack(
            lambda v: v,
            x,
            x,
            epsilon=0.1,
            step_size=0.1,
            num_steps=1,
            distance="l_1",
            start_noise=x,
        )
