"""Does epsilon say anything about fault tolerance beyond the noise's random walk?

Question. The noise of DP-SGD leaves every weight on a random walk of deviation
s = lr sigma C sqrt(T) / L (rate, noise multiplier, clip norm, steps, expected batch size). The
paper ties fault tolerance to epsilon. In a path over noise multipliers alone the two move
together; here batch size, steps and noise multiplier take s and epsilon apart.

Cells. The DNN on Fashion-MNIST, learning rate 0.15, clip norm 1, DP-SGD with s of about 0.01, 0.02,
0.04, 0.08, 0.16 and 0.32 at the PLD epsilons 0.5, 3 and 8: 18 cells. The noise multipliers are
those of `compute_epsilon --target_epsilon` for the batch size and the epochs of each cell, chosen
for a short training; s is within 6% of its level, and the analysis takes its own value.

Control without training. Natural networks stopped at 80% on 5,000 held-out training images, with
N(0, s^2) added to every weight, at the same six levels of s: what the walk alone does to weights
that were not trained under it. It has no epsilon and no part in the fit.

Seeds. 0, 1, 2, for initial weights, batches, noise and faults; seed by seed.

Primary measure. Points of accuracy lost at 10% stuck-at-0 weights. Of its sum of squares over all
runs, the share that epsilon (3 levels) explains beyond log s (linear and quadratic), and the share
that log s explains beyond epsilon: partial R^2, with 95% intervals by resampling cells (2,000
draws, seed 0). Beside it: 10% units, and test accuracy as a further term.

Test. F test of epsilon beyond log s on the 18 means over seeds, level 0.05.

Prediction. Epsilon explains less than a tenth of what log s leaves; log s explains more than half
of what epsilon leaves.

A run whose test accuracy is below 50% is shown and left out of the fit: little is left to lose.
"""

import dataclasses

from experiments.plans.common import EVALUATION, dp_run, run
from ft_tf.study.algorithms import Natural
from ft_tf.study.config import RunConfig

BATCH_EPOCHS_SIGMA = {
    (0.5, 0.01): (1000, 9, 2.8819),
    (0.5, 0.02): (500, 9, 2.0974),
    (0.5, 0.04): (250, 8, 1.4925),
    (0.5, 0.08): (250, 17, 2.0220),
    (0.5, 0.16): (250, 36, 2.8302),
    (0.5, 0.32): (64, 15, 1.1245),
    (3, 0.01): (500, 14, 0.8265),
    (3, 0.02): (250, 10, 0.6911),
    (3, 0.04): (125, 7, 0.6086),
    (3, 0.08): (64, 4, 0.5472),
    (3, 0.16): (64, 14, 0.5905),
    (3, 0.32): (32, 9, 0.5341),
    (8, 0.01): (500, 24, 0.6406),
    (8, 0.02): (250, 16, 0.5487),
    (8, 0.04): (125, 10, 0.4835),
    (8, 0.08): (64, 7, 0.4407),
    (8, 0.16): (64, 22, 0.4834),
    (8, 0.32): (32, 13, 0.4344),
}
"""(epsilon, level of s) -> expected batch size, epochs, noise multiplier."""
_EVALUATION = dataclasses.replace(
    EVALUATION,
    fault_rates=(0.0, 0.01, 0.1),
    bit_error_formats=("int8_per_channel",),
    bit_error_rates=(1e-3,),
    attacks=(),
    membership=False,
)


def control(level: float) -> RunConfig:
    """Returns the control at a level of s."""
    return run(
        "walk",
        f"control-s_{level:g}",
        "fmnist_dnn",
        Natural(),
        20,
        holdout=5000,
        stop_at_holdout_accuracy=0.8,
        weight_noise=level,
        evaluation=_EVALUATION,
    )


def cells() -> list[RunConfig]:
    """Returns the runs of a seed, from the shortest walk to the longest, then the control."""
    ordered = sorted(BATCH_EPOCHS_SIGMA.items(), key=lambda item: (item[0][1], item[0][0]))
    return [
        dp_run(
            f"walk-epsilon_{epsilon:g}-s_{level:g}",
            sigma,
            batch_size=batch_size,
            epochs=epochs,
            averaging="none",
            evaluation=_EVALUATION,
        )
        for (epsilon, level), (batch_size, epochs, sigma) in ordered
    ] + [control(level) for level in sorted({level for _, level in BATCH_EPOCHS_SIGMA})]
