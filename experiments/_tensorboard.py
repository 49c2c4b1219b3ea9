"""What TensorBoard shows of a run: scalars, histograms of the weights, fault curves, settings.

The events are written by TensorFlow alone; to look at them, `pip install tensorboard`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import struct_pb2

from ft_tf._compat import keras, tf
from ft_tf.records import Run

BINS = 50
RATE_STEPS = 1000
"""TensorBoard's axis is whole numbers: a fault rate r stands at step 1000 r."""

_SCALAR, _TENSOR = 1, 2  # DataClass of summary.proto


def _write(plugin: str, data_class: int, tag: str, value: Any, step: int) -> None:
    metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
    metadata.plugin_data.plugin_name = plugin
    tf.summary.write(tag, value, step=step, metadata=metadata)


def _scalar(tag: str, value: float, step: int) -> None:
    _write("scalars", _SCALAR, tag, tf.constant(value, tf.float32), step)


def _histogram(tag: str, values: np.ndarray, step: int) -> None:
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=BINS)
    _write("histograms", _TENSOR, tag, np.stack([edges[:-1], edges[1:], counts], axis=1), step)


class Summaries(keras.callbacks.Callback):
    """After each epoch writes everything in its logs, the learning rate, and all weights' spread.

    Args:
        directory: where the event files go.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens a file; a training that goes on adds one."""
        self._writer = tf.summary.create_file_writer(str(self._directory))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch, counted from 1."""
        rate = float(self.model.optimizer.learning_rate)
        with self._writer.as_default():
            for name, value in {"learning_rate": rate, **(logs or {})}.items():
                _scalar(f"epoch/{name}", float(value), epoch + 1)
            for weight in self.model.model.weights:
                _histogram(f"weights/{weight.path}", weight.numpy(), epoch + 1)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the file."""
        self._writer.close()


def write_hparams(record: Run, directory: Path) -> None:
    """Writes a record's configuration and its outcome for TensorBoard's tab HPARAMS.

    Args:
        record: of the run.
        directory: of its events, whose name stands for the run.
    """
    from ft_tf.report import display_names  # brings matplotlib

    fields = display_names.flatten(record.config)
    values = {key: value for key, value in fields.items() if isinstance(value, str | int | float)}
    hparams = struct_pb2.Struct()
    hparams.update(values)
    # The plugin's SessionStartInfo begins with such a map; its message is field 3 of the plugin's.
    start = hparams.SerializeToString(deterministic=True)
    metadata = tf.compat.v1.SummaryMetadata(data_class=_TENSOR)
    metadata.plugin_data.plugin_name = "hparams"
    metadata.plugin_data.content = b"\x1a" + _varint(len(start)) + start
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        tf.summary.write("_hparams_/session_start_info", tf.zeros([0]), step=0, metadata=metadata)
        if record.accuracy is not None:
            for name in ("train", "test", "generalization_error"):
                _scalar(f"accuracy/{name}", getattr(record.accuracy, name), record.training.epochs)
    writer.close()


def _varint(number: int) -> bytes:
    """A length as protocol buffers write it: seven bits a byte, the lowest first."""
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


def write_curves(record: Run, directory: Path) -> None:
    """Writes a record's fault curves, once: accuracy at step 1000 * rate.

    TensorBoard draws "mean", "low" and "high" (the ends of the 95% interval over trials) as three
    lines of one plot for each target.

    Args:
        record: of a run; a failed one has no curves.
        directory: where the three directories go.
    """
    for line in ("mean", "low", "high"):
        place = directory / "faults" / line
        if place.exists() or not record.faults:
            continue
        writer = tf.summary.create_file_writer(str(place))
        with writer.as_default():
            for target, campaign in record.faults.items():
                for rate, value in zip(campaign.rates, getattr(campaign, line), strict=True):
                    _scalar(f"faults/{target}", value, round(RATE_STEPS * rate))
        writer.close()
