"""Weights that know nothing of any data: where a training that is to be private must start."""

from collections.abc import Iterator

import numpy as np

from ft_tf._compat import keras, require_keras_model
from ft_tf.errors import ModelError
from ft_tf.keras_layers import all_layers, is_of_keras


def with_fresh_weights(model: keras.Model) -> keras.Model:
    """The same architecture with weights that its initializers draw anew; the model stays as it is.

    DP-SGD protects the data against what training adds. Weights that the model brings along are
    published with the rest, so that they must not come from the same data.

    Anew are all weights: of frozen layers too, and the statistics of a Normalization layer that
    were adapted to data. What stands in a layer's configuration (the `mean` given to a
    Normalization, the `scale` of a Rescaling) is no weight, and stays. An initializer with a seed
    draws what it drew before.

    Raises:
        ModelError: the model is not a Sequential or functional one; or a layer has an
            initializer that may hold weights: an array, or a class or function of its own.

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> model.set_weights([np.full((4, 3), 7.0), np.full(3, 7.0)])
    >>> kernel, bias = with_fresh_weights(model).get_weights()
    >>> bool((kernel == 7).any()), bias.tolist()
    (False, [0.0, 0.0, 0.0])
    """
    require_keras_model(model)
    holders = list(dict.fromkeys(_holders(model)))
    if holders:
        raise ModelError(
            f"model={model.name} cannot get fresh weights: {'; '.join(holders)}, which may be "
            "trained weights: give it one of Keras's own"
        )
    try:
        copy = keras.models.clone_model(model)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ModelError(f"model={model.name} cannot get fresh weights ({error})") from None
    if not copy.built:
        raise ModelError(
            f"model={model.name} cannot get fresh weights: it is a class of its own, or was never "
            "built; make it anew with its own constructor"
        )
    return copy


def _holders(model: keras.Model) -> Iterator[str]:
    """Initializers from which a copy of the model could have its old weights, in words."""
    for layer in all_layers(model):
        for name, value in vars(layer).items():
            if not name.endswith("_initializer") or value is None:
                continue
            where = f"layer {layer.name!r} has a {name}"
            if not is_of_keras(value):
                yield f"{where} that is none of Keras's own"
            elif any(np.ndim(part) for part in vars(value).values()):
                yield f"{where} that holds an array"
