"""Properties of a model's passes: purity (no dependence on mode or batch), and gain from XLA."""

from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.keras_layers import facts_of
from ft_tf.keras_layers.graph import functional_of


def passes_are_pure(model: keras.layers.Layer) -> bool:
    """Returns True if every layer depends neither on the mode nor on the rest of the batch.

    An unknown layer (a subclass, a Lambda, a model with its own call) or operation counts as
    impure, which costs time and never correctness.
    """
    return _all_are(model, "pure")


def gains_from_xla(model: keras.layers.Layer) -> bool:
    """Returns True if XLA makes an attack on this model faster: a network of Dense layers, on CPU.

    Its matrix products are small, and the operations between them, which XLA fuses, cost as much.
    XLA makes convolutions on a processor several times slower.
    """
    return not tf.config.get_visible_devices("GPU") and _all_are(model, "gains_from_xla")


def _all_are(part: Any, fact: str) -> bool:
    graph = functional_of(part)
    if graph is None:
        return getattr(facts_of(part), fact)
    return all(_all_are(operation, fact) for operation in graph.operations)
