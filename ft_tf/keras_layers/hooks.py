"""Hooks on the outputs of a model's layers.

They work on any Keras model, also with branches, shared layers, nested models or a `call` of its
own, because they sit where every model meets its layers: on `layer.call`, and on `quantized_call`
of a layer that Keras has quantised. They are set on the instances for the length of a `with` block
and leave nothing behind.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import keras, tf
from ft_tf.keras_layers.table import kind_of
from ft_tf.keras_layers.walks import leaf_layers

OnOutput = Callable[[keras.layers.Layer, int, Any, Any], Any]
"""(layer, number of the call to that layer in this forward pass, inputs, outputs) -> outputs."""

Call = Callable[..., Any]
"""A layer's `call`."""


@contextlib.contextmanager
def attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute within the context, past Keras's tracking of attributes."""
    saved, existed = vars(thing).get(name), name in vars(thing)
    vars(thing)[name] = value
    try:
        yield
    finally:
        if existed:
            vars(thing)[name] = saved
        else:
            del vars(thing)[name]


def call_name(layer: Any) -> str:
    """Name of the method by which a layer or operation computes."""
    return "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"


@contextlib.contextmanager
def replaced_calls(
    layers: Sequence[keras.layers.Layer], replacement: Callable[[keras.layers.Layer, Call], Call]
) -> Iterator[None]:
    """Replaces the `call` of each layer by replacement(layer, call) within the context."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            name = call_name(layer)
            call = replacement(layer, getattr(layer, name))
            stack.enter_context(
                attribute(layer, name, tf.autograph.experimental.do_not_convert(call))
            )
        yield


@contextlib.contextmanager
def hooked(
    model: keras.Model,
    on_output: OnOutput,
    held: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    *,
    fuse: bool = False,
    parts: Sequence[Any] = (),
) -> Iterator[None]:
    """Passes every layer's output through `on_output` while the block runs.

    Args:
        model: the model.
        on_output: may replace a layer's outputs.
        held: a context in which the hooks are taken off again.
        fuse: batch normalization is one operation of TensorFlow instead of Keras's several, which
            is faster and rounds differently; for inference.
        parts: tensors within layers or between them (`parts.Part`) that pass through `on_output`
            too, as a layer with one call.
    """
    calls: dict[int, int] = {}

    @tf.autograph.experimental.do_not_convert
    def relay(layer: keras.layers.Layer, inputs: Any, outputs: Any) -> Any:
        index = calls.get(id(layer), 0)
        calls[id(layer)] = index + 1
        return masked_like(outputs, on_output(layer, index, inputs, outputs))

    def hook(layer: keras.layers.Layer, original: Call) -> Call:
        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            return relay(layer, (args, kwargs), outputs)

        return call

    def root(original: Call) -> Call:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.clear()  # each forward pass counts from 0
            return original(*args, **kwargs)

        return call

    hooks = [(model, "call", root(model.call))]
    for layer in leaf_layers(model):
        name = call_name(layer)
        original = getattr(layer, name)
        if fuse and kind_of(layer) == "BatchNormalization":
            original = _fused(layer, original)
        hooks.append((layer, name, hook(layer, original)))
    placed = contextlib.ExitStack()
    try:
        for layer, name, call in hooks:
            placed.enter_context(attribute(layer, name, call))
        for part in parts:
            placed.enter_context(part.hook(lambda t, part=part: on_output(part, 0, None, t)))
        yield
    finally:
        with held():
            placed.close()


def _fused(layer: keras.layers.Layer, original: Call) -> Call:
    def call(inputs: tf.Tensor, **options: Any) -> tf.Tensor:
        served = inputs.shape.rank == 4 and layer.axis in (-1, 3) and layer.epsilon >= 1e-5
        if options.get("training") or not served or inputs.dtype != tf.float32:
            return original(inputs, **options)
        mean = layer.moving_mean
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=layer.gamma if layer.scale else tf.ones_like(mean),
            offset=layer.beta if layer.center else tf.zeros_like(mean),
            mean=mean,
            variance=layer.moving_variance,
            epsilon=layer.epsilon,
            is_training=False,
        ).y

    return call


def masked_like(outputs: Any, replaced: Any) -> Any:
    """`replaced`, with the Keras masks that a layer has set on its own outputs in `call`."""
    if replaced is not outputs:
        for old, new in zip(tensors_in(outputs), tensors_in(replaced), strict=True):
            mask = getattr(old, "_keras_mask", None)
            if mask is not None:
                new._keras_mask = mask
    return replaced


def tensors_in(structure: Any) -> list[tf.Tensor]:
    """The tensors of a structure, in order."""
    return [tensor for tensor in tf.nest.flatten(structure) if tf.is_tensor(tensor)]


def infer(model: keras.Model, inputs: Any) -> Any:
    """The model's outputs in inference mode."""
    return model(inputs, training=False)
