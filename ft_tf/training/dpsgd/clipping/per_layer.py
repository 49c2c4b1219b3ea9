"""Per-layer clipping (McMahan et al. 2018, "Learning differentially private recurrent models")."""

import dataclasses
import math
from typing import ClassVar

from ft_tf._compat import tf
from ft_tf.training.dpsgd.clipping.base import ClipNorm, Clipping, Norms


@dataclasses.dataclass(frozen=True)
class PerLayerClipping(Clipping):
    """Clips the gradient of each of the m layers with trained weights to C / sqrt(m).

    The whole gradient is then at most C, and a layer of large gradients does not shrink those of
    the others.
    """

    name: ClassVar[str] = "per_layer"

    def scales(self, norms: tf.Tensor, squared_norms: Norms, clip_norm: ClipNorm) -> Norms:
        """Returns (C / sqrt(m)) / max(|g_il|, C / sqrt(m)) for each layer l."""
        share = clip_norm / math.sqrt(len(squared_norms))
        return [share / tf.maximum(tf.sqrt(squared), share) for squared in squared_norms]
