"""DP-SGD: exact per-example clipping at close to the speed of plain SGD.

Pitfalls, each with how it is met:

- Severe: sampling that is not what the accountant assumes. `fit` on arrays draws Poisson batches;
  `sampling="shuffle"` and a tf.data input are stated as such by `privacy_account`; the batches of
  the latter are counted, and only what their sizes do not contradict is claimed.
- Severe: a layer that mixes examples. BatchNormalization is refused, and the first batch is tried
  out, of arrays and of a tf.data input.
- Severe: a use of a weight that per-example gradients leave out (a kernel tied by an op, a loss
  that a layer adds). Found before the first step, and refused.
- Severe: training with one noise and stating another. What fixes the mechanism cannot be set.
- Severe: publishing a noise seed. `privacy_account` says when one was used.
- Severe: weights that were trained on the same data before. Every statement of `privacy_account`
  leaves them out; `models.with_fresh_weights` draws new ones.
- Severe: noise that is used twice. `fit` draws anew, or refuses, when the steps start again.
- Moderate: metrics, early stopping and choices made on training data lie outside the guarantee.
- Moderate: dividing by the realised batch size leaks it; the expected one is used.
"""

from ft_tf.privacy import PrivacyEvent
from ft_tf.training.dpsgd.averaging import ExponentialAverage, TailAverage
from ft_tf.training.dpsgd.model import DPSGDModel
from ft_tf.training.dpsgd.rules import (
    PerExampleGradients,
    from_materialized,
    register_rule,
)

__all__ = [
    "DPSGDModel",
    "ExponentialAverage",
    "PerExampleGradients",
    "PrivacyEvent",
    "TailAverage",
    "from_materialized",
    "register_rule",
]
