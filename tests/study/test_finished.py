"""A finished run comes back as it was, or in one line says why it cannot."""

import shutil
from pathlib import Path

import pytest

from ft_tf.errors import RunError
from ft_tf.study import trained_models

RESULTS = Path(__file__).parent.parent.parent / "experiments" / "results"


def test_a_committed_record_has_no_weights_and_that_is_said(tmp_path):
    name = "fashion_mnist-fmnist_dnn-natural-table_5-paper-epochs_60-seed_0"
    shutil.copytree(RESULTS / name, tmp_path / name)
    with pytest.raises(RunError, match=r"no model.keras \(committed records come without weights"):
        trained_models.load_run(tmp_path / name)
