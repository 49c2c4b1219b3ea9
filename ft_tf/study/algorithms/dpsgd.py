"""DP-SGD (the paper's Algorithm 2)."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ft_tf import checks, privacy
from ft_tf.errors import ArgumentError
from ft_tf.study.algorithms.base import ADDED, Algorithm, register

if TYPE_CHECKING:
    from ft_tf._compat import keras
    from ft_tf.study.config import RunConfig
    from ft_tf.training.dpsgd import DPSGDModel

UNCLIPPED = 1e6
"""From this clip norm on no gradient is clipped; the noise's deviation is what matters."""


@register
@dataclasses.dataclass(frozen=True)
class DPSGD(Algorithm):
    """DP-SGD: per-example clipping and Gaussian noise.

    Attributes:
        l2_norm_clip: greatest l2 norm of one example's gradient.
        noise_multiplier: standard deviation of the noise over l2_norm_clip: more is more private.
            compute_epsilon --target_epsilon finds the one for a budget.
        sampling: poisson, as accountants assume; or shuffle, the usual practice, with a larger
            epsilon.
        noise_seed: fixes batches and noise, for replication only: the record publishes it, so that
            its readers are promised nothing. None draws a secret.
        engine: fast, or reference (TF Privacy's DPKerasSGDOptimizer).
        delta: delta at which epsilon is stated, well below one over the number of images.
        averaging: also evaluate an average of the iterates, at the same epsilon: tail (of the
            second half of the steps), exponential, or none.
        clipping: flat; per_layer; automatic (AUTO-S); or adaptive, where the clip norm begins at
            l2_norm_clip and follows the median norm.
    """

    name: ClassVar[str] = "dpsgd"
    label: ClassVar[str] = "DP-SGD"
    family: ClassVar[str] = "private"
    l2_norm_clip: checks.AboveZero = 1.0
    noise_multiplier: checks.Amount = 1.1
    sampling: Annotated[str, partial(checks.check_choice, ("poisson", "shuffle"))] = "poisson"
    noise_seed: checks.Count | None = None
    engine: str = "fast"
    delta: Annotated[float, checks.check_probability] = 1e-5
    averaging: Annotated[str, partial(checks.check_choice, ("none", "tail", "exponential"))] = (
        dataclasses.field(default="none", metadata=ADDED)
    )
    clipping: Annotated[str, partial(checks.check_choice, tuple(privacy.CLIPPING_RULES))] = (
        dataclasses.field(default="flat", metadata=ADDED)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        privacy.check_engine(
            self.engine,
            clipping=self.clipping,
            sampling=self.sampling,
            noise_seed=self.noise_seed if self.noise_multiplier else None,
        )

    @property
    def tag(self) -> str:
        """Noise multiplier, clip norm, and the clipping rule if it is another than flat."""
        engine = "-reference" if self.engine == "reference" else ""
        shuffle = "-shuffle" if self.sampling == "shuffle" else ""
        rule = "" if self.clipping == "flat" else f"-{self.clipping}"
        return f"-sigma_{self.noise_multiplier:g}-clip_{self.l2_norm_clip:g}{rule}{shuffle}{engine}"

    @property
    def settings(self) -> tuple[str, ...]:
        """Noise and clip norm, or which of them acts alone; sampling and engine if unusual."""
        sigma, clip = self.noise_multiplier, self.l2_norm_clip
        if not sigma:
            found = [f"clipping only, clip {clip:g}"]
        elif clip >= UNCLIPPED:
            found = [f"noise only, deviation {sigma * clip:g}"]
        else:
            found = [f"noise multiplier {sigma:g}", f"clip {clip:g}"]
        found += [f"{self.clipping.replace('_', '-')} clipping"] * (self.clipping != "flat")
        found += ["shuffled batches"] * (self.sampling == "shuffle")
        return (*found, *["reference engine"] * (self.engine == "reference"))

    @property
    def has_secret_noise(self) -> bool:
        return self.noise_seed is None

    def passes(self, *, classes: int) -> float:
        """With half as much again for the norms of the gradients."""
        return 3.0 * 1.5

    def with_seed(self, seed: int) -> DPSGD:
        """Returns the same with that noise seed, unless the noise is secret."""
        return self if self.has_secret_noise else dataclasses.replace(self, noise_seed=seed)

    def check(self, config: RunConfig) -> None:
        """Refuses what would need other gradients than those of single examples."""
        for name in ("fault_aware_rate", "augment"):
            value = getattr(config, name)
            if value:
                raise ArgumentError(f"{name}={value!r} cannot be used with algorithm='dpsgd'")
        privacy.check_engine(
            self.engine, weight_decay=config.weight_decay, optimizer=config.optimizer
        )

    def check_strategy(self, strategy: str) -> None:
        """Refuses several processes, and the reference engine on several devices."""
        privacy.check_engine(self.engine, sampling=self.sampling, strategy=strategy)

    def check_packages(self) -> None:
        """The reference engine needs tensorflow-privacy."""
        if self.engine == "reference":
            from ft_tf._compat import require_tensorflow_privacy

            require_tensorflow_privacy()

    def build(self, model: keras.Model, config: RunConfig) -> DPSGDModel:
        from ft_tf.training.dpsgd import DPSGDModel, ExponentialAverage, TailAverage

        arguments = dataclasses.asdict(self)
        del arguments["delta"]
        averages = {"none": None, "tail": TailAverage(), "exponential": ExponentialAverage()}
        arguments["averaging"] = averages[self.averaging]
        return DPSGDModel(model, **arguments, weight_decay=config.weight_decay, seed=config.seed)

    def averaged_model(self, trainer: DPSGDModel) -> keras.Model | None:
        return None if self.averaging == "none" else trainer.averaged_model()

    def privacy(
        self, config: RunConfig, *, examples: int, steps: int, epochs_started: int
    ) -> dict[str, Any]:
        """States the guarantee for all steps that were executed.

        Unless the noise is seeded, a repeated step is a new release: every epoch that began and is
        not part of the final training counts with all its steps, as it is not known how far it
        came.
        """
        per_pass = privacy.steps_per_pass(examples, config.batch_size, sampling=self.sampling)
        passes = max(1, math.ceil(steps / per_pass))
        if self.has_secret_noise:
            lost = max(0, epochs_started - passes)
            steps, passes = steps + lost * per_pass, passes + lost
        cost = privacy.privacy_cost(
            noise_multiplier=self.noise_multiplier,
            sampling_probability=config.batch_size / examples,
            steps=steps,
            delta=self.delta,
            passes=passes if self.sampling == "shuffle" else None,
            examples=examples,
        )
        return privacy.to_record(
            cost,
            sampling=self.sampling,
            noise_seed=self.noise_seed,
            seed_is_published=True,  # the record's config holds it
            engine=self.engine,
            clipping=(self.clipping,),
            fresh_weights=True,  # every model is built new, and restores its own checkpoints only
        )


def epsilon_text(value: float) -> str:
    """Formats an epsilon with three digits, or whole from 1000 on.

    >>> epsilon_text(0.34551), epsilon_text(18615.2)
    ('0.346', '18,615')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
