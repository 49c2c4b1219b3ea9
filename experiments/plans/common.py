"""What the runs of all plans share."""

import dataclasses

from ft_tf.study.algorithms import DPSGD, Algorithm
from ft_tf.study.config import Evaluation, RunConfig

EVALUATION = Evaluation(
    fault_rates=(0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    bit_error_formats=("int8_per_channel", "float32", "bfloat16"),
    attacks=("autoattack",),
    attack_epsilon=0.1,
    membership=True,
)
"""Points lost at 0.1, 1 and 10% stuck weights and units, bit errors in three formats, AutoAttack on
1,000 images at the paper's radius (as the TRADES authors' MNIST example has it), membership."""

NOISE_MULTIPLIERS = {"0.49": 5.0, "2.97": 1.1, "24.66": 0.5, "2e6": 0.05}
"""The paper's four, by the epsilon that it prints; their PLD epsilons are 0.346, 2.350, 20.89 and,
for the last, none that means anything."""


def run(
    plan: str, name: str, architecture: str, algorithm: Algorithm, epochs: int, **settings: object
) -> RunConfig:
    """A run of a plan on Fashion-MNIST; the plan and `name` tell it from others."""
    return RunConfig(
        dataset="fashion_mnist",
        architecture=architecture,
        algorithm=algorithm,
        epochs=epochs,
        label=f"{plan}-{name}",
        **settings,
    )


def dp_run(name: str, noise_multiplier: float, **settings: object) -> RunConfig:
    """A DP-SGD run of the DNN with the tutorial's values, but for `settings`.

    SGD, learning rate 0.15, l2_norm_clip 1, batches of 250, 60 epochs: the TF Privacy tutorial
    whose epsilons the paper prints. Keys of the algorithm go to it, all others to the run.
    """
    own = {field.name for field in dataclasses.fields(DPSGD)}
    algorithm = {key: value for key, value in settings.items() if key in own}
    rest = {key: value for key, value in settings.items() if key not in own}
    algorithm.setdefault("averaging", "tail")
    defaults = {
        "dataset": "fashion_mnist",
        "architecture": "fmnist_dnn",
        "epochs": 60,
        "batch_size": 250,
        "learning_rate": 0.15,
        "evaluation": EVALUATION,
        "label": name,
    }
    return RunConfig(
        algorithm=DPSGD(noise_multiplier=noise_multiplier, noise_seed=0, **algorithm),
        **defaults | rest,
    )
