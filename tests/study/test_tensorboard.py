"""The event files are read back: every number is that of the history, the model or the record."""

import dataclasses

import numpy as np
import pytest
from google.protobuf import struct_pb2

from experiments import _tensorboard as tensorboard
from ft_tf._compat import tf
from ft_tf.study import config as c
from ft_tf.study.execution import run

CONFIG = c.RunConfig(
    dataset="fashion_mnist",
    architecture="fmnist_dnn",
    epochs=3,
    batch_size=20,
    learning_rate=0.05,
    learning_rate_drops=((2, 0.1),),
    evaluation=c.Evaluation(fault_rates=(0.0, 0.25, 0.5), fault_trials=3),
)


def events_below(directory):
    """{(tag, step): value}; each must come once."""
    found = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                key = (value.tag, event.step)
                assert key not in found
                assert value.metadata.plugin_data.plugin_name in ("scalars", "histograms")
                found[key] = tf.make_ndarray(value.tensor)
    return found


@pytest.fixture(scope="module")
def written(stripes, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tensorboard")
    record = run(CONFIG, stripes, directory / "runs", callbacks=[tensorboard.Summaries(directory)])
    tensorboard.write_curves(record, directory)
    return directory, record


def test_scalars_are_those_of_the_history(written):
    directory, record = written
    events = events_below(directory)
    for name in ("loss", "accuracy"):
        shown = [events[f"epoch/{name}", epoch] for epoch in (1, 2, 3)]
        np.testing.assert_allclose(shown, record.history[name], rtol=1e-6)
    rates = [float(events["epoch/learning_rate", epoch]) for epoch in (1, 2, 3)]
    assert rates == pytest.approx([0.05, 0.05, 0.005])


def test_histograms_hold_every_weight(written):
    directory, record = written
    events = events_below(directory)
    last = [value for (tag, step), value in events.items() if "weights/" in tag and step == 3]
    assert len(last) == 6  # three Dense layers, kernels and biases
    assert sum(value[:, 2].sum() for value in last) == record.model.parameters
    lowest = min(value[:, 0].min() for value in last)
    assert lowest == pytest.approx(record.parameters.bin_edges[0], rel=1e-5)


@pytest.mark.parametrize("line", ["mean", "low", "high"])
@pytest.mark.parametrize("target", ["weights", "units"])
def test_fault_curves_are_those_of_the_record(written, line, target):
    directory, record = written
    events = events_below(directory / "faults" / line)
    shown = [events[f"faults/{target}", step] for step in (0, 250, 500)]
    np.testing.assert_allclose(shown, getattr(record.faults[target], line), rtol=1e-6)


def test_curves_are_written_once(written):
    directory, record = written
    tensorboard.write_curves(record, directory)
    assert len(list((directory / "faults" / "mean").iterdir())) == 1


def test_a_failed_run_leaves_no_curves(stripes, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    events = tmp_path / "events"
    record = run(config, stripes, tmp_path, callbacks=[tensorboard.Summaries(events)])
    tensorboard.write_curves(record, events)
    assert record.status == "failed"
    assert not (events / "faults").exists()


def test_settings_are_a_message_of_the_tab_hparams(written):
    """SessionStartInfo, whose first field is a map like that of a Struct, is field 3."""
    directory, record = written
    tensorboard.write_hparams(record, directory / "hparams")
    (path,) = (directory / "hparams").iterdir()
    (metadata,) = (
        value.metadata
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    )
    content = metadata.plugin_data.content
    assert metadata.plugin_data.plugin_name == "hparams" and content[0] == (3 << 3 | 2)
    length = content[1] & 127 | content[2] << 7
    assert content[1] > 127 and len(content) == 3 + length
    found = struct_pb2.Struct.FromString(content[3:])
    assert found["learning_rate"] == CONFIG.learning_rate
    assert found["algorithm.name"] == "natural" and found["evaluation.fault_trials"] == 3
