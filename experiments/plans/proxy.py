"""Is the generalization error a proxy for fault tolerance?

Question. The paper reads fault tolerance off the gap between training and test accuracy. Over
networks that differ in how they were trained, does a smaller gap go with fewer points lost under
faults, and does another number that needs no faults tell more?

Cells. Dense networks with two hidden layers on Fashion-MNIST, SGD, 20 epochs: learning rate 0.05,
0.15, 0.4 x batch size 64, 250, 1000 x l2 0, 1e-4, 1e-3 x dropout 0, 0.5 x width 256, 512: 108
configurations. Each is read twice: stopped when it first has 88% training accuracy (on the first
10,000 training images, 60 epochs at most), which holds training accuracy constant; and at its end.

Seeds. 0; then 1 as time allows.

Outcomes. Points of accuracy lost at 1% and 10% stuck-at-0 weights, 10% units, int8 bit errors at
1e-3 and float32 bit errors at 1e-5, five fault sets each on all test images.

Predictors. The gap; test accuracy; training and test loss; standard deviation of the parameters;
mean over kernels of the largest weight; path norm; 10% quantile of the training margins;
sharpness; accuracy under PGD-20 at 0.02 on 1,000 images; the first-order prediction at 10%.

Primary measure. Granulated Kendall's tau (Jiang et al. 2020) of the gap against points lost at 10%
stuck-at-0 weights, at the end of training: the mean over the five axes of the mean tau within
configurations that differ on that axis alone. 95% interval by resampling configurations, with all
their seeds and readings (2,000 draws, seed 0).

Secondary. The same at equal training accuracy (the stopped reading); every predictor and outcome;
the best predictor of each outcome, with Bonferroni's interval over the eleven predictors.

Test. The gap is a proxy if the interval of its tau lies above 0, and a useful one if the tau is at
least 0.5. A predictor beats it if the interval of the difference of their |tau| lies above 0.

A training that fails or does not reach 88% is named in the note and left out of that reading.
"""

import dataclasses
import itertools

from experiments.plans.common import EVALUATION, run
from ft_tf.study.algorithms import Natural, Tikhonov
from ft_tf.study.config import RunConfig

RATES, BATCH_SIZES, L2 = (0.05, 0.15, 0.4), (64, 250, 1000), (0.0, 1e-4, 1e-3)
DROPOUTS, WIDTHS = (0.0, 0.5), (256, 512)
_NETWORKS = {256: "fmnist_dnn_256", 512: "fmnist_dnn"}
_EVALUATION = dataclasses.replace(
    EVALUATION,
    fault_rates=(0.0, 0.01, 0.1),
    bit_error_formats=("int8_per_channel", "float32"),
    bit_error_rates=(1e-5, 1e-3),
    attacks=("pgd",),
    attack_epsilon=0.02,
    attack_sanity=False,
    membership=False,
    predictors=True,
)


def cells() -> list[RunConfig]:
    """Returns the runs of a seed: of each configuration the stopped one and the whole one."""
    found = []
    for rate, batch_size, l2, dropout, width in itertools.product(
        RATES, BATCH_SIZES, L2, DROPOUTS, WIDTHS
    ):
        name = f"rate_{rate:g}-batch_{batch_size}-l2_{l2:g}-dropout_{dropout:g}-width_{width}"
        for reading, epochs, stop in (("stopped", 60, 0.88), ("end", 20, 0.0)):
            found.append(
                run(
                    "proxy",
                    f"{reading}-{name}",
                    _NETWORKS[width],
                    Tikhonov(l2=l2) if l2 else Natural(),
                    epochs,
                    batch_size=batch_size,
                    learning_rate=rate,
                    dropout=dropout,
                    stop_at_train_accuracy=stop,
                    evaluation=_EVALUATION,
                )
            )
    return found
