"""`load`: a model from a file of Keras 2 or 3, without running anything that the file carries.

Keras's safe mode refuses Lambda layers, and little else: Keras 2 imports any module and calls any
function of TensorFlow that a file names, and its older formats have no safe mode at all. So the
file is opened by `archive` and judged by `description`, and Keras builds what was judged.
"""

import itertools
import os
from pathlib import Path
from typing import Any

from ft_tf._compat import import_keras_3, keras, sharing_objects
from ft_tf.checks import check_path
from ft_tf.errors import ModelError
from ft_tf.models import archive, limits
from ft_tf.models.description import Judge
from ft_tf.models.keras3 import convert

_SHOWN = 4
_LENGTH = 800


def load(path: str | os.PathLike) -> keras.Model:
    """Loads a .keras, .h5 or .hdf5 file of Keras 2 or 3 as a Keras 2 model; no code from it runs.

    Layers, functions and options are allowed one by one (`ft_tf.models.allowed`); a custom layer
    loads only if its class is registered in this process (`register_keras_serializable` of
    `tf_keras.saving`, or of `keras.saving` for a file of Keras 3): the code is then yours. Nothing
    but the file is read and nothing is written; memory is bounded by the file's size. What
    `compile` was told is not loaded.

    Raises:
        ModelError: the file is missing, damaged or no model; it asks for what is not allowed; or it
            is of Keras 3 and cannot be converted. One line says which.
    """
    check_path(model=path)
    path = Path(path)
    try:
        contents = archive.read(path)
        config = contents.config
        if contents.zipped:
            config = _without_compiling(config)
        objections = _judge(contents).objections(config)
        if found := list(itertools.islice(dict.fromkeys(objections), _SHOWN)):
            raise _failure(path, "; ".join(found))
        model = _build(path, contents, config)
    except (archive.RefusedError, limits.TooLargeError) as error:
        raise _failure(path, str(error)) from None
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _failure(path, lines[0]) from None
    return convert(model)


def _failure(path: Path, reason: str) -> ModelError:
    """The error, in one line that a terminal shows as it is: a file's names may hold anything."""
    shown = "".join(letter if letter.isprintable() else " " for letter in reason[: _LENGTH + 1])
    shown = shown if len(shown) <= _LENGTH else f"{shown[:_LENGTH]}..."
    return ModelError(f"model={str(path)!r} cannot be loaded: {shown}")


def _judge(contents: archive.Contents) -> Judge:
    module = keras if contents.version == "2" else import_keras_3()

    def is_registered(name: str) -> bool:
        """Whether the process, and not Keras itself, has registered something under a name."""
        found = module.saving.get_registered_object(name)
        source = str(getattr(found, "__module__", "")).split(".")[0]
        return found is not None and source not in ("keras", "tf_keras")

    return Judge(
        contents.stored, is_registered, f"{module.__name__}.saving.register_keras_serializable"
    )


def _without_compiling(value: Any) -> Any:
    """A configuration without what `compile` was told, also of models inside the model."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != "compile_config"}
        return {key: _without_compiling(item) for key, item in kept.items()}
    return [_without_compiling(item) for item in value] if isinstance(value, list) else value


def _build(path: Path, contents: archive.Contents, config: Any) -> Any:
    module = keras if contents.version == "2" else import_keras_3()
    with limits.at_most(contents.stored):
        if contents.zipped:
            with sharing_objects(module):
                model = module.saving.deserialize_keras_object(config, safe_mode=True)
        else:
            model = module.models.load_model(str(path), compile=False)
    if not isinstance(model, module.Model):
        raise archive.RefusedError(f"it holds a {type(model).__name__}, and no model")
    limits.check_outputs(model)
    if contents.zipped:
        model.load_weights(str(path))
    return model
