"""Do the cited script's settings give the paper's CIFAR-10 rows?

Question. Without augmentation, at a constant rate, natural training stays near 58% test accuracy
where the paper prints 86.24%. The paper cites the TRADES authors' script: crops and flips, SGD with
momentum 0.9, weight decay 2e-4, rate drops. Does that recipe give the rows of Tables 4 and 6?

Cells. The paper's CNN from He's initial weights (cifar10_cnn_he), and with batch normalisation
(cifar10_cnn_bn): batches of 128, crops and flips, 40 epochs of the script's 76 for time, the rate
times 0.1 from epoch 30 and again from epoch 36 (three quarters and nine tenths, as the script's 75
and 90 of 100):

    natural           weight decay 2e-4
    tikhonov          weight decay 5e-4, and 1e-3
    trades            8/255, 4/255, 2/255 at beta 6, then at beta 1, weight decay 2e-4

The learning rate is the script's 0.1 with batch normalisation. Without it it is the largest of
0.1, 0.05, 0.02 whose training loss falls over the first two epochs (seed 0, natural): 0.1, with
2.144 and 1.850 after `train --dataset=cifar10 --architecture=cifar10_cnn_he --epochs=2
--learning_rate=0.1 --momentum=0.9 --batch_size=128 --weight_decay=2e-4 --augment --holdout=2000
--precision=mixed_bfloat16 --seed=0 --threads=1`.

Added while seed 0 of that run was at epoch 21 of 40, with 61% training accuracy: a loss that falls
says little about the end, so 0.05 and 0.02 run to the end too with seed 0, and the rate with the
highest accuracy on the held-out images takes all other runs of the plain net: 0.02, with 83.05%
(0.05: 82.55%, 0.1: 79.05%). And, since an epoch of
natural training takes 40 seconds: natural for the script's 76 epochs as well, with drops at the
same shares (57, 68).

All train in mixed_bfloat16, and hold 2,000 training images out, so that TRADES gets natural
partners stopped at equal accuracy.

Seeds. Natural and Tikhonov 0 to 2; TRADES at 8/255 and beta 6 0 and 1; others 0. The nets with
batch normalisation come second: an epoch of theirs takes twice as long.

Primary measure. Training accuracy, test accuracy and gap against Tables 4 and 6, by the rule of
agreement in RULE.md; whether natural reaches 85% test accuracy.

Test. The rule of agreement; claims follow RULE.md.
"""

import dataclasses

from experiments import presets, scales
from experiments.plans.common import EVALUATION
from ft_tf.study.algorithms import Tikhonov, Trades
from ft_tf.study.config import RunConfig

# The first takes all cells and seeds, the others seed 0 of natural alone.
RATES = {"cifar10_cnn_he": (0.02, 0.05, 0.1), "cifar10_cnn_bn": (0.1,)}
EPOCHS, DROPS = 40, ((30, 0.1), (36, 0.1))


def cells() -> list[RunConfig]:
    """Returns the runs of a seed, without batch normalisation first."""
    rows = presets.tables_4_and_6(scales.scale("paper"))
    natural, robust = rows[0], [row for row in rows if isinstance(row.algorithm, Trades)]
    robust.sort(key=lambda row: -row.algorithm.epsilon)
    weak = [
        dataclasses.replace(row, algorithm=dataclasses.replace(row.algorithm, beta=1.0))
        for row in robust
    ]
    found = []
    for architecture, rates in RATES.items():
        found += [_by_recipe(natural, architecture, rate=rate) for rate in rates]
        found.append(
            dataclasses.replace(
                _by_recipe(natural, architecture),
                epochs=76,
                learning_rate_drops=((57, 0.1), (68, 0.1)),
                deviations=(),
            )
        )
        found += [_tikhonov(decay, rows[1], architecture) for decay in (5e-4, 1e-3)]
        found += [_by_recipe(row, architecture) for row in (*robust, *weak)]
    return found


def _tikhonov(decay: float, row: RunConfig, architecture: str) -> RunConfig:
    # The gradient of l2 |w|^2 is 2 l2 w: the penalty is the script's decay.
    row = dataclasses.replace(row, algorithm=Tikhonov(l2=decay / 2))
    return _by_recipe(row, architecture, weight_decay=0.0)


def _by_recipe(
    row: RunConfig, architecture: str, *, rate: float | None = None, weight_decay: float = 2e-4
) -> RunConfig:
    rate = rate or RATES[architecture][0]
    evaluation = dataclasses.replace(
        row.evaluation,
        fault_rates=EVALUATION.fault_rates,
        bit_error_formats=EVALUATION.bit_error_formats,
        curve=not isinstance(row.algorithm, Tikhonov),  # a quarter of an epoch's time
    )
    return dataclasses.replace(
        row,
        architecture=architecture,
        epochs=EPOCHS,
        learning_rate=rate,
        learning_rate_drops=DROPS,
        weight_decay=weight_decay,
        augment=True,
        precision="mixed_bfloat16",
        holdout=2000,
        evaluation=evaluation,
        label="cifar10_recipe" + ("" if rate == 0.1 else f"-rate_{rate:g}"),
        deviations=(f"epochs {EPOCHS} of 76",),
    )
