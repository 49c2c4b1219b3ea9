"""Natural training and what is added to it, against closed forms and hand-made steps."""

import numpy as np
import pytest
from scipy import special

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError, ModelError
from ft_tf.training import AdditiveGaussian, MultiplicativeGaussian, NaturalModel
from ft_tf.training.compiled_loss import CrossEntropy
from ft_tf.training.penalties import jacobian_penalty, l2_penalty, noise_penalty
from ft_tf.training.trades import all_layers_are

FEATURES, CLASSES, BATCH = 4, 3, 8


def classifier(*, hidden=6, classes=CLASSES, seed=1, dtype="float64"):
    make = keras.initializers.GlorotUniform
    return keras.Sequential(
        [
            keras.Input((FEATURES,), dtype=dtype),
            keras.layers.Dense(
                hidden, "relu", kernel_initializer=make(seed), bias_initializer="ones", dtype=dtype
            ),
            keras.layers.Dense(classes, kernel_initializer=make(seed + 1), dtype=dtype),
        ]
    )


def examples(count=BATCH, classes=CLASSES):
    rng = np.random.default_rng(7)
    return rng.normal(size=(count, FEATURES)), rng.integers(0, classes, count)


def update_of(trainer, x, y):
    """Weights before minus after one step of SGD with rate 1: the gradient that was used."""
    trainer.compile(keras.optimizers.SGD(1.0))
    before = trainer.model.get_weights()
    trainer.gradient_step(tf.constant(x), tf.constant(y), tf.constant(0, tf.int64))
    return [a - b for a, b in zip(before, trainer.model.get_weights(), strict=True)]


def assert_close(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def test_a_step_by_hand():
    x, y = examples()
    model = classifier()
    w1, b1, w2, b2 = model.get_weights()
    hidden = np.maximum(x @ w1 + b1, 0)
    by_logit = (special.softmax(hidden @ w2 + b2, axis=1) - np.eye(CLASSES)[y]) / BATCH
    by_hidden = by_logit @ w2.T * (hidden > 0)
    expected = [x.T @ by_hidden, by_hidden.sum(0), hidden.T @ by_logit, by_logit.sum(0)]
    assert_close(update_of(NaturalModel(model), x, y), expected)


def test_l2_acts_on_kernels_and_weight_decay_on_everything():
    x, y = examples()
    plain = update_of(NaturalModel(classifier()), x, y)
    weights = classifier().get_weights()
    l2 = update_of(NaturalModel(classifier(), l2=0.3), x, y)
    is_kernel = [1, 0, 1, 0]
    assert_close(l2, [g + 0.6 * k * w for g, k, w in zip(plain, is_kernel, weights, strict=True)])
    decayed = update_of(NaturalModel(classifier(), weight_decay=0.3), x, y)
    assert_close(decayed, [g + 0.3 * w for g, w in zip(plain, weights, strict=True)])


def test_l2_is_keras_l2():
    x, y = examples()
    model = classifier()
    regularized = keras.Sequential(
        [
            keras.Input((FEATURES,), dtype="float64"),
            *(
                keras.layers.Dense(
                    layer.units,
                    layer.activation,
                    kernel_regularizer=keras.regularizers.L2(0.3),
                    dtype="float64",
                )
                for layer in model.layers
            ),
        ]
    )
    regularized.set_weights(model.get_weights())
    # The second also shows that a model's own regularisers are honoured. Keras's 0.3 is float32.
    ours = update_of(NaturalModel(model, l2=0.3), x, y)
    assert_close(ours, update_of(NaturalModel(regularized), x, y), tolerance=1e-7)


def test_the_reported_loss_holds_the_penalty():
    x, y = examples()
    trainer = NaturalModel(classifier(), l2=0.5)
    trainer.compile(keras.optimizers.SGD(0.0))
    history = trainer.fit(x, y, batch_size=BATCH, verbose=0).history
    squares = sum((w**2).sum() for w in trainer.model.get_weights()[::2])
    cross_entropy = trainer.evaluate(x, y, verbose=0)
    assert history["loss"][0] == pytest.approx(cross_entropy + 0.5 * squares, rel=1e-5)


def test_kernels_are_found_in_every_layer_that_has_one():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.SeparableConv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        penalty = l2_penalty(model, 1.0)
    gradients = tape.gradient(penalty, variables)
    found = zip(variables, gradients, strict=True)
    names = [variable.name for variable, gradient in found if gradient is not None]
    assert names == ["kernel", "kernel", "depthwise_kernel", "pointwise_kernel", "kernel"]


def test_l2_without_a_kernel_is_refused():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Activation("relu")])
    trainer = NaturalModel(model, l2=0.1)
    trainer.compile(keras.optimizers.SGD(1.0))
    with pytest.raises(ModelError, match=r"no trainable kernel for l2=0\.1"):
        trainer.gradient_step(tf.ones((1, 2)), tf.constant([0]), tf.constant(0, tf.int64))


@pytest.mark.parametrize(
    ("noise", "spread"),
    [
        (AdditiveGaussian(0.3), lambda x: 0.3 * np.ones_like(x)),
        (MultiplicativeGaussian(0.3), lambda x: 0.3 * abs(x)),
    ],
)
def test_noise_has_its_moments_and_its_variance(noise, spread):
    x = np.tile(np.array([-2.0, 0.0, 0.5]), (40_000, 1))
    draws = noise(tf.constant(x), tf.constant([1, 2], tf.int64)).numpy() - x
    limit = 6 * spread(x[0]) / np.sqrt(len(x))  # six standard errors
    assert (abs(draws.mean(axis=0)) <= limit).all()
    assert (abs(draws.std(axis=0) - spread(x[0])) <= limit).all()
    np.testing.assert_allclose(np.sqrt(noise.variance(tf.constant(x))), spread(x))


def test_noise_is_fresh_at_each_step_replayable_and_absent_outside_training():
    x, y = examples()

    def updates(steps, **kwargs):
        found = []
        for step in steps:
            trainer = NaturalModel(classifier(), input_noise=AdditiveGaussian(0.5), **kwargs)
            trainer.compile(keras.optimizers.SGD(1.0))
            before = trainer.model.get_weights()[0]
            trainer.gradient_step(tf.constant(x), tf.constant(y), tf.constant(step, tf.int64))
            found.append(before - trainer.model.get_weights()[0])
        return found

    first, second = updates([0, 1])
    assert abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, updates([0])[0])
    assert abs(first - updates([0], seed=1)[0]).max() > 1e-3
    trainer = NaturalModel(classifier(dtype="float32"), input_noise=AdditiveGaussian(0.5))
    x = x.astype(np.float32)
    np.testing.assert_array_equal(trainer(x, training=True), trainer.model(x))


def test_augmentation_comes_before_the_noise_with_a_seed_of_its_own():
    seeds = []

    def double(images, *, seed):
        seeds.append(tuple(seed.numpy()))
        return 2 * images

    x, y = examples()
    shared = {"input_noise": MultiplicativeGaussian(0.5)}
    augmented = update_of(NaturalModel(classifier(), augmentation=double, **shared), x, y)
    assert_close(augmented, update_of(NaturalModel(classifier(), **shared), 2 * x, y))
    assert len(seeds) == 1 and seeds[0][1] >= 2**40


def test_jacobian_penalty_of_a_linear_softmax():
    # Closed form: sigma^2 / 2 times the mean over examples of tr(W H W^T), H = diag(p) - p p^T.
    x, _ = examples()
    weights = np.random.default_rng(1).normal(size=(FEATURES, CLASSES))
    model = keras.Sequential(
        [keras.Input((FEATURES,), dtype="float64"), keras.layers.Dense(CLASSES, dtype="float64")]
    )
    model.set_weights([weights, np.zeros(CLASSES)])
    p = special.softmax(x @ weights, axis=1)
    traces = [np.trace(weights @ (np.diag(q) - np.outer(q, q)) @ weights.T) for q in p]
    _, penalty = noise_penalty(model, tf.constant(x), AdditiveGaussian(0.2))
    assert float(penalty) == pytest.approx(0.02 * np.mean(traces), rel=1e-12)


@pytest.mark.parametrize("noise", [AdditiveGaussian(0.02), MultiplicativeGaussian(0.02)])
@pytest.mark.parametrize("classes", [1, CLASSES])
def test_jacobian_penalty_is_what_small_noise_adds(noise, classes):
    # Bishop's equivalence by Monte Carlo: antithetic draws cancel the term of first order. Points
    # that noise would take across a ReLU's kink are left out, as is their term in the penalty.
    model = classifier(classes=classes)
    x, y = examples(200, classes=2)
    kernel, bias = model.get_weights()[:2]
    spread = np.sqrt(noise.variance(tf.constant(x)).numpy() @ kernel**2)
    far = (abs(x @ kernel + bias) > 6 * spread).all(axis=1)
    x, y = x[far][:BATCH], y[far][:BATCH]
    assert len(x) == BATCH
    loss = CrossEntropy().call  # of each example: Keras takes means in float32
    _, penalty = noise_penalty(model, tf.constant(x), noise)
    repeated, labels = np.repeat(x, 20_000, axis=0), np.repeat(y, 20_000)
    drawn = noise(tf.constant(repeated), tf.constant([3, 4], tf.int64)).numpy()
    there = [loss(labels, model(points)) for points in (drawn, 2 * repeated - drawn)]
    added = np.mean(there) - np.mean(loss(y, model(x)))
    assert added == pytest.approx(float(penalty), rel=0.03)


def test_one_logit_is_two_logits_with_one_at_zero():
    rng = np.random.default_rng(2)
    logits, jacobian = rng.normal(size=(5, 1)), rng.normal(size=(5, 1, FEATURES))
    variance = rng.random((5, FEATURES))
    one = jacobian_penalty(tf.constant(logits), tf.constant(jacobian), tf.constant(variance))
    two = jacobian_penalty(
        tf.constant(np.hstack([0 * logits, logits])),
        tf.constant(np.concatenate([0 * jacobian, jacobian], axis=1)),
        tf.constant(variance),
    )
    assert float(one) == pytest.approx(float(two), rel=1e-12)
    labels = np.array([0, 1, 1, 0, 1])
    expected = np.mean(np.log1p(np.exp(np.where(labels == 1, -logits[:, 0], logits[:, 0]))))
    assert float(CrossEntropy()(labels, tf.constant(logits))) == pytest.approx(expected)


def test_jacobian_penalty_has_the_gradient_of_its_value():
    x, y = examples(4)
    step, kernel = 1e-5, 0

    def total(offset):
        model = classifier()
        weights = model.get_weights()
        weights[kernel][1, 2] += offset
        model.set_weights(weights)
        logits, penalty = noise_penalty(model, tf.constant(x), AdditiveGaussian(0.7))
        return float(CrossEntropy()(y, logits)) + float(penalty)

    trainer = NaturalModel(classifier(), jacobian_penalty=AdditiveGaussian(0.7))
    gradient = update_of(trainer, x, y)[kernel][1, 2]
    assert gradient == pytest.approx((total(step) - total(-step)) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"l2": -1.0}, r"l2=-1\.0"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"input_noise": 0.1}, r"input_noise=0\.1 must be AdditiveGaussian"),
        ({"jacobian_penalty": "small"}, "jacobian_penalty='small'"),
        ({"augmentation": 3}, "augmentation=3"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        NaturalModel(classifier(), **arguments)


@pytest.mark.parametrize("kind", [AdditiveGaussian, MultiplicativeGaussian])
def test_refuses_a_negative_sigma(kind):
    with pytest.raises(ArgumentError, match=r"sigma=-0\.1"):
        kind(-0.1)


class _OwnDense(keras.layers.Dense):
    pass


@pytest.mark.parametrize(
    ("layer", "pure"),
    [
        (keras.layers.ReLU(), True),
        (keras.layers.LayerNormalization(), True),
        (keras.Sequential([keras.layers.Dense(2)]), True),
        (keras.layers.BatchNormalization(), False),
        (keras.layers.Dropout(0.5), False),
        (keras.layers.GaussianNoise(0.1), False),
        (keras.layers.Lambda(lambda x: x), False),
        (_OwnDense(2), False),
        (keras.Sequential([keras.layers.Dense(2), keras.layers.Dropout(0.1)]), False),
    ],
)
def test_which_layers_depend_on_their_batch_or_mode(layer, pure):
    inputs = keras.Input((FEATURES,))
    functional = keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
    assert all_layers_are("pure", functional) is pure
    sequential = keras.Sequential([keras.Input((FEATURES,)), layer, keras.layers.Dense(2)])
    assert all_layers_are("pure", sequential) is pure


def test_an_operation_may_depend_on_its_batch():
    inputs = keras.Input((FEATURES,))
    centred = inputs - keras.ops.mean(inputs, axis=0, keepdims=True)
    assert not all_layers_are("pure", keras.Model(inputs, keras.layers.Dense(2)(centred)))


def test_a_model_with_its_own_call_is_not_known():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    assert not all_layers_are("pure", Own())


def ending_in(activation):
    keras.utils.set_random_seed(2)
    layers = [keras.layers.Dense(6, "relu"), keras.layers.Dense(CLASSES, activation)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers])


def loss_after_a_step(model, loss, y):
    x = examples()[0].astype("float32")
    trainer = NaturalModel(model)
    trainer.compile(keras.optimizers.SGD(0.1), loss)
    return trainer.fit(x, y, batch_size=BATCH, verbose=0).history["loss"][0]


def test_the_name_of_a_cross_entropy_takes_it_from_what_the_model_gives():
    """Keras takes the name to mean probabilities: on logits that trains on nonsense, in silence."""
    _, y = examples()
    default = loss_after_a_step(ending_in(None), None, y)
    assert loss_after_a_step(ending_in(None), "sparse_categorical_crossentropy", y) == default
    on_softmax = loss_after_a_step(ending_in("softmax"), "sparse_categorical_crossentropy", y)
    assert on_softmax == pytest.approx(default, rel=1e-5)


def test_one_hot_labels_go_with_categorical_crossentropy_and_with_no_other():
    x, y = examples()
    one_hot = np.eye(CLASSES, dtype="float32")[y]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    default = loss_after_a_step(ending_in(None), None, y)
    assert loss_after_a_step(ending_in(None), loss, one_hot) == pytest.approx(default, rel=1e-6)
    with pytest.raises(ArgumentError, match="one-hot labels go with"):
        loss_after_a_step(ending_in(None), None, one_hot)
    trainer = NaturalModel(ending_in(None))
    trainer.compile(keras.optimizers.SGD(0.1))
    batches = tf.data.Dataset.from_tensor_slices((x, one_hot)).batch(BATCH)
    with pytest.raises(ArgumentError, match="one-hot labels go with"):
        trainer.fit(batches, verbose=0)


def test_a_loss_that_contradicts_the_models_output_is_refused():
    from_probabilities = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    for activation, loss in (("softmax", None), (None, from_probabilities), (None, "no_such")):
        with pytest.raises(ArgumentError, match="loss="):
            NaturalModel(ending_in(activation)).compile(keras.optimizers.SGD(0.1), loss)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("by", ["loss_scale_factor", "LossScaleOptimizer"])
def test_an_optimizer_that_scales_losses_takes_the_same_step(weight_decay, by):
    x, y = examples()

    def weights(optimizer):
        trainer = NaturalModel(classifier(), weight_decay=weight_decay)
        trainer.compile(optimizer)
        trainer.fit(x, y, batch_size=BATCH, verbose=0)
        return trainer.model.get_weights()

    scaling = keras.optimizers.SGD(0.5, loss_scale_factor=64.0)
    if by == "LossScaleOptimizer":
        scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    for plain, scaled in zip(weights(keras.optimizers.SGD(0.5)), weights(scaling), strict=True):
        np.testing.assert_allclose(plain, scaled, rtol=1e-6)
