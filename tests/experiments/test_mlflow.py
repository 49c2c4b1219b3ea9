"""Records as runs of MLflow: their figures, and its own file store where it is installed."""

import importlib.util

import example_records
import pytest

from experiments import _mlflow
from ft_tf.errors import StackError


@pytest.fixture
def record():
    return example_records.run()


def test_figures_are_those_of_the_record(record):
    found = {(name, step): value for name, value, step in _mlflow.figures_of(record)}
    assert found["accuracy/test", 0] == record.accuracy.test
    campaign = record.faults["weights"]
    for rate, mean in zip(campaign.rates, campaign.mean, strict=True):
        assert found["faults/weights/mean", round(1_000_000 * rate)] == mean


def test_each_record_becomes_one_run(record, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = tmp_path.as_uri()
    if importlib.util.find_spec("mlflow") is None:
        with pytest.raises(StackError, match="MLflow cannot be imported"):
            _mlflow.export([record], uri)
        return
    assert [_mlflow.export([record], uri) for _ in range(2)] == [1, 0]
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(_mlflow.EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == record.name
    assert run.data.metrics["accuracy/test"] == record.accuracy.test
    assert run.data.params["learning_rate"] == str(record.config["learning_rate"])
