"""The oracle: clipping one example at a time with tf.GradientTape and NumPy in float64."""

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.training.compiled_loss import resolve_loss
from ft_tf.training.dpsgd.first_batch import taken
from ft_tf.training.dpsgd.independence import check_plan, per_example_loss
from ft_tf.training.dpsgd.plan import make_plan, trainable_variables
from ft_tf.training.dpsgd.step import clipped_sum as engines_sum


def squared_loss(y, outputs):
    return tf.reduce_sum(tf.square(outputs - tf.cast(y, outputs.dtype)), axis=-1)


def sequential(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def example_gradients(model, loss, x, y, *, training=False):
    """Gradients of each example's loss, float64, one list of arrays per example."""
    gradients = []
    for index in range(len(y)):
        one = tf.nest.map_structure(lambda part: tf.constant(part[index : index + 1]), x)  # noqa: B023
        with tf.GradientTape() as tape:
            outputs = model(one, training=training)
            value = tf.reduce_mean(loss(y[index : index + 1], outputs))
        parts = tape.gradient(
            value, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        gradients.append([tf.convert_to_tensor(part).numpy().astype(np.float64) for part in parts])
    return gradients


def norm(parts):
    return float(np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in parts)))


def clipped_sum(gradients, l2_norm_clip):
    total = [np.zeros_like(part) for part in gradients[0]]
    for parts in gradients:
        scale = 1 / max(1.0, norm(parts) / l2_norm_clip)
        total = [a + scale * b for a, b in zip(total, parts, strict=True)]
    return total


def relative_error(ours, oracle):
    difference = [a - b for a, b in zip(ours, oracle, strict=True)]
    return norm(difference) / max(norm(oracle), 1e-30)


def compiled_sum(model, loss):
    """The engine's sum in one graph: (x, y, weights, l2_norm_clip) -> sum in model order, norms."""
    plan = make_plan(model)
    order = [id(variable) for variable in trainable_variables(plan)]
    losses = per_example_loss(resolve_loss(loss, model))

    @tf.function
    def graph(x, y, weights, l2_norm_clip):
        result = engines_sum(
            plan,
            losses,
            x,
            y,
            weights=weights,
            l2_norm_clip=l2_norm_clip,
            training=False,
        )
        return result.gradients, result.norms

    def compute(x, y, weights, l2_norm_clip):
        parts, norms = graph(
            tf.nest.map_structure(tf.constant, x),
            tf.constant(y),
            tf.constant(weights, tf.float32),
            tf.constant(l2_norm_clip, tf.float32),
        )
        ordered = [parts[order.index(id(variable))] for variable in model.trainable_variables]
        return [part.numpy() for part in ordered], norms.numpy()

    return compute


def clipped_gradient_sum(model, loss, x, y, l2_norm_clip, *, training=False):
    """The engine's sum in model order, norms, and how many gradients were not finite."""
    plan = make_plan(model)
    losses = per_example_loss(resolve_loss(loss, model))
    check_plan(plan, losses, *taken((x, y), list(range(min(3, len(y))))))

    @tf.function(autograph=False)
    def graph(x, y):
        weights = tf.ones([tf.shape(y)[0]])
        result = engines_sum(
            plan, losses, x, y, weights=weights, l2_norm_clip=l2_norm_clip, training=training
        )
        return result.gradients, result.norms, result.finite

    parts, norms, finite = graph(tf.convert_to_tensor(x), tf.convert_to_tensor(y))
    order = [id(variable) for variable in trainable_variables(plan)]
    ordered = [parts[order.index(id(v))].numpy() for v in model.trainable_variables]
    return ordered, norms.numpy(), int(np.count_nonzero(~finite.numpy()))


def check_against_oracle(model, x, y, loss=squared_loss):
    """Clip norms that clip all, some and none; sums to 1e-5, and no contribution above C."""
    gradients = example_gradients(model, loss, x, y)
    norms = [norm(parts) for parts in gradients]
    compute = compiled_sum(model, loss)
    for l2_norm_clip in (min(norms) / 3, float(np.median(norms)), max(norms) * 2):
        ours, our_norms = compute(x, y, np.ones(len(y)), l2_norm_clip)
        np.testing.assert_allclose(our_norms, norms, rtol=1e-5)
        assert relative_error(ours, clipped_sum(gradients, l2_norm_clip)) < 1e-5
    for only in np.eye(len(y)):
        part, _ = compute(x, y, only, min(norms) / 3)
        assert norm(part) <= min(norms) / 3 * (1 + 1e-6)
