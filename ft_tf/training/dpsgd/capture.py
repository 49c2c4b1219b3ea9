"""Inputs and outputs of each layer with weights, captured while the model runs once.

During the run, `call` of each such layer is replaced on that one object, and restored afterwards
even after an exception. This serves Sequential, functional and nested models alike, and leaves all
details of calling a layer (autocast, masks, training mode) to Keras.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ft_tf._compat import autocasting, keras, tf
from ft_tf.errors import ModelError

_MASK = "_keras_mask"  # where Keras keeps the mask of a tensor, besides the argument `mask`
_ACTIVATION_COMES_LAST = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@dataclasses.dataclass(frozen=True)
class CallArguments:
    """The arguments of one call of a layer: those with a row per example, and all others.

    A mask, a second input or an initial state belongs to an example as much as the first input
    does. Tensors with a row per example are those whose first dimension is that of the first
    input. With an open batch size no constant of another first dimension can be taken for one.

    Attributes:
        arguments: (inputs, args, kwargs), as `call` got them.
    """

    arguments: tuple[Any, tuple[Any, ...], dict[str, Any]]

    def problem(self) -> str | None:
        """Returns the reason why the arguments cannot be cut into examples, or None."""
        for leaf in tf.nest.flatten(self.arguments):
            if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):
                return f"is called on a {type(leaf).__name__}, which cannot be cut into examples"
            if _is_plain_tensor(leaf) and leaf.shape.rank is None:
                return "is called on a tensor of unknown rank, which cannot be cut into examples"
        if not self.examples():
            return "is called on no tensor with a row per example"
        return None

    def examples(self) -> list[tf.Tensor]:
        """Returns the tensors [batch, ...] among the arguments, in order, and their masks."""
        found = []
        for leaf in self._rows():
            found.append(leaf)
            if (mask := getattr(leaf, _MASK, None)) is not None:
                found.append(mask)
        return found

    def with_examples(self, examples: list[tf.Tensor]) -> tuple[Any, tuple[Any, ...], Any]:
        """Returns the arguments with other, distinct tensors in place of `examples()`."""
        rest = iter(examples)
        new = []
        own = {id(leaf) for leaf in self._rows()}
        for leaf in tf.nest.flatten(self.arguments):
            if id(leaf) not in own:
                new.append(leaf)
                continue
            tensor = next(rest)
            if getattr(leaf, _MASK, None) is not None:
                setattr(tensor, _MASK, next(rest))
            new.append(tensor)
        return tf.nest.pack_sequence_as(self.arguments, new)

    def _rows(self) -> list[tf.Tensor]:
        first = next(filter(_is_plain_tensor, tf.nest.flatten(self.arguments[0])), None)
        if first is None or not first.shape.rank:
            return []
        return [
            leaf
            for leaf in tf.nest.flatten(self.arguments)
            if _is_plain_tensor(leaf) and leaf.shape.rank and leaf.shape[0] == first.shape[0]
        ]


def _is_plain_tensor(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor)


@dataclasses.dataclass(frozen=True)
class LayerUse:
    """One call of one layer.

    Attributes:
        layer: the layer.
        inputs: a nest of tensors [batch, ...], as its `call` got them.
        examples: all tensors [batch, ...] among its arguments: `inputs`, further ones, and masks.
        outputs: a nest of tensors [batch, ...]: before the activation of a Dense, EinsumDense or
            convolution layer.
        call: computes `outputs` from `examples` again, with the same other arguments.
        problem: the reason why its arguments cannot be cut into examples, or None.
    """

    layer: keras.layers.Layer
    inputs: Any
    examples: list[tf.Tensor]
    outputs: Any
    call: Callable[[list[tf.Tensor]], Any]
    problem: str | None


@contextlib.contextmanager
def _attribute(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute within the context, past Keras's tracking of attributes."""
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


def _name_of_call(layer: keras.layers.Layer) -> str:
    return "call" if layer.quantization_mode is None else "quantized_call"


@contextlib.contextmanager
def replaced_calls(
    layers: Sequence[keras.layers.Layer], replacement: Callable[[keras.layers.Layer, Call], Call]
) -> Iterator[None]:
    """Replaces the `call` of each layer by replacement(layer, call) within the context."""
    with contextlib.ExitStack() as stack:
        for layer in layers:
            name = _name_of_call(layer)
            call = tf.autograph.experimental.do_not_convert(
                replacement(layer, getattr(layer, name))
            )
            stack.enter_context(_attribute(layer, name, call))
        yield


def _split_call(layer: keras.layers.Layer, call: Call) -> tuple[Call, Call]:
    """Returns the layer's call without its activation, and the activation.

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
    """Appends calls of `layers` to the list that it yields, within the context.

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
    """Rejects calls from which no gradient of an example follows.

    Raises:
        ModelError: a layer was not called, or its arguments cannot be cut into examples.
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
