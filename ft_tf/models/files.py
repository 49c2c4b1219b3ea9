"""`load`: a model from a .keras file of Keras 2 or 3, without running anything that it carries.

Keras's safe mode refuses Lambda layers. Its Keras 2 still imports any module that a file names, and
its older formats have no safe mode at all. So the file's description is read first: what is no
part of Keras, and not registered in this process, is refused before Keras sees it.
"""

import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ft_tf._compat import import_keras_3, keras
from ft_tf.errors import ModelError
from ft_tf.models.keras3 import convert

_HDF5 = b"\x89HDF\r\n\x1a\n"
# What makes up models. Other parts of Keras (its utils, say) can fetch and unpack files.
_PARTS = (
    "activations", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses",
    "metrics", "mixed_precision", "models", "ops", "optimizers", "regularizers",
)  # fmt: skip
_HARMLESS = re.compile(rf"(tf_)?keras(\.src)?(\.({'|'.join(_PARTS)})(\..*)?)?")


def load(path: str | os.PathLike) -> keras.Model:
    """Loads a .keras file of Keras 2 or Keras 3 as a Keras 2 model; no code from the file runs.

    A custom layer loads only if its class is registered in this process
    (`keras.saving.register_keras_serializable`): the code is then yours. What `compile` was told is
    not loaded.

    Raises:
        ModelError: the file is missing, damaged or no .keras file; it would need code to load; or
            it is of Keras 3 and cannot be converted. One line says which.
    """
    path = Path(path)
    version, config = _description(path)
    foreign = list(dict.fromkeys(_foreign(config, version, "the model")))
    if foreign:
        raise _failure(path, f"{'; '.join(foreign)}: what is not of Keras itself is not loaded")
    loader = import_keras_3() if version == "3" else keras
    try:
        model = loader.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its parts raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _failure(path, lines[0]) from None
    return convert(model)


def _failure(path: Path, reason: str) -> ModelError:
    return ModelError(f"model={str(path)!r} cannot be loaded: {reason}")


def _description(path: Path) -> tuple[str, Any]:
    """The major version of Keras that wrote a file, and the model's configuration."""
    if path.is_dir():
        raise _failure(path, "it is a directory; a SavedModel holds code: save it as a .keras file")
    try:
        with path.open("rb") as file:
            start = file.read(len(_HDF5))
    except OSError as error:
        raise _failure(path, error.strerror or str(error)) from None
    if start == _HDF5:
        raise _failure(
            path,
            "it is an HDF5 file, which Keras cannot load without running its code: if you trust "
            "it, load it with Keras and save it as a .keras file",
        )
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise _failure(path, "it is not a .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
            config = json.loads(archive.read("config.json"))
        version = str(metadata["keras_version"]).split(".")[0]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise _failure(path, f"the file is damaged ({error})") from None
    if version not in ("2", "3"):
        raise _failure(path, f"it was written by Keras {metadata['keras_version']!r}")
    if isinstance(config, dict):
        config.pop("compile_config", None)  # never read
    return version, config


def _foreign(value: Any, version: str, layer: str) -> Iterator[str]:
    """What a configuration asks for that is no plain part of Keras."""
    if isinstance(value, list):
        for item in value:
            yield from _foreign(item, version, layer)
        return
    if not isinstance(value, dict):
        return
    kind, module = value.get("class_name"), value.get("module")
    inner = value.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("name"), str) and "module" in value:
        layer = f"layer {inner['name']!r} ({kind})"
    if kind in ("Lambda", "__lambda__"):
        yield f"{layer} holds Python code"
        return  # what else it names belongs to that code
    if module is not None:
        name = inner if kind == "function" else kind
        of_keras = _HARMLESS.fullmatch(str(module)) and str(name).isidentifier()
        if not (of_keras or _is_registered(value, version)):
            wanted = "something" if name is None else repr(name)
            yield f"{layer} needs {wanted} of the module {module!r}"
    elif "module" in value and kind is not None and not _is_registered(value, version):
        # A class of a user's script or notebook: Keras writes no module that it could look into.
        yield f"{layer} needs the class {kind!r}, which is not registered here"
    for item in value.values():
        yield from _foreign(item, version, layer)


def _is_registered(value: dict[str, Any], version: str) -> bool:
    """Whether this process has registered what a configuration names, under just that name."""
    module = keras if version == "2" else import_keras_3()
    # Keras looks functions up by their own names, classes by the registered ones.
    name = value.get("config" if value.get("class_name") == "function" else "registered_name")
    return isinstance(name, str) and module.saving.get_registered_object(name) is not None
