"""Where independent tasks, such as the runs of a study, are computed."""

from ft_tf.executors.local import LocalProcesses
from ft_tf.executors.ray_cluster import RayCluster
from ft_tf.executors.tasks import run_tasks

Executor = LocalProcesses | RayCluster

__all__ = ["Executor", "LocalProcesses", "RayCluster", "run_tasks"]
