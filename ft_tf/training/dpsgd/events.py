"""What was executed, in the terms that an accountant needs."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PrivacyEvent:
    """A run of steps of one mechanism.

    Attributes:
        noise_multiplier: sigma: the noise's standard deviation over the clip norm; 0: not private.
        sampling: "poisson", "shuffle", or "unknown" for a tf.data input of unstated sampling.
        num_examples: examples that were drawn from, or None where that is not known.
        batch_size: expected batch size, by which the noisy sum was divided.
        steps: steps that were executed, also those lost to an interruption.
        seeded: whether a noise seed fixed noise and sampling; the guarantee then holds only while
            the seed is secret.
    """

    noise_multiplier: float
    sampling: str
    num_examples: int | None
    batch_size: int
    steps: int
    seeded: bool

    @property
    def accounted(self) -> bool:
        """Whether an accountant has what it needs."""
        return self.num_examples is not None and self.sampling != "unknown"

    @property
    def sampling_probability(self) -> float | None:
        """Expected batch size over number of examples, or None where that is not known."""
        return self.batch_size / self.num_examples if self.accounted else None
