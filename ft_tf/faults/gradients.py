"""Gradients of a classifier with respect to stored weights, for what a single fault will do."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.faults import forward
from ft_tf.faults.sites import SiteGroup
from ft_tf.models import ending_of

_SMALLEST = 1e-30
_Pair = tuple[np.ndarray, np.ndarray]


def margin_ratios(
    model: keras.Model, groups: Sequence[SiteGroup], x: Any, *, worst: bool
) -> list[_Pair] | None:
    """How fast a change of each weight uses up the margins of images, to first order.

    The margin m of an image is its largest logit minus the second largest. A weight that changes by
    d > 0 takes the share d a of the margins, with a the mean (or the largest) over the images of
    max(0, -dm/dw / m); for d < 0 it is |d| b, with b that of max(0, dm/dw / m). From 1 on the
    prediction is expected to change. It takes a backward pass for each image: a few dozen are
    meant. `worst` asks for the largest over images.

    Returns:
        (a, b) of each group, flat; None if the model stores one of them as integers.
    """
    if not all(tf.as_dtype(group.variable.dtype).is_floating for group in groups):
        return None

    def margin(logits: tf.Tensor) -> tf.Tensor:
        if logits.shape[1] == 1:
            return tf.abs(logits[0, 0])
        top = tf.math.top_k(logits[0], 2).values
        return top[0] - top[1]

    gradients = _gradient_function(model, groups, lambda logits, _: margin(logits))
    found = [(np.zeros(group.size), np.zeros(group.size)) for group in groups]
    count = len(tf.nest.flatten(x)[0])
    for image in range(count):
        one = tf.nest.map_structure(lambda part: part[image : image + 1], x)  # noqa: B023
        value, slopes = gradients(one, tf.zeros([1], tf.int64))
        for pair, slope in zip(found, slopes, strict=True):
            ratio = slope.numpy().ravel().astype(np.float64) / max(float(value), _SMALLEST)
            for total, signed in zip(pair, (-ratio, ratio), strict=True):
                if worst:
                    np.maximum(total, signed, out=total)
                else:
                    total += np.maximum(signed, 0) / count
    return found


def loss_gradients(
    model: keras.Model, groups: Sequence[SiteGroup]
) -> Callable[[Any, np.ndarray, int], list[np.ndarray]]:
    """A function of inputs, labels and a batch size to the gradients of the total cross-entropy.

    Raises:
        ArgumentError: the model stores one of the weights as integers.
    """
    for group in groups:
        if not tf.as_dtype(group.variable.dtype).is_floating:
            raise ArgumentError(
                f"model={model.name!r} stores {group.name} as {group.variable.dtype}: integers "
                "have no gradient; give the model before it was quantised"
            )

    def loss(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        if logits.shape[1] == 1:
            logits = tf.concat([tf.zeros_like(logits), logits], axis=1)
        return tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )

    gradients = _gradient_function(model, groups, loss)

    def total(x: Any, y: np.ndarray, batch_size: int) -> list[np.ndarray]:
        sums = [np.zeros(group.shape) for group in groups]
        for first in range(0, len(y), batch_size):
            part = slice(first, first + batch_size)
            batch = tf.nest.map_structure(lambda array: array[part], x)  # noqa: B023
            for one, slope in zip(sums, gradients(batch, y[part])[1], strict=True):
                one += slope.numpy()
        return sums

    return total


def _gradient_function(
    model: keras.Model,
    groups: Sequence[SiteGroup],
    figure: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Callable[[Any, Any], tuple[tf.Tensor, list[tf.Tensor]]]:
    """Compiled function of inputs and labels to a figure of the logits and its gradients."""
    variables, ending = [group.variable.value for group in groups], ending_of(model)

    @tf.function(autograph=False, reduce_retracing=True)
    def gradients(x: Any, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            logits = forward.infer_logits(model, x)
            if ending is not None and ending.gives_probabilities:
                logits = _log_odds(logits)
            value = figure(tf.cast(logits, tf.float32), y)
        slopes = tape.gradient(value, variables, unconnected_gradients="zero")
        return value, [tf.convert_to_tensor(slope) for slope in slopes]

    return lambda x, y: gradients(tf.nest.map_structure(tf.convert_to_tensor, x), y)


def _log_odds(probabilities: tf.Tensor) -> tf.Tensor:
    """Logits of a softmax up to a constant, or of a sigmoid."""
    inside = tf.clip_by_value(probabilities, _SMALLEST, 1.0)
    if probabilities.shape[1] == 1:
        return tf.math.log(inside) - tf.math.log(tf.maximum(1 - inside, _SMALLEST))
    return tf.math.log(inside)
