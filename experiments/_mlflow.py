"""Records as runs of MLflow, through its own client: pip install 'ft_tf[mlflow]'."""

import importlib
from collections.abc import Sequence
from typing import Any

from ft_tf.errors import RunError, StackError
from ft_tf.records import Record, Run
from ft_tf.report import display_names

EXPERIMENT = "ft_tf"
RATE_STEPS = 1_000_000
"""MLflow's steps are whole numbers: a fault rate r is at step 10^6 r."""
_LONGEST, _BATCH = 500, 900  # what servers take


def export(records: Sequence[Record], uri: str) -> int:
    """Makes an MLflow run of each record that has none yet.

    Args:
        records: of a study; those of other kinds than a training are left out.
        uri: of the tracking server, or the address of a folder such as file:mlruns.

    Returns:
        Number of runs made.

    Raises:
        StackError: MLflow is not installed.
        RunError: the server or folder cannot be used.
    """
    try:
        mlflow = importlib.import_module("mlflow")
        entities = importlib.import_module("mlflow.entities")
    except ImportError as error:
        raise StackError(f"MLflow cannot be imported ({error}): pip install mlflow") from None
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        made = 0
        for record in records:
            query = f"attributes.run_name = '{record.name}'"
            if isinstance(record, Run) and not client.search_runs([experiment], query):
                _write(client, entities, experiment, record)
                made += 1
    except mlflow.exceptions.MlflowException as error:
        raise RunError(f"mlflow={uri!r} cannot be used: {error}") from None
    return made


def _write(client: Any, entities: Any, experiment: str, record: Run) -> None:
    run = client.create_run(experiment, run_name=record.name, tags={"status": record.status})
    params = [
        entities.Param(key, str(value)[:_LONGEST])
        for key, value in display_names.flatten(record.config).items()
        if value is not None
    ]
    metrics = [entities.Metric(key, value, 0, step) for key, value, step in figures_of(record)]
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(run.info.run_id, metrics=metrics[first : first + _BATCH])
    for first in range(0, len(params), 100):
        client.log_batch(run.info.run_id, params=params[first : first + 100])
    status = "FINISHED" if record.status == "finished" else "FAILED"
    client.set_terminated(run.info.run_id, status)


def figures_of(record: Run) -> list[tuple[str, float, int]]:
    """(name, value, step) triples of a record: histories by epoch, fault curves by rate."""
    found = []
    epochs = [int(epoch) for epoch in record.history.get("epoch", ())]
    for column, values in record.history.items():
        if column != "epoch":
            pairs = zip(values, epochs, strict=True)
            found += [(f"epoch/{column}", v, epoch) for v, epoch in pairs if v is not None]
    if record.accuracy is not None:
        for name in ("train", "test", "generalization_error"):
            found.append((f"accuracy/{name}", getattr(record.accuracy, name), 0))
    for target, campaign in record.faults.items():
        for line in ("mean", "low", "high"):
            pairs = zip(campaign.rates, getattr(campaign, line), strict=True)
            found += [(f"faults/{target}/{line}", v, round(RATE_STEPS * r)) for r, v in pairs]
    for attack in record.robustness:
        name = f"robust_accuracy/{attack.attack}/{attack.epsilon:.4g}"
        found.append((name, attack.robust_accuracy, attack.steps))
    if record.privacy is not None and record.privacy.epsilon_claimed is not None:
        found.append(("epsilon", record.privacy.epsilon_claimed, 0))
    return found
