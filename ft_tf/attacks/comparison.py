"""Two models under one attack, image by image."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.attacks.named import evaluate
from ft_tf.attacks.result import AttackResult
from ft_tf.metrics import predict_logits, predicted_labels


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What an attack did to two models, each attacked by its own gradients.

    Attributes:
        first: the outcome on the first model.
        second: the outcome on the second model.
        clean_difference: clean accuracy of the first minus that of the second.
        robust_difference: the same of the robust accuracies.
        clean_interval: of the clean difference, over test images that both models saw.
        robust_interval: of the robust difference.
    """

    first: AttackResult
    second: AttackResult
    clean_difference: float
    robust_difference: float
    clean_interval: intervals.Interval
    robust_interval: intervals.Interval


def compare(
    first: keras.Model,
    second: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    attack: str = "pgd",
    epsilon: float,
    level: float = 0.95,
    **options: Any,
) -> Comparison:
    """Attacks both models on the same images and says by how much their accuracies differ.

    The intervals speak of further test images for these two models, and of nothing else: not of
    other training seeds, and not of a stronger attack, which may break one more than the other.

    Args:
        first: a Keras classifier that gives logits.
        second: another one, for the same inputs.
        x: inputs [n, ...].
        y: integer labels [n].
        attack: a name of `attacks.ATTACKS`.
        epsilon: radius of the ball, in units of x.
        level: nominal coverage.
        **options: further arguments of `evaluate`, the same for both.

    Raises:
        ArgumentError: bad input.
        ModelError: a model does not give logits.
    """
    results = [
        evaluate(model, x, y, attack=attack, epsilon=epsilon, **options)
        for model in (first, second)
    ]
    labels = np.asarray(y)
    right = [
        predicted_labels(predict_logits(model, np.asarray(x, np.float32))) == labels
        for model in (first, second)
    ]
    return Comparison(
        first=results[0],
        second=results[1],
        clean_difference=float(right[0].mean() - right[1].mean()),
        robust_difference=results[0].robust_accuracy - results[1].robust_accuracy,
        clean_interval=intervals.paired_proportions(*right, level=level),
        robust_interval=intervals.paired_proportions(
            ~results[0].success, ~results[1].success, level=level
        ),
    )
