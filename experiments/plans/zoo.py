"""The networks that come with the package (`ft_tf.models.zoo`).

No question is asked of these runs and no claim rests on them: examples need trained networks that
load in a second. One of each training that the paper compares, on the DNN and on CNN 1. SGD with a
rate of 0.05, momentum 0.9 and batches of 128 (DP-SGD: the tutorial's values); TRADES with the
paper's ball; few epochs, chosen for time: DNN 40 (TRADES 15), CNN 1 12 (TRADES 6).
"faults" has 30% of its units stuck at 0 in training, other ones at each step.
DP-SGD runs keep the average of the second half of their iterates; the DNN's comes with last weights
and averaged ones, CNN 1's with averaged ones.

Seed. 0. `python -m experiments.store_zoo` takes the weights from the runs.
"""

import functools

from experiments.plans.common import run
from ft_tf.study.algorithms import DPSGD, Natural, Trades
from ft_tf.study.config import Evaluation, RunConfig

_run = functools.partial(
    run, "zoo", evaluation=Evaluation(fault_rates=(0.0, 0.1, 0.5), fault_trials=5)
)


def cells() -> list[RunConfig]:
    """Returns the seven trainings."""
    trades = Trades(epsilon=0.1, step_size=0.02, num_steps=10, beta=1.0)
    private = DPSGD(noise_multiplier=1.1, noise_seed=0, averaging="tail")
    private_settings = {"batch_size": 250, "learning_rate": 0.15}
    settings = {"batch_size": 128, "learning_rate": 0.05, "momentum": 0.9}
    return [
        _run("natural", "fmnist_dnn", Natural(), 40, **settings),
        _run("dpsgd", "fmnist_dnn", private, 40, **private_settings),
        _run("faults", "fmnist_dnn", Natural(), 40, fault_aware_rate=0.3, **settings),
        _run("natural", "fmnist_cnn_1", Natural(), 12, **settings),
        _run("dpsgd", "fmnist_cnn_1", private, 12, **private_settings),
        _run("trades", "fmnist_dnn", trades, 15, **settings),
        _run("trades", "fmnist_cnn_1", trades, 6, **settings),
    ]
