"""The one file that knows versions: it imports TensorFlow and Keras 3, quietly, or says why not.

Everything in ft_tf takes `tf` and `keras` from here. Keras 2 (the package tf-keras) is needed only
by TF Privacy's optimizer, that is by engine="reference" of DP-SGD.
"""

import collections
import contextlib
import contextvars
import ctypes
import importlib
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ft_tf.errors import ModelError, StackError

VERBOSE = os.environ.get("FT_TF_VERBOSE", "") not in ("", "0")
"""FT_TF_VERBOSE=1 lets TensorFlow's start-up messages, warnings and tracebacks through."""


_STDERR = threading.RLock()  # two at once would restore each other's


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Keeps what C++ start-up code writes to stderr from the user, unless something fails."""
    if VERBOSE:
        yield
        return
    with _STDERR, tempfile.TemporaryFile() as sink:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, ValueError, AttributeError):  # stderr closed, or not a file
            yield
            return
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


_MALLOC = {
    "MMAP_THRESHOLD": (-3, 32 << 20),
    "TRIM_THRESHOLD": (-1, 1 << 29),
    "TOP_PAD": (-2, 64 << 20),
}
"""glibc's options by the name in their environment variable: number, and bytes."""


def _keep_freed_memory() -> None:
    """Stops glibc from returning the buffers of each step to the system, and clearing them again.

    After a `fit` of Keras 3 a step's buffers lie in an arena that is given back at the end of the
    step: its page faults took a third of a TRADES step of the DNN.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ:
        return
    libc = ctypes.CDLL(None)
    for name, (option, size) in _MALLOC.items():
        if f"MALLOC_{name}_" not in os.environ:
            libc.mallopt(option, size)


def _import_tensorflow() -> ModuleType:
    # TensorFlow leaves oneDNN off on processors without AVX512_VNNI; convolutions are two to four
    # times faster with it on plain AVX2 too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not VERBOSE:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with quiet_start():
        try:
            tensorflow = importlib.import_module("tensorflow")
        except ImportError as error:
            raise StackError(
                f"TensorFlow cannot be imported ({error}): pip install ft_tf"
            ) from None
        tensorflow.config.list_physical_devices()  # the CUDA probe speaks once: here
    if not VERBOSE:
        tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def _import_keras() -> ModuleType:
    _check_backend(os.environ.get("KERAS_BACKEND", "tensorflow"))  # another may not be installed
    try:
        with quiet_start():
            module = importlib.import_module("keras")
    except ImportError as error:
        raise StackError(f"Keras 3 cannot be imported ({error}): pip install keras") from None
    if module.__version__.split(".")[0] != "3":
        raise StackError(f"keras={module.__version__} is installed: pip install 'keras>=3.13'")
    _check_backend(module.config.backend())
    return module


def _check_backend(name: str) -> None:
    if name != "tensorflow":
        raise StackError(
            f"KERAS_BACKEND={name} is in use and ft_tf computes with TensorFlow: "
            "set KERAS_BACKEND=tensorflow before keras is imported"
        )


_keep_freed_memory()
tf = _import_tensorflow()
keras = _import_keras()


def require_tensorflow_privacy() -> ModuleType:
    """Returns TF Privacy's DP Keras optimizer module, working around what TF 2.16 removed.

    Raises:
        StackError: tensorflow-privacy is not installed, or `tf.keras` is Keras 3 in this process.
    """
    # TF Privacy subclasses tf.keras's optimizers, which TensorFlow fixes at their first use.
    try:
        served = getattr(tf.keras.optimizers.Optimizer, "__module__", "")
    except (ImportError, AttributeError):
        served = ""
    if "tf_keras" not in served:
        raise StackError(
            "TF Privacy needs Keras 2 as tf.keras: pip install tf-keras and set "
            "TF_USE_LEGACY_KERAS=1 before TensorFlow is imported, or use engine='fast'"
        )
    # Without it the package imports the Estimator API, which TensorFlow 2.16 removed.
    sys.skip_tf_privacy_import = True
    try:
        return importlib.import_module("tensorflow_privacy.privacy.optimizers.dp_optimizer_keras")
    except ImportError as error:
        raise StackError(
            f"tensorflow-privacy cannot be imported ({error}): pip install "
            "tensorflow-privacy==0.9.0 (on Python >= 3.12 with --no-deps "
            "--ignore-requires-python), or use engine='fast'"
        ) from None


def autocasting(layer: Any) -> contextlib.AbstractContextManager[None]:
    """The scope in which Keras runs a layer's `call`: weights are read in its compute dtype."""
    module = importlib.import_module("keras.src.backend.common.variables")
    return module.AutocastScope(layer.compute_dtype if layer.autocast else None)


@contextlib.contextmanager
def fresh_layer_names() -> Iterator[None]:
    """Within the block Keras names layers as in a new process, but for counts below a hundred.

    dense, dense_101, ...: the same names each time, and none of those that `LayerMaker` gives.
    """
    module = importlib.import_module("keras.src.backend.common.global_state")
    key = "object_name_uids"
    before = module.get_global_attribute(key)
    module.set_global_attribute(key, collections.defaultdict(lambda: 100))
    try:
        yield
    finally:
        module.set_global_attribute(key, before)


_COLLECTED: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar(
    "collected", default=None
)


@contextlib.contextmanager
def single_use_gradients() -> Iterator[None]:
    """Marks custom gradients that the block puts into a graph, for `forgetting_gradients`."""
    names = _COLLECTED.get()
    before = set() if names is None else set(_gradient_registry())
    yield
    if names is not None:
        names |= set(_gradient_registry()) - before


@contextlib.contextmanager
def forgetting_gradients() -> Iterator[None]:
    """Takes the custom gradients that are marked within the block out of TensorFlow's registry.

    TensorFlow registers the gradient of each call of a custom gradient in a graph, and keeps it to
    the end of the process: with it the graph, the model, and the training set that the step has
    captured. Keras's optimizers make such a call in each step that is traced. A gradient that is
    used otherwise, such as one in a layer of the user's, is not marked: it may be asked for again.
    """
    token = _COLLECTED.set(set())
    try:
        yield
    finally:
        for name in _COLLECTED.get():
            _gradient_registry().pop(name, None)
        _COLLECTED.reset(token)


def _gradient_registry() -> dict[str, Any]:
    module = importlib.import_module("tensorflow.python.framework.ops")
    return getattr(module.gradient_registry, "_registry", {})


def require_keras_model(model: Any) -> Any:
    """Returns `model` when it is a Keras 3 model.

    Raises:
        ModelError: it is not; the message says what it is and what to do.
    """
    if isinstance(model, keras.Model):
        return model
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if any(base.__module__.split(".")[0] == "tf_keras" for base in type(model).__mro__):
        raise ModelError(
            f"model={kind} is a Keras 2 model and ft_tf works on Keras 3: save it (.h5 or .keras) "
            "and read the file with ft_tf.load_model, or build it with keras (import keras)"
        )
    raise ModelError(f"model={kind} is not a Keras model")


def set_threads(threads: int) -> None:
    """Fixes TensorFlow's intra-op threads: results differ in the last bits with their number.

    Raises:
        StackError: TensorFlow has already started with another number.
    """
    present = tf.config.threading.get_intra_op_parallelism_threads()
    if present == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        if not present and threads == len(os.sched_getaffinity(0)):
            return  # which is what TensorFlow has chosen by itself
        raise StackError(
            f"threads={threads} cannot be set: TensorFlow is already running; set it first"
        ) from None


def threads() -> int:
    """Intra-op threads that TensorFlow computes with."""
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))


def uses_onednn() -> bool:
    """Whether TensorFlow computes with oneDNN, which rounds differently from its own kernels."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def processor() -> str:
    """The processor's model name, where the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def accelerators() -> list[str]:
    """Names of the GPUs that TensorFlow computes on, as their driver gives them."""
    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    return [found.get("device_name", "GPU") for found in details]


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that results depend on; None for one that is not installed."""
    from importlib import metadata

    names = (
        "tensorflow", "keras", "tf-keras", "tensorflow-privacy", "tensorflow-datasets",
        "dp-accounting", "numpy", "scipy", "scikit-learn", "pandas",
    )  # fmt: skip
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions
