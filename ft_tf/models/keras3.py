"""`convert`: a model of Keras 3 becomes one of Keras 2, or is refused with the reason."""

from typing import Any

import numpy as np

from ft_tf._compat import import_keras_3, keras, tf
from ft_tf.errors import ModelError
from ft_tf.models.graph import GRAPHS, Rebuilder, parts_of, problems_of
from ft_tf.models.translation import NoCounterpart, is_of_keras_3, kind_of

TOLERANCE = 1e-4
"""Greatest difference between outputs before and after, as a share of the largest output (or 1)."""
LOW_PRECISION_TOLERANCE = 0.05

_EXAMPLES = 3
_OPEN_DIMENSION = {"images": 32, "sequences": 12}


def convert(model: Any) -> keras.Model:
    """A Keras 2 model that computes what a Keras 3 model computes.

    The layers are made anew from their options, the weights are copied, and both models are run in
    inference mode on the same random inputs: what does not agree is refused. Not carried over are
    initializers, and what `compile` was told.

    Args:
        model: a Sequential or functional Keras 3 model, of any backend, or a Keras 2 model, which
            is given back as it is. Files are what `load` is for.

    Raises:
        ModelError: it cannot be converted; the message names each layer that is in the way, and
            why.
    """
    if isinstance(model, keras.Model):
        return model
    _check_graph(model)
    rebuilder = Rebuilder()
    try:
        converted = rebuilder.model(model)
    except NoCounterpart as error:
        raise _refusal(model, str(error)) from None
    except Exception as error:  # Keras 2 raises whatever its layers raise
        raise _refusal(model, f"Keras 2 cannot connect its layers: {_first_line(error)}") from None
    for old, new in rebuilder.pairs:
        _copy_weights(model, old, new)
    _check_agreement(model, converted)
    return converted


def _check_graph(model: Any) -> None:
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if not any(base.__module__.split(".")[0] == "keras" for base in type(model).__mro__):
        raise ModelError(f"model={kind} is not a Keras model")
    if not is_of_keras_3(model) or kind_of(model) not in GRAPHS:
        raise _refusal(
            model,
            f"it is a {type(model).__name__}, whose call is code and not a graph of layers: make "
            "it Sequential or functional",
        )
    if not model.built:
        raise _refusal(model, "it has no weights yet: give it an Input or call it once")
    problems = problems_of(model)
    if problems:
        raise _refusal(model, "; ".join(problems))


def _refusal(model: Any, reason: str) -> ModelError:
    return ModelError(f"model={model.name!r} cannot be converted from Keras 3: {reason}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _copy_weights(model: Any, old: Any, new: keras.layers.Layer) -> None:
    if kind_of(old) == "Normalization":
        return  # its statistics are constants of the new layer
    values = old.get_weights()
    shapes = [value.shape for value in values], [tuple(weight.shape) for weight in new.weights]
    if shapes[0] != shapes[1]:
        raise _refusal(
            model,
            f"layer {old.name!r} ({kind_of(old)}) has weights of shapes {shapes[0]}, and "
            f"{shapes[1]} in Keras 2",
        )
    new.set_weights(values)


def _check_agreement(original: Any, converted: keras.Model) -> None:
    """Runs both on the same inputs.

    Raises:
        ModelError: the outputs differ, or the original cannot be run.
    """
    keras_3 = import_keras_3()
    inputs = _random_inputs(original, converted)
    try:
        before = [
            np.asarray(keras_3.ops.convert_to_numpy(part), np.float64)
            for part in keras_3.tree.flatten(original(inputs, training=False))
        ]
    except Exception as error:  # as above
        raise _refusal(
            original, f"it cannot be tried out on random inputs: {_first_line(error)}"
        ) from None
    after = [
        np.asarray(tf.cast(part, tf.float64))
        for part in tf.nest.flatten(converted(inputs, training=False))
    ]
    low = any("16" in layer.compute_dtype for layer in converted._flatten_layers())
    for old, new in zip(before, after, strict=True):
        scale = max(1.0, float(np.abs(old[np.isfinite(old)]).max(initial=0.0)))
        limit = scale * (LOW_PRECISION_TOLERANCE if low else TOLERANCE)
        if not np.allclose(old, new, rtol=0, atol=limit, equal_nan=True):
            raise _refusal(
                original,
                f"its outputs differ by up to {np.nanmax(np.abs(old - new)):.3g} from the "
                "original's: a layer means something else in Keras 2",
            )


def _random_inputs(original: Any, converted: keras.Model) -> Any:
    """Arrays in the structure of the model's inputs; whole numbers where they are looked up."""
    sizes = [part.input_dim for part in parts_of(original) if kind_of(part) == "Embedding"]
    generator = np.random.Generator(np.random.Philox(0))

    def array(tensor: Any) -> np.ndarray:
        shape = list(tensor.shape)
        fill = _OPEN_DIMENSION["images" if len(shape) > 3 else "sequences"]
        shape = [shape[0] or _EXAMPLES, *(fill if size is None else size for size in shape[1:])]
        if sizes or not tensor.dtype.is_floating:
            values = generator.integers(0, min(sizes, default=2), shape)
        else:
            values = generator.standard_normal(shape)
        return values.astype(tensor.dtype.as_numpy_dtype)

    return tf.nest.map_structure(array, converted.input)
