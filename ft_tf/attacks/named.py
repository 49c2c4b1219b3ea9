"""`evaluate`: any attack by its name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from ft_tf._compat import keras
from ft_tf.attacks.autoattack import autoattack
from ft_tf.attacks.checks import sanity_checks
from ft_tf.attacks.evaluations import apgd, fgsm, pgd
from ft_tf.attacks.fab import fab
from ft_tf.attacks.result import AttackResult
from ft_tf.attacks.square import square
from ft_tf.checks import check_choice, check_positive_integer
from ft_tf.errors import ArgumentError

ATTACKS: dict[str, Callable[..., AttackResult]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "apgd": apgd,
    "fab": fab,
    "square": square,
    "autoattack": autoattack,
}
_NORM_NAMES = {"autoattack": "norm"}


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

    PGD stops early on broken examples (see `pgd`) unless early_stop=False is passed.

    Args:
        model: a Keras classifier that gives logits.
        x: inputs [n, ...] inside the bounds.
        y: integer labels [n].
        attack: a name of `ATTACKS`.
        epsilon: radius of the ball, in units of x.
        steps: gradient steps; None for the attack's default. Square, which takes queries, and
            fgsm have none.
        distance: "l_inf" or "l_2".
        seed: of the random starts; fgsm has none.
        bounds: lowest and highest input.
        sanity: run `sanity_checks` on the first 200 images too and add their warnings.
        **options: the attack's own further arguments.

    Raises:
        ArgumentError: bad input; an argument that the attack does not have.
        ModelError: the model does not give logits.
    """
    check_choice(tuple(ATTACKS), attack=attack)
    run = ATTACKS[attack]
    unknown = sorted(set(options) - (set(run.__kwdefaults__) - {"num_steps"}))
    if unknown:
        raise ArgumentError(f"{unknown[0]}={options[unknown[0]]!r} is no argument of {attack}")
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
