"""Warnings when a robust accuracy cannot be trusted.

An attack only ever bounds robustness from above: a weak one flatters the model. The tests are
those of Carlini et al. 2019, "On Evaluating Adversarial Robustness": many steps beat one, more
steps and a larger ball never help the model, and in a ball that holds every image nothing survives.
"""

import dataclasses
import math
from unittest import mock

import numpy as np
import numpy.typing as npt

from ft_tf._compat import keras, tf
from ft_tf.attacks.kl import class_logits
from ft_tf.attacks.precision import low_precision_layers
from ft_tf.attacks.search import Attempt, Problem, WorstCase, checked_problem
from ft_tf.attacks.validation import check_images, check_labels, check_one_input
from ft_tf.checks import check_positive_integer
from ft_tf.keras_layers import inputs_of

STUCK_SHARE = 0.01
"""Share of examples with a zero gradient from which on it is worth a warning."""
SLACK_SHARE = 0.01
"""Share of examples by which a stronger attack may fall behind a weaker one by chance."""
LARGE_BALL_ACCURACY = 0.1
"""Accuracy that should not survive a ball which holds every image."""
REPEATED_IMAGES = 8
"""Images that are given to the model a second time, to see whether it answers the same."""
REPEATED_TOLERANCE = 1e-5
"""Difference between two answers that rounding may make, as a share of the largest logit."""
_CHECK_STREAM = 1_000_003  # apart from the streams of the attacks themselves


def whole_range_radius(problem: Problem) -> float:
    """Radius at which the ball around any image holds the whole box of inputs."""
    width = problem.bounds[1] - problem.bounds[0]
    return width if problem.distance == "l_inf" else width * math.sqrt(problem.x[0].size)


def randomness_warnings(problem: Problem) -> tuple[str, ...]:
    """Whether the model answers the same images differently; costs a pass on a few of them."""
    x = _few(problem)

    def answers() -> npt.NDArray[np.float32]:
        # Called and not compiled: one more trace would cost more than the pass.
        return tf.cast(class_logits(problem.model(x, training=False)), tf.float32).numpy()

    # Batches of another size round differently, and more so in bfloat16: then ask twice.
    if _agree(first := answers(), problem.clean_logits[: len(x)]) or _agree(first, answers()):
        return ()
    return (
        "the model answers the same images differently each time: an attack tries many times and "
        "keeps what is wrong once, so that chance counts as the attack's success; switch the "
        "randomness off, or attack the mean over many passes",
    )


def dynamic_warnings(problem: Problem) -> tuple[str, ...]:
    """Whether the model optimizes or adapts while it predicts: it takes gradients, or changes.

    Seen are gradient tapes in layers that are called, not compiled, and weights that differ after a
    pass in inference mode.
    """
    tapes: list[tf.GradientTape] = []
    enter = tf.GradientTape.__enter__

    def noted(tape: tf.GradientTape) -> tf.GradientTape:
        tapes.append(tape)
        return enter(tape)

    before = [tf.identity(weights) for weights in problem.model.weights]
    with mock.patch.object(tf.GradientTape, "__enter__", noted):
        problem.model(_few(problem), training=False)
    changed = any(
        not np.array_equal(old.numpy(), new.numpy(), equal_nan=True)
        for old, new in zip(before, problem.model.weights, strict=True)
    )
    if not tapes and not changed:
        return ()
    what = "takes gradients" if tapes else "changes its weights"
    return (
        f"the model {what} while it predicts: attacks that take it for a fixed function overstate "
        "its robustness; attack it as it is at the end of its optimization",
    )


def _few(problem: Problem) -> tf.Tensor:
    """The first images; all of them where the model takes batches of one size."""
    inputs = inputs_of(problem.model)
    fixed_batch = bool(inputs) and inputs[0].shape[0] is not None
    return tf.convert_to_tensor(problem.x if fixed_batch else problem.x[:REPEATED_IMAGES])


def _agree(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> bool:
    finite = np.isfinite(first) & np.isfinite(second)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
        return False
    first, second = first[finite], second[finite]
    slack = REPEATED_TOLERANCE * float(np.abs(second).max(initial=0))
    return bool(np.abs(first - second).max(initial=0) <= slack)


def outcome_warnings(problem: Problem, worst: WorstCase) -> tuple[str, ...]:
    """What an attack's own outcome gives away, and a second look at a few images."""
    warnings = [*randomness_warnings(problem), *dynamic_warnings(problem)]
    unknown = int(np.isnan(problem.clean_logits).any(axis=1).sum())
    if unknown:
        warnings.append(
            f"the model gives logits of NaN for {unknown} of {len(problem.x)} images: they count "
            "as misclassified"
        )
    attacked = int(worst.attacked.sum())
    stuck = int(worst.stuck.sum())
    if attacked and stuck >= STUCK_SHARE * attacked and problem.epsilon > 0:
        warnings.append(
            f"the gradient is exactly zero for {stuck} of {attacked} attacked images "
            f"({stuck / attacked:.1%}): the attack cannot move there; try loss='margin' or apgd"
        )
    # Half of the whole range already reaches the one grey image in the middle from anywhere.
    robust = float(np.mean(~worst.broken))
    if problem.epsilon >= whole_range_radius(problem) / 2 and robust > LARGE_BALL_ACCURACY:
        warnings.append(
            f"epsilon={problem.epsilon:g} reaches the middle grey from every image, yet "
            f"{robust:.1%} survive: the attack is too weak or the gradients are masked"
        )
    coarse = low_precision_layers(problem.model)
    if coarse:
        warnings.append(
            f"the model computes in {coarse[0].compute_dtype}, which blurs the attack's gradients: "
            "attack a float32 copy with the same weights"
        )
    return tuple(warnings)


def sanity_checks(
    model: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    epsilon: float,
    distance: str = "l_inf",
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    examples: int = 200,
) -> tuple[str, ...]:
    """Attacks the first `examples` images in five ways and says what does not add up.

    One step of epsilon; 5 and 20 steps of PGD; 20 steps in a ball twice, and in one a whole range,
    as large. Costs 66 gradient steps on the subset, whatever the size of the data. The other
    arguments are those of `ft_tf.attacks.pgd`.

    Returns:
        One line per doubt; empty if there is none (which proves nothing).
    """
    check_positive_integer(examples=examples)
    check_one_input(model)
    x = check_images(x, bounds)
    y = check_labels(y, classes=None, examples=len(x))
    problem = checked_problem(model, x[:examples], y[:examples], epsilon, distance, bounds, seed)
    if problem.epsilon == 0 or problem.misclassified.all():
        return ()
    once, few, many = (
        _attacked(problem, epsilon=problem.epsilon, steps=steps) for steps in (1, 5, 20)
    )
    twice = _attacked(problem, epsilon=2 * problem.epsilon, steps=20)
    whole = _attacked(problem, epsilon=whole_range_radius(problem), steps=20)
    warnings = []
    total = len(problem.x)
    stuck = int(once.stuck.sum())
    attacked = int(once.attacked.sum())
    if stuck >= STUCK_SHARE * attacked:
        warnings.append(
            f"the gradient of the cross-entropy is exactly zero for {stuck} of {attacked} images: "
            "gradient attacks overstate robustness"
        )
    if _falls_behind(many, once):
        warnings.append(
            f"a single step beats many: accuracy {_accuracy(once)} after 1 step, "
            f"{_accuracy(many)} after 20 ({total} images): gradients may be masked"
        )
    if _falls_behind(many, few):
        warnings.append(
            f"more steps do not lower accuracy: {_accuracy(few)} after 5 steps, "
            f"{_accuracy(many)} after 20 ({total} images)"
        )
    if _falls_behind(twice, many) or _changes_nothing(twice, many):
        warnings.append(
            f"a larger ball does not lower accuracy: {_accuracy(many)} at epsilon="
            f"{problem.epsilon:g}, {_accuracy(twice)} at twice that ({total} images)"
        )
    if np.mean(~whole.broken) > LARGE_BALL_ACCURACY:
        warnings.append(
            f"accuracy is {_accuracy(whole)} in a ball that holds every image, and should be near "
            f"0 ({total} images): the attack does not find what is there"
        )
    return tuple(warnings)


def _attacked(problem: Problem, *, epsilon: float, steps: int) -> WorstCase:
    scaled = dataclasses.replace(problem, epsilon=epsilon)
    worst = WorstCase(scaled)
    stream = None if steps == 1 else (_CHECK_STREAM,)
    step_size = epsilon if steps == 1 else 2.5 * epsilon / steps
    worst.attack(scaled, Attempt("pgd", "cross_entropy", steps, step_size, stream))
    return worst


def _accuracy(worst: WorstCase) -> str:
    return f"{np.mean(~worst.broken):.1%}"


def _falls_behind(stronger: WorstCase, weaker: WorstCase) -> bool:
    surplus = int((~stronger.broken).sum()) - int((~weaker.broken).sum())
    return surplus > SLACK_SHARE * len(stronger.broken)


def _changes_nothing(stronger: WorstCase, weaker: WorstCase) -> bool:
    """No fewer survivors, and their losses not higher either: a tiny ball still moves those."""
    left = ~stronger.broken
    if not left.any() or left.sum() < (~weaker.broken).sum():
        return False
    return bool(stronger.loss[left].mean() <= weaker.loss[left].mean() * (1 + 1e-6))
