"""What an attack found."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from ft_tf import records
from ft_tf.attacks.checks import outcome_warnings
from ft_tf.attacks.search import Problem, WorstCase
from ft_tf.intervals import Interval, proportion


@dataclasses.dataclass(frozen=True, eq=False)
class AttackResult:
    """An attack's outcome on a data set; accuracies are fractions in [0, 1].

    Attributes:
        attack: name of the attack.
        adversarial: for each example the worst point found, float32 [n, ...].
        success: bool [n]: the classifier is wrong, on x itself or on a point of the ball.
        clean_accuracy: share of examples that are right on x.
        robust_accuracy: share that survived x and every try.
        clean: 95% interval of the clean accuracy (test images are what is replicated).
        robust: 95% interval of the robust accuracy.
        parameters: all that is needed to run the attack again, for a JSON record.
        warnings: why the result may not be trusted, one line each.
    """

    attack: str
    adversarial: npt.NDArray[np.float32]
    success: npt.NDArray[np.bool_]
    clean_accuracy: float
    robust_accuracy: float
    clean: Interval
    robust: Interval
    parameters: dict[str, Any]
    warnings: tuple[str, ...]

    def to_record(self) -> records.Attack:
        """Returns the outcome as records have it."""
        return records.Attack(
            attack=self.attack,
            epsilon=self.parameters["epsilon"],
            steps=self.parameters.get("num_steps", 1),
            images=len(self.success),
            clean_accuracy=self.clean_accuracy,
            clean_interval=(self.clean.low, self.clean.high),
            robust_accuracy=self.robust_accuracy,
            robust_interval=(self.robust.low, self.robust.high),
            parameters=self.parameters,
            warnings=tuple(self.warnings),
        )


def result_of(attack: str, problem: Problem, worst: WorstCase, **parameters: Any) -> AttackResult:
    """The result of an attack whose outcome is in `worst`, with all parameters recorded."""
    examples = len(problem.x)
    right, robust = int((~problem.misclassified).sum()), int((~worst.broken).sum())
    used = {
        "attack": attack,
        "epsilon": problem.epsilon,
        "distance": problem.distance,
        "bounds": list(problem.bounds),
        "seed": problem.seed,
        "batch_size": problem.batch_size,
        "examples": examples,
    }
    return AttackResult(
        attack=attack,
        adversarial=worst.point,
        success=worst.broken,
        clean_accuracy=right / examples,
        robust_accuracy=robust / examples,
        clean=proportion(successes=right, trials=examples),
        robust=proportion(successes=robust, trials=examples),
        parameters=used | parameters,
        warnings=outcome_warnings(problem, worst),
    )
