"""The ball that an attacker may move in, and the steepest way within it, as TensorFlow ops.

A ball is {x' : |x' - x| <= epsilon} in the l_inf or the l_2 norm of each example, cut with the box
of allowed inputs. Every function takes a batch [n, ...] of any float dtype and keeps both.
"""

from typing import NamedTuple

from ft_tf._compat import tf

DISTANCES = ("l_inf", "l_2")


def _example_axes(x: tf.Tensor) -> list[int]:
    return list(range(1, x.shape.rank))


def l2_norm(x: tf.Tensor) -> tf.Tensor:
    """Euclidean norm of each example, shape [n, 1, ...] so that it divides the batch."""
    return tf.sqrt(tf.reduce_sum(tf.square(x), _example_axes(x), keepdims=True))


def largest_entry(x: tf.Tensor) -> tf.Tensor:
    """Largest absolute entry of each example, shape [n, 1, ...]."""
    return tf.reduce_max(tf.abs(x), _example_axes(x), keepdims=True)


def steepest_direction(gradient: tf.Tensor, distance: str) -> tf.Tensor:
    """The unit step of steepest ascent: sign(g) for l_inf, g / |g| for l_2; zero stays zero.

    >>> steepest_direction(tf.constant([[3.0, -4.0], [0.0, 0.0]]), "l_2").numpy().tolist()
    [[0.6..., -0.8...], [0.0, 0.0]]
    """
    if distance == "l_inf":
        return tf.sign(gradient)
    # Divided by its largest entry first: the square of a gradient of 1e-25 is 0 in float32.
    scaled = tf.math.divide_no_nan(gradient, largest_entry(gradient))
    return tf.math.divide_no_nan(scaled, l2_norm(scaled))


class Ball(NamedTuple):
    """The points that an attacker may reach; make it by `around`.

    Attributes:
        x: the clean inputs, [n, ...].
        epsilon: radius.
        low: lowest entries; for l_inf those of the ball, cut with the box of inputs.
        high: highest entries, likewise.
        distance: "l_inf" or "l_2".
    """

    x: tf.Tensor
    epsilon: tf.Tensor | float
    low: tf.Tensor | float
    high: tf.Tensor | float
    distance: str

    @classmethod
    def around(
        cls,
        x: tf.Tensor,
        epsilon: tf.Tensor | float,
        bounds: tuple[tf.Tensor | float, tf.Tensor | float],
        distance: str,
    ) -> "Ball":
        """The ball of radius epsilon around `x` in the box `bounds`.

        For an `x` outside the bounds, l_inf, that is the nearest point of the box and no ball.
        """
        low, high = bounds
        if distance == "l_inf":
            low, high = (tf.clip_by_value(x + radius, *bounds) for radius in (-epsilon, epsilon))
        return cls(x, epsilon, low, high, distance)

    def project(self, point: tf.Tensor) -> tf.Tensor:
        """Brings `point` back into the ball and the box.

        l_inf: the exact projection. l_2: clipped to the box, then the difference scaled to at most
        epsilon (the order of the TRADES code); `x` lies in the box, so the result lies in both.
        """
        inside = tf.minimum(tf.maximum(point, self.low), self.high)
        if self.distance == "l_inf":
            return inside
        delta = inside - self.x
        norm = l2_norm(delta)
        scale = self.epsilon * tf.math.reciprocal_no_nan(norm)
        shrink = tf.where(norm > self.epsilon, scale, tf.ones_like(norm))
        return tf.minimum(tf.maximum(self.x + shrink * delta, self.low), self.high)
