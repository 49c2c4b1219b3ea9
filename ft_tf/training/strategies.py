"""The strategies of tf.distribute for training, by name."""

import contextlib
import dataclasses
import os
from typing import Any

from ft_tf import checks
from ft_tf._compat import tf
from ft_tf.errors import ArgumentError
from ft_tf.untrusted import parse_json

NAMES = ("none", "mirrored", "multi_worker")

_EXAMPLE = (
    """TF_CONFIG='{"cluster": {"worker": ["HOST1:2222", "HOST2:2222"]}, """
    """"task": {"type": "worker", "index": 0}}'"""
)


@dataclasses.dataclass(frozen=True)
class Peers:
    """The processes of a multi_worker training.

    Attributes:
        count: their number.
        index: number of this process; 0 is the chief, which writes the run's directory.
    """

    count: int
    index: int


def peers() -> Peers:
    """Returns the processes that TF_CONFIG, in the environment of each of them, names.

    Raises:
        ArgumentError: it is not there, or is not what tf.distribute expects.
    """
    tf_config = os.environ.get("TF_CONFIG")
    if not tf_config:
        raise ArgumentError(
            "strategy='multi_worker' needs TF_CONFIG in the environment of every process, with a "
            f"different index each: {_EXAMPLE}"
        )
    try:
        fields = parse_json(tf_config.encode())
        cluster, task = fields["cluster"], fields["task"]
        kind, index = task["type"], task["index"]
        chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArgumentError(f"TF_CONFIG={tf_config!r} must look like {_EXAMPLE}") from None
    if set(cluster) - {"chief", "worker"} or kind not in cluster:
        raise ArgumentError(
            f"TF_CONFIG={tf_config!r}: cluster may have chief and worker, and task.type is of them"
        )
    addresses = [*chiefs, *workers]
    if not all(isinstance(address, str) and ":" in address for address in addresses):
        raise ArgumentError(f"TF_CONFIG={tf_config!r}: every address must be HOST:PORT")
    if not isinstance(index, int) or not 0 <= index < len(cluster[kind]):
        raise ArgumentError(
            f"TF_CONFIG={tf_config!r}: task.index={index!r} must be 0 to {len(cluster[kind]) - 1}"
        )
    return Peers(count=len(addresses), index=index + (len(chiefs) if kind == "worker" else 0))


def make(name: str) -> tf.distribute.Strategy | None:
    """Returns the strategy of that name, None for "none"; call it before TensorFlow computes.

    "mirrored" takes all GPUs of this machine, or all logical CPU devices without a GPU.
    "multi_worker" waits until all processes that TF_CONFIG names have started.

    Raises:
        ArgumentError: an unknown name, or a TF_CONFIG that cannot be used.
    """
    checks.check_choice(NAMES, strategy=name)
    if name == "mirrored":
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        return tf.distribute.MirroredStrategy(
            [d.name for d in tf.config.list_logical_devices(kind)]
        )
    if name == "multi_worker":
        peers()
        return tf.distribute.MultiWorkerMirroredStrategy()
    return None


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Returns True in the process that writes the run's directory."""
    return name_of(strategy) != "multi_worker" or peers().index == 0


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager[Any]:
    """Returns the strategy's scope, or an empty context without one."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def name_of(strategy: tf.distribute.Strategy | None) -> str:
    """Returns the name of a strategy that `make` made."""
    if strategy is None:
        return "none"
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return "multi_worker" if several else "mirrored"


def describe(strategy: tf.distribute.Strategy | None) -> dict[str, Any]:
    """Returns the entries of a strategy in a record's environment: none without one."""
    if strategy is None:
        return {}
    return {"strategy": name_of(strategy), "replicas": strategy.num_replicas_in_sync}
