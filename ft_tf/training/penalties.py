"""Penalties that are added to a loss: the Tikhonov and the Jacobian penalty."""

from ft_tf._compat import keras, tf
from ft_tf.attacks.kl import class_logits
from ft_tf.errors import ModelError
from ft_tf.training.input_noise import InputNoise


def l2_penalty(model: keras.Model, l2: float) -> tf.Tensor:
    """Returns l2 * sum of |W|^2 over the trainable kernels, as keras.regularizers.L2 has it.

    Raises:
        ModelError: the model has no trainable kernel.
    """
    kernels = [v.value for v in model.trainable_variables if v.name.endswith("kernel")]
    squares = [2 * tf.nn.l2_loss(kernel) for kernel in kernels]
    if not squares:
        raise ModelError(f"model={model.name} has no trainable kernel for l2={l2} to act on")
    return l2 * tf.add_n(squares)


def jacobian_penalty(logits: tf.Tensor, jacobian: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """Returns the second-order effect of input noise on the mean cross-entropy.

    Bishop, "Training with noise is equivalent to Tikhonov regularization" (1995), for
    cross-entropy on logits f and noise of variance v_i on input i: expanding E[L(f(x + noise))],

        1/2 sum_i v_i (df/dx_i)^T H (df/dx_i) + 1/2 sum_i v_i (dL/df)^T d^2f/dx_i^2,

    H = diag(p) - p p^T, p = softmax(f). The first sum, averaged over the batch, is returned. The
    second is left out: for a network that is linear between its kinks (ReLU) it is zero but at
    the kinks. Noise that carries an input across one adds a term that the penalty does not have,
    and averaged over many inputs that term is of second order too. d^T H d is computed as
    sum_k p_k (d_k - sum_j p_j d_j)^2.

    Args:
        logits: [n, classes] or [n, 1].
        jacobian: df/dx at the same examples, logits.shape + x.shape[1:].
        variance: of the noise, in the shape of x or one that broadcasts to it.
    """
    logits, derivative = class_logits(logits), jacobian
    if jacobian.shape[1] != logits.shape[1]:
        derivative = tf.concat([tf.zeros_like(jacobian), jacobian], axis=1)
    rank = derivative.shape.rank
    p = tf.reshape(tf.nn.softmax(logits), [-1, logits.shape[1]] + [1] * (rank - 2))
    mean = tf.reduce_sum(p * derivative, axis=1, keepdims=True)
    spread = tf.reduce_sum(p * tf.square(derivative - mean), axis=1)
    return tf.reduce_mean(tf.reduce_sum(variance * spread, axis=list(range(1, rank - 1)))) / 2


def noise_penalty(
    model: keras.Model, x: tf.Tensor, noise: InputNoise
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the logits of `x` in training mode, and the Jacobian penalty of `noise` there.

    The Jacobian takes a backward pass for each class.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = model(x, training=True)
    jacobian = tape.batch_jacobian(logits, x)
    return logits, jacobian_penalty(logits, tf.cast(jacobian, logits.dtype), noise.variance(x))
