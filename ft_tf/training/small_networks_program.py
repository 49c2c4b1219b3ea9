"""The compiled program of `small_networks`: forward, backward and Adam over all networks.

Arrays end in the axis of networks. The kernel [2, hidden] of a network is `weights`, its bias
`offsets`, the second layer's kernel `heads` and bias `thresholds`.

The backward pass rests on the ReLU's mask m: with d_n the derivative of the loss by the logit of
point n, all gradients follow from sum_n d_n m_nj x_n and sum_n d_n m_nj, so that no hidden
activation is ever stored. The loop over points is unrolled: XLA then fuses it to one pass over
the hidden units, where a batched form was five to ten times slower.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ft_tf._compat import tf
from ft_tf.training.input_noise import AdditiveGaussian, MultiplicativeGaussian

BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-7
_EVALUATED_TOGETHER = 8

Array = npt.NDArray[np.floating]


class Networks(NamedTuple):
    """Parameters, or one value for each of them."""

    weights: Any
    offsets: Any
    heads: Any
    thresholds: Any


class Sums(NamedTuple):
    """sum_n over points, by hidden unit: of d m x (two arrays), of d m; and of d by network."""

    moments: tuple[Any, Any]
    masked: Any
    total: Any


def coefficients_of(rows: Sequence[Any], *, replicates: int) -> dict[str, Array]:
    """Returns the coefficients of each network, float32 [g], rows of the study outermost.

    A coefficient that is 0 in all rows is left out, and so is its term of the program.
    """

    def sigmas(noise: str, kind: type) -> list[float]:
        noises = [getattr(row, noise) for row in rows]
        return [noise.sigma if isinstance(noise, kind) else 0.0 for noise in noises]

    def variances(kind: type) -> list[float]:
        return [sigma**2 for sigma in sigmas("jacobian_penalty", kind)]

    values = {
        "additive_sigma": sigmas("input_noise", AdditiveGaussian),
        "multiplicative_sigma": sigmas("input_noise", MultiplicativeGaussian),
        "additive_variance": variances(AdditiveGaussian),
        "multiplicative_variance": variances(MultiplicativeGaussian),
        "l2": [row.l2 for row in rows],
        "weight_decay": [row.weight_decay for row in rows],
    }
    return {
        name: np.repeat(np.asarray(value, np.float32), replicates)
        for name, value in values.items()
        if any(value)
    }


def train_networks(
    networks: tuple[Array, ...],
    x: Array,
    y: Array,
    coefficients: dict[str, Array],
    *,
    replicates: int,
    epochs: int,
    learning_rate: float,
    noise_seed: int,
) -> Networks:
    """Parameters after `epochs` steps of Adam on the full batch.

    Args:
        networks: weights [2, hidden, g], offsets [hidden, g], heads [hidden, 1, g],
            thresholds [1, g].
        x: points [n, 2, g].
        y: labels 0.0 or 1.0 [n, g].
        coefficients: from `coefficients_of`.
        replicates: of each row; networks at this distance have the same draws of noise.
        epochs: steps.
        learning_rate: Adam's.
        noise_seed: noise is a function of it and of the epoch.
    """
    weights, offsets, heads, thresholds = networks
    return _training_program(tuple(coefficients), replicates)(
        Networks(*map(tf.constant, (weights, offsets, heads[:, 0], thresholds[0]))),
        tf.constant(x),
        tf.constant(y),
        {name: tf.constant(value) for name, value in coefficients.items()},
        tf.constant(epochs),
        tf.constant(learning_rate, weights.dtype),
        tf.constant(noise_seed),
    )


def evaluate_networks(networks: Networks, x: Array) -> Array:
    """Logits [n, g] of the points x [n, 2, g], a few points at a time."""
    n = len(x)
    filled = np.pad(x, ((0, -n % _EVALUATED_TOGETHER), (0, 0), (0, 0)))
    return _evaluation_program(networks, tf.constant(filled)).numpy()[:n]


@tf.function(jit_compile=True)
def _evaluation_program(networks: Networks, x: tf.Tensor) -> tf.Tensor:
    blocks = tf.reshape(x, [-1, _EVALUATED_TOGETHER, 2, x.shape[-1]])
    logits = tf.map_fn(
        lambda block: _logits(networks, tf.unstack(block)), blocks, fn_output_signature=x.dtype
    )
    return tf.reshape(logits, [-1, x.shape[-1]])


@functools.lru_cache(maxsize=16)
def _training_program(used: tuple[str, ...], replicates: int) -> Any:
    """Returns the compiled loop over epochs, without the terms of coefficients not in `used`."""

    @tf.function(jit_compile=True)
    def program(
        networks: Networks,
        x: tf.Tensor,
        y: tf.Tensor,
        coefficients: dict[str, tf.Tensor],
        epochs: tf.Tensor,
        learning_rate: tf.Tensor,
        noise_seed: tf.Tensor,
    ) -> Networks:
        def sums(networks: Networks, epoch: tf.Tensor) -> Sums:
            noisy = _noisy(x, coefficients, replicates, tf.stack([noise_seed, epoch]))
            return _gradient_sums(networks, noisy, y, coefficients)

        # The sums cross from one turn of the loop to the next: they are then written to memory
        # once, where XLA would compute them again for each of the twelve arrays they update.
        def turn(epoch: tf.Tensor, networks: Networks, m: Networks, v: Networks, s: Sums) -> Any:
            gradients = _gradients(networks, s, coefficients)
            networks, m, v = _adam(networks, gradients, m, v, epoch + 1, learning_rate)
            return epoch + 1, networks, m, v, sums(networks, epoch + 1)

        zeros = Networks(*map(tf.zeros_like, networks))
        start = (tf.constant(0), networks, zeros, zeros, sums(networks, tf.constant(0)))
        return tf.while_loop(lambda epoch, *_: epoch < epochs, turn, start)[1]

    return program


def _noisy(
    x: tf.Tensor, coefficients: dict[str, tf.Tensor], replicates: int, seed: tf.Tensor
) -> tf.Tensor:
    additive = coefficients.get("additive_sigma")
    multiplicative = coefficients.get("multiplicative_sigma")
    if additive is None and multiplicative is None:
        return x
    points, _, lanes = x.shape
    draws = tf.random.stateless_normal([points, 2, replicates], seed, dtype=x.dtype)
    draws = tf.tile(draws, [1, 1, lanes // replicates])
    if multiplicative is not None:
        x = x * (1 + multiplicative * draws)
    if additive is not None:
        x = x + additive * draws
    return x


def _sum_over_units(values: tf.Tensor) -> tf.Tensor:
    """Sum over the first axis: slabs of it are added first, which vectorises."""
    units, lanes = values.shape
    slabs = max(k for k in range(1, 11) if units % k == 0)
    slabbed = tf.reshape(values, [slabs, units // slabs, lanes])
    return tf.reduce_sum(tf.add_n(tf.unstack(slabbed)), axis=0)


def _preactivation(networks: Networks, point: tf.Tensor) -> tf.Tensor:
    return point[0] * networks.weights[0] + point[1] * networks.weights[1] + networks.offsets


def _logits(networks: Networks, points: list[tf.Tensor]) -> tf.Tensor:
    outputs = [
        _sum_over_units(tf.nn.relu(_preactivation(networks, point)) * networks.heads)
        for point in points
    ]
    return tf.stack(outputs) + networks.thresholds


def _input_gradients(networks: Networks, points: list[tf.Tensor]) -> tf.Tensor:
    """Derivative of each point's logit by its two coordinates [n, 2, g]."""
    gradients = []
    for point in points:
        active = tf.where(_preactivation(networks, point) > 0, networks.heads, 0.0)
        gradients.append([_sum_over_units(active * networks.weights[i]) for i in range(2)])
    return tf.stack([tf.stack(pair) for pair in gradients])


def _gradient_sums(
    networks: Networks, x: tf.Tensor, y: tf.Tensor, coefficients: dict[str, tf.Tensor]
) -> Sums:
    points, n = tf.unstack(x), x.shape[0]
    p = tf.sigmoid(_logits(networks, points))
    by_logit = (p - y) / n
    variance = 0.0
    if "additive_variance" in coefficients:
        variance += coefficients["additive_variance"]
    if "multiplicative_variance" in coefficients:
        variance += coefficients["multiplicative_variance"] * tf.square(x)
    if isinstance(variance, float):
        by_input = x * by_logit[:, None]
    else:
        # The penalty p (1 - p) sum_i v_i J_i^2 / 2 acts through p and through J = df/dx.
        jacobian, curvature = _input_gradients(networks, points), p * (1 - p)
        weighted = variance * jacobian
        squares = tf.reduce_sum(weighted * jacobian, axis=1)
        by_logit += curvature * (1 - 2 * p) * squares / (2 * n)
        by_input = x * by_logit[:, None] + curvature[:, None] * weighted / n
    first = second = masked = 0.0
    for k, point in enumerate(points):
        active = tf.cast(_preactivation(networks, point) > 0, x.dtype)
        first += active * by_input[k, 0]
        second += active * by_input[k, 1]
        masked += active * by_logit[k]
    return Sums((first, second), masked, tf.reduce_sum(by_logit, axis=0))


def _gradients(networks: Networks, sums: Sums, coefficients: dict[str, tf.Tensor]) -> Networks:
    weights, offsets, heads, _ = networks
    gradients = Networks(
        weights=tf.stack([heads * moment for moment in sums.moments]),
        offsets=heads * sums.masked,
        heads=sum(weights[i] * sums.moments[i] for i in range(2)) + offsets * sums.masked,
        thresholds=sums.total,
    )
    if "l2" in coefficients:
        l2 = 2 * coefficients["l2"]
        gradients = gradients._replace(
            weights=gradients.weights + l2 * weights, heads=gradients.heads + l2 * heads
        )
    if "weight_decay" in coefficients:
        decay = coefficients["weight_decay"]
        gradients = Networks(*(g + decay * p for g, p in zip(gradients, networks, strict=True)))
    return gradients


def _adam(
    networks: Networks,
    gradients: Networks,
    m: Networks,
    v: Networks,
    step: tf.Tensor,
    learning_rate: tf.Tensor,
) -> tuple[Networks, Networks, Networks]:
    """Keras's Adam: the bias corrections are in the rate, epsilon is added to sqrt(v) as it is."""
    step = tf.cast(step, learning_rate.dtype)
    rate = learning_rate * tf.sqrt(1 - tf.pow(BETA_2, step)) / (1 - tf.pow(BETA_1, step))
    m = Networks(*(a + (g - a) * (1 - BETA_1) for a, g in zip(m, gradients, strict=True)))
    v = Networks(*(a + (g * g - a) * (1 - BETA_2) for a, g in zip(v, gradients, strict=True)))
    moved = (
        p - rate * a / (tf.sqrt(b) + ADAM_EPSILON) for p, a, b in zip(networks, m, v, strict=True)
    )
    return Networks(*moved), m, v
