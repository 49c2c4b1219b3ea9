"""What fixes the mechanism of a DPSGDModel: settled when it is made, and never changed.

A compiled step holds the values that it was traced with, and an event states those of the model:
were they changed in between, the epsilon would be that of a training that never ran.
"""

import dataclasses

from ft_tf import checks, privacy
from ft_tf.training.dpsgd.sampling import Layout

DEFAULT_PHYSICAL_BATCH_SIZE = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `DPSGDModel` that its steps and its events rest on.

    Raises:
        ArgumentError: an argument cannot be used.
    """

    l2_norm_clip: float
    noise_multiplier: float
    sampling: str
    engine: str
    weight_decay: float
    physical_batch_size: int | None = None  # None: the default

    def __post_init__(self) -> None:
        checks.check_positive(l2_norm_clip=self.l2_norm_clip)
        checks.check_non_negative(
            noise_multiplier=self.noise_multiplier, weight_decay=self.weight_decay
        )
        checks.check_choice(("poisson", "shuffle"), sampling=self.sampling)
        if self.physical_batch_size is None:
            object.__setattr__(self, "physical_batch_size", DEFAULT_PHYSICAL_BATCH_SIZE)
        checks.check_positive_integer(physical_batch_size=self.physical_batch_size)
        for name in ("l2_norm_clip", "noise_multiplier", "weight_decay"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def check_engine(self, *, noise_seed: int | None) -> None:
        """Refuses what the chosen engine cannot do.

        Raises:
            ArgumentError: names it.
        """
        privacy.check_engine(
            self.engine,
            sampling=self.sampling,
            noise_seed=noise_seed if self.noise_multiplier else None,
            weight_decay=self.weight_decay,
        )

    def layout(self, batch_size: int) -> Layout:
        """How batches of this expected size, drawn from arrays, lie in memory."""
        if self.engine == "reference":
            return Layout(bucket=1, largest_piece=batch_size)  # it takes a batch as a whole
        if self.sampling == "shuffle" and batch_size <= self.physical_batch_size:
            return Layout(bucket=1, largest_piece=self.physical_batch_size)
        bucket = min(max(1, batch_size // 16), 16, self.physical_batch_size)
        return Layout(bucket=bucket, largest_piece=self.physical_batch_size)
