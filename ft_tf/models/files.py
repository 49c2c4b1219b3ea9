"""`load`: a model from a file of Keras 3 or 2, without running anything that the file carries.

Keras's safe mode refuses Lambda layers, and little else: it looks up any class and function of
Keras that a file names, and its older formats have no safe mode at all. So the file is opened by
`archive` and judged by `description`, and Keras builds what was judged.
"""

import importlib
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.checks import check_path
from ft_tf.errors import ModelError, printable
from ft_tf.keras_layers import input_spec
from ft_tf.models import archive, limits, tflite, zoo
from ft_tf.models.description import Judge
from ft_tf.models.keras2 import translated
from ft_tf.models.probing import made_up

_SHOWN = 4
_LENGTH = 800
_TOLERANCE = 1e-4
"""Greatest difference from Keras 2's outputs, as a share of the largest output (or 1)."""
_LOW_PRECISION_TOLERANCE = 0.05


def load(path: str | os.PathLike) -> keras.Model | tflite.TFLiteModel:
    """Loads a .keras, .h5 or .hdf5 file of Keras 3 or 2 as a Keras 3 model; no code from it runs.

    Layers, functions and options are allowed one by one (`ft_tf.models.allowed`); a custom layer
    loads only if its class is registered in this process (`keras.saving`'s
    `register_keras_serializable`): the code is then yours. Nothing but the file is read and nothing
    is written; memory is bounded by the file's size. What `compile` was told is not loaded.

    A file of Keras 2 is put as Keras 3 has it, layer by layer. Where the package tf-keras is
    installed, both models are run on the same random inputs and must agree.

    A .tflite file gives a `TFLiteModel`, which measurements and weight faults take. A name of
    `ft_tf.models.zoo.names()` such as "fmnist_cnn_1/trades" gives that network.

    Raises:
        ModelError: the file is missing, damaged or no model; it asks for what is not allowed; or it
            is of Keras 2 and has no counterpart. One line says which.
    """
    check_path(model=path)
    if str(path) in zoo.names():
        return zoo.load(str(path))
    path = Path(path)
    try:
        if path.suffix == ".tflite":
            return tflite.read(path)
        contents = archive.read(path)
        config = _without_compiling(contents.config)
        judge = _judge(contents)
        objections = judge.objections(config)
        if found := list(itertools.islice(dict.fromkeys(objections), _SHOWN)):
            raise _failure(path, "; ".join(found))
        with limits.at_most(contents.stored):
            model = _build(path, contents, config)
        # Keras 2 would import the module that a file names for a class which it does not know.
        if contents.version == "2" and not judge.uses_registered:
            with limits.at_most(contents.stored):
                _check_agreement(path, model)
    except (archive.RefusedError, limits.TooLargeError) as error:
        raise _failure(path, str(error)) from None
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise
        reason = str(error).rpartition("Exception encountered: ")[2]  # what Keras wraps
        lines = reason.strip().splitlines() or [type(error).__name__]
        raise _failure(path, lines[0]) from None
    return model


def _failure(path: Path, reason: str) -> ModelError:
    """The error, in one line that a terminal shows as it is: a file's names may hold anything."""
    shown = printable(reason[: _LENGTH + 1])
    shown = shown if len(shown) <= _LENGTH else f"{shown[:_LENGTH]}..."
    return ModelError(f"model={str(path)!r} cannot be loaded: {shown}")


def _judge(contents: archive.Contents) -> Judge:
    def is_registered(name: str) -> bool:
        """Whether the process, and not Keras itself, has registered something under a name."""
        found = keras.saving.get_registered_object(name)
        source = str(getattr(found, "__module__", "")).split(".")[0]
        return found is not None and source != "keras"

    register = "keras.saving.register_keras_serializable (binaries: in a module of --import=MODULE)"
    return Judge(contents.stored, is_registered, register)


def _without_compiling(value: Any) -> Any:
    """A configuration without what `compile` was told, also of models inside the model."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "compile_config"}
        return {key: _without_compiling(item) for key, item in kept.items()}
    return [_without_compiling(item) for item in value] if isinstance(value, list) else value


def _build(path: Path, contents: archive.Contents, config: Any) -> keras.Model:
    of_keras_2 = contents.version == "2"
    if contents.zipped or of_keras_2:
        with _sharing_objects():
            model = keras.saving.deserialize_keras_object(
                translated(config) if of_keras_2 else config, safe_mode=True
            )
    else:
        model = keras.models.load_model(str(path), compile=False)
    if not isinstance(model, keras.Model):
        raise archive.RefusedError(f"it holds a {type(model).__name__}, and no model")
    limits.check_outputs(model)
    if contents.zipped or of_keras_2:
        model.load_weights(str(path))
    return model


def _sharing_objects() -> Any:
    """The scope in which Keras builds a layer once that a description names twice."""
    return importlib.import_module("keras.src.saving.serialization_lib").ObjectSharingScope()


def _check_agreement(path: Path, model: keras.Model) -> None:
    """Runs the model, and what Keras 2 makes of its file, on the same inputs.

    Raises:
        RefusedError: the outputs differ.
    """
    try:
        keras_2 = importlib.import_module("tf_keras")
    except ImportError:
        return
    original = keras_2.models.load_model(str(path), compile=False)
    inputs = tf.nest.map_structure(made_up, input_spec(model))
    before = tf.nest.flatten(original(inputs, training=False))
    after = tf.nest.flatten(model(inputs, training=False))
    for old, new in zip(before, after, strict=True):
        low = "16" in old.dtype.name
        old, new = (np.asarray(tf.cast(part, tf.float64)) for part in (old, new))
        scale = max(1.0, float(np.abs(old[np.isfinite(old)]).max(initial=0.0)))
        limit = scale * (_LOW_PRECISION_TOLERANCE if low else _TOLERANCE)
        if not np.allclose(old, new, rtol=0, atol=limit, equal_nan=True):
            raise archive.RefusedError(
                f"its outputs differ by up to {np.nanmax(np.abs(old - new)):.3g} from those of "
                "Keras 2: a layer means something else in Keras 3"
            )
