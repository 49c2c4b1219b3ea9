"""One model in several blocks or threads: an answer as if alone or a refusal; its bytes back."""

import concurrent.futures
import itertools
import threading
import warnings

import numpy as np
import pytest

from ft_tf import attacks, faults, metrics
from ft_tf._compat import keras, tf
from ft_tf.errors import ModelError
from ft_tf.faults.callback import FaultInjection

layers = keras.layers
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
DRAW = np.random.default_rng(0)
X = DRAW.random((40, 6), dtype=np.float32)


def classifier(seed=0):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dense(3)]
    )
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    model.compile("sgd", LOSS, metrics=["accuracy"])
    return model


MODEL = classifier()
Y = np.argmax(MODEL.predict(X, verbose=0), axis=1)


@pytest.fixture
def model():
    return classifier()


def bytes_of(model):
    return [weight.tobytes() for weight in model.get_weights()]


def is_untouched(model):
    """Whether nothing of a block is left: values, hooks, refusals, compiled functions."""
    own = [name for layer in model.layers for name in ("call", "get_config") if name in vars(layer)]
    originals = all(getattr(keras.Model, n).__module__ != "ft_tf.faults.guard" for n in ("fit",))
    return not own and originals and bytes_of(model) == bytes_of(MODEL)


BLOCKS = [
    {"target": "weights", "rate": 0.5, "seed": 1},
    {"target": "units", "rate": 0.5, "seed": 2},  # tanh(0) = 0: zeros among the weights
    {"target": "units", "rate": 0.5, "seed": 3, "fault": faults.SignFlip()},  # hooks
]
ORDERS = [o for o in itertools.permutations("AaBb") if o.index("A") < o.index("a") and
          o.index("B") < o.index("b")]  # fmt: skip


@pytest.mark.parametrize("kinds", itertools.product(BLOCKS, repeat=2))
@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_every_interleaving_of_two_blocks(model, kinds, order):
    """Capitals enter, small letters leave; what is inside computes as that block alone would."""
    alone = []
    for where in kinds:
        other = classifier()
        with faults.inject(other, **where):
            alone.append(other(X).numpy())
    blocks = dict(zip("AB", (faults.inject(model, **where) for where in kinds), strict=True))
    entered = set()
    for step in order:
        name = step.upper()
        if step == name:
            try:
                blocks[name].__enter__()
                entered.add(name)
            except ModelError as error:
                assert "armed with faults already" in str(error) and "\n" not in str(error)
        elif name in entered:
            blocks[name].__exit__(None, None, None)
            entered.remove(name)
        assert len(entered) < 2
        expected = alone["AB".index(min(entered))] if entered else MODEL(X).numpy()
        np.testing.assert_array_equal(model(X).numpy(), expected)
    assert is_untouched(model)


def test_eight_threads_sweep_one_model(model):
    def rows(seed):
        return faults.sweep(
            model, X, Y, target="weights", rates=[0, 0.2, 0.5], trials=15, seed=seed
        )

    def attempt(seed):
        start.wait()
        try:
            return seed, rows(seed)
        except ModelError as error:
            assert "in use by another thread" in str(error) and "\n" not in str(error)
            return seed, None

    start = threading.Barrier(8)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(attempt, range(8)))
    answered = [(seed, frame) for seed, frame in found if frame is not None]
    assert answered, "the first one to come is served"
    for seed, frame in answered:
        assert frame.equals(rows(seed))
    assert is_untouched(model)


@pytest.mark.slow
def test_eight_threads_with_a_model_each_get_the_rows_of_one_alone():
    def rows(model):
        where = {"target": "weights", "rates": [0, 0.2, 0.5], "trials": 15, "seed": 0}
        return faults.sweep(model, X, Y, **where), metrics.accuracy(model, X, Y)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(rows, [classifier(seed) for seed in range(8)]))
    for seed, (frame, accuracy) in enumerate(found):
        expected, alone = rows(classifier(seed))
        assert frame.equals(expected) and accuracy == alone


def in_another_thread(work):
    """What a call in another thread returns, or the error that it raises."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


USES = {
    "sweep": lambda m: faults.sweep(m, X, Y, target="weights", rates=[0.1], trials=1, seed=0),
    "compare": lambda m: faults.compare(
        m, classifier(1), X, Y, target="weights", rates=[0.1], trials=2, seed=0
    ),
    "sites": lambda m: faults.find_sites(m, target="units"),
    "attack": lambda m: attacks.fgsm(m, X, Y, epsilon=0.1),
    "accuracy": lambda m: metrics.accuracy(m, X, Y),
    "evaluate": lambda m: m.evaluate(X, Y, verbose=0),
    "predict": lambda m: m.predict(X, verbose=0),
    "fit": lambda m: m.fit(X, Y, verbose=0),
    "rescaling": lambda m: faults.rescaled(m, power=1).__enter__(),
    "callback": lambda m: m.evaluate(
        X, Y, verbose=0, callbacks=[FaultInjection(target="weights", rate=0.1, seed=0)]
    ),
}


@pytest.mark.parametrize("use", USES)
def test_an_armed_model_is_refused_to_other_threads(model, use):
    with (
        faults.inject(model, target="weights", rate=0.5, seed=0),
        pytest.raises(ModelError, match=r"another thread|armed with faults") as caught,
    ):
        in_another_thread(lambda: USES[use](model))
    assert "\n" not in str(caught.value)
    assert is_untouched(model)
    other = classifier()  # another model is free all the time
    with faults.inject(model, target="weights", rate=0.5, seed=0):
        if use not in ("fit", "rescaling"):
            in_another_thread(lambda: USES[use](other))


@pytest.mark.parametrize("use", ["evaluate", "predict", "fit", "attack", "accuracy"])
def test_faults_wait_for_no_other_thread_that_computes(use):
    inside, leave = threading.Event(), threading.Event()

    class Slow(layers.Layer):
        def call(self, inputs):
            inside.set()  # while it is traced, which is part of the first use
            leave.wait(30)
            return inputs

    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    leave.set()  # it is called to be built as well
    slow = keras.Sequential([model, Slow()])
    slow.compile("sgd", LOSS, metrics=["accuracy"])
    before = bytes_of(model)
    inside.clear()
    leave.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        running = thread.submit(USES[use], slow)
        assert inside.wait(30)
        with pytest.raises(ModelError, match="in use by another thread"):  # shares the variables
            faults.sweep(model, X, Y, target="weights", rates=[0.1], trials=1, seed=0)
        assert use == "fit" or bytes_of(model) == before
        leave.set()
        running.result()


def test_attacks_and_measurements_inside_a_block_see_its_faults(model):
    where = {"target": "weights", "rate": 0.5, "seed": 0}
    with faults.inject(model, **where):
        inside = attacks.fgsm(model, X, Y, epsilon=0.01).clean_accuracy
        assert inside == metrics.accuracy(model, X, Y) < 1
        for use in ("sweep", "callback", "compare", "rescaling"):
            with pytest.raises(ModelError, match="armed with faults already"):
                USES[use](model)
        assert faults.find_sites(model, target="units")
    assert is_untouched(model)


def test_weights_that_changed_since_a_campaign_began_are_not_overwritten(model):
    plan = faults.make_plan(model, target="weights")
    campaign = faults.campaign.Campaign(model, plan, X, Y)
    trained = [weight + 1 for weight in model.get_weights()]
    model.set_weights(trained)
    with pytest.raises(ModelError, match="other values .* prepare them again"), campaign.armed():
        pass
    for weight, expected in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(weight, expected)


class Counting(layers.Layer):
    """Counts its calls, also at inference, and adds the count up."""

    def build(self, shape):
        self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        return inputs * (1 + 0.01 * self.calls)


@pytest.mark.parametrize("target", ["weights", "units"])
def test_a_model_whose_calls_change_it_is_refused_and_stays_as_it_was(target):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8), Counting(), layers.Dense(3)])
    before = bytes_of(model)
    with pytest.raises(ModelError, match="changes .*calls.* when it is called"):
        faults.sweep(model, X, Y, target=target, rates=[0.1], trials=2, seed=0)
    assert bytes_of(model) == before
    with (
        pytest.raises(ModelError, match="changes .*calls"),
        faults.inject(model, target=target, rate=0.1, seed=0),
    ):
        model(X)
    assert bytes_of(model) == before


class Noisy(layers.Layer):
    """Draws at inference, within a branch of its graph."""

    def call(self, inputs):
        draw = lambda: inputs + tf.random.normal(tf.shape(inputs), stddev=0.1)  # noqa: E731
        return tf.cond(tf.reduce_sum(inputs) > -1e9, draw, lambda: inputs)


class Seeded(layers.Layer):
    """Draws at inference from a seed that Keras counts on."""

    def __init__(self):
        super().__init__()
        self.draws = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal((6,), seed=self.draws)


@pytest.mark.parametrize("noise", [Noisy, Seeded])
def test_a_model_that_draws_at_inference_gives_a_warning(noise):
    noisy = keras.Sequential([keras.Input((6,)), layers.Dropout(0.5), noise(), layers.Dense(3)])
    plain = keras.Sequential([keras.Input((6,)), layers.Dropout(0.5), layers.Dense(3)])
    for use in ("sweep", "compare"):
        with pytest.warns(UserWarning, match="same images differently each time"):
            USES[use](noisy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            USES[use](plain)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers[0], "activation", keras.activations.linear),
        lambda model: model.layers[1].kernel.assign(-model.layers[1].kernel),
        lambda model: (model.pop(), model.add(layers.Dense(3, kernel_initializer="ones"))),
        lambda model: (model.pop(), model.add(layers.Activation("relu"))),
    ],
)
def test_a_model_that_changed_after_its_first_use_is_measured_as_it_is(model, change):
    metrics.predict_logits(model, X)
    attacks.fgsm(model, X, Y, epsilon=0.1)
    change(model)
    expected = model(X).numpy()
    np.testing.assert_allclose(metrics.predict_logits(model, X), expected, rtol=1e-5, atol=1e-5)
    labels = np.argmax(expected, axis=1)
    attacked = attacks.fgsm(model, X, labels, epsilon=0.1).adversarial
    again = attacks.fgsm(clone_of(model), X, labels, epsilon=0.1).adversarial
    np.testing.assert_allclose(attacked, again, atol=1e-6)


def clone_of(model):
    """A model of the same layers that nothing was compiled for."""
    return keras.Sequential([keras.Input((6,)), *model.layers])
