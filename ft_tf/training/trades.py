"""TRADES: the trade-off between natural accuracy and robustness, as a Keras training step.

Zhang et al., "Theoretically Principled Trade-off between Robustness and Accuracy" (ICML 2019),
in the form of the authors' published code.
"""

from typing import Any

import numpy as np

from ft_tf import checks
from ft_tf._compat import keras, tf
from ft_tf.attacks.geometry import DISTANCES
from ft_tf.attacks.input_gradients import inference_pass
from ft_tf.attacks.kl import START_NOISE_STDDEV, kl_attack, kl_divergence
from ft_tf.attacks.precision import float32_pass
from ft_tf.attacks.validation import (
    check_bounds,
    check_images,
    check_labels,
    check_logits_model,
)
from ft_tf.keras_layers import facts_of
from ft_tf.keras_layers.graph import functional_of
from ft_tf.training.base import ATTACK_STREAM
from ft_tf.training.batch_values import require_within
from ft_tf.training.natural import Augmentation, SupervisedModel

_PARTS = ("natural_loss", "kl")


MNIST_NORMALIZATION = (0.1307, 0.3081)
"""(mean, std) of the TRADES authors' MNIST example, whose network sees z = (x - mean) / std."""


def normalized_mnist_example() -> dict[str, Any]:
    """Returns the arguments of `TradesModel` for the TRADES authors' MNIST example, in pixels x.

    The example feeds z = (x - 0.1307) / 0.3081 to the network and runs the attack on z: epsilon
    0.1, 10 steps of 0.02, start noise 0.001, z' clamped to [0, 1]; beta is 1. With
    x = 0.1307 + 0.3081 z, lengths in pixels are 0.3081 times those in z, and the clamp is
    x' in [0.1307, 0.4388]. A pixel outside this box (most are: 0 is z = -0.42, 1 is z = 2.82) is
    moved to its edge, out of its own ball. The clean inputs stay outside, so the check that inputs
    lie within the bounds is off. Published for l_inf only.

    >>> example = normalized_mnist_example()
    >>> print(f"{example['epsilon']:.4f} {example['bounds'][1]:.4f}")
    0.0308 0.4388
    """
    mean, std = MNIST_NORMALIZATION
    return {
        "epsilon": 0.1 * std,
        "step_size": 0.02 * std,
        "num_steps": 10,
        "beta": 1.0,
        "start_noise": START_NOISE_STDDEV * std,
        "bounds": (mean, mean + std),
        "inputs_within_bounds": False,
    }


class TradesModel(SupervisedModel):
    """Trains a Keras classifier f by TRADES.

    For each batch:
      1. x' by `attacks.kl_attack`: ascent of KL(softmax f(x) || softmax f(x')) in the ball around
         x, cut with `bounds`; f in inference mode, gradients by x' only, f(x) computed once.
      2. loss = mean CE(f(x), y) + beta * mean KL(softmax f(x) || softmax f(x')), with gradients
         through both arguments of the KL; plus the regularisers of the model's layers, those on
         activations as they are in the pass of f(x) for the first term.
      3. an optimizer step on the loss.

    If no layer depends on its batch or on the mode, f(x) is computed once for the attack and both
    terms of the loss. Otherwise (batch normalisation, dropout, unknown layers) the passes are those
    of the original: the attack first, then f(x) for the first term, f(x'), and f(x) again for the
    KL, each of the three in training mode. Batch-norm statistics are updated by each of the three,
    and never by the attack.

    In mixed precision the attack's first gradient is computed in float32: in low precision it is
    mere rounding (see `attacks.precision`).

    beta = 0 leaves natural training, with the same randomness: there is no attack. epsilon = 0
    gives x' = x.

    Args:
        model: a Keras classifier that gives logits.
        epsilon: radius of the ball, in units of the inputs.
        step_size: length of a sign step; l_2 takes 2 * epsilon / num_steps instead.
        num_steps: steps of the attack.
        beta: weight of the KL term (1 / lambda in the paper of TRADES).
        distance: "l_inf" or "l_2".
        seed: fixes data order, augmentation and the attack's start.
        bounds: lowest and highest input.
        inputs_within_bounds: whether `fit` rejects arrays with images outside the bounds. If not,
            the attack clamps them to the box, even out of their ball.
        start_noise: standard deviation of the noise that the attack starts with.
        augmentation: callable(images, seed=...), before the attack.
        weight_decay: added to gradients as weight_decay * w, for every trainable weight.

    Raises:
        ArgumentError: an argument is out of range.
        ModelError: not a Keras 3 model, or one that ends in a softmax.
    """

    fixed = SupervisedModel.fixed | {
        "epsilon", "step_size", "num_steps", "beta", "distance", "bounds", "start_noise",
    }  # fmt: skip

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
        inputs_within_bounds: bool = True,
        start_noise: float = START_NOISE_STDDEV,
        augmentation: Augmentation | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay=weight_decay, augmentation=augmentation, seed=seed)
        checks.check_non_negative(step_size=step_size, beta=beta, start_noise=start_noise)
        checks.check_positive_integer(num_steps=num_steps)
        checks.check_choice(DISTANCES, distance=distance)
        bounds = check_bounds(bounds)
        checks.check_radius(distance=distance, bounds=bounds, epsilon=epsilon)
        if model.built:
            check_logits_model(model)
        self.epsilon = epsilon
        self.step_size = step_size
        self.num_steps = num_steps
        self.beta = beta
        self.distance = distance
        self.bounds = bounds
        self.inputs_within_bounds = inputs_within_bounds
        self.start_noise = start_noise
        self.natural_loss = keras.metrics.Mean(name="natural_loss")
        self.kl = keras.metrics.Mean(name="kl")

    def attack(self, x: tf.Tensor, natural_logits: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Returns the points x' that step number `step` trains on; a function of (seed, step)."""
        dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
        noise = self.start_noise * tf.random.stateless_normal(
            tf.shape(x), self.stream_seed(ATTACK_STREAM, step), dtype=dtype
        )
        # Without noise the KL's gradient is 0, which only the very same pass computes exactly.
        fast = self.start_noise > 0

        def ascend(x: tf.Tensor, natural_logits: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
            return kl_attack(
                inference_pass(self.model) if fast else lambda x: self.model(x, training=False),
                x,
                natural_logits,
                epsilon=self.epsilon,
                step_size=self.step_size,
                num_steps=self.num_steps,
                distance=self.distance,
                start_noise=noise,
                bounds=self.bounds,
                predict_at_start=float32_pass(self.model) if fast else None,
            )

        # XLA fuses the operations between the small products of Dense layers on a processor, and
        # makes convolutions there several times slower.
        on_cpu = not tf.config.get_visible_devices("GPU")
        fusible = on_cpu and all_layers_are("gains_from_xla", self.model)
        if fast and not tf.executing_eagerly() and fusible:
            ascend = tf.function(ascend, jit_compile=True)
        return ascend(x, natural_logits, noise)

    def gradient_step(self, x: tf.Tensor, y: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Takes one TRADES step; returns the natural logits."""
        x = self.augment(x, step)
        pure = all_layers_are("pure", self.model)
        adversarial = None
        if self.beta and not pure:
            # Before a pass in training mode updates the statistics that inference reads.
            adversarial = self.attack(x, self.model(x, training=False), step)
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            regularizers = list(self.model.losses)  # the next pass replaces them
            penalties = []
            if self.beta:
                if adversarial is None:
                    with tape.stop_recording():
                        adversarial = self.attack(x, logits, step)
                adversarial_logits = self.model(adversarial, training=True)
                natural_logits = logits if pure else self.model(x, training=True)
                kl = mean_divergence(natural_logits, adversarial_logits)
                penalties.append(self.beta * kl)
                self.kl.update_state(kl, sample_weight=tf.shape(x)[0])
            loss = self.penalized_loss(y, logits, penalties, regularizers=regularizers)
        natural = loss * tf.distribute.get_strategy().num_replicas_in_sync - sum(penalties)
        self.natural_loss.update_state(natural, sample_weight=tf.shape(x)[0])
        self.update(tape, loss, tf.shape(x)[0])
        return logits

    def check_arrays(self, x: np.ndarray, y: np.ndarray) -> None:
        """Rejects arrays that TRADES cannot train on.

        Raises:
            ArgumentError: images outside the bounds or not finite, or labels out of range.
            ModelError: the model does not give one row of logits per image.
        """
        if not self.model.built:
            self.model(tf.convert_to_tensor(x[:1]), training=False)
        super().check_arrays(x, y)
        # No bounds: use the range of float32, so that non-finite values are still rejected.
        widest = float(np.finfo(np.float32).max) / 4
        check_images(x, self.bounds if self.inputs_within_bounds else (-widest, widest))
        check_labels(y, classes=check_logits_model(self.model, x[:1]), examples=len(x))

    def check_batch(
        self, x: tf.Tensor, y: tf.Tensor, *, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `check_arrays`, in the graph; only what is trained on has to lie within the bounds."""
        x, y = super().check_batch(x, y, training=training)
        bounded = training and self.inputs_within_bounds
        return (require_within(x, self.bounds) if bounded else x), y

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """As Keras's, without the parts of the training loss, which validation does not compute."""
        results = super().test_step(data)
        return {name: value for name, value in results.items() if name not in _PARTS}


def mean_divergence(natural_logits: tf.Tensor, adversarial_logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean KL of the batch, float32 at least."""
    dtype = tf.float64 if natural_logits.dtype == tf.float64 else tf.float32
    return tf.reduce_mean(
        kl_divergence(tf.cast(natural_logits, dtype), tf.cast(adversarial_logits, dtype))
    )


def all_layers_are(fact: str, model: keras.layers.Layer) -> bool:
    """Returns True if a fact of `keras_layers.table` holds of every layer and operation of a model.

    An unknown layer (a subclass, a Lambda, a model with its own call) or operation has none. A
    model of pure layers depends neither on the mode nor on the rest of the batch.
    """
    graph = functional_of(model)
    if graph is None:
        return getattr(facts_of(model), fact)
    return all(all_layers_are(fact, operation) for operation in graph.operations)
