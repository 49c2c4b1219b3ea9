"""TRADES (equation 6)."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from ft_tf import checks
from ft_tf.study.algorithms.base import Algorithm, register, shared_arguments

if TYPE_CHECKING:
    from ft_tf._compat import keras
    from ft_tf.study.config import RunConfig
    from ft_tf.training.trades import TradesModel


@register
@dataclasses.dataclass(frozen=True)
class Trades(Algorithm):
    """TRADES: cross-entropy plus beta times the KL term on attacked inputs.

    Attributes:
        epsilon: radius of the ball, in pixels of [0, 1].
        step_size: length of one attack step (l_inf only; l_2 steps 2 epsilon / num_steps).
        num_steps: attack steps.
        beta: weight of the KL term: more is more robust, and less accurate.
        distance: the ball's norm, l_inf or l_2.
        normalized_example: attack in the normalised space of the TRADES authors' MNIST example;
            epsilon and step_size are in that space's units (0.1 is 0.031 in pixels).
    """

    name: ClassVar[str] = "trades"
    label: ClassVar[str] = "TRADES"
    family: ClassVar[str] = "robust"
    epsilon: checks.Amount = 0.1
    step_size: checks.Amount = 0.02
    num_steps: checks.Positive = 10
    beta: checks.Amount = 1.0
    distance: Annotated[str, partial(checks.check_choice, ("l_inf", "l_2"))] = "l_inf"
    normalized_example: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalized_example:
            checks.check_radius(distance=self.distance, epsilon=self.epsilon)

    @property
    def tag(self) -> str:
        """Radius and beta."""
        space = "-normalized" if self.normalized_example else ""
        return f"-epsilon_{self.epsilon:.4g}-beta_{self.beta:g}{space}"

    @property
    def settings(self) -> tuple[str, ...]:
        """Radius, beta, steps, and the norm if it is not l_inf."""
        space = " in normalised space" if self.normalized_example else ""
        return (
            f"epsilon {radius(self.epsilon)}{space}",
            f"beta {self.beta:g}",
            f"{self.num_steps} steps of {self.step_size:.4g}",
            *([self.distance] if self.distance != "l_inf" else []),
        )

    @property
    def attack_radius(self) -> float:
        """Its own radius if that is in pixels, else 0.1."""
        return 0.1 if self.normalized_example else self.epsilon

    @property
    def normalization(self) -> tuple[float, float] | None:
        """That of the authors' example, where it is followed."""
        from ft_tf.training.trades import MNIST_NORMALIZATION

        return MNIST_NORMALIZATION if self.normalized_example else None

    def passes(self, *, classes: int) -> float:
        """With two passes for every attack step."""
        return 7.0 + 2.0 * self.num_steps

    def build(self, model: keras.Model, config: RunConfig) -> TradesModel:
        from ft_tf.training import trades

        arguments = dataclasses.asdict(self)
        if arguments.pop("normalized_example"):
            _, std = trades.MNIST_NORMALIZATION
            lengths = {"epsilon": self.epsilon * std, "step_size": self.step_size * std}
            arguments = trades.normalized_mnist_example() | arguments | lengths
        return trades.TradesModel(model, **arguments, **shared_arguments(config))


def radius(epsilon: float) -> str:
    """Formats the radius of a ball, in 255ths where it is a whole number of them.

    >>> radius(8 / 255), radius(0.1), radius(0.031)
    ('8/255', '0.1', '0.031')
    """
    steps = 255 * epsilon
    is_whole = abs(steps - round(steps)) < 1e-9 and round(steps) > 0
    return f"{round(steps)}/255" if is_whole else f"{epsilon:.4g}"
