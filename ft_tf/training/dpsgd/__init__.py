"""DP-SGD: exact per-example clipping at close to the speed of plain SGD.

Pitfalls, each with its remedy:

- Severe: sampling that the accountant does not assume. `fit` on arrays draws Poisson batches;
  `sampling="shuffle"` and a tf.data input are stated as such by `privacy_account`; the batches of
  the latter are counted, and only a sampling that their sizes do not contradict is claimed.
- Severe: a layer that mixes examples. BatchNormalization is rejected, and the first batch is
  checked, of arrays and of a tf.data input.
- Severe: a use of a weight that per-example gradients leave out (a kernel tied by an op, a loss
  that a layer adds). Found before the first step, and rejected.
- Severe: training with one noise and stating another. The settings of the mechanism are read-only.
- Severe: publishing a noise seed. `privacy_account` states that one was used.
- Severe: weights that were trained on the same data before. Every statement of `privacy_account`
  excludes them; `models.with_fresh_weights` draws new ones.
- Severe: noise that is used twice. `fit` draws new noise, or raises, when the steps start again.
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
