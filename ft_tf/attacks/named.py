"""Any attack by its name: on one model, or on two, image by image."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf import intervals
from ft_tf._compat import keras
from ft_tf.attacks.autoattack import autoattack
from ft_tf.attacks.checks import sanity_checks
from ft_tf.attacks.evaluations import apgd, fgsm, pgd
from ft_tf.attacks.fab import fab
from ft_tf.attacks.result import AttackResult
from ft_tf.attacks.square import square
from ft_tf.checks import check_choice, check_positive_integer, shown
from ft_tf.errors import ArgumentError
from ft_tf.metrics import predict_logits, predicted_labels

ATTACKS: dict[str, Callable[..., AttackResult]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "apgd": apgd,
    "fab": fab,
    "square": square,
    "autoattack": autoattack,
}
_NORM_NAMES = {"autoattack": "norm"}
_CALLED_HERE = {"norm": "distance", "num_steps": "steps"}
"""Arguments of the attacks that `evaluate` has under another name."""


def evaluate(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    attack: str = "pgd",
    epsilon: float,
    steps: int | None = None,
    distance: str = "l_inf",
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    sanity: bool = True,
    **options: Any,
) -> AttackResult:
    """Runs one attack by its name, as the binary and the study do.

    PGD stops early on broken examples unless early_stop=False is passed. The arguments are those of
    `pgd`, and:

    - attack: a name of `ATTACKS`.
    - steps: gradient steps; None for the attack's default. Square, which takes queries, and fgsm
      have none.
    - sanity: run `sanity_checks` on the first 200 images too and add their warnings.
    - options: the attack's own further arguments.

    Raises:
        ArgumentError: bad input; an argument that the attack does not have.
        ModelError: the model does not give logits.
    """
    check_choice(tuple(ATTACKS), attack=attack)
    run = ATTACKS[attack]
    unknown = sorted(set(options) - (set(run.__kwdefaults__) - set(_CALLED_HERE)))
    if unknown:
        name = _CALLED_HERE.get(unknown[0])
        remedy = f" here: give {name}=" if name else ""
        raise ArgumentError(
            f"{unknown[0]}={shown(options[unknown[0]])} is no argument of {attack}{remedy}"
        )
    if "num_steps" in run.__kwdefaults__:
        steps = run.__kwdefaults__["num_steps"] if steps is None else steps
        check_positive_integer(steps=steps)
        options["num_steps"] = steps
    elif steps not in (None, 1):
        remedy = "give queries" if attack == "square" else "use pgd for more"
        raise ArgumentError(f"steps={steps} must be 1 for {attack}, which takes no more: {remedy}")
    ball = {"epsilon": epsilon, "bounds": bounds, _NORM_NAMES.get(attack, "distance"): distance}
    if attack != "fgsm":
        options["seed"] = seed
    if attack == "pgd":
        options.setdefault("early_stop", True)
    result = run(model, x, y, **ball, **options)
    if not sanity:
        return result
    doubts = sanity_checks(
        model, x, y, epsilon=epsilon, distance=distance, bounds=bounds, seed=seed
    )
    return dataclasses.replace(result, warnings=result.warnings + doubts)


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
