"""Where the runs of a study, and the trials of a campaign, are computed."""

from ft_tf.study.executors.campaign import sweep
from ft_tf.study.executors.local import LocalProcesses
from ft_tf.study.executors.ray_cluster import RayCluster
from ft_tf.study.executors.tasks import run_tasks

Executor = LocalProcesses | RayCluster

__all__ = ["Executor", "LocalProcesses", "RayCluster", "run_tasks", "sweep"]
