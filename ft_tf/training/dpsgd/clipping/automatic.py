"""Automatic clipping, AUTO-S (Bu et al. 2022, "Automatic clipping")."""

import dataclasses
from typing import ClassVar

from ft_tf import checks
from ft_tf._compat import tf
from ft_tf.training.dpsgd.clipping.base import ClipNorm, Clipping, Norms


@dataclasses.dataclass(frozen=True)
class AutomaticClipping(Clipping):
    """Scales every gradient: C g_i / (|g_i| + gamma), which is always below C.

    C only scales the update together with the noise, so with plain SGD it can stay 1 and the
    learning rate is what remains to be chosen.

    Attributes:
        gamma: > 0; gradients well below it keep their relative lengths.
    """

    gamma: float = 0.01
    name: ClassVar[str] = "automatic"

    def __post_init__(self) -> None:
        checks.check_positive(gamma=self.gamma)

    def scales(self, norms: tf.Tensor, squared_norms: Norms, clip_norm: ClipNorm) -> Norms:
        """Returns C / (|g_i| + gamma) for all layers."""
        return [clip_norm / (norms + self.gamma)] * len(squared_norms)
