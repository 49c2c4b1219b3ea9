import numpy as np
import pytest
from scipy import optimize

from ft_tf import attacks
from ft_tf._compat import keras, tf
from ft_tf.attacks.fab import search_closest, step_to_hyperplane
from ft_tf.attacks.search import checked_problem


def linear_model(kernel, bias):
    layer = keras.layers.Dense(kernel.shape[1])
    model = keras.Sequential([keras.layers.Input((kernel.shape[0],)), layer])
    layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return model


def shortest_step(point, normal, value, distance):
    """The same step by a general solver: a linear programme, or SLSQP for l_2."""
    d = len(point)
    if distance == "l_inf":
        ones = np.ones((d, 1))
        found = optimize.linprog(
            np.r_[np.zeros(d), 1],
            A_ub=np.block([[np.eye(d), -ones], [-np.eye(d), -ones]]),
            b_ub=np.zeros(2 * d),
            A_eq=np.r_[normal, 0][None],
            b_eq=[value],
            bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
        )
        return found.x[-1] if found.success else None
    found = optimize.minimize(
        lambda s: s @ s,
        np.clip(normal * value / (normal @ normal), -point, 1 - point),
        jac=lambda s: 2 * s,
        bounds=[*zip(-point, 1 - point, strict=True)],
        constraints={"type": "eq", "fun": lambda s: normal @ s - value, "jac": lambda s: normal},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    return np.sqrt(found.fun) if found.success else None


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_the_step_to_a_hyperplane_is_the_shortest_inside_the_box(distance):
    rng = np.random.default_rng(0)
    point = rng.random((40, 6))
    normal = rng.standard_normal((40, 6))
    value = rng.uniform(-0.8, 0.8, 40)
    step = step_to_hyperplane(
        *map(tf.constant, (point, normal, value)), distance=distance, bounds=(0.0, 1.0)
    ).numpy()
    assert ((point + step >= -1e-12) & (point + step <= 1 + 1e-12)).all()
    solved = 0
    for row in range(40):
        best = shortest_step(point[row], normal[row], value[row], distance)
        if best is None:  # the box does not meet the hyperplane
            continue
        solved += 1
        assert normal[row] @ step[row] == pytest.approx(value[row], abs=1e-9)
        length = np.abs(step[row]).max() if distance == "l_inf" else np.linalg.norm(step[row])
        assert length == pytest.approx(best, abs=1e-5)
    assert solved >= 30


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
@pytest.mark.parametrize("exponent", [-100, -80, 60, 110])
def test_the_step_does_not_depend_on_the_scale_of_the_logits(distance, exponent):
    rng = np.random.default_rng(3)
    point, normal = rng.random((40, 6)), rng.standard_normal((40, 6))
    normal[0] = 0
    value = rng.uniform(-0.8, 0.8, 40)

    def step(scale):
        arrays = (point, normal * scale, value * scale)
        tensors = [tf.constant(array, tf.float32) for array in arrays]
        return step_to_hyperplane(*tensors, distance=distance, bounds=(0.0, 1.0)).numpy()

    np.testing.assert_array_equal(step(2.0**exponent), step(1.0))
    assert np.isfinite(step(1.0)).all() and not step(1.0)[0].any()


def test_a_hyperplane_out_of_reach_is_approached_as_far_as_the_box_allows():
    step = step_to_hyperplane(
        tf.constant([[0.25, 0.5]]), tf.constant([[1.0, -2.0]]), tf.constant([9.0]),
        distance="l_2", bounds=(0.0, 1.0),
    )  # fmt: skip
    np.testing.assert_allclose(step, [[0.75, -0.5]])


@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_on_a_linear_model_the_distance_is_the_margin_over_the_dual_norm(distance):
    rng = np.random.default_rng(1)
    kernel, bias = rng.standard_normal((12, 3)) * 0.3, rng.standard_normal(3) * 0.1
    x = rng.uniform(0.45, 0.55, (20, 12))  # the box is out of the way
    logits = x @ kernel + bias
    y = logits.argmax(1)
    problem = checked_problem(linear_model(kernel, bias), x, y, epsilon=0.4, distance=distance)
    order = np.argsort(-logits, axis=1)
    closest = np.full(20, np.inf)
    wanted = np.full(20, np.inf)
    for rank in (1, 2):
        targets = order[:, rank]
        found = search_closest(problem, np.arange(20), problem.x, targets, 30)
        closest = np.minimum(closest, found.distance.numpy())
        normal = kernel[:, targets] - kernel[:, y]
        margin = logits[np.arange(20), y] - logits[np.arange(20), targets]
        order_of_norm = 1 if distance == "l_inf" else 2
        wanted = np.minimum(wanted, margin / np.linalg.norm(normal, order_of_norm, axis=0))
    # eta = 1.05 overshoots the hyperplane, beta = 0.9 comes back: within that of the optimum.
    assert (closest >= wanted - 1e-6).all()
    assert (closest <= 1.06 * wanted + 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["l_inf", "l_2"])
def test_on_a_two_layer_model_no_grid_point_is_much_closer(distance):
    rng = np.random.default_rng(2)
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    model.set_weights(
        [rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()]
    )
    side = np.linspace(0, 1, 401)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2).astype(np.float32)
    labels = model.predict(grid, verbose=0).argmax(1)
    x = rng.uniform(0, 1, (30, 2)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(1)
    assert 0 < labels.mean() < 1
    problem = checked_problem(model, x, y, epsilon=0.3, distance=distance)
    found = search_closest(problem, np.arange(30), problem.x, 1 - y, 100).distance.numpy()
    order = np.inf if distance == "l_inf" else 2
    lengths = np.linalg.norm(grid - x[:, None], order, axis=2)
    brute = np.where(labels != y[:, None], lengths, np.inf).min(1)
    near = brute < 0.3
    assert near.sum() >= 5
    assert (found >= brute - 1 / 400).all()  # no closer than a cell's half diagonal, rounded up
    # A local search: of the near boundaries it finds nearly all at nearly the least distance.
    assert np.mean(found[near] <= 1.1 * brute[near] + 1 / 400) >= 0.8


@pytest.mark.parametrize(("distance", "epsilon"), [("l_inf", 0.1), ("l_2", 0.25)])
def test_every_broken_point_lies_in_ball_and_box_and_is_misclassified(distance, epsilon):
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((8, 4))
    model = linear_model(kernel, np.zeros(4))
    x = rng.random((50, 8)).astype(np.float32)
    y = (x @ kernel).argmax(1)
    result = attacks.fab(model, x, y, epsilon=epsilon, restarts=2, distance=distance)
    moved = result.adversarial[result.success]
    assert 0 < result.robust_accuracy < 1
    order = np.inf if distance == "l_inf" else 2
    assert np.linalg.norm(moved - x[result.success], order, axis=1).max() <= epsilon + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    assert (model.predict(moved, verbose=0).argmax(1) != y[result.success]).all()
    np.testing.assert_array_equal(result.adversarial[~result.success], x[~result.success])
