"""Attacks as functions of a model and a data set: FGSM, PGD, Auto-PGD, transfer.

Each keeps, for every example, the worst point over all steps and restarts: an example counts as
robust only if it is right on x and survives every try. Examples that are wrong on x count as
broken and are not attacked. Random starts depend on (seed, restart, example) alone, so that the
batch size changes results by float rounding at most. The model runs in inference mode, only
gradients by the input are taken, and none of its weights or statistics is touched.
"""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras
from ft_tf.attacks.checks import outcome_warnings, randomness_warnings
from ft_tf.attacks.result import AttackResult, result_of
from ft_tf.attacks.search import Attempt, Problem, WorstCase, checked_problem
from ft_tf.checks import check_choice, check_positive, check_positive_integer
from ft_tf.errors import ArgumentError
from ft_tf.metrics import predict_logits, predicted_labels

PGD_LOSSES = ("cross_entropy", "kl", "margin")
APGD_LOSSES = ("ensemble", "cross_entropy", "margin", "dlr", "targeted_dlr")
SECOND_LOSSES = {2: "margin", 3: "dlr"}
"""By number of classes, the loss after cross-entropy; "targeted_dlr" where there are more."""


def fgsm(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    distance: str = "l_inf",
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """Fast gradient sign method: x' = clip(x + epsilon sign(grad cross-entropy)).

    Goodfellow et al. 2015; for l_2 the gradient over its norm in place of its sign. A single step,
    so a weak attack: a baseline, not a measure. Nothing is random. The arguments are those of
    `pgd`.
    """
    problem = checked_problem(model, x, y, epsilon, distance, bounds, batch_size=batch_size)
    worst = WorstCase(problem)
    worst.attack(problem, Attempt("pgd", "cross_entropy", 1, problem.epsilon))
    return result_of("fgsm", problem, worst, loss="cross_entropy", num_steps=1)


def pgd(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    step_size: float | None = None,
    num_steps: int = 50,
    loss: str = "cross_entropy",
    distance: str = "l_inf",
    random_start: bool = True,
    restarts: int = 1,
    early_stop: bool = False,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """Projected gradient ascent on a loss, Madry et al. 2018.

    Args:
        model: a Keras classifier that gives logits.
        x: inputs [n, ...] inside the bounds.
        y: integer labels [n].
        epsilon: radius of the ball, in units of x.
        step_size: length of a step; 2.5 * epsilon / num_steps if None, so that the far side of
            the ball can be reached from any start.
        num_steps: gradient steps.
        loss: "cross_entropy", "kl" (to the clean output, as TRADES trains) or "margin".
        distance: "l_inf" or "l_2".
        random_start: start from a uniform point of the ball, not from x.
        restarts: starts per example; those still right are attacked again.
        early_stop: leave an example alone once it is broken (looked at every 10 steps): the same
            accuracy, several times sooner on a weak model; what is returned for a broken example
            is then a point that breaks it, not the worst.
        seed: of the random starts.
        bounds: lowest and highest input.
        batch_size: examples attacked at a time.
    """
    problem = checked_problem(model, x, y, epsilon, distance, bounds, seed, batch_size)
    worst = WorstCase(problem)
    parameters = _pgd_attempts(
        problem, worst, step_size, num_steps, loss, random_start, restarts, early_stop
    )
    return result_of("pgd", problem, worst, **parameters)


def _pgd_attempts(
    problem: Problem,
    worst: WorstCase,
    step_size: float | None,
    num_steps: int,
    loss: str,
    random_start: bool,
    restarts: int,
    early_stop: bool,
) -> dict[str, Any]:
    """Runs every restart; returns the parameters as they were used."""
    check_choice(PGD_LOSSES, loss=loss)
    check_positive_integer(num_steps=num_steps, restarts=restarts)
    if step_size is None:
        step_size = 2.5 * problem.epsilon / num_steps
    else:
        check_positive(step_size=step_size)
    if not random_start and restarts > 1:
        raise ArgumentError(f"restarts={restarts} repeats the same start: random_start=False")
    if not random_start and loss == "kl":
        raise ArgumentError("loss='kl' has gradient zero at x: it needs random_start=True")
    for restart in range(restarts):
        stream = (restart,) if random_start else None
        attempt = Attempt("pgd", loss, num_steps, float(step_size), stream, early_stop=early_stop)
        worst.attack(problem, attempt)
    return {
        "loss": loss,
        "num_steps": num_steps,
        "step_size": float(step_size),
        "random_start": random_start,
        "restarts": restarts,
        "early_stop": early_stop,
    }


def transfer(
    source_model: keras.Model,
    target_model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    step_size: float | None = None,
    num_steps: int = 50,
    loss: str = "cross_entropy",
    distance: str = "l_inf",
    restarts: int = 1,
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """Black-box attack: PGD on `source_model`, one point per example, tried on `target_model`.

    The attacker of the paper's section 2.2, who only queries the target. All examples are
    attacked on the source, also those that it gets wrong anyway. Accuracies are the target's; the
    arguments after the two models are those of `pgd`.
    """
    arguments = x, y, epsilon, distance, bounds, seed, batch_size
    target = checked_problem(target_model, *arguments)
    source = checked_problem(source_model, *arguments)
    on_source, on_target = WorstCase(source), WorstCase(target)
    on_source.broken = np.zeros(len(source.x), bool)
    parameters = _pgd_attempts(source, on_source, step_size, num_steps, loss, True, restarts, False)
    logits = predict_logits(target_model, on_source.point, batch_size=batch_size)
    on_target.broken |= predicted_labels(logits) != target.y
    on_target.point = on_source.point
    result = result_of("transfer", target, on_target, source=source_model.name, **parameters)
    source_warnings = (f"on the source: {line}" for line in outcome_warnings(source, on_source))
    warnings = (*randomness_warnings(target), *source_warnings)
    return dataclasses.replace(result, warnings=warnings)


def apgd(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    num_steps: int = 100,
    loss: str = "ensemble",
    restarts: int = 1,
    targets: int = 9,
    distance: str = "l_inf",
    seed: int = 0,
    bounds: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 500,
) -> AttackResult:
    """Auto-PGD, Croce and Hein 2020: no step size to choose; see `ft_tf.attacks.loops.auto_pgd`.

    "ensemble" runs cross-entropy, then targeted DLR on what is left: the two parts of AutoAttack
    that decide nearly every case. With 3 classes its second part is the untargeted DLR, with 2
    the margin, because the (targeted) DLR needs 3 (4) classes.

    The arguments are those of `pgd`, and:

    - num_steps: gradient steps of each run.
    - loss: "ensemble", "cross_entropy", "margin", "dlr" or "targeted_dlr".
    - restarts: runs per example and loss (and target); those still right are attacked again.
    - targets: for targeted DLR, how many classes to drive each example to, likeliest first.
    """
    problem = checked_problem(model, x, y, epsilon, distance, bounds, seed, batch_size)
    worst = WorstCase(problem)
    parameters = apgd_attempts(
        problem, worst, loss=loss, num_steps=num_steps, restarts=restarts, targets=targets
    )
    return result_of("apgd", problem, worst, **parameters)


def apgd_attempts(
    problem: Problem,
    worst: WorstCase,
    *,
    loss: str,
    num_steps: int,
    restarts: int,
    targets: int,
    draws: int = 1,
) -> dict[str, Any]:
    """Runs every loss, target and restart; returns the parameters as they were used."""
    check_choice(APGD_LOSSES, loss=loss)
    check_positive_integer(num_steps=num_steps, restarts=restarts, targets=targets)
    classes = problem.classes
    needed = {"dlr": 3, "targeted_dlr": 4}.get(loss, 2)
    if classes < needed:
        raise ArgumentError(
            f"loss={loss!r} needs at least {needed} classes and the model has {classes}: "
            "use 'cross_entropy' or 'margin'"
        )
    names = [loss]
    if loss == "ensemble":
        names = ["cross_entropy", SECOND_LOSSES.get(classes, "targeted_dlr")]
    targets = min(targets, classes - 1)
    for number, name in enumerate(names):
        ranks = range(targets) if name == "targeted_dlr" else [None]
        for rank in ranks:
            towards = None if rank is None else problem.other_classes[:, rank]
            for restart in range(restarts):
                stream = (restart, number, rank or 0)
                attempt = Attempt(
                    "apgd", name, num_steps, stream=stream, targets=towards, draws=draws
                )
                worst.attack(problem, attempt)
    parameters = {"losses": names, "num_steps": num_steps, "restarts": restarts}
    return parameters | ({"targets": targets} if "targeted_dlr" in names else {})
