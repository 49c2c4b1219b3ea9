"""The logits of a mixed-precision model in float32, where the difference decides.

TRADES's attack starts 0.001 * N(0, 1) from x, and its first gradient is that of a KL between nearly
equal outputs. In bfloat16 what is left of their difference is mostly rounding: the first step goes
elsewhere than in float32, and the whole attack with it: like one that starts much further from x it
reaches a larger KL, and training on it gives another model. One gradient in float32 is enough: from
the second step on the outputs lie far enough apart.
"""

import contextlib
from collections.abc import Callable, Iterator

from ft_tf._compat import keras, tf
from ft_tf.attacks.input_gradients import inference_pass
from ft_tf.keras_layers import all_layers

_LOW = frozenset({"bfloat16", "float16"})


def low_precision_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of `model`, itself included, that compute in bfloat16 or float16."""
    return [part for part in all_layers(model) if part.compute_dtype in _LOW]


def float32_pass(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """The function x -> model(x, training=False) with every layer computing in float32.

    The weights are the model's own, which mixed precision keeps in float32. None for a model that
    computes in float32 or wider anyway, and for one whose weights are of low precision as well:
    it has no other logits.

    >>> float32_pass(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])) is None
    True
    """
    layers = low_precision_layers(model)
    if not layers or any(w.dtype in _LOW for layer in layers for w in layer.weights):
        return None

    def predict(x: tf.Tensor) -> tf.Tensor:
        with _computing_in_float32(layers):
            return inference_pass(model)(x)

    return predict


@contextlib.contextmanager
def _computing_in_float32(layers: list[keras.layers.Layer]) -> Iterator[None]:
    """Layers cast their inputs, and read their variables, in what their policy names.

    A copy of the model would have weights of its own.
    """
    policies = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in zip(layers, policies, strict=True):
            layer.dtype_policy = policy
