"""What a model gives on numbers made up: the only sign of a softmax that no layer tells of."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf

_EXAMPLES = 8
_OPEN_AXIS = 32  # enough for five poolings


def looks_like_probabilities(model: keras.Model) -> bool:
    """Whether outputs on random inputs all lie in [0, 1], and sum to 1 or stand in one column.

    Inputs are up to 10 in size, of either sign: logits hardly stay within [0, 1] there. False
    where the model takes no such inputs.
    """
    try:
        inputs = tf.nest.map_structure(_made_up, _specs(model))
        outputs = model(inputs, training=False)
    except Exception:
        return False  # no model that can be asked
    if not tf.is_tensor(outputs) or not outputs.shape.rank:
        return False
    values = tf.cast(outputs, tf.float32).numpy()
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1 + 1e-3:
        return False
    if outputs.shape.rank > 1 and values.shape[-1] > 1:
        return bool((np.abs(values.sum(axis=-1) - 1) < 1e-2).all())
    return bool(values.max() > 0)


def _specs(model: keras.Model) -> Any:
    if getattr(model, "inputs", None):
        # A model's own input keeps the structure that it takes: a tuple, a dict.
        return model.input
    (arguments, _) = model.save_spec()
    return arguments[0]


def _made_up(spec: Any) -> tf.Tensor:
    rng = np.random.default_rng(0)
    shape = [_EXAMPLES, *(_OPEN_AXIS if size is None else size for size in spec.shape[1:])]
    if not spec.dtype.is_floating:
        return tf.cast(rng.integers(0, 2, shape), spec.dtype)
    scales = np.geomspace(0.1, 10, _EXAMPLES).reshape([-1] + [1] * (len(shape) - 1))
    return tf.cast(scales * rng.normal(size=shape), spec.dtype)
