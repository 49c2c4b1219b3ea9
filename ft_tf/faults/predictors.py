"""Numbers of a trained network that may tell its fault tolerance without any fault.

The measures of generalization that Jiang et al. (2020), "Fantastic generalization measures and
where to find them", compare, as far as they are cheap, and the first-order prediction of this
library's fault engine.
"""

import numpy as np
from scipy import special

from ft_tf import metrics
from ft_tf._compat import keras, tf
from ft_tf.faults.gradients import loss_gradients
from ft_tf.faults.prediction import first_order
from ft_tf.faults.sites import find_sites

SHARPNESS_RADIUS = 0.05
"""rho of sharpness-aware minimisation (Foret et al. 2021)."""
_SHARPNESS_IMAGES, _FIRST_ORDER_IMAGES = 10_000, 50
_RATE = 0.1

Split = tuple[np.ndarray, np.ndarray]
"""Images and their labels."""


def measure(model: keras.Model, train: Split, test: Split, *, batch_size: int) -> dict[str, float]:
    """Returns the predictors of a classifier of Dense, convolution, pooling and ReLU layers.

    Args:
        model: gives logits [n, classes].
        train: training images and their labels.
        test: test images and their labels.
        batch_size: images of a forward pass.

    Returns:
        train_loss, test_loss: mean cross-entropies, in nats.
        largest_weight: mean over the kernels of their largest |w|.
        path_norm: of `path_norm`.
        margin: the 10% quantile over training images of the label's logit minus the largest other.
        sharpness: of `sharpness`, on the first 10,000 training images.
        first_order: of `first_order_loss`, on the first 50 test images.
    """
    (x, y), (x_test, y_test) = train, test
    logits = metrics.predict_logits(model, x, batch_size=batch_size)
    test_logits = metrics.predict_logits(model, x_test, batch_size=batch_size)
    kernels = [weight.numpy() for weight in model.trainable_variables if weight.shape.rank > 1]
    some, few = slice(_SHARPNESS_IMAGES), slice(_FIRST_ORDER_IMAGES)
    return {
        "train_loss": _cross_entropy(logits, y),
        "test_loss": _cross_entropy(test_logits, y_test),
        "largest_weight": float(np.mean([np.abs(kernel).max() for kernel in kernels])),
        "path_norm": path_norm(model),
        "margin": float(np.quantile(margins(logits, y)[0], 0.1)),
        "sharpness": sharpness(model, x[some], y[some], batch_size=batch_size),
        "first_order": first_order_loss(model, x_test[few], y_test[few]),
    }


def margins(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label's logit minus the largest other, float [n], and that one's class, int [n].

    >>> margin, other = margins(np.array([[1.0, 3.0, 0.5]]), np.array([0]))
    >>> margin.tolist(), other.tolist()
    ([-2.0], [1])
    """
    rows, others = np.arange(len(logits)), logits.astype(float)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    best = others.argmax(axis=1)
    return own - others[rows, best], best


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, metrics.error_log_odds(logits, labels))))


def path_norm(model: keras.Model) -> float:
    """The root of the sum over all paths from inputs to logits of the product of squared weights.

    Neyshabur, Salakhutdinov and Srebro (2015): the network with squared weights on an input of
    ones. A bias begins paths of its own.
    """
    kept = model.get_weights()
    try:
        model.set_weights([weight**2 for weight in kept])
        ones = np.ones((1, *model.input_shape[1:]), np.float32)
        return float(np.sqrt(metrics.predict_logits(model, ones).sum(dtype=np.float64)))
    finally:
        model.set_weights(kept)


def sharpness(model: keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int) -> float:
    """Mean loss at w + rho g / |g| minus that at w, g the mean loss's gradient at w."""
    groups = [g for g in find_sites(model, target="weights") if g.variable.trainable]
    gradients = loss_gradients(model, groups)(x, y, batch_size)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))

    def loss() -> float:
        return _cross_entropy(metrics.predict_logits(model, x, batch_size=batch_size), y)

    kept, before = model.get_weights(), loss()
    try:
        for group, gradient in zip(groups, gradients, strict=True):
            step = SHARPNESS_RADIUS * gradient / norm
            group.variable.assign_add(tf.cast(step, group.variable.dtype))
        return loss() - before
    finally:
        model.set_weights(kept)


def first_order_loss(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Accuracy lost at 10% stuck-at-0 weights by the first-order prediction of the logits.

    The margin of the label over the fault-free best other class is taken for normal, with the mean
    and the variances of `prediction.FirstOrder` and no covariance.
    """
    margin, other = margins(metrics.predict_logits(model, x), y)
    found, rows = first_order(model, x, target="weights"), np.arange(len(x))
    change, variance = found.mean_change(_RATE), found.variance(_RATE)
    mean = margin + change[rows, y] - change[rows, other]
    spread = np.sqrt(variance[rows, y] + variance[rows, other])
    return float(np.mean(margin > 0) - np.mean(special.ndtr(mean / spread)))
