"""TF Privacy's DPKerasSGDOptimizer, the reference that the fast engine is tested against."""

from typing import Any

from ft_tf._compat import keras, require_tensorflow_privacy, tf
from ft_tf.errors import ArgumentError
from ft_tf.privacy import check_engine
from ft_tf.training.dpsgd.example_losses import PerExampleLoss
from ft_tf.training.dpsgd.plan import check_no_added_losses


def reference_optimizer(
    optimizer: Any, *, l2_norm_clip: float, noise_multiplier: float
) -> keras.optimizers.legacy.Optimizer:
    """Returns DPKerasSGDOptimizer with the settings of a plain SGD optimizer.

    Every example is one microbatch (num_microbatches=None), and with full batches the batch size
    that it divides by is the expected one.

    Raises:
        ArgumentError: `optimizer` is not SGD, or has settings that DPKerasSGDOptimizer lacks.
        StackError: tensorflow-privacy cannot be imported.
    """
    optimizer = keras.optimizers.get(optimizer)
    kinds = (keras.optimizers.SGD, keras.optimizers.legacy.SGD)
    if type(optimizer) not in kinds:
        kind = type(optimizer)
        check_engine("reference", optimizer=f"{kind.__module__}.{kind.__name__}")
    config = optimizer.get_config()
    extra = {"weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "decay", "use_ema"}
    used = sorted(name for name in extra if config.get(name))
    if used:
        raise ArgumentError(f"optimizer option {used[0]}={config[used[0]]} needs engine='fast'")
    return require_tensorflow_privacy().DPKerasSGDOptimizer(
        l2_norm_clip=l2_norm_clip,
        noise_multiplier=noise_multiplier,
        num_microbatches=None,
        learning_rate=config["learning_rate"],
        momentum=config["momentum"],
        nesterov=config["nesterov"],
    )


def reference_step(
    model: keras.Model,
    optimizer: keras.optimizers.legacy.Optimizer,
    loss: PerExampleLoss,
    x: tf.Tensor,
    y: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes one step as TF Privacy does; returns losses [batch] and outputs [batch, ...]."""
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        losses = loss(y, outputs)
    check_no_added_losses(model)
    optimizer.minimize(losses, model.trainable_variables, tape=tape)
    return losses, outputs
