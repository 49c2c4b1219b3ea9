"""Walks over a model's layers and variables, in an order that its structure alone determines."""

from collections.abc import Iterator

from ft_tf._compat import keras
from ft_tf.keras_layers.table import facts_of, is_of_keras

Layer = keras.layers.Layer


def children_of(layer: Layer) -> list[Layer]:
    """The layers directly inside a model or a layer, without a model's inputs."""
    if isinstance(layer, keras.Model):
        found = layer.layers
    else:
        found = layer._flatten_layers(include_self=False, recursive=False)
    return [part for part in found if type(part) is not keras.layers.InputLayer]


def is_composite(layer: Layer) -> bool:
    """Returns True where a walk goes into a layer: a model, or a user's layer made of layers.

    Keras's own layers (attention, wrappers, recurrent layers) are one part, whatever is in them.
    """
    if isinstance(layer, keras.Model):
        return True
    return not is_of_keras(layer) and bool(children_of(layer))


def leaf_layers(model: Layer) -> list[Layer]:
    """The model's layers in order, those of nested models in their place, each once.

    A user's own layer made of layers comes after these, as it may have weights itself.
    """
    leaves: dict[int, Layer] = {}
    for layer in children_of(model):
        inner = leaf_layers(layer) if is_composite(layer) else []
        own = not isinstance(layer, keras.Model) and not getattr(layer, "is_fault_wrapper", False)
        for leaf in [*inner, layer] if own else inner:
            leaves.setdefault(id(leaf), leaf)
    return list(leaves.values())


def innermost_layers(model: Layer) -> list[Layer]:
    """The layers that compute with their own weights, in order, each once.

    Models and attention compute by calling their parts, which stand in their place; a user's own
    layer is one part, whatever is in it.
    """
    found: dict[int, Layer] = {}
    for layer in children_of(model):
        for inner in innermost_layers(layer) if calls_parts(layer) else [layer]:
            found.setdefault(id(inner), inner)
    return list(found.values())


def calls_parts(layer: Layer) -> bool:
    """Returns True if a layer computes by calling the layers in it: a model, or attention."""
    return isinstance(layer, keras.Model) or facts_of(layer).calls_parts


def all_layers(model: Layer) -> list[Layer]:
    """The model and every layer in it, also those inside Keras's own layers, each once."""
    return list({id(layer): layer for layer in model._flatten_layers()}.values())


def variables_of(model: Layer) -> list[keras.Variable]:
    """The model's weights, each once, without seeds of random layers and metrics."""
    return list({id(variable): variable for variable in model.weights}.values())


_STORED = ("kernel", "embeddings", "scale", "zero")


def parameters_of(layer: Layer) -> Iterator[keras.Variable]:
    """The variables of a layer that hold what it has learned, frozen or not.

    Of a layer that Keras has quantised these are the stored integers and their scales. The scales
    that float8 training keeps, which follow from the data, are none.
    """
    for part in all_layers(layer):
        quantised = getattr(part, "quantization_mode", None) not in (None, "float8")
        for variable in part._trainable_variables:  # LoRA and `trainable` leave them there
            if not variable.overwrite_with_gradient:
                yield variable
        for variable in part._non_trainable_variables if quantised else ():
            if any(name in variable.name for name in _STORED):
                yield variable


_TRANSPOSED = tuple(getattr(keras.layers, f"Conv{n}DTranspose") for n in (1, 2, 3))


def transposed_kernels(layer: Layer) -> list[keras.Variable]:
    """The kernels [..., outputs, inputs] of a layer: those of transposed convolutions in it."""
    return [part.kernel for part in all_layers(layer) if isinstance(part, _TRANSPOSED)]
