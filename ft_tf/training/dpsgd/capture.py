"""Running a model once while seeing what goes into and comes out of each layer with weights.

During the run, `call` of each such layer is replaced on that one object; the original comes back
whatever happens. This serves Sequential, functional and nested models alike, and leaves every
detail of how Keras calls a layer (autocast, masks, training mode) to Keras.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import keras, tf


@dataclasses.dataclass(frozen=True)
class LayerUse:
    """One call of one layer.

    Attributes:
        layer: the layer.
        inputs: a nest of tensors [batch, ...], as its `call` got them.
        outputs: a nest of tensors [batch, ...]: before `layer.activation` where it has one.
        call: `inputs` -> `outputs` once more, with the same other arguments.
    """

    layer: keras.layers.Layer
    inputs: Any
    outputs: Any
    call: Callable[[Any], Any]


@contextlib.contextmanager
def _attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute for a while, past Keras's tracking of attributes."""
    saved = vars(thing).get(name)
    existed = name in vars(thing)
    vars(thing)[name] = value
    try:
        yield
    finally:
        if existed:
            vars(thing)[name] = saved
        else:
            del vars(thing)[name]


def _split_call(
    layer: keras.layers.Layer, call: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The layer's call as a part before its activation, and the activation."""
    activation = getattr(layer, "activation", None)
    if not callable(activation) or not isinstance(
        layer, keras.layers.Dense | keras.layers.Conv2D | keras.layers.DepthwiseConv2D
    ):
        return lambda inputs: call(inputs, *args, **kwargs), lambda outputs: outputs

    def linear(inputs: Any) -> Any:
        with _attribute(layer, "activation", None):
            return call(inputs, *args, **kwargs)

    return linear, activation


@contextlib.contextmanager
def captured(
    layers: Sequence[keras.layers.Layer], tape: tf.GradientTape
) -> Iterator[list[LayerUse]]:
    """While it is open, calls of `layers` are appended to the list that it gives.

    The outputs of each call are watched by `tape`, so that gradients with respect to them exist
    although no variable is watched.
    """
    uses: list[LayerUse] = []

    def capturing(layer: keras.layers.Layer) -> Callable[..., Any]:
        original = layer.call

        @tf.autograph.experimental.do_not_convert
        def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            linear, activation = _split_call(layer, original, args, kwargs)
            outputs = linear(inputs)
            tape.watch(outputs)
            uses.append(LayerUse(layer, inputs, outputs, linear))
            return activation(outputs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_attribute(layer, "call", capturing(layer)))
        yield uses
