"""A check of what per-example clipping rests on: that no example changes another's output."""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.precision import low_precision_layers
from ft_tf.errors import ModelError

_EXAMPLES = 3
_TOLERANCE = 1e-4  # rounding differs between batch sizes by 1e-6 of the outputs
_LOW_PRECISION_TOLERANCE = 1e-2


def check_examples_are_independent(model: keras.Model, x: Any) -> None:
    """Compares the outputs of a few examples together with those of each alone.

    It finds a Lambda layer that subtracts a mean over the batch, say. What mixes examples only in
    training mode it cannot see.

    Args:
        model: a model with one output.
        x: a nest of arrays or tensors [batch, ...].

    Raises:
        ModelError: the outputs differ.
    """

    def outputs_of(rows: slice) -> np.ndarray:
        part = tf.nest.map_structure(lambda part: tf.convert_to_tensor(part[rows]), x)
        return model(part, training=False).numpy()

    count = min(_EXAMPLES, len(tf.nest.flatten(x)[0]))
    together = outputs_of(slice(count))
    alone = np.concatenate([outputs_of(slice(row, row + 1)) for row in range(count)])
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        return  # nothing can be told from such examples
    tolerance = _LOW_PRECISION_TOLERANCE if low_precision_layers(model) else _TOLERANCE
    if np.abs(together - alone).max() > tolerance * np.abs(alone).max():
        raise ModelError(
            f"model={model.name} gives an example another output when other examples are in the "
            "batch: a layer mixes examples, so clipping would not bound what one of them does"
        )
