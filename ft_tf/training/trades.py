"""TRADES: the trade-off between natural accuracy and robustness, as a Keras training step.

Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy" (ICML 2019),
in the form of the authors' published code.
"""

from typing import Any

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.attacks.geometry import DISTANCES
from ft_tf.attacks.kl import kl_attack, kl_divergence
from ft_tf.errors import ArgumentError
from ft_tf.training.base import ATTACK_STREAM
from ft_tf.training.natural import Augmentation, SupervisedModel
from ft_tf.training.passes import passes_are_pure

_PARTS = ("natural_loss", "kl")


class TradesModel(SupervisedModel):
    """Trains a Keras classifier f by TRADES.

    For each batch:
      1. x' by `attacks.kl_attack`: ascent of KL(softmax f(x) || softmax f(x')) in the ball around
         x, cut with `bounds`; f in inference mode, gradients by x' only, f(x) computed once.
      2. loss = mean CE(f(x), y) + beta * mean KL(softmax f(x) || softmax f(x')), with gradients
         through both arguments of the KL.
      3. an optimizer step on the loss.

    Where no layer depends on its batch or on the mode, f(x) is computed once and serves the attack
    and both terms of the loss. Otherwise (batch normalisation, dropout, layers that are not known)
    the passes are those of the original: f(x) for the first term, f(x'), and f(x) again for the KL,
    each in training mode, in this order. Batch-norm statistics move with each of the three, and
    never with the attack's.

    beta = 0 leaves natural training, with the same randomness: there is no attack. epsilon = 0
    gives x' = x.

    Args:
        model: a Keras 2 classifier that gives logits.
        epsilon: radius of the ball, in units of the inputs.
        step_size: length of a sign step; l_2 takes 2 * epsilon / num_steps instead.
        num_steps: steps of the attack.
        beta: weight of the KL term (1 / lambda in the paper of TRADES).
        distance: "l_inf" or "l_2".
        seed: fixes data order, augmentation and the attack's start.
        bounds: lowest and highest input.
        start_noise: standard deviation of the noise that the attack starts with.
        augmentation: callable(images, seed=...), before the attack.
        weight_decay: added to gradients as weight_decay * w, for every trainable weight.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: not a Keras 2 model, or one that ends in a softmax.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        epsilon: float,
        step_size: float,
        num_steps: int,
        beta: float,
        distance: str = "l_inf",
        seed: int = 0,
        bounds: tuple[float, float] = (0.0, 1.0),
        start_noise: float = 0.001,
        augmentation: Augmentation | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay=weight_decay, augmentation=augmentation, seed=seed)
        checks.check_non_negative(
            epsilon=epsilon, step_size=step_size, beta=beta, start_noise=start_noise
        )
        checks.check_positive_integer(num_steps=num_steps)
        checks.check_choice(DISTANCES, distance=distance)
        low, high = bounds
        checks.check_finite(lower_bound=low, upper_bound=high)
        if low >= high:
            raise ArgumentError(f"bounds={bounds} must be (lowest, highest) input")
        self.epsilon = epsilon
        self.step_size = step_size
        self.num_steps = num_steps
        self.beta = beta
        self.distance = distance
        self.bounds = (low, high)
        self.start_noise = start_noise
        self.natural_loss = keras.metrics.Mean(name="natural_loss")
        self.kl = keras.metrics.Mean(name="kl")

    def attack(self, x: tf.Tensor, natural_logits: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The points x' that step number `step` trains on; a function of (seed, step)."""
        dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
        noise = self.start_noise * tf.random.stateless_normal(
            tf.shape(x), self.stream_seed(ATTACK_STREAM, step), dtype=dtype
        )
        return kl_attack(
            lambda point: self.model(point, training=False),
            x,
            natural_logits,
            epsilon=self.epsilon,
            step_size=self.step_size,
            num_steps=self.num_steps,
            distance=self.distance,
            start_noise=noise,
            bounds=self.bounds,
        )

    def gradient_step(self, x: tf.Tensor, y: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """One TRADES step; gives the natural logits."""
        x = self.augment(x, step)
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            penalties = []
            if self.beta:
                kl = tf.reduce_mean(self._divergence(tape, x, logits, step))
                penalties.append(self.beta * kl)
                self.kl.update_state(kl, sample_weight=tf.shape(x)[0])
            loss = self.penalized_loss(y, logits, penalties)
        natural = loss * tf.distribute.get_strategy().num_replicas_in_sync - sum(penalties)
        self.natural_loss.update_state(natural, sample_weight=tf.shape(x)[0])
        self.update(tape, loss)
        return logits

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """As Keras's; the parts of the training loss are no measure of validation data."""
        results = super().test_step(data)
        return {name: value for name, value in results.items() if name not in _PARTS}

    def _divergence(
        self, tape: tf.GradientTape, x: tf.Tensor, logits: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """KL of each example, float32 at least."""
        dtype = tf.float64 if logits.dtype == tf.float64 else tf.float32
        pure = passes_are_pure(self.model)
        with tape.stop_recording():
            inference = logits if pure else self.model(x, training=False)
            adversarial = self.attack(x, inference, step)
        adversarial_logits = self.model(adversarial, training=True)
        natural_logits = logits if pure else self.model(x, training=True)
        return kl_divergence(tf.cast(natural_logits, dtype), tf.cast(adversarial_logits, dtype))
