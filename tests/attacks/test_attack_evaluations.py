"""The public attacks: closed forms on linear models, invariants, orderings on a trained one."""

import gc
import json
import weakref
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError

EVERY_ATTACK = {
    "fgsm": lambda *a, **k: attacks.fgsm(*a, **k),
    "pgd_cross_entropy": lambda *a, **k: attacks.pgd(*a, num_steps=10, **k),
    "pgd_margin": lambda *a, **k: attacks.pgd(*a, num_steps=10, loss="margin", **k),
    "pgd_kl": lambda *a, **k: attacks.pgd(*a, num_steps=10, loss="kl", **k),
    "pgd_l_2": lambda *a, **k: attacks.pgd(*a, num_steps=10, distance="l_2", **k),
    "apgd": lambda *a, **k: attacks.apgd(*a, num_steps=10, targets=2, **k),
    "apgd_l_2": lambda *a, **k: attacks.apgd(*a, num_steps=10, targets=1, distance="l_2", **k),
    "transfer": lambda model, *a, **k: attacks.transfer(model, model, *a, num_steps=10, **k),
}


def linear_binary(make_linear, *, low=0.3, high=0.7, seed=0):
    """A single-logit linear model, its weights, and 40 points that it classifies correctly."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=6).astype(np.float32)
    x = rng.uniform(low, high, (40, 6)).astype(np.float32)
    bias = -float(np.median(x @ w))
    logits = x @ w + bias
    return make_linear(w[:, None], [bias]), w, x, (logits > 0).astype(np.int64), logits


@pytest.mark.parametrize(
    "attack",
    [
        attacks.fgsm,
        attacks.pgd,
        lambda *a, **k: attacks.pgd(*a, loss="margin", **k),
        attacks.apgd,
        lambda *a, **k: attacks.apgd(*a, loss="cross_entropy", **k),
    ],
)
def test_linear_binary_model_l_inf(make_linear, attack):
    model, w, x, y, logits = linear_binary(make_linear)
    result = attack(model, x, y, epsilon=0.05)
    against = np.where(y == 1, -1, 1)[:, None]
    np.testing.assert_allclose(result.adversarial, x + 0.05 * against * np.sign(w), atol=1e-6)
    # The least margin over the ball is |z| - epsilon |w|_1.
    broken = np.abs(logits) < 0.05 * np.abs(w).sum()
    assert 0 < broken.sum() < len(x)
    np.testing.assert_array_equal(result.success, broken)
    assert result.clean_accuracy == 1
    assert result.robust_accuracy == np.mean(~broken)


def test_linear_binary_model_l_2(make_linear):
    model, w, x, y, logits = linear_binary(make_linear)
    against = np.where(y == 1, -1, 1)[:, None]
    optimum = x + 0.1 * against * w / np.linalg.norm(w)
    single = attacks.fgsm(model, x, y, epsilon=0.1, distance="l_2")
    np.testing.assert_allclose(single.adversarial, optimum, atol=1e-6)
    straight = attacks.pgd(model, x, y, epsilon=0.1, distance="l_2", random_start=False)
    np.testing.assert_allclose(straight.adversarial, optimum, atol=1e-6)
    found = attacks.apgd(model, x, y, epsilon=0.1, distance="l_2")
    np.testing.assert_allclose(found.adversarial, optimum, atol=1e-3)
    broken = np.abs(logits) < 0.1 * np.linalg.norm(w)
    assert 0 < broken.sum() < len(x)
    np.testing.assert_array_equal(straight.success, broken)
    np.testing.assert_array_equal(found.success, broken)


def test_linear_model_at_the_edge_of_the_box(make_linear):
    model, w, x, y, _ = linear_binary(make_linear, low=0.0, high=1.0)
    against = np.where(y == 1, -1, 1)[:, None]
    optimum = np.clip(x + 0.2 * against * np.sign(w), 0, 1)
    for attack in (attacks.fgsm, attacks.pgd, attacks.apgd):
        np.testing.assert_allclose(attack(model, x, y, epsilon=0.2).adversarial, optimum, atol=1e-6)


def test_linear_model_of_many_classes(make_linear):
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(8, 5)).astype(np.float32)
    biases = -weights.mean(axis=0) * 4
    x = rng.uniform(0.3, 0.7, (60, 8)).astype(np.float32)
    logits = x @ weights + biases
    y = logits.argmax(axis=1)
    gaps = logits[np.arange(60), y][:, None] - logits
    reach = 0.04 * np.abs(weights[:, y].T[:, None, :] - weights.T[None]).sum(axis=-1)
    broken = ((gaps < reach) & (np.arange(5) != y[:, None])).any(axis=1)
    result = attacks.apgd(make_linear(weights, biases), x, y, epsilon=0.04)
    assert 0 < broken.sum() < 60
    np.testing.assert_array_equal(result.success, broken)


@pytest.mark.parametrize("name", EVERY_ATTACK)
def test_epsilon_zero_returns_x(classifier, images, name):
    x, y = images[1]
    result = EVERY_ATTACK[name](classifier, x, y, epsilon=0.0)
    np.testing.assert_array_equal(result.adversarial, x)
    assert result.robust_accuracy == result.clean_accuracy
    assert result.warnings == ()


@pytest.mark.parametrize("name", EVERY_ATTACK)
def test_invariants(classifier, images, name):
    x, y = images[1]
    before = [w.tobytes() for w in classifier.get_weights()]
    options = {"epsilon": 0.07}
    result = EVERY_ATTACK[name](classifier, x, y, **options)
    assert [w.tobytes() for w in classifier.get_weights()] == before
    delta = (result.adversarial - x).reshape(len(x), -1)
    size = np.linalg.norm(delta, axis=1) if name.endswith("l_2") else np.abs(delta).max(axis=1)
    assert size.max() <= 0.07 + 1e-6
    assert size.max() > 0.069
    assert result.adversarial.dtype == np.float32
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    # What is claimed is what the model does on the points that are returned.
    wrong = classifier.predict(result.adversarial, verbose=0).argmax(axis=1) != y
    wrong |= classifier.predict(x, verbose=0).argmax(axis=1) != y
    np.testing.assert_array_equal(result.success, wrong)
    assert result.robust_accuracy == np.mean(~wrong) < result.clean_accuracy
    for accuracy, interval in (
        (result.clean_accuracy, result.clean),
        (result.robust_accuracy, result.robust),
    ):
        assert interval.low < accuracy < interval.high
        assert (interval.method, interval.unit) == ("Clopper-Pearson", "test image")
    assert json.loads(json.dumps(result.parameters))["epsilon"] == 0.07


@pytest.mark.parametrize("name", ["pgd_l_2", "apgd_l_2", "pgd_margin"])
def test_results_do_not_depend_on_the_batch_size(images, name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((6, 6, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, "tanh"),
            keras.layers.Dense(5),
        ]
    )
    x = images[1][0][:20]
    y = model.predict(x, verbose=0).argmax(axis=1)
    whole, *others = (
        EVERY_ATTACK[name](model, x, y, epsilon=0.05, batch_size=size) for size in (500, 7)
    )
    assert 0 < whole.robust_accuracy < 1
    for other in others:
        np.testing.assert_array_equal(other.success, whole.success)
        np.testing.assert_allclose(other.adversarial, whole.adversarial, atol=1e-4)


def test_seeds(classifier, images):
    x, y = images[1]
    one, same, other = (
        attacks.pgd(classifier, x, y, epsilon=0.05, num_steps=2, seed=seed) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.adversarial, same.adversarial)
    assert np.any(one.adversarial != other.adversarial)
    assert one.parameters["seed"] == 4


def test_stronger_attacks_find_more(classifier, images):
    x, y = images[1]
    options = {"epsilon": 0.08}
    robust = [
        result.robust_accuracy
        for result in (
            attacks.apgd(classifier, x, y, **options),
            attacks.pgd(classifier, x, y, **options),
            attacks.pgd(classifier, x, y, num_steps=10, **options),
            attacks.fgsm(classifier, x, y, **options),
        )
    ]
    assert robust == sorted(robust)
    assert robust[0] < robust[-1] < 1


def test_more_restarts_never_help_the_model(classifier, images):
    x, y = images[1]
    options = {"epsilon": 0.08, "num_steps": 5}
    one = attacks.pgd(classifier, x, y, **options)
    four = attacks.pgd(classifier, x, y, restarts=4, **options)
    assert (four.success >= one.success).all()
    np.testing.assert_array_equal(four.adversarial[one.success], one.adversarial[one.success])


@pytest.mark.parametrize("num_steps", [7, 25])
def test_stopping_early_gives_the_same_accuracy(classifier, images, num_steps):
    x, y = images[1]
    options = {"num_steps": num_steps, "loss": "margin", "distance": "l_2"}
    options |= {"epsilon": 0.3, "step_size": 0.02, "random_start": False}
    full = attacks.pgd(classifier, x, y, **options)
    early = attacks.pgd(classifier, x, y, early_stop=True, **options)
    np.testing.assert_array_equal(early.success, full.success)
    survivors = ~full.success
    assert 0 < survivors.mean() < 1
    np.testing.assert_allclose(early.adversarial[survivors], full.adversarial[survivors], atol=1e-4)


def test_examples_wrong_on_x_are_broken_and_left_alone(classifier, images):
    x, y = images[1]
    wrong = (y + 1) % 5
    result = attacks.pgd(classifier, x, wrong, epsilon=0.01)
    assert result.success.mean() > 0.9
    np.testing.assert_array_equal(
        result.adversarial[y == classifier.predict(x, verbose=0).argmax(1)],
        x[y == classifier.predict(x, verbose=0).argmax(1)],
    )


def test_transfer_on_linear_models(make_linear):
    target, w, x, y, logits = linear_binary(make_linear, seed=1)
    v = np.random.default_rng(9).normal(size=6).astype(np.float32) + w
    source = make_linear(v[:, None], [0.1])
    result = attacks.transfer(source, target, x, y, epsilon=0.06)
    against = np.where(y == 1, -1, 1)
    # The source is attacked also where it is wrong already.
    np.testing.assert_allclose(
        result.adversarial, x + 0.06 * against[:, None] * np.sign(v), atol=1e-6
    )
    moved = logits + 0.06 * against * (np.sign(v) @ w)
    np.testing.assert_array_equal(result.success, (moved > 0) != (y == 1))
    white_box = attacks.pgd(target, x, y, epsilon=0.06)
    assert white_box.robust_accuracy < result.robust_accuracy < 1
    assert result.clean_accuracy == 1


def test_binary_and_three_class_models_get_the_losses_they_can_have(make_linear):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (20, 4)).astype(np.float32)
    for columns, second in ((1, "margin"), (3, "dlr")):
        weights = rng.normal(size=(4, columns))
        model = make_linear(weights, np.zeros(columns))
        y = rng.integers(0, max(2, columns), 20)
        result = attacks.apgd(model, x, y, epsilon=0.01, num_steps=3)
        assert result.parameters["losses"] == ["cross_entropy", second]
    with pytest.raises(ArgumentError, match=r"'targeted_dlr' needs at least 4 classes.*has 3"):
        attacks.apgd(model, x, y, epsilon=0.01, loss="targeted_dlr")
    with pytest.raises(ArgumentError, match=r"'dlr' needs at least 3 classes.*has 2"):
        attacks.apgd(make_linear(weights[:, :1], [0.0]), x, y % 2, epsilon=0.01, loss="dlr")


@settings(max_examples=12)
@given(
    reach=st.floats(0, 1),
    low=st.floats(-2, 0.5, width=32, allow_subnormal=False),  # TensorFlow takes those for 0
    width=st.floats(0.1, 4),
    distance=st.sampled_from(["l_inf", "l_2"]),
    seed=st.integers(0, 2**40),
    examples=st.integers(1, 9),
    data=st.data(),
)
def test_points_stay_in_the_ball_and_in_the_bounds(
    tanh_model, reach, low, width, distance, seed, examples, data
):
    bounds = (low, low + width)
    epsilon = reach * width * (1 if distance == "l_inf" else 3)
    rng = np.random.default_rng(seed)
    x = rng.uniform(*bounds, (examples, 5))
    x[rng.random(x.shape) < 0.2] = bounds[0]
    y = rng.integers(0, 4, examples)
    ball = {"epsilon": epsilon, "distance": distance, "bounds": bounds, "seed": seed}
    attack = data.draw(st.sampled_from([attacks.pgd, attacks.apgd]))
    result = attack(tanh_model, x, y, num_steps=4, batch_size=4, **ball)
    delta = (result.adversarial - x.astype(np.float32)).astype(np.float64)
    size = np.abs(delta).max() if distance == "l_inf" else np.linalg.norm(delta, axis=1).max()
    assert size <= epsilon + 1e-6
    assert result.adversarial.min() >= np.float32(bounds[0])
    assert result.adversarial.max() <= np.float32(bounds[1])


@pytest.fixture(scope="module")
def tanh_model():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential([layers.Input((5,)), layers.Dense(8, "tanh"), layers.Dense(4)])


class Counted(keras.layers.Layer):
    """Passes its input on and counts how often it is traced."""

    calls = 0

    def call(self, inputs):
        Counted.calls += not tf.executing_eagerly()
        return inputs


def test_nothing_is_traced_again():
    layers = keras.layers
    model = keras.Sequential([layers.Input((5,)), Counted(), layers.Dense(4)])
    rng = np.random.default_rng(0)

    def attack_all(examples, **options):
        x, y = rng.random((examples, 5)), rng.integers(0, 4, examples)
        attacks.pgd(model, x, y, batch_size=8, restarts=2, **options)
        attacks.apgd(model, x, y, batch_size=8, **options)

    attack_all(17, epsilon=0.1, num_steps=2)
    attack_all(12, epsilon=0.1, num_steps=2)  # the clean pass of ft_tf.metrics sees more shapes
    traced = Counted.calls
    attack_all(29, epsilon=0.3, num_steps=5, bounds=(-1.0, 2.0), seed=3)
    assert Counted.calls == traced


def test_the_compiled_attacks_do_not_keep_the_model(make_linear):
    model, _, x, y, _ = linear_binary(make_linear)
    attacks.pgd(model, x, y, epsilon=0.1, num_steps=2)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_new_weights_are_seen(make_linear):
    model, _, x, y, _ = linear_binary(make_linear)
    before = attacks.pgd(model, x, y, epsilon=0.05)
    model.set_weights([-w for w in model.get_weights()])
    after = attacks.pgd(model, x, 1 - y, epsilon=0.05)
    np.testing.assert_allclose(after.adversarial, before.adversarial, atol=1e-6)


def test_evaluate_runs_each_attack_by_name(classifier, images):
    x, y = images[1]
    options = {"epsilon": 0.05, "sanity": False}
    by_name = attacks.evaluate(classifier, x, y, attack="pgd", steps=7, seed=2, **options)
    directly = attacks.pgd(classifier, x, y, epsilon=0.05, num_steps=7, seed=2, early_stop=True)
    np.testing.assert_array_equal(by_name.adversarial, directly.adversarial)
    assert by_name.parameters == directly.parameters
    by_name = attacks.evaluate(classifier, x, y, attack="apgd", steps=5, targets=1, **options)
    assert by_name.parameters["losses"] == ["cross_entropy", "targeted_dlr"]
    assert by_name.parameters["num_steps"] == 5
    by_name = attacks.evaluate(
        classifier, x, y, attack="fgsm", seed=4, distance="l_2", bounds=(-1, 1), **options
    )
    directly = attacks.fgsm(classifier, x, y, epsilon=0.05, distance="l_2", bounds=(-1, 1))
    np.testing.assert_array_equal(by_name.adversarial, directly.adversarial)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"attack": "spsa"},
            "attack='spsa' must be one of fgsm, pgd, apgd, fab, square, autoattack",
        ),
        ({"steps": 0}, "steps=0"),
        ({"attack": "fgsm", "steps": 3}, "steps=3 must be 1 for fgsm"),
        ({"attack": "fgsm", "restarts": 3}, "restarts=3 is no argument of fgsm"),
        ({"num_steps": 3}, "num_steps=3 is no argument of pgd here: give steps="),
        ({"attack": "autoattack", "norm": "L2"}, "norm='L2' is no argument .* give distance="),
        ({"epsilon": Fraction(8)}, "epsilon=8 must be <= 1, the width"),
        ({"epsilon": -0.1}, "epsilon=-0.1"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"distance": "l_1"}, "distance='l_1' must be one of l_inf, l_2"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"restarts": 0}, "restarts=0"),
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"seed": -1}, "seed=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"random_start": False, "restarts": 2}, "restarts=2 repeats the same start"),
        ({"random_start": False, "loss": "kl"}, "loss='kl' has gradient zero at x"),
        ({"bounds": (1.0, 0.0)}, r"bounds=\(1.0, 0.0\)"),
    ],
)
def test_bad_arguments(classifier, images, options, message):
    x, y = images[1]
    with pytest.raises(ArgumentError, match=message):
        attacks.evaluate(classifier, x, y, **({"epsilon": 0.1} | options))


def test_a_diverged_model_is_refused(make_linear):
    model, _, x, y, _ = linear_binary(make_linear)
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ModelError, match="not finite for 40 of 40 images"):
        attacks.fgsm(model, x, y, epsilon=0.1)


def test_a_subclassed_model_works():
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs)

    model = Classifier()
    x, y = np.full((4, 5), 0.5, np.float32), np.arange(4) % 3
    with pytest.raises(ModelError, match="no weights yet"):
        attacks.fgsm(model, x, y, epsilon=0.1)
    model(tf.constant(x))
    assert attacks.fgsm(model, x, y, epsilon=0.1).success.shape == (4,)
