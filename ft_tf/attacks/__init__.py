"""Adversarial attacks on Keras classifiers that give logits, and warnings when not to trust them.

`fgsm`, `pgd`, `apgd`, `fab`, `square`, `autoattack` and `transfer` take a model and a data set and
return an `AttackResult`; `evaluate` runs all but the last by name, and `compare` does so on two
models. `kl_attack` is the in-graph attack that TRADES trains on.
"""

from ft_tf.attacks.autoattack import autoattack
from ft_tf.attacks.checks import sanity_checks
from ft_tf.attacks.evaluations import apgd, fgsm, pgd, transfer
from ft_tf.attacks.fab import fab
from ft_tf.attacks.geometry import DISTANCES
from ft_tf.attacks.kl import kl_attack, kl_divergence, start_noise
from ft_tf.attacks.named import ATTACKS, Comparison, compare, evaluate
from ft_tf.attacks.result import AttackResult
from ft_tf.attacks.square import square
from ft_tf.attacks.validation import check_images, check_labels, check_logits_model
from ft_tf.models.usage import reads_models

# Faults that another thread puts into the model meanwhile are refused there, or the attack here.
apgd, autoattack, evaluate, fab, fgsm, pgd, sanity_checks, square, transfer = map(
    reads_models, (apgd, autoattack, evaluate, fab, fgsm, pgd, sanity_checks, square, transfer)
)

__all__ = [
    "ATTACKS",
    "DISTANCES",
    "AttackResult",
    "Comparison",
    "apgd",
    "autoattack",
    "check_images",
    "check_labels",
    "check_logits_model",
    "compare",
    "evaluate",
    "fab",
    "fgsm",
    "kl_attack",
    "kl_divergence",
    "pgd",
    "sanity_checks",
    "square",
    "start_noise",
    "transfer",
]
