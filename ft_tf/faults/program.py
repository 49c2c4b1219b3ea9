"""One compiled program that runs a whole trial: faulty weights, faulty units, all images.

The test images stay in memory, masks are the only thing that goes in, and what no fault can change
is computed once: the outputs of the last clean layers are kept and read instead.
"""

from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.faults import forward
from ft_tf.faults.arming import WeightFaults
from ft_tf.faults.plan import FaultMasks, FaultPlan, split_masks

_FREE = frozenset(
    {"Placeholder", "Const", "Identity", "Reshape", "Shape", "StridedSlice", "Pack", "Cast"}
)
"""Operations that cost too little for their results to be kept."""


class TrialProgram:
    """Evaluates a model under the faults of a plan; use it inside `weights.restored_after()`.

    Attributes:
        weights: the weight faults; the program writes into the model's variables.
    """

    def __init__(
        self,
        model: keras.Model,
        plan: FaultPlan,
        x: Any,
        *,
        batch_size: int,
        cache_bytes: int,
    ) -> None:
        self._model = model
        self._plan = plan
        self._batch_size = batch_size
        self.weights = WeightFaults(plan)
        self._x = tf.nest.map_structure(tf.convert_to_tensor, x)
        self._size = len(tf.nest.flatten(self._x)[0])
        self._kept = self._keep_clean_prefix(cache_bytes)
        self._run = tf.function(self._trial, autograph=False)

    def __call__(self, masks: FaultMasks, rows: np.ndarray | None = None) -> np.ndarray:
        """Logits float32 [n, classes] under `masks`, of all images or of some `rows`."""
        rows = np.arange(self._size) if rows is None else rows
        arguments = [masks.faulty["weights"], masks.words["weights"]]
        arguments += [masks.faulty["units"], masks.words["units"]]
        tensors = [tf.constant(array) for array in arguments]
        return self._run(*tensors, tf.constant(rows, tf.int32)).numpy()

    def _keep_clean_prefix(self, cache_bytes: int) -> dict[tuple[int, int], tf.Tensor]:
        """Outputs of the last layer calls before any fault, for all images."""
        frontier = clean_frontier(self._model, self._plan)
        if not frontier:
            return {}
        seen: dict[tuple[int, int], tf.Tensor] = {}
        wanted = {(id(call.layer), call.index) for call in frontier}

        def collect(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
            if (id(layer), index) in wanted:
                seen[id(layer), index] = outputs
            return outputs

        @tf.function(autograph=False)
        def prefix(x: Any) -> dict[tuple[int, int], tf.Tensor]:
            self._model(x, training=False)
            return [seen[key] for key in sorted(wanted)]

        parts = []
        size = 0
        with forward.hooked(self._model, collect):
            for start in range(0, self._size, self._batch_size):
                parts.append(prefix(self._batch(slice(start, start + self._batch_size))))
                size += sum(tensor.numpy().nbytes for tensor in parts[-1])
                if size > cache_bytes:
                    return {}
        columns = [tf.concat(column, 0) for column in zip(*parts, strict=True)]
        return dict(zip(sorted(wanted), columns, strict=True))

    def _batch(self, rows: slice) -> Any:
        return tf.nest.map_structure(lambda tensor: tensor[rows], self._x)

    def _trial(
        self,
        weight_mask: tf.Tensor,
        weight_words: tf.Tensor,
        unit_mask: tf.Tensor,
        unit_words: tf.Tensor,
        rows: tf.Tensor,
    ) -> tf.Tensor:
        values = self.weights.values(weight_mask, weight_words)
        with tf.control_dependencies([*map(tf.identity, values)]):
            self.weights.write(values)
        units = self._plan.groups_of("units")
        unit_pairs = split_masks(units, self._plan.fault, unit_mask, unit_words)
        sites = {
            (id(layer), index): pair
            for group, pair in zip(units, unit_pairs, strict=True)
            for layer, index in group.points
        }
        size = tf.shape(rows)[0]

        def evaluate(first: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            return self._forward(rows[first:stop], sites)

        def step(batch: tf.Tensor, written: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            first = batch * self._batch_size
            logits = evaluate(first, tf.minimum(first + self._batch_size, size))
            return batch + 1, written.write(batch, logits)

        batches = (size + self._batch_size - 1) // self._batch_size
        collected = tf.TensorArray(
            tf.float32, size=batches, infer_shape=False, element_shape=[None, None]
        )
        _, collected = tf.while_loop(
            lambda batch, _: batch < batches, step, (0, collected), parallel_iterations=1
        )
        return collected.concat()

    def _forward(self, rows: tf.Tensor, sites: dict[tuple[int, int], Any]) -> tf.Tensor:
        def fault(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
            key = (id(layer), index)
            if key in self._kept:
                outputs = tf.ensure_shape(tf.gather(self._kept[key], rows), outputs.shape)
            if key in sites:
                outputs = self._plan.fault.apply(outputs, *sites[key])
            return outputs

        with forward.hooked(self._model, fault):
            x = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), self._x)
            return tf.cast(self._model(x, training=False), tf.float32)


def clean_frontier(model: keras.Model, plan: FaultPlan) -> list[forward.Call]:
    """The layer calls whose outputs no fault changes and on which faulty computation builds."""
    points = {(id(p), i) for group in plan.groups for p, i in group.points}
    marked: list[tf.Tensor] = []

    def mark(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        if (id(layer), index) in points:
            marked.append(tf.identity(outputs))
            return marked[-1]
        return outputs

    flow = forward.trace(model, mark)
    handles = [group.variable.handle for group in plan.groups_of("weights")]
    faulty_reads = [
        inner for outer, inner in flow.graph.captures if any(outer is h for h in handles)
    ]
    tainted = flow.reached_from([*marked, *faulty_reads])
    return [
        call
        for call in flow.calls
        if tf.is_tensor(call.outputs)
        and call.outputs.name not in tainted
        and any(o.name in tainted for op in call.outputs.consumers() for o in op.outputs)
        and not flow.computed_by(call.outputs) <= _FREE
    ]
