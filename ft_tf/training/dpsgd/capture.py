"""Running a model once while seeing what goes into and comes out of each layer with weights.

During the run, `call` of each such layer is replaced on that one object; the original comes back
whatever happens. This serves Sequential, functional and nested models alike, and leaves every
detail of how Keras calls a layer (autocast, masks, training mode) to Keras.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import autocasting, keras, tf
from ft_tf.errors import ModelError
from ft_tf.training.dpsgd.call_arguments import CallArguments

_ACTIVATION_COMES_LAST = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
)


@dataclasses.dataclass(frozen=True)
class LayerUse:
    """One call of one layer.

    Attributes:
        layer: the layer.
        inputs: a nest of tensors [batch, ...], as its `call` got them.
        examples: all tensors [batch, ...] among its arguments: `inputs`, further ones, and masks.
        outputs: a nest of tensors [batch, ...]: before the activation of a Dense, Conv2D or
            DepthwiseConv2D layer.
        call: `examples` -> `outputs` once more, with the same other arguments.
        problem: why its arguments cannot be cut into examples, if so.
    """

    layer: keras.layers.Layer
    inputs: Any
    examples: list[tf.Tensor]
    outputs: Any
    call: Callable[[list[tf.Tensor]], Any]
    problem: str | None


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


Call = Callable[..., Any]


@contextlib.contextmanager
def replaced_calls(
    layers: Sequence[keras.layers.Layer], replacement: Callable[[keras.layers.Layer, Call], Call]
) -> Iterator[None]:
    """While it is open, the `call` of each layer is replacement(layer, its own call)."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            call = tf.autograph.experimental.do_not_convert(replacement(layer, layer.call))
            stack.enter_context(_attribute(layer, "call", call))
        yield


def _split_call(layer: keras.layers.Layer, call: Call) -> tuple[Call, Call]:
    """The layer's call as a part before its activation, and the activation.

    A subclass may do anything after its activation, so only the types themselves are split.
    """
    activation = getattr(layer, "activation", None)
    if not callable(activation) or type(layer) not in _ACTIVATION_COMES_LAST:
        return call, lambda outputs: outputs

    def linear(*args: Any, **kwargs: Any) -> Any:
        with _attribute(layer, "activation", None):
            return call(*args, **kwargs)

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

    def capturing(layer: keras.layers.Layer, original: Call) -> Call:
        linear, activation = _split_call(layer, original)

        def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            arguments = CallArguments((inputs, args, kwargs))

            def again(examples: list[tf.Tensor]) -> Any:
                inputs, args, kwargs = arguments.with_examples(examples)
                with autocasting(layer):
                    return linear(inputs, *args, **kwargs)

            outputs = linear(inputs, *args, **kwargs)
            tape.watch(outputs)
            problem = arguments.problem()
            examples = [] if problem else arguments.examples()
            uses.append(LayerUse(layer, inputs, examples, outputs, again, problem))
            return activation(outputs)

        return call

    with replaced_calls(layers, capturing):
        yield uses


def check_uses(layers: Sequence[keras.layers.Layer], uses: Sequence[LayerUse]) -> None:
    """Refuses calls that give no gradient of an example.

    Raises:
        ModelError: a layer was not called, or on what cannot be cut into examples.
    """
    for use in uses:
        if use.problem is not None:
            raise ModelError(f"layer {use.layer.name!r} ({type(use.layer).__name__}) {use.problem}")
    called = {id(use.layer) for use in uses}
    for layer in layers:
        if id(layer) not in called:
            raise ModelError(
                f"layer {layer.name!r} ({type(layer).__name__}) has trainable weights and is never "
                "called: freeze it"
            )
