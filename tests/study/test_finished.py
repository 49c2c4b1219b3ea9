"""A finished run comes back as it was, or in one line says why it cannot."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from ft_tf import models, records
from ft_tf.errors import ArgumentError, DataError, RunError
from ft_tf.study import config as c
from ft_tf.study import datasets, trained_models
from ft_tf.study.execution import directory_of, run

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


@pytest.fixture
def registered(monkeypatch, stripes):
    monkeypatch.setattr(datasets, "_SOURCES", dict(datasets._SOURCES))
    small = dataclasses.replace(stripes, name="small_stripes")
    datasets.register(
        datasets.DataSource("small_stripes", "Stripes", (28, 28, 1), 10, "dnn", lambda: small)
    )
    return small


@pytest.fixture
def finished(registered, tmp_path):
    config = c.RunConfig(
        dataset="small_stripes",
        architecture="fmnist_dnn",
        epochs=1,
        batch_size=20,
        evaluation=c.Evaluation(fault_targets=()),
    )
    run(config, registered, tmp_path)
    return directory_of(config, registered, tmp_path)


def test_a_committed_record_has_no_weights_and_that_is_said(tmp_path):
    name = "fashion_mnist-fmnist_dnn-natural-table_5-paper-epochs_60-seed_0"
    shutil.copytree(RESULTS / name, tmp_path / name)
    with pytest.raises(RunError, match=r"no model.keras \(committed records come without weights"):
        trained_models.load_run(tmp_path / name)


def test_a_run_is_loaded_with_the_model_that_its_record_describes(finished, registered):
    loaded = trained_models.load_run(finished)
    assert loaded.config.epochs == 1
    np.testing.assert_array_equal(loaded.data.x_test, registered.x_test)


def test_a_model_of_another_run_is_refused(finished):
    model = models.load(finished / "model.keras")
    weights = model.get_weights()
    weights[1][0] += np.float32(1e-3)
    model.set_weights(weights)
    model.save(finished / "model.keras")
    with pytest.raises(RunError, match="is not the model of this run's record"):
        trained_models.load_run(finished)


def test_changed_data_are_said_to_have_changed(finished, registered):
    other = dataclasses.replace(registered, fingerprint="f" * 64)
    datasets.register(dataclasses.replace(datasets.get("small_stripes"), loader=lambda: other))
    with pytest.raises(DataError, match="trained on other data: test:stripes .* has ffffffffffff"):
        trained_models.load_run(finished)


def test_data_that_nobody_registered_here_are_asked_for(finished):
    datasets._SOURCES.pop("small_stripes")
    with pytest.raises(ArgumentError, match="dataset='small_stripes', which is not known here"):
        trained_models.load_run(finished)


def test_damaged_unfinished_and_missing_records_are_told_apart(finished):
    (finished / records.FILE_NAME).write_text('{"kind": "run"')
    with pytest.raises(RunError, match="not valid JSON"):
        trained_models.check_finished(finished)
    (finished / records.FILE_NAME).unlink()
    with pytest.raises(ArgumentError, match="is not finished: give its training command again"):
        trained_models.check_finished(finished)
    with pytest.raises(ArgumentError, match="holds no record.json"):
        trained_models.check_finished(finished.parent)
