"""Flags that every binary on top of TensorFlow shares; `start` applies them before any work."""

import importlib.util
import os
import sys

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


def define_flags() -> None:
    """Defines the flags."""
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


def start() -> None:
    """Fixes the number of threads."""
    checks.check_positive_integer(threads=flags.FLAGS.threads)
    set_threads(flags.FLAGS.threads)


def keras_verbosity() -> int:
    """Keras's progress bar on a terminal, a line per epoch in a pipe or a file."""
    return 1 if sys.stdout.isatty() else 2
