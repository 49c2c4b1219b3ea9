"""Crop-and-flip augmentation for CIFAR-10, inside the graph and a function of its seed alone."""

from ft_tf._compat import tf
from ft_tf.checks import check_non_negative_integer


def crop_and_flip(images: "tf.Tensor", *, seed: "tf.Tensor", padding: int = 4) -> "tf.Tensor":
    """Shifts each image by up to `padding` pixels each way and mirrors it with probability 1/2.

    The usual recipe for CIFAR-10 (also of the official TRADES code): pad with zeros on all four
    sides, crop a window of the original size at a place drawn uniformly from the
    (2 padding + 1)^2 possible ones, flip it left to right or not. Every example has its own draw.
    The result depends on `images`, `seed` and `padding` only; use another seed at every step.

    Pixels are fetched by computed indices, one gather for crop and flip together; no padded copy
    is made.

    Args:
        images: [n, h, w, c], any numeric type; h, w and c static.
        seed: int32 or int64 [2], such as [seed, step].
        padding: Pixels of zeros on each side, >= 0 and small against the image.

    Returns:
        A tensor like `images`.

    Raises:
        ArgumentError: `padding` is not an integer >= 0.
    """
    check_non_negative_integer(padding=padding)
    images = tf.convert_to_tensor(images)
    n = tf.shape(images)[0]
    height, width, channels = images.shape[1:]
    flip, top, left = _draw(n, seed, 2 * padding + 1)

    rows = tf.range(height) + (top - padding)[:, None]
    columns = tf.range(width)
    columns = tf.where(flip[:, None], width - 1 - columns, columns) + (left - padding)[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None]
    inside &= ((columns >= 0) & (columns < width))[:, None, :]
    pixel = (tf.range(n)[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]

    # All that falls outside an image is fetched from one zero pixel after the last.
    pixel = tf.where(inside, pixel, n * height * width)
    zero = tf.zeros([1, channels], images.dtype)
    pixels = tf.concat([tf.reshape(images, [-1, channels]), zero], axis=0)
    return tf.ensure_shape(tf.gather(pixels, pixel), images.shape)


def _draw(n: "tf.Tensor", seed: "tf.Tensor", places: int) -> tuple:
    """Per example: whether to flip, and the window's top and left corner in 0..places - 1.

    One draw, taken apart: 2^32 draws over 2 * places^2 outcomes, uniform to 4e-8.
    """
    outcome = tf.random.stateless_uniform([n], seed, 0, 2 * places**2, tf.int32, alg="philox")
    corner = outcome // 2
    return outcome % 2 == 1, corner // places, corner % places
