"""Flags that every binary on top of TensorFlow shares; `start` applies them before any work."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable

from absl import flags

from experiments import _app
from ft_tf import checks
from ft_tf.errors import StackError

if importlib.util.find_spec("tf_keras"):
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # --engine=reference: TF Privacy's optimizer
try:
    from ft_tf._compat import set_threads
except StackError as stack_error:  # binaries import this module before anything that needs Keras
    if "--verbose" in sys.argv:
        raise
    _app.fail(str(stack_error))

flags.disclaim_key_flags()  # --help lists the flags under the binary that asks for them


def define_import() -> None:
    """Defines --import; imports its modules, whose algorithms have flags too."""
    for argument in _app.early_arguments():
        name, _, value = argument.lstrip("-").partition("=")
        if name == "import":
            _import(value.split(","))
    flags.DEFINE_list(
        "import",
        [],
        "Your Python modules to import first, in this directory or on PYTHONPATH: they register "
        "layers (keras.saving.register_keras_serializable), algorithms, data sets, fault models or "
        "tables of the report.",
    )


def import_modules() -> None:
    """Imports the modules of --import MODULE, without "=", too."""
    _import(flags.FLAGS["import"].value)


def define_flags() -> None:
    """Defines the flags."""
    define_import()
    flags.DEFINE_integer(
        "threads",
        len(os.sched_getaffinity(0)),
        "Threads of one TensorFlow operation; results differ in the last bits with it. The "
        "default is what this machine has.",
    )
    flags.DEFINE_string(
        "data_dir",
        None,
        "TFDS directory with the data sets. Without it: TFDS's own default, then Debian's package "
        "dataset-fashion-mnist, then, for Fashion-MNIST only, the embedded sample of 6,000 + "
        "1,000.",
    )
    flags.DEFINE_bool("download", False, "Let TFDS fetch a data set that is not there.")


def _import(names: Iterable[str]) -> None:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a user's module may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            is_missing = isinstance(error, ModuleNotFoundError)
            is_absent = is_missing and f"{name}.".startswith(f"{error.name}.")  # or its package
            remedy = "name a Python module in this directory or on PYTHONPATH"
            remedy = remedy if is_absent else f"the error is in the module: try `import {name}`"
            _app.fail(f"import={name!r} cannot be imported ({reason}): {remedy}")


def start() -> None:
    """Imports the user's modules and fixes the number of threads."""
    import_modules()
    checks.check_positive_integer(threads=flags.FLAGS.threads)
    set_threads(flags.FLAGS.threads)


def keras_verbosity() -> int:
    """Keras's progress bar on a terminal, a line per epoch in a pipe or a file."""
    return 1 if sys.stdout.isatty() else 2
