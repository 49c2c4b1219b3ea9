import multiprocessing

import example_records
import pytest

from ft_tf import records
from ft_tf.errors import RunError
from ft_tf.study import directory as runs


def identity(epochs=2, fingerprint="abc"):
    return {"config": {"epochs": epochs}, "data": {"fingerprint": fingerprint}}


def test_a_directory_keeps_its_configuration(tmp_path):
    runs.bind(tmp_path, identity())
    before = (tmp_path / runs.CONFIG).read_bytes()
    runs.bind(tmp_path, identity())
    with pytest.raises(RunError, match="belongs to another config .*epochs: 2 there, 3 here"):
        runs.bind(tmp_path, identity(epochs=3))
    with pytest.raises(RunError, match="fingerprint: 'abc' there, 'xyz' here"):
        runs.bind(tmp_path, identity(fingerprint="xyz"))
    assert (tmp_path / runs.CONFIG).read_bytes() == before


def test_a_failed_trainings_directory_may_be_deleted(tmp_path):
    runs.bind(tmp_path, identity())
    (tmp_path / records.FILE_NAME).write_text(records.dumps(example_records.run()))
    with pytest.raises(RunError, match="choose another$"):
        runs.bind(tmp_path, identity(epochs=3))
    (tmp_path / records.FILE_NAME).write_text(records.dumps(example_records.failed()))
    with pytest.raises(RunError, match="choose another, or delete this one, whose training failed"):
        runs.bind(tmp_path, identity(epochs=3))


def _claim(directory, queue):
    try:
        with runs.claimed(directory):
            queue.put("claimed")
    except RunError as error:
        queue.put(str(error))


def test_a_second_process_is_refused_and_a_later_one_is_not(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    for expected in ("in use by another process", "claimed"):
        if expected == "claimed":
            process = context.Process(target=_claim, args=(tmp_path, queue))
            process.start()
            process.join()
        else:
            with runs.claimed(tmp_path):
                process = context.Process(target=_claim, args=(tmp_path, queue))
                process.start()
                process.join()
        assert expected in queue.get(timeout=10)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with (
        pytest.raises(RunError, match=r"output_dir='.*file/run' cannot be written"),
        runs.claimed(file / "run"),
    ):
        pass


def test_history_survives_and_is_cut_to_the_checkpoint(tmp_path):
    history = {"epoch": [1.0, 2.0, 3.0], "loss": [0.1, 1 / 3, 1e-300]}
    runs.write_history(tmp_path, history)
    assert runs.read_history(tmp_path, epochs=3) == history
    assert runs.read_history(tmp_path, epochs=2) == {"epoch": [1.0, 2.0], "loss": [0.1, 1 / 3]}
    assert runs.read_history(tmp_path, epochs=0) == {}
    with pytest.raises(RunError, match="has 3 rows, but 4 epochs are done"):
        runs.read_history(tmp_path, epochs=4)


def test_started_epochs_are_counted_across_processes(tmp_path):
    assert runs.epochs_started(tmp_path) == 0
    for epoch in (0, 1, 1, 2):
        runs.note_epoch_started(tmp_path, epoch)
    assert runs.epochs_started(tmp_path) == 4


def test_devices_are_kept_in_order_and_each_stretch_once(tmp_path):
    assert runs.devices(tmp_path) == []
    for device in ("CPU", "CPU", "NVIDIA A100", "CPU"):
        runs.note_device(tmp_path, device)
    assert runs.devices(tmp_path) == ["CPU", "NVIDIA A100", "CPU"]
