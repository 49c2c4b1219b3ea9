"""What a few examples of the first batch show: whether a model mixes examples, or keeps them.

Clipping bounds what an example does through its own gradient. It does not bound what it does

- to the outputs of others, in inference or in training mode;
- to a weight that is not trained by gradients, such as a running mean, which is published as it is.
"""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.attacks.precision import low_precision_layers
from ft_tf.errors import ModelError

EXAMPLES = 3
_LOOKED_AT = 1000
_OUTPUT_TOLERANCE = 1e-4  # rounding differs between batch sizes by 1e-6 of the outputs
_LOW_PRECISION_OUTPUT_TOLERANCE = 1e-2


def chosen_examples(x: Any) -> tuple[list[int], int]:
    """Indices of a few examples, and how many of them differ: equal ones show no mixing.

    Finite examples that differ come first; there are up to EXAMPLES, and at least one.

    Args:
        x: a nest of arrays or tensors [batch, ...], not empty; its first examples are looked at.

    >>> chosen_examples(np.array([[np.nan], [1.0], [1.0], [2.0]]))
    ([1, 3, 2], 2)
    """
    parts = [np.asarray(part[:_LOOKED_AT]) for part in tf.nest.flatten(x)]
    parts = [part.reshape(len(part), -1) for part in parts]
    finite = np.ones(len(parts[0]), bool)
    for part in (part for part in parts if part.dtype.kind in "fc"):
        finite &= np.isfinite(part).all(axis=1)
    found: list[int] = []
    is_new = finite.copy()
    while len(found) < EXAMPLES and is_new.any():
        found.append(int(np.argmax(is_new)))
        is_new &= np.any([(part != part[found[-1]]).any(axis=1) for part in parts], axis=0)
    equal = [int(index) for index in np.flatnonzero(finite)[: 2 * EXAMPLES] if index not in found]
    return ([*found, *equal] or [0])[:EXAMPLES], len(found)


def taken(x: Any, indices: list[int]) -> Any:
    """The examples with these indices, as tensors, of a nest of arrays or tensors."""

    def take(part: Any) -> tf.Tensor:
        if isinstance(part, np.ndarray):
            return tf.convert_to_tensor(part[indices])
        return tf.gather(tf.convert_to_tensor(part), indices)

    return tf.nest.map_structure(take, x)


def check_examples_are_independent(model: keras.Model, x: Any) -> None:
    """Compares the outputs of a few examples together with those of each alone.

    In inference mode alone means a batch of one. In training mode the batch keeps its size, so that
    the same random numbers are drawn: each example is compared with itself among copies of it.

    Args:
        model: a model with one output.
        x: a nest of tensors [batch, ...], of examples that differ.

    Raises:
        ModelError: the outputs differ, or a weight without a gradient takes values from the data.
    """
    count = len(tf.nest.flatten(x)[0])

    def rows(indices: list[int]) -> Any:
        return tf.nest.map_structure(lambda part: tf.gather(part, indices), x)

    together = model(x, training=False).numpy()
    alone = np.concatenate([model(rows([row]), training=False).numpy() for row in range(count)])
    _check_alike(model, together, alone)
    # In training mode, always from the same state: that of random generators and of all weights.
    states = list(model.non_trainable_variables)
    before = [state.numpy() for state in states]
    kept = [index for index, state in enumerate(states) if _is_weight(state, model)]

    def trained(part: Any) -> tuple[np.ndarray, list[np.ndarray]]:
        outputs = model(part, training=True).numpy()
        after = [state.numpy() for state in states]
        for state, value in zip(states, before, strict=True):
            state.assign(value)
        return outputs, [after[index] for index in kept]

    together, state = trained(x)
    copies = [trained(rows([row] * count)) for row in range(count)]
    for index, *values in zip(kept, state, *(after for _, after in copies), strict=True):
        if any(not np.array_equal(values[0], other, equal_nan=True) for other in values[1:]):
            raise ModelError(
                f"model={model.name} writes values that depend on the data into "
                f"{states[index].path!r}, which is not trained by gradients: they would be "
                "published without noise"
            )
    again, _ = trained(x)
    if np.array_equal(together, again, equal_nan=True):  # else it draws numbers of its own
        alone = np.stack([outputs[row] for row, (outputs, _) in enumerate(copies)])
        _check_alike(model, together, alone)


def _is_weight(state: keras.Variable, model: keras.Model) -> bool:
    """Returns False for the state of a random generator, which moves with every draw."""
    return any(state is weight for weight in model.non_trainable_weights)


def _check_alike(model: keras.Model, together: np.ndarray, alone: np.ndarray) -> None:
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        return  # such examples show nothing
    tolerance = (
        _LOW_PRECISION_OUTPUT_TOLERANCE if low_precision_layers(model) else _OUTPUT_TOLERANCE
    )
    if np.abs(together - alone).max() > tolerance * np.abs(alone).max():
        raise ModelError(
            f"model={model.name} gives an example another output when other examples are in the "
            "batch: a layer mixes examples, so clipping would not bound what one of them does"
        )
