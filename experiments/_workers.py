"""Flags of the binaries whose work can be spread over processes and machines."""

import os

from absl import flags

from ft_tf import checks
from ft_tf.errors import ArgumentError
from ft_tf.executors import Executor, LocalProcesses, RayCluster

FLAGS = flags.FLAGS

flags.disclaim_key_flags()  # --help lists the flags under the binary that asks for them


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "executor",
        None,
        "Where the work is done. serial: in this process; local: in processes of this machine; "
        "ray: on a Ray cluster (pip install 'ft_tf[ray]'), where every node has ft_tf installed "
        "and sees the output directory and the data at the same path, on a shared file system. "
        "Default: ray with --ray_address, local with --workers, else serial. The results are the "
        "same with the same --threads.",
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "Processes of --executor=local or ray; each takes about 1 GB. Default: one for each core "
        "here, or as many as the cluster has processors for.",
    )
    flags.DEFINE_string(
        "ray_address",
        None,
        "HOST:PORT of the cluster, or auto for one on this machine. Default: what RAY_ADDRESS "
        "says, or a cluster of this machine alone, for this command.",
    )


def chosen() -> Executor | None:
    """The executor that the flags ask for, None for serial; call it before `_stack.start`.

    Workers have threads of their own: unless --threads is given, the machine's cores are shared out
    among local workers, and those of a cluster have one each. Says so in a line.

    Raises:
        ArgumentError: flags that do not go together.
    """
    name = FLAGS.executor or _default()
    checks.check_choice(("serial", "local", "ray"), executor=name)
    if FLAGS.workers is not None:
        checks.check_positive_integer(workers=FLAGS.workers)
    for flag in ("workers", "ray_address"):
        if FLAGS[flag].value is not None and name not in _TAKEN_BY[flag]:
            raise ArgumentError(
                f"{flag}={FLAGS[flag].value!r} is for executor={' or '.join(_TAKEN_BY[flag])}, "
                f"not executor={name!r}"
            )
    if name == "serial":
        return None
    if name == "ray":
        return _ray()
    cores = len(os.sched_getaffinity(0))
    workers = FLAGS.workers or cores
    threads = _threads(max(1, cores // workers))
    print(f"local workers: {workers}, threads of each: {threads}", flush=True)
    return LocalProcesses(workers=workers, threads=threads)


_TAKEN_BY = {"workers": ("local", "ray"), "ray_address": ("ray",)}


def _default() -> str:
    if FLAGS.ray_address is not None:
        return "ray"
    return "serial" if FLAGS.workers is None else "local"


def _ray() -> RayCluster:
    threads = _threads(1)
    workers = FLAGS.workers or "as many as fit"
    print(f"ray workers: {workers}, threads of each: {threads}", flush=True)
    return RayCluster(threads=threads, workers=FLAGS.workers, address=FLAGS.ray_address)


def _threads(default: int) -> int:
    if not FLAGS["threads"].present:
        FLAGS.threads = default
    checks.check_positive_integer(threads=FLAGS.threads)
    return FLAGS.threads
