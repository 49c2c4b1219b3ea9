"""Per-layer, automatic and adaptive clipping against one example at a time in float64."""

import dataclasses

import dp_accounting
import dpsgd_oracle as oracle
import numpy as np
import pytest
from dp_accounting import rdp
from dpsgd_oracle import example_gradients, norm, relative_error, sequential, squared_loss
from scipy import stats

from ft_tf import privacy, study
from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy.rdp import ORDERS
from ft_tf.study import algorithms, trainer
from ft_tf.study import config as configs
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd import DPSGDModel
from ft_tf.training.dpsgd.clipping import AdaptiveClipping, AutomaticClipping, PerLayerClipping
from ft_tf.training.dpsgd.independence import per_example_loss
from ft_tf.training.dpsgd.plan import make_plan, trainable_variables
from ft_tf.training.dpsgd.step import clipped_sum

L = keras.layers
LOSS = "sparse_categorical_crossentropy"


def automatic(parts, clip, gamma):
    scale = clip / (norm(parts) + gamma)
    return [scale * part for part in parts]


def per_layer(parts, clip):
    """Kernel and bias of a layer follow each other."""
    clipped, share = [], clip / np.sqrt(len(parts) / 2)
    for layer in (parts[i : i + 2] for i in range(0, len(parts), 2)):
        clipped += [part / max(1.0, norm(layer) / share) for part in layer]
    return clipped


RULES = {
    "automatic": (AutomaticClipping(gamma=0.3), lambda parts, c: automatic(parts, c, 0.3)),
    "per_layer": (PerLayerClipping(), per_layer),
}
MODELS = {
    "dense": lambda: sequential((6,), L.Dense(5, "relu"), L.Dense(4, "tanh"), L.Dense(3)),
    "conv": lambda: sequential(
        (7, 6, 2), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3)
    ),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", RULES)
def test_the_sum_is_that_of_one_example_at_a_time(name, model):
    keras.utils.set_random_seed(3)
    model = MODELS[model]()
    rule, expected = RULES[name]
    rng = np.random.default_rng(7)
    x = rng.normal(size=(5, *model.input_shape[1:])).astype(np.float32)
    x *= np.linspace(0.5, 2.0, 5, dtype=np.float32).reshape([-1] + [1] * (x.ndim - 1))
    y = rng.normal(size=(5, 3)).astype(np.float32)
    gradients = example_gradients(model, squared_loss, x, y)
    norms = [norm(parts) for parts in gradients]
    plan = make_plan(model)
    losses = per_example_loss(resolve_loss(squared_loss, model))
    order = [id(variable) for variable in trainable_variables(plan)]

    def engines(weights, clip):
        found = clipped_sum(
            plan, losses, tf.constant(x), tf.constant(y), weights=tf.constant(weights, tf.float32),
            l2_norm_clip=clip, clipping=rule, training=False,
        ).gradients  # fmt: skip
        return [found[order.index(id(v))].numpy() for v in model.trainable_variables]

    for clip in (min(norms) / 3, float(np.median(norms)), max(norms) * 3):
        clipped = [expected(parts, clip) for parts in gradients]
        total = [sum(parts) for parts in zip(*clipped, strict=True)]
        assert relative_error(engines(np.ones(5), clip), total) < 1e-5
        for only in np.eye(5):
            assert norm(engines(only, clip)) <= clip * (1 + 1e-6)
    flat = oracle.clipped_sum(gradients, min(norms) / 3)
    assert relative_error(engines(np.ones(5), min(norms) / 3), flat) > 1e-2  # it is another rule


def tiny(seed=0):
    make = keras.initializers.GlorotUniform
    return sequential(
        (6,), L.Dense(4, "tanh", kernel_initializer=make(seed)),
        L.Dense(3, kernel_initializer=make(seed + 1)),
    )  # fmt: skip


def examples(count=40):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 6)).astype(np.float32), rng.integers(0, 3, count)


def trained(clipping, *, noise=0.0, batch_size=40, epochs=5, clip=1.0, data=None):
    options = {"l2_norm_clip": clip, "noise_multiplier": noise, "noise_seed": 5}
    private = DPSGDModel(tiny(), clipping=clipping, **options)
    private.compile(keras.optimizers.SGD(0.5), LOSS)
    private.fit(*(data or examples()), batch_size=batch_size, epochs=epochs, verbose=0)
    return private


@pytest.mark.parametrize("quantile", [0.2, 0.5])
def test_the_adapted_norm_and_the_weights_are_those_of_numpy(quantile):
    """Batches of all examples, without noise."""
    x, y = examples(15)
    rule = AdaptiveClipping(quantile=quantile, rate=0.7)
    private = trained(rule, clip=0.4, batch_size=15, epochs=12, data=(x, y))
    oracle_model, clip = tiny(), 0.4
    loss = lambda y, outputs: keras.losses.sparse_categorical_crossentropy(  # noqa: E731
        y, outputs, from_logits=True
    )
    for _ in range(12):
        gradients = example_gradients(oracle_model, loss, x, y)
        share = np.mean([norm(parts) <= clip for parts in gradients])
        total = oracle.clipped_sum(gradients, clip)
        weights = oracle_model.get_weights()
        oracle_model.set_weights([w - 0.5 * t / 15 for w, t in zip(weights, total, strict=True)])
        clip *= np.exp(-0.7 * (share - quantile))
    np.testing.assert_allclose(float(private.clip_norm.numpy()), clip, rtol=1e-5)
    for ours, theirs in zip(private.model.get_weights(), oracle_model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    norms = [norm(parts) for parts in example_gradients(oracle_model, loss, x, y)]
    assert abs(np.mean(np.array(norms) <= clip) - quantile) < 0.25  # of 15 norms


class _Follow(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.norms, self.weights = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.norms.append(float(self.model.clip_norm.numpy()))
        self.weights.append(self.model.model.get_weights()[0].ravel())


def test_both_noises_have_the_deviations_that_the_event_states():
    """Inputs of zero: every gradient is zero, so each update and each count is noise alone."""
    model = sequential((50,), L.Dense(40, use_bias=False))
    model.set_weights([np.zeros((50, 40), np.float32)])
    follow = _Follow()
    private = DPSGDModel(
        model, l2_norm_clip=1.0, noise_multiplier=2.0, noise_seed=5, sampling="shuffle",
        clipping=AdaptiveClipping(rate=0.05, count_noise=3.0),
    )  # fmt: skip
    private.compile(keras.optimizers.SGD(0.5), LOSS, steps_per_execution=1)
    x, y = np.zeros((4000, 50), np.float32), np.zeros(4000, np.int64)
    private.fit(x, y, batch_size=10, verbose=0, callbacks=[follow])
    (event,) = private.privacy_events()
    assert (event.clipping, event.noise_multiplier, event.steps) == ("adaptive", 2.0, 400)
    of_gradients, of_count = event.parts
    before = np.array([1.0, *follow.norms[:-1]])
    moves = np.log(np.array(follow.norms) / before)
    # All 10 norms lie within C: the count is 5, 10 (b - 1/2), and what is beside it is noise.
    noise = 10 * (-moves / 0.05 + 0.5 - 1)
    spread = noise.std() / (of_count / 2)
    assert abs(spread - 1) < 5 / np.sqrt(2 * 400)
    assert stats.kstest(noise / (of_count / 2), "norm").pvalue > 1e-4
    steps = np.diff([np.zeros(2000), *follow.weights], axis=0)
    ratios = steps.std(axis=1) / (0.5 * of_gradients * before / 10)
    assert abs(ratios.mean() - 1) < 5 / np.sqrt(2 * 400 * 2000)
    # A noise for the count that was part of the gradients' would cancel.
    assert abs(np.corrcoef(noise, steps[:, 0] / before)[0, 1]) < 5 / np.sqrt(400)


def test_epsilon_is_that_of_gradients_and_counts_together_by_dp_accounting():
    private = trained("adaptive", noise=1.3, batch_size=8, epochs=30)
    (event,) = private.privacy_events()
    account = private.privacy_account(delta=1e-3)
    both = dp_accounting.ComposedDpEvent([dp_accounting.GaussianDpEvent(z) for z in event.parts])
    step = dp_accounting.PoissonSampledDpEvent(8 / 40, both)
    accountant = rdp.RdpAccountant(ORDERS)
    accountant.compose(step, event.steps)
    assert account.cost.epsilon_rdp == pytest.approx(accountant.get_epsilon(1e-3), rel=1e-6)
    gradients_alone = privacy.privacy_cost(
        noise_multiplier=event.parts[0], sampling_probability=0.2, steps=event.steps, delta=1e-3
    )
    assert gradients_alone.epsilon_rdp < account.cost.epsilon_rdp * 0.999


def test_pieces_count_each_example_once():
    norms = []
    for size in (64, 7):
        private = DPSGDModel(
            tiny(), l2_norm_clip=0.3, noise_multiplier=1.0, noise_seed=2, clipping="adaptive",
            physical_batch_size=size,
        )  # fmt: skip
        private.compile("sgd", LOSS)
        private.fit(*examples(), batch_size=20, epochs=4, verbose=0)
        norms.append(float(private.clip_norm.numpy()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert abs(np.log(norms[0] / 0.3)) > 0.01


def test_a_clip_norm_that_falls_or_rises_for_ever_stays_where_noise_can_be_drawn():
    rule = AdaptiveClipping(rate=5.0)
    for count, end in ((5.0, 1e-9), (-5.0, 1e9)):
        norm = tf.constant(1.0)
        for _ in range(100):
            norm = rule.next_norm(norm, tf.constant(count), 10)
        assert float(norm) == pytest.approx(end)


@pytest.mark.parametrize("name", ["per_layer", "automatic", "adaptive"])
def test_ledger_statement_and_record_say_the_rule(name):
    private = trained(name, noise=1.0, batch_size=8)
    assert private.clipping.name == name
    assert {event.clipping for event in private.privacy_events()} == {name}
    account = private.privacy_account(delta=1e-3)
    assert privacy.CLIPPING_RULES[name] in account.statement
    assert account.to_record()["clipping"] == [name]
    flat = trained("flat", noise=1.0, batch_size=8).privacy_account(delta=1e-3)
    assert not any(words and words in flat.statement for words in privacy.CLIPPING_RULES.values())
    assert flat.to_record()["clipping"] == ["flat"]


def test_an_event_whose_parts_are_another_mechanism_is_refused():
    with pytest.raises(ArgumentError, match=r"noise multiplier 0\.7.*, not noise_multiplier=1"):
        privacy.PrivacyEvent(1.0, "poisson", 100, 10, 5, False, parts=(1.0, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trained("median"), "clipping='median' must be one of flat, per_layer"),
        (lambda: AutomaticClipping(gamma=0), "gamma=0"),
        (lambda: AdaptiveClipping(quantile=1.0), "quantile=1.0"),
        (lambda: AdaptiveClipping(count_noise=1.0), "count_noise=1.0 must be above 1"),
        (
            lambda: DPSGDModel(
                tiny(), l2_norm_clip=1.0, noise_multiplier=1.0, engine="reference",
                sampling="shuffle", clipping="automatic",
            ),
            "clipping='automatic' needs engine='fast'",
        ),
        (
            lambda: algorithms.DPSGD(engine="reference", sampling="shuffle", clipping="adaptive"),
            "clipping='adaptive' needs engine='fast'",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ArgumentError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_the_study_names_the_rule_and_its_checkpoints_keep_the_adapted_norm(tmp_path):
    config = study.RunConfig(
        "fashion_mnist", "fmnist_dnn", algorithms.DPSGD(clipping="adaptive", noise_seed=1)
    )
    assert config.algorithm.tag == "-sigma_1.1-clip_1-adaptive"
    assert "adaptive clipping" in config.algorithm.settings
    assert configs.to_dict(config)["algorithm"]["clipping"] == "adaptive"
    flat = dataclasses.replace(config, algorithm=algorithms.DPSGD())
    assert "clipping" not in configs.to_dict(flat)["algorithm"]
    rng = np.random.default_rng(0)
    first = trainer.build(config)
    first.fit(rng.random((40, 28, 28, 1), np.float32), rng.integers(0, 10, 40), 20, verbose=0)
    trainer.checkpoints(first, tmp_path).save()
    second = trainer.build(config)
    trainer.checkpoints(second, tmp_path)
    assert second.clip_norm.numpy() == first.clip_norm.numpy() != 1.0
