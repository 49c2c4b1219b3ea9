"""What a trainer has executed, and whose noise it has given out."""

from ft_tf.errors import ArgumentError
from ft_tf.privacy import PrivacyEvent


class Ledger:
    """The steps of one trainer, fit by fit.

    Attributes:
        events: what was executed.
    """

    def __init__(self) -> None:
        self.events: list[PrivacyEvent] = []
        self._next_step = 0  # the first one whose noise has not been given out

    def needs_new_noise(self, first_step: int, *, seeded: bool) -> bool:
        """Whether steps from `first_step` on ran before.

        Noise is a function of the step: given out again, it would cancel in a difference.

        Raises:
            ArgumentError: they did, and a seed fixes the noise.
        """
        if first_step >= self._next_step:
            return False
        if seeded:
            raise ArgumentError(
                f"noise_seed has given out the noise of the steps below {self._next_step}, and the "
                f"optimizer is at step {first_step} again: keep the optimizer, or train with a "
                "new DPSGDModel"
            )
        self._next_step = 0
        return True

    def note(self, first_step: int, event: PrivacyEvent) -> None:
        """Writes down steps that ran from `first_step` on, if any."""
        if event.steps > 0:
            self._next_step = first_step + event.steps
            self.events.append(event)
