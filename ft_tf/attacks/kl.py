"""The KL divergence from logits, and the attack that TRADES trains on.

Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy" (ICML 2019),
Algorithm 1, in the form of the authors' published code.
"""

from collections.abc import Callable

from ft_tf._compat import single_use_gradients, tf
from ft_tf.attacks.geometry import DISTANCES, Ball, largest_entry, steepest_direction
from ft_tf.checks import check_choice, check_non_negative_integer
from ft_tf.errors import ArgumentError

START_NOISE_STDDEV = 0.001
"""Standard deviation of the noise that moves the attack off x, where the KL has gradient zero."""


def class_logits(logits: tf.Tensor) -> tf.Tensor:
    """Logits with a column per class: a single logit z of a binary model becomes (0, z).

    softmax(0, z) is (1 - sigmoid(z), sigmoid(z)), and argmax is the threshold at 0.
    """
    if logits.shape[-1] == 1:
        return tf.concat([tf.zeros_like(logits), logits], axis=-1)
    return logits


def kl_divergence(logits_p: tf.Tensor, logits_q: tf.Tensor) -> tf.Tensor:
    """KL(softmax(p) || softmax(q)) of each row of two batches of logits, shape [n].

    sum_i p_i (log p_i - log q_i) by log_softmax, so that value and both gradients stay finite
    however far the logits saturate. Each row may have one logit (Bernoulli, by the sigmoid).
    The gradients, p (log p - log q - KL) and softmax(q) - softmax(p), are written out: the
    second is then exactly 0 at equal logits, where a sum of rounded terms would leave a sign.

    Args:
        logits_p: the first argument's logits, [n, classes] or [n, 1], any float dtype.
        logits_q: the second argument's, same shape and dtype.

    >>> p, q = tf.math.log([[0.9, 0.1]]), tf.math.log([[0.5, 0.5]])
    >>> print(f"{kl_divergence(p, q)[0]:.3f} {kl_divergence(q, p)[0]:.3f}")
    0.368 0.511
    """
    with single_use_gradients():
        return _kl_of_class_logits(class_logits(logits_p), class_logits(logits_q))


@tf.custom_gradient
def _kl_of_class_logits(logits_p: tf.Tensor, logits_q: tf.Tensor) -> tf.Tensor:
    p, q = tf.nn.softmax(logits_p), tf.nn.softmax(logits_q)
    log_ratio = tf.nn.log_softmax(logits_p) - tf.nn.log_softmax(logits_q)
    divergence = tf.reduce_sum(p * log_ratio, axis=-1)

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream = upstream[:, None]
        return upstream * p * (log_ratio - divergence[:, None]), upstream * (q - p)

    return divergence, gradients


def start_noise(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """0.001 * N(0, 1) in x's shape, a function of `seed` (two integers) alone; at least float32."""
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    return START_NOISE_STDDEV * tf.random.stateless_normal(tf.shape(x), seed, dtype=dtype)


def kl_attack(
    predict: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    natural_logits: tf.Tensor,
    *,
    epsilon: float,
    step_size: float | None = None,
    num_steps: int,
    distance: str = "l_inf",
    start_noise: tf.Tensor,
    bounds: tuple[float, float] = (0.0, 1.0),
    predict_at_start: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.Tensor:
    """The points x' near x that TRADES trains on: ascent of KL(softmax f(x) || softmax f(x')).

    l_inf: from x + start_noise, num_steps times
        x' <- clip(x' + step_size * sign(grad), ball around x, bounds).
    l_2: from x + start_noise, num_steps times a step of 2 * epsilon / num_steps along the
        gradient divided by its norm (per example), x' clipped to the bounds, x' - x to the ball.

    sign(0) is 0: with no start noise the attack stays at x. Where an example's l_2 gradient is
    exactly zero, the original draws a N(0, 1) direction; here it is the example's own start noise
    over its scale, so that nothing more is random.

    Runs eagerly or inside a tf.function. Only gradients by x' are taken; none flows through the
    result. The state is float32 (float64 for float64 `x`), whatever `predict` computes in.

    Args:
        predict: gives the logits of a batch, in inference mode.
        x: natural inputs [n, ...].
        natural_logits: predict(x), computed once by the caller.
        epsilon: radius of the ball, in units of x.
        step_size: length of an l_inf step; l_2 ignores it.
        num_steps: Python integer; the steps are unrolled into the graph, which runs no slower
            than tf.while_loop and traces in a second or two.
        distance: "l_inf" or "l_2".
        start_noise: added to x at the start; see `start_noise`.
        bounds: lowest and highest allowed input. For l_inf `x` may lie outside: x' then goes to
            the edge of the box, even out of the ball, as in the original.
        predict_at_start: gives the logits of x and of x + start_noise for the first gradient,
            where those of `predict` are too coarse to tell them apart; see `precision`.

    Returns:
        x' with the shape of x, inside the bounds, and inside the ball where x is inside them.
    """
    check_choice(DISTANCES, distance=distance)
    check_non_negative_integer(num_steps=num_steps)
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    x = tf.stop_gradient(tf.cast(x, dtype))
    start_noise = tf.cast(start_noise, dtype)
    natural_logits = tf.stop_gradient(tf.cast(natural_logits, dtype))
    step = step_size if distance == "l_inf" else 2 * epsilon / max(num_steps, 1)
    if step is None:
        raise ArgumentError("step_size=None must be a number for distance='l_inf'")
    ball = Ball.around(x, epsilon, bounds, distance)
    # The original projects after each step only: its first gradient is taken at x + noise.
    point = x + start_noise
    for number in range(num_steps):
        compute, reference = predict, natural_logits
        if number == 0 and predict_at_start is not None:
            compute, reference = predict_at_start, tf.cast(predict_at_start(x), dtype)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(point)
            divergence = kl_divergence(reference, tf.cast(compute(point), dtype))
        gradient = tape.gradient(divergence, point)
        direction = steepest_direction(gradient, distance)
        if distance == "l_2":
            random = start_noise / START_NOISE_STDDEV
            direction = tf.where(largest_entry(gradient) > 0, direction, random)
        point = ball.project(point + step * direction)
    if num_steps == 0:
        point = ball.project(point)
    return tf.stop_gradient(point)
