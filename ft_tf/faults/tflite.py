"""Faults in the weights that a .tflite file stores.

A trial is a copy of the file's bytes with faulty weights, a new interpreter and inference. The
weights are faulted as stored, in their own integers and floats:

    model = models.load("model.tflite")
    frame = sweep(model, x, y, target="weights", fault=BitErrors("as_stored"), ...)
"""

import contextlib
from typing import Any

import numpy as np

from ft_tf._compat import tf
from ft_tf.errors import ArgumentError
from ft_tf.faults.bitflips import StoredWords
from ft_tf.faults.plan import FaultMasks, FaultPlan
from ft_tf.faults.sites import SiteGroup
from ft_tf.models import TFLiteModel


class TFLiteProgram:
    """Evaluates a .tflite file under the faults of a plan, as `program.TrialProgram` a Keras model.

    No trial changes the model. Images are evaluated one by one if the file takes one at a time, and
    `cache_bytes` is not used.
    """

    draws = False
    bytes_held = 0

    def __init__(
        self, model: TFLiteModel, plan: FaultPlan, x: Any, *, batch_size: int, cache_bytes: int
    ) -> None:
        self._model, self._plan, self._x, self._batch_size = model, plan, x, batch_size
        self._prepared = [_prepared(group, model.content) for group in plan.groups]
        self._values = tf.function(self._faulty_values, autograph=False)
        self.weights = self  # nothing is written into the model

    restored_after = staticmethod(contextlib.nullcontext)

    def check_clean(self) -> None:
        """Does nothing: the model's bytes cannot change."""

    check_state = check_clean

    def content(self, masks: FaultMasks) -> bytes:
        """Returns the file's bytes with the faults."""
        content = np.frombuffer(self._model.content, np.uint8).copy()
        values = self._values(masks.faulty, masks.words)
        for group, faulty in zip(self._plan.groups, values, strict=True):
            group.variable.write(faulty.numpy(), content)
        return content.tobytes()

    def _faulty_values(self, faulty: dict[str, Any], words: dict[str, Any]) -> list[tf.Tensor]:
        drawn = self._plan.by_group("weights", faulty, words)
        return [
            prepared(mask, word)
            for (_, mask, word), prepared in zip(drawn, self._prepared, strict=True)
        ]

    def __call__(self, masks: FaultMasks, rows: np.ndarray | None = None) -> np.ndarray:
        """Logits float32 [n, classes] under `masks`, of all images or of some `rows`."""
        x = self._x if rows is None else self._x[rows]
        return self._model.outputs(x, batch_size=self._batch_size, content=self.content(masks))


def _prepared(group: SiteGroup, content: bytes) -> Any:
    """Function of a mask and words to the faulty numbers of a tensor, as its `write` takes them."""
    stored, fault = group.variable, group.fault
    flips = isinstance(fault, StoredWords)
    if not flips and stored.zero_point:
        raise ArgumentError(
            f"fault={fault!r}: {stored.name} counts from {stored.zero_point}; flip its bits"
        )
    values = stored.values(content)
    if not (flips and stored.dtype == "int4"):
        return fault.prepared(tf.constant(values))
    words = tf.constant(values.view(np.uint8) & 15)
    return lambda mask, drawn: tf.bitwise.bitwise_xor(
        words, tf.cast(fault.pattern(mask, drawn), tf.uint8)
    )
