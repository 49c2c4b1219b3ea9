"""Adversarial attacks on Keras classifiers that give logits."""

from ft_tf.attacks.kl import kl_attack, kl_divergence, start_noise

__all__ = ["kl_attack", "kl_divergence", "start_noise"]
