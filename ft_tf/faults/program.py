"""One compiled program that runs a whole trial: faulty weights, faulty units, all images.

The test images stay in memory, masks are the only thing that goes in, and what no fault can change
is computed once: the outputs of the last clean layers are kept and read instead.
"""

import contextlib
import dataclasses
from typing import Any

import numpy as np

from ft_tf._compat import keras, tf
from ft_tf.errors import ArgumentError
from ft_tf.faults import forward
from ft_tf.faults.arming import WeightFaults, silenced_groups, values_of
from ft_tf.faults.bitflips import StoredWords
from ft_tf.faults.plan import FaultMasks, FaultPlan
from ft_tf.faults.sites import SiteGroup
from ft_tf.keras_layers import Part, facts_of, infer
from ft_tf.models import TFLiteModel

_FREE = frozenset(
    {"Placeholder", "Const", "Identity", "Reshape", "Shape", "StridedSlice", "Pack", "Cast"}
)
"""Operations that cost too little for their results to be kept."""

_Key = tuple[int, int]  # id of a layer, number of its call


class TrialProgram:
    """Evaluates a model under the faults of a plan; make it inside `guarded(model)`, use it
    inside `weights.restored_after()` too.

    The program writes into the model's variables. If `cache_bytes` is not enough memory for the
    activations that no fault changes, none are kept.

    Attributes:
        weights: what is written, and the way back.
        draws: whether the model draws random numbers in inference mode.
    """

    def __init__(
        self, model: keras.Model, plan: FaultPlan, x: Any, *, batch_size: int, cache_bytes: int
    ) -> None:
        self._model = model
        self._batch_size = batch_size
        self._plan = dataclasses.replace(plan, groups=_moved_behind_pools(model, plan))
        self._x = tf.nest.map_structure(tf.convert_to_tensor, x)
        self._size = len(tf.nest.flatten(self._x)[0])
        values = values_of(model)  # before the first pass, which may change them
        self._kept = self._keep_clean_activations(cache_bytes)
        kept_points = [
            group for group in self._plan.groups_of("units")
            if any((id(layer), index) in self._kept for layer, index in group.points)
        ]  # fmt: skip
        # Kept activations are computed with clean weights, so their units need a mask.
        silenced = tuple(g for g in silenced_groups(self._plan) if g not in kept_points)
        silenced = () if plan.persistence == "image" else silenced
        self._masked = tuple(g for g in self._plan.groups_of("units") if g not in silenced)
        self.weights = WeightFaults(model, self._plan, silenced, values)
        self._compiled = tf.function(self._trial, autograph=False)
        self._as_written = tf.function(lambda: self._outputs({}, None), autograph=False)

    @property
    def bytes_held(self) -> int:
        """What images and kept activations take."""
        tensors = [*tf.nest.flatten(self._x), *self._kept.values()]
        return sum(map(_bytes, tensors))

    def __call__(self, masks: FaultMasks, rows: np.ndarray | None = None) -> np.ndarray:
        """Logits float32 [n, classes] under `masks`, of all images or of some `rows`."""
        rows = None if rows is None else tf.constant(rows, tf.int32)
        return self._compiled(masks.faulty, masks.words, rows).numpy()

    def as_written(self) -> np.ndarray:
        """Logits of all images with the variables as they are: weight faults written by hand."""
        return self._as_written().numpy()

    def _keep_clean_activations(self, cache_bytes: int) -> dict[_Key, tf.Tensor]:
        calls, flow = clean_frontier(self._model, self._plan)
        wanted = sorted((id(call.layer), call.index) for call in calls)
        self.draws = flow.draws()
        seen: dict[_Key, tf.Tensor] = {}

        def collect(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
            seen[id(layer), index] = outputs
            return outputs

        @tf.function(autograph=False)
        def clean_pass(x: Any) -> list[tf.Tensor]:
            infer(self._model, x)
            return [seen[key] for key in wanted]

        parts: list[list[tf.Tensor]] = []
        size = 0
        with forward.hooked(self._model, collect, fuse=True):
            for first in range(0, self._size if wanted else 0, self._batch_size):
                x = tf.nest.map_structure(lambda t: t[first : first + self._batch_size], self._x)  # noqa: B023
                parts.append(clean_pass(x))
                size += sum(map(_bytes, parts[-1]))
                if size > cache_bytes:
                    return {}
        columns = [tf.concat(column, 0) for column in zip(*parts, strict=True)]
        return dict(zip(wanted, columns, strict=True)) if parts else {}

    def _trial(
        self, faulty: dict[str, tf.Tensor], words: dict[str, tf.Tensor], rows: tf.Tensor | None
    ) -> tf.Tensor:
        self.weights.write(self.weights.values(faulty, words))
        masks = {
            (id(layer), index): (group, mask, word)
            for group, mask, word in self._plan.by_group("units", faulty, words)
            if group in self._masked
            for layer, index in group.points
        }
        return self._outputs(masks, rows, by_image=faulty["units"].shape.rank > 1)

    def _outputs(
        self, masks: dict[_Key, Any], rows: tf.Tensor | None, *, by_image: bool = False
    ) -> tf.Tensor:
        size = self._size if rows is None else tf.shape(rows)[0]
        batches = -(-size // self._batch_size)

        def step(batch: tf.Tensor, written: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            first = batch * self._batch_size
            stop = tf.minimum(first + self._batch_size, size)

            def of_batch(drawn: tf.Tensor) -> tf.Tensor:
                return drawn[first:stop]

            def take(tensor: tf.Tensor) -> tf.Tensor:
                # A slice shares memory with its source; a gather copies.
                if rows is None:
                    return tensor[first:stop]
                return tf.gather(tensor, rows[first:stop])

            return batch + 1, written.write(
                batch, self._forward(take, masks, of_batch if by_image else None)
            )

        collected = tf.TensorArray(
            tf.float32, size=batches, infer_shape=False, element_shape=[None, None]
        )
        _, collected = tf.while_loop(
            lambda batch, _: batch < batches, step, (0, collected), parallel_iterations=1
        )
        return collected.concat()

    def _forward(self, take: Any, masks: dict[_Key, Any], of_batch: Any) -> tf.Tensor:
        def fault(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
            key = (id(layer), index)
            if key in self._kept:
                outputs = tf.ensure_shape(take(self._kept[key]), outputs.shape)
            if key in masks:
                group, *drawn = masks[key]
                if of_batch is not None:
                    between = (1,) * (outputs.shape.rank - 1 - len(group.shape))
                    drawn = [
                        None if d is None else tf.reshape(of_batch(d), (-1, *between, *d.shape[1:]))
                        for d in drawn
                    ]
                outputs = group.fault.apply(outputs, *drawn)
            return outputs

        with forward.hooked(self._model, fault, fuse=True, parts=self._plan.parts):
            x = tf.nest.map_structure(take, self._x)
            return tf.cast(forward.infer_logits(self._model, x), tf.float32)


def _bytes(tensor: tf.Tensor) -> int:
    return 0 if tensor.dtype == tf.string else int(tf.size(tensor)) * tensor.dtype.size


def clean_frontier(
    model: keras.Model, plan: FaultPlan
) -> tuple[list[forward.Call], forward.ForwardPass]:
    """The layer calls whose outputs no fault changes and on which faulty computation builds.

    Returns:
        These calls, and the forward pass that they are part of.
    """
    marked: list[tf.Tensor] = []

    def mark(layer: keras.layers.Layer, index: int, inputs: Any, outputs: Any) -> Any:
        within = isinstance(layer, Part) and layer.leaf is not None
        held = any(group.holds(layer, index) for group in plan.groups_of("units"))
        if held and not within:
            marked.append(tf.identity(outputs))
            return marked[-1]
        return outputs

    flow = forward.trace(model, mark, plan.parts)
    # A part may be in the graph of a loop: all of the layer that it is in counts as faulty.
    around = {id(part.leaf) for part in plan.parts}
    for call in flow.calls:
        if id(call.layer) in around:
            for operation in forward.operations_between(call.inputs, call.outputs).values():
                marked.extend(operation.outputs)
    handles = [group.variable.handle for group in plan.groups_of("weights")]
    faulty_reads = [
        inner for outer, inner in flow.graph.captures if any(outer is h for h in handles)
    ]
    tainted = flow.reached_from([*marked, *faulty_reads])
    frontier = [
        call
        for call in flow.calls
        if tf.is_tensor(call.outputs)
        and call.outputs.name not in tainted
        and any(o.name in tainted for op in call.outputs.consumers() for o in op.outputs)
        and not {op.type for op in forward.operations_between((), call.outputs).values()} <= _FREE
    ]
    return frontier, flow


def _moved_behind_pools(model: keras.Model, plan: FaultPlan) -> tuple[SiteGroup, ...]:
    """The plan's groups, units stuck at 0 moved behind pooling, which maps dead to dead channels.

    What is kept and what is masked is then several times smaller; results are the same bits.
    """
    channels = [
        g for g in plan.groups_of("units") if len(g.shape) == 1 and g.fault.zeroes and not g.part
    ]
    if not channels:
        return plan.groups
    flow = forward.trace(model)

    def moved(layer: keras.layers.Layer, index: int) -> tuple[keras.layers.Layer, int]:
        call = next(c for c in flow.calls if c.layer is layer and c.index == index)
        while (following := flow.only_consumer(call)) and facts_of(following.layer).by_channel:
            call = following
        return call.layer, call.index

    return tuple(
        dataclasses.replace(group, points=tuple(moved(*point) for point in group.points))
        if group in channels
        else group
        for group in plan.groups
    )


class TFLiteProgram:
    """Evaluates a .tflite file under the faults of a plan, as `TrialProgram` a Keras model.

    A trial is a copy of the file's bytes with faulty weights, a new interpreter and inference. The
    weights are faulted as stored, in their own integers and floats:

        model = models.load("model.tflite")
        frame = sweep(model, x, y, target="weights", fault=BitErrors("as_stored"), ...)
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
