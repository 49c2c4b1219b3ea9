"""Canaries: examples whose presence in a training set the trained model reveals."""

import numpy as np

from ft_tf.checks import check_choice, check_non_negative_integer, check_positive_integer
from ft_tf.data import check_labels, check_pixels, check_same_length
from ft_tf.errors import ArgumentError

KINDS = ("mislabelled", "random", "pixel")

_INCLUSION, _CANARIES = 0, 1


def _generator(seed: int, stream: int) -> np.random.Generator:
    check_non_negative_integer(seed=seed)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream])))


def draw_inclusion(count: int, *, seed: int) -> np.ndarray:
    """Fair coin flips, bool [count]: which canaries enter the training set of a one-run audit."""
    check_positive_integer(count=count)
    return _generator(seed, _INCLUSION).integers(0, 2, count).astype(bool)


def make_canaries(
    images: np.ndarray, labels: np.ndarray, *, count: int, seed: int, kind: str = "mislabelled"
) -> tuple[np.ndarray, np.ndarray]:
    """Makes canaries that look like the data to a training pipeline and stand out to a model.

    | kind        | image                                  | label                    |
    |-------------|----------------------------------------|--------------------------|
    | mislabelled | a distinct image of `images`           | any but its own, uniform |
    | random      | uniform noise in [0, 1]                | uniform                  |
    | pixel       | black but for one pixel of value 1, a  | uniform                  |
    |             | different one each: first-layer        |                          |
    |             | gradients of two canaries are          |                          |
    |             | orthogonal on the kernel               |                          |

    Args:
        images: float32 [n, h, w, c] in [0, 1]: data that the training set does not hold otherwise.
        labels: int64 [n], of at least two classes.
        count: how many; at most n for "mislabelled", h w c for "pixel".
        seed: fixes them.
        kind: one of KINDS.

    Returns:
        Images float32 [count, h, w, c] and labels int64 [count].
    """
    check_positive_integer(count=count)
    check_choice(KINDS, kind=kind)
    check_pixels(images=images)
    check_labels(2**63 - 1, labels=labels)
    check_same_length(images=images, labels=labels)
    images, labels = np.asarray(images, np.float32), np.asarray(labels, np.int64)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ArgumentError(f"labels holds {len(classes)} class: canaries need at least 2")
    shape = images.shape[1:]
    most = {"mislabelled": len(images), "random": count, "pixel": int(np.prod(shape))}[kind]
    if count > most:
        raise ArgumentError(f"count={count} must not exceed {most} for kind={kind}")
    generator = _generator(seed, _CANARIES)
    if kind == "mislabelled":
        chosen = generator.choice(len(images), count, replace=False)
        own = np.searchsorted(classes, labels[chosen])
        shift = generator.integers(1, len(classes), count)
        return images[chosen], classes[(own + shift) % len(classes)]
    drawn = generator.choice(classes, count)
    if kind == "random":
        return generator.random((count, *shape), np.float32), drawn
    canaries = np.zeros((count, most), np.float32)
    canaries[np.arange(count), generator.choice(most, count, replace=False)] = 1
    return canaries.reshape(count, *shape), drawn
